"""Everything that the rules look at, read once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.errors import MissingModelError
from server.repository import Model, model_folders, read_model

Step = Any
"""A ``ModelEnsembling.Step`` of an ensemble's configuration."""
Tensor = Any
"""A ``ModelInput`` or ``ModelOutput`` of a configuration."""


@dataclass(frozen=True)
class Survey:
    """The models of some repositories under one profile.

    Attributes:
        profile: whose ``configs/<profile>.pbtxt`` was read, where a model has it.
        folders: what Triton takes for models.
        models: those with a configuration that can be read, or a file that tells what they are.
        unreadable: folders whose configuration cannot be read, and why.
    """

    profile: str | None
    folders: tuple[Path, ...]
    models: tuple[Model, ...]
    unreadable: Mapping[Path, str]

    @classmethod
    def read(cls, repositories: Sequence[Path], profile: str | None = None) -> Survey:
        """Read the repositories.

        Raises:
            MissingModelError: one is no folder, or no model has the profile.
        """
        folders = [folder for repository in repositories for folder in model_folders(repository)]
        if profile and not any((folder / "configs" / f"{profile}.pbtxt").exists() for folder in folders):
            raise MissingModelError(f"no model has the profile '{profile}', a file configs/{profile}.pbtxt")
        models, unreadable = [], {}
        for folder in folders:
            try:
                model = read_model(folder, profile)
            except MissingModelError as error:
                unreadable[folder] = str(error)
                continue
            if model.file or any(folder.glob("[1-9]*/model.*")):
                models.append(model)
        return cls(profile, tuple(folders), tuple(models), unreadable)

    @property
    def has_gpu(self) -> bool:
        """Whether the profile is one for GPUs: its name says so."""
        return self.profile is not None and "gpu" in self.profile

    @property
    def ensembles(self) -> list[Model]:
        """The models that string others together."""
        return [model for model in self.models if model.is_ensemble]

    @property
    def leaves(self) -> list[Model]:
        """The models that are no ensembles."""
        return [model for model in self.models if not model.is_ensemble]

    def find(self, name: str) -> Model | None:
        """The model of this name."""
        return next((model for model in self.models if model.name == name), None)

    def steps(self, ensemble: Model) -> Iterator[tuple[Step, Model]]:
        """The steps of an ensemble whose models say what they take and give."""
        for step in ensemble.configuration.ensemble_scheduling.step:
            model = self.find(step.model_name)
            if model is not None and model.is_complete:
                yield step, model
