"""What the model repositories hold, read as Triton reads them, before Triton starts.

A repository is a folder of models; a model is a folder with a ``config.pbtxt``, or one a profile in
``configs/``, and numbered version folders. So that a missing weight is one clear line and not a
table in a log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from server.errors import MissingModelError

DEFAULT_FILES = {"onnxruntime": ("model.onnx",), "dali": ("model.dali", "dali.py"), "python": ("model.py",)}
"""Files in a version folder that a backend looks for, any of which will do."""


@dataclass(frozen=True)
class Model:
    """A model in a repository: its folder and its configuration."""

    folder: Path
    configuration: model_config_pb2.ModelConfig

    @property
    def name(self) -> str:
        """The model's name, which is its folder's."""
        return self.folder.name

    @property
    def is_ensemble(self) -> bool:
        """Whether it only strings other models together."""
        return bool(self.configuration.platform == "ensemble")

    @property
    def steps(self) -> list[str]:
        """Names of the models that an ensemble runs."""
        return [step.model_name for step in self.configuration.ensemble_scheduling.step]

    @property
    def is_complete(self) -> bool:
        """Whether Triton need not complete the configuration: it says all that a model can tell."""
        tensors = [*self.configuration.input, *self.configuration.output]
        return bool(
            (self.configuration.backend or self.is_ensemble)
            and self.configuration.input
            and self.configuration.output
            and (self.configuration.backend != "dali" or self.configuration.max_batch_size > 0)
            and all(tensor.dims and tensor.data_type != model_config_pb2.TYPE_INVALID for tensor in tensors)
        )

    @property
    def is_built(self) -> bool:
        """Whether a version folder holds what the backend looks for."""
        backend = self.configuration.backend or self.configuration.platform.partition("_")[0]
        files: Sequence[str] = DEFAULT_FILES.get(backend, ())
        if self.configuration.default_model_filename:
            files = (
                self.configuration.default_model_filename,
                *(name for name in files if name == "dali.py"),
            )
        versions = [entry for entry in self.folder.glob("*") if entry.name.isdigit() and entry.is_dir()]
        return any(not files or any((version / name).exists() for name in files) for version in versions)


def read_models(repositories: Iterable[Path], profile: str | None = None) -> dict[str, Model]:
    """All models of the repositories, by name.

    Args:
        repositories: the folders, as given to Triton.
        profile: takes ``configs/<profile>.pbtxt`` of each model that has it, ``config.pbtxt`` of others.

    Raises:
        MissingModelError: a repository is no folder, or a configuration cannot be read.
    """
    models = {}
    for repository in repositories:
        if not repository.is_dir():
            raise MissingModelError(f"model repository {repository} is no folder")
        for folder in sorted(entry for entry in repository.iterdir() if entry.is_dir()):
            models[folder.name] = Model(folder, _configuration(folder, profile))
    return models


def _configuration(folder: Path, profile: str | None) -> model_config_pb2.ModelConfig:
    candidates = [folder / "config.pbtxt"]
    if profile is not None:
        candidates.insert(0, folder / "configs" / f"{profile}.pbtxt")
    path = next((path for path in candidates if path.exists()), None)
    if path is None:
        # Triton completes a model without a configuration from its file.
        return model_config_pb2.ModelConfig()
    try:
        return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise MissingModelError(f"{path} is no Triton model configuration: {error}") from error


def choose(models: dict[str, Model], names: Sequence[str]) -> dict[str, Model]:
    """The models of these names and the steps of those that are ensembles; all without names.

    Raises:
        MissingModelError: a name is in no repository, or a model's weights are not built.
    """
    waiting, chosen = list(names or models), dict[str, Model]()
    while waiting:
        name = waiting.pop(0)
        if name not in models:
            raise MissingModelError(f"no model '{name}' in the repositories; they hold: {', '.join(models)}")
        if name not in chosen:
            chosen[name] = models[name]
            waiting.extend(models[name].steps)
    missing = [model for model in chosen.values() if not model.is_built]
    if missing:
        listed = ", ".join(model.name for model in missing)
        raise MissingModelError(
            f"not built: {listed} (no weights such as {missing[0].folder / '1' / 'model.onnx'}). "
            "Build them with: make models"
        )
    return chosen
