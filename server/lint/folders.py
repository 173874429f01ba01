"""Rules on what lies where: folders, configuration files, version folders and model files."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import triton_to_np_dtype

from server.lint.rules import Findings, Severity, rule
from server.lint.survey import Survey
from server.repository import Model

SOURCE_BACKENDS = ("dali", "python", "ensemble")
"""Those whose version folders are written by hand; the weights of all others are built."""
Entry = Any
"""A ``ModelWarmup.Input`` of a configuration."""
MADE_WHERE_IT_RUNS = ("model.gpu.onnx", "model.plan")
"""Made of model.onnx on a machine with a GPU, by ``python -m export.tensorrt``."""
PICKLE_SUFFIXES = (".pkl", ".pickle", ".joblib")
PICKLE_STARTS = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
"""The PROTO opcode and the protocol with which a pickle begins (CPython's pickletools)."""


def _contents(version: Path) -> list[Path]:
    """What lies in a version folder, less hidden files such as ``.gitkeep``."""
    return [entry for entry in version.iterdir() if not entry.name.startswith(".")]


def _awaits_weights(model: Model) -> bool:
    """Whether nothing has been built for it yet, or not yet what its GPU runs."""
    if model.backend in SOURCE_BACKENDS:
        return False
    return not any(map(_contents, model.numbered)) or (
        bool(set(model.wanted_files) & set(MADE_WHERE_IT_RUNS)) and not model.is_built
    )


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
            command = "make models"
            if set(model.wanted_files) & set(MADE_WHERE_IT_RUNS):
                command += ", then python -m export.tensorrt"
            yield model.folder, f"no weights yet; build them with: {command}"


@rule(Severity.ERROR)
def warmup_data(survey: Survey) -> Findings:
    """What `model_warmup` sends lies in the model's folder `warmup`, and is as long as type and dims say.

    Else the model does not load (TritonModelInstance::GenerateWarmupData in backend_model_instance.cc of
    triton-inference-server/core). A folder that is not there is still to be written, as weights are.
    """
    for model in survey.leaves:
        folder = model.folder / "warmup"
        inputs = {
            (name, entry.input_data_file, _length(entry))
            for sample in model.configuration.model_warmup
            for name, entry in sample.inputs.items()
            if entry.input_data_file and folder.is_dir()
        }
        for name, file, length in sorted(inputs, key=str):
            path = folder / file
            if not path.is_file():
                yield model.path, f"input '{name}' warms up with {path}, which is not there; write it"
            elif length is not None and path.stat().st_size != length:
                yield path, f"has {path.stat().st_size} bytes, input '{name}' has {length}; write it anew"


def _length(entry: Entry) -> int | None:
    """Bytes of a warm-up input, None where each of its elements has a length of its own."""
    kind = model_config_pb2.DataType.Name(entry.data_type).removeprefix("TYPE_")
    if kind in ("STRING", "INVALID"):
        return None
    return int(math.prod(entry.dims) * np.dtype(triton_to_np_dtype(kind)).itemsize)


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
