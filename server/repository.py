"""What the model repositories hold, read as Triton reads them, before Triton starts.

A repository is a folder of models; a model is a folder with a ``config.pbtxt``, or one a profile in
``configs/``, and numbered version folders. So that a missing weight is one clear line and not a
table in a log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from adlens.contract import ALTERNATE_IDS, GALLERY_MANIFEST, INFLUENCER_IDS, MATCH_IDS
from server.errors import MissingModelError

DEFAULT_FILES = {"onnxruntime": ("model.onnx",), "dali": ("model.dali", "dali.py"), "python": ("model.py",)}
"""Files in a version folder that a backend looks for, any of which will do."""


@dataclass(frozen=True)
class Model:
    """A model in a repository: its folder, its configuration, and the file that says it, if any."""

    folder: Path
    configuration: model_config_pb2.ModelConfig
    file: Path | None

    @property
    def name(self) -> str:
        """The model's name, which is its folder's."""
        return self.folder.name

    @property
    def path(self) -> Path:
        """Where to look for it: its configuration's file, or its folder."""
        return self.file or self.folder

    @property
    def profile(self) -> str | None:
        """The profile that its configuration is of; None where that is ``config.pbtxt``, or none."""
        return self.file.stem if self.file and self.file.parent.name == "configs" else None

    @property
    def backend(self) -> str:
        """Name of its backend; ``ensemble`` for an ensemble, empty where Triton has to find out."""
        if self.is_ensemble:
            return "ensemble"
        return str(self.configuration.backend or self.configuration.platform.partition("_")[0])

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
    def numbered(self) -> list[Path]:
        """Its version folders, newest first; Triton ignores numbers that start with 0."""
        folders = [entry for entry in self.folder.glob("[1-9]*") if entry.name.isdigit() and entry.is_dir()]
        return sorted(folders, key=lambda folder: int(folder.name), reverse=True)

    @property
    def versions(self) -> list[Path]:
        """The version folders that Triton loads (``VersionsToLoad`` in Triton's model_lifecycle.cc)."""
        policy = self.configuration.version_policy
        match policy.WhichOneof("policy_choice"):
            case "all":
                return self.numbered
            case "specific":
                return [folder for folder in self.numbered if int(folder.name) in policy.specific.versions]
            case "latest":
                return self.numbered[: policy.latest.num_versions]
        return self.numbered[:1]

    @property
    def wanted_files(self) -> tuple[str, ...]:
        """What the backend looks for in a version folder, any of which will do; empty if not known."""
        named = self.configuration.default_model_filename
        files = DEFAULT_FILES.get(self.backend, ())
        return (named, *(name for name in files if name == "dali.py")) if named else files

    @property
    def is_gallery(self) -> bool:
        """Whether its versions are users' data, which change while it is served."""
        if any((version / GALLERY_MANIFEST).exists() for version in self.numbered):
            return True
        # One that has lost its manifest is no other model for that.
        found = (MATCH_IDS, ALTERNATE_IDS, INFLUENCER_IDS)
        return not self.is_ensemble and any(each.name in found for each in self.configuration.output)

    @property
    def is_built(self) -> bool:
        """Whether a version folder holds what the backend looks for."""
        files = self.wanted_files
        return any(not files or any((version / name).exists() for name in files) for version in self.versions)


def read_models(repositories: Iterable[Path], profile: str | None = None) -> dict[str, Model]:
    """All models of the repositories, by name.

    Args:
        repositories: the folders, as given to Triton.
        profile: takes ``configs/<profile>.pbtxt`` of each model that has it, ``config.pbtxt`` of others.

    Raises:
        MissingModelError: a repository is no folder, or a configuration cannot be read.
    """
    return {
        folder.name: read_model(folder, profile)
        for repository in repositories
        for folder in model_folders(repository)
    }


def model_folders(repository: Path) -> list[Path]:
    """The folders in a repository, each of which Triton takes for a model.

    Raises:
        MissingModelError: the repository is no folder.
    """
    if not repository.is_dir():
        raise MissingModelError(f"model repository {repository} is no folder")
    return sorted(entry for entry in repository.iterdir() if entry.is_dir())


def read_model(folder: Path, profile: str | None = None) -> Model:
    """The model in a folder; an empty configuration where there is none, which Triton then completes.

    Raises:
        MissingModelError: its configuration cannot be read.
    """
    files = [folder / "config.pbtxt"]
    if profile is not None:
        files.insert(0, folder / "configs" / f"{profile}.pbtxt")
    file = next((file for file in files if file.exists()), None)
    return Model(folder, read_configuration(file) if file else model_config_pb2.ModelConfig(), file)


def read_configuration(file: Path) -> model_config_pb2.ModelConfig:
    """A model configuration in text form.

    Raises:
        MissingModelError: it cannot be read.
    """
    try:
        return text_format.Parse(file.read_text(), model_config_pb2.ModelConfig())
    except (text_format.ParseError, UnicodeDecodeError, OSError) as error:
        raise MissingModelError(f"{file} is no Triton model configuration: {error}") from error


def with_steps(models: Mapping[str, Model], names: Sequence[str]) -> dict[str, Model]:
    """The models of these names and the steps of those that are ensembles; all without names.

    Raises:
        MissingModelError: a name is in no repository.
    """
    waiting, chosen = list(names or models), dict[str, Model]()
    while waiting:
        name = waiting.pop(0)
        if name not in models:
            raise MissingModelError(f"no model '{name}' in the repositories; they hold: {', '.join(models)}")
        if name not in chosen:
            chosen[name] = models[name]
            waiting.extend(models[name].steps)
    return chosen


def choose(models: Mapping[str, Model], names: Sequence[str]) -> dict[str, Model]:
    """As ``with_steps``, of models that can be served.

    Raises:
        MissingModelError: a name is in no repository, or a model's weights are not built.
    """
    chosen = with_steps(models, names)
    missing = [model for model in chosen.values() if not model.is_built]
    if missing:
        listed = ", ".join(model.name for model in missing)
        file = (*missing[0].wanted_files, "model.onnx")[0]
        of_profiles = sorted({f"models-{model.profile}" for model in missing if model.profile})
        raise MissingModelError(
            f"not built: {listed} (no weights such as {missing[0].folder / '1' / file}). "
            f"Build them with: make {' '.join(of_profiles or ['models'])}"
        )
    return chosen


def constant(models: Mapping[str, Model]) -> frozenset[str]:
    """Names of the ensembles that answer a request alike for as long as they are loaded.

    Their steps run graphs that remember nothing, and none of these is a gallery, whose versions change while
    it is served. What a Python model does is not known.
    """
    return frozenset(
        name
        for name, model in models.items()
        if model.is_ensemble and all(_is_constant(step) for step in with_steps(models, [name]).values())
    )


def _is_constant(model: Model) -> bool:
    if model.is_ensemble:
        return True
    is_known = model.backend in ("onnxruntime", "dali")
    return is_known and not model.is_gallery and not model.configuration.HasField("sequence_batching")
