"""Rules on what lies where: folders, configuration files, version folders and model files."""

from __future__ import annotations

import zipfile
from pathlib import Path

from server.lint.rules import Findings, Severity, rule
from server.lint.survey import Survey
from server.repository import Model

SOURCE_BACKENDS = ("dali", "python", "ensemble")
"""Those whose version folders are written by hand; the weights of all others are built."""
PICKLE_SUFFIXES = (".pkl", ".pickle", ".joblib")
PICKLE_STARTS = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
"""The PROTO opcode and the protocol with which a pickle begins (CPython's pickletools)."""


def _contents(version: Path) -> list[Path]:
    """What lies in a version folder, less hidden files such as ``.gitkeep``."""
    return [entry for entry in version.iterdir() if not entry.name.startswith(".")]


def _awaits_weights(model: Model) -> bool:
    """Whether nothing has been built for it yet."""
    return model.backend not in SOURCE_BACKENDS and not any(map(_contents, model.numbered))


@rule(Severity.ERROR)
def unreadable_configuration(survey: Survey) -> Findings:
    """Triton does not start with a configuration that it cannot parse.

    Its field names are those of model_config.proto in triton-inference-server/common.
    """
    yield from survey.unreadable.items()


@rule(Severity.ERROR)
def stray_folder(survey: Survey) -> Findings:
    """Triton takes each folder in a repository for a model, hidden ones too.

    One `__pycache__` there and 24.10 exits with "failed to load all models" (seen; source: Poll in
    model_repository_manager.cc of triton-inference-server/core). Plain files do no harm.
    """
    known = {*survey.unreadable, *(model.folder for model in survey.models)}
    for folder in survey.folders:
        if folder not in known:
            yield folder, f"'{folder.name}' is no model, and Triton fails to load it; remove it"


@rule(Severity.ERROR)
def duplicate_model(survey: Survey) -> Findings:
    """A model in two repositories is served from neither.

    Its state is "model appears in two or more repositories" (model_repository_manager.h of
    triton-inference-server/core).
    """
    first: dict[str, Path] = {}
    for folder in survey.folders:
        if first.setdefault(folder.name, folder) != folder:
            yield folder, f"'{folder.name}' is also in {first[folder.name].parent}; rename or remove one"


@rule(Severity.ERROR)
def name_differs(survey: Survey) -> Findings:
    """A configuration's name, where it gives one, must be its folder's.

    Source: model_repository_manager.cc of triton-inference-server/core.
    """
    for model in survey.models:
        name = model.configuration.name
        if name and name != model.name:
            yield model.path, f"name '{name}' in folder '{model.name}'; remove the field"


@rule(Severity.WARNING)
def missing_configuration(survey: Survey) -> Findings:
    """Without config.pbtxt, batching, instances and tensors are Triton's guess from the model file.

    It does not even guess with --disable-auto-complete-config (AutoCompleteBackendFields in
    model_config_utils.cc of triton-inference-server/core).
    """
    for model in survey.models:
        if model.file is None:
            yield model.folder, "no config.pbtxt; write one"


@rule(Severity.ERROR)
def missing_version(survey: Survey) -> Findings:
    """Each model, an ensemble too, needs a version folder named 1, 2, ... that its policy admits.

    Triton ignores names that begin with 0, and fails with "at least one version must be available"
    (model_lifecycle.cc of triton-inference-server/core). Git keeps no empty folder: put a .gitkeep in it.
    """
    for model in survey.models:
        if model.numbered and not model.versions:
            have = ", ".join(folder.name for folder in model.numbered)
            yield model.path, f"version_policy admits none of the versions there ({have}); widen it"
        elif not model.numbered and not _awaits_weights(model):
            yield model.path, f"no version folder; add {model.folder / '1' / '.gitkeep'}"


@rule(Severity.ERROR)
def missing_file(survey: Survey) -> Findings:
    """A version folder must hold the file that the backend looks for.

    `default_model_filename`, else model.onnx (onnxruntime_backend/src/onnxruntime.cc), model.dali or
    dali.py (dali_backend/src/dali_model.h), model.py (python_backend). For a model.py that is not there,
    24.10 waits for good and serves nothing (seen).
    """
    for model in survey.models:
        files = model.wanted_files
        for version in model.versions:
            found = any((version / name).exists() for name in files)
            if files and not found and not _awaits_weights(model):
                have = ", ".join(sorted(entry.name for entry in _contents(version))) or "nothing"
                yield version, f"holds {have}, not {' or '.join(files)}; add it or set default_model_filename"


@rule(Severity.HINT)
def not_built(survey: Survey) -> Findings:
    """Weights are built, not committed, so a fresh checkout lacks them.

    Deny this rule where the repository is about to be served.
    """
    for model in survey.models:
        if _awaits_weights(model):
            yield model.folder, "no weights yet; build them with: make models"


@rule(Severity.WARNING)
def pickle(survey: Survey) -> Findings:
    """Loading a pickle runs whatever code is in it, as the user that serves (Python's docs of `pickle`).

    torch.save and joblib write pickles too.
    """
    for model in survey.models:
        for version in model.versions:
            for file in sorted(version.rglob("*")):
                if file.is_file() and _is_pickle(file):
                    yield file, "is a pickle, which runs code when loaded; use ONNX or safetensors"


def _is_pickle(file: Path) -> bool:
    if file.suffix in PICKLE_SUFFIXES:
        return True
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            inside = {Path(name).name for name in archive.namelist()}
        # TorchScript has both, and its reader runs no code of theirs.
        return "data.pkl" in inside and "constants.pkl" not in inside
    with file.open("rb") as opened:
        return opened.read(2) in PICKLE_STARTS
