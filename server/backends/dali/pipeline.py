"""A DALI pipeline as a Triton configuration asks for it.

Where the pipeline comes from, what is filled in and what is refused follow ``src/dali_model.h`` and
``src/config_tools/config_tools.cc`` of triton-inference-server/dali_backend.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import nvidia.dali as dali
from nvidia.dali import types
from nvidia.dali._utils.autoserialize import _discover_autoserialize

from server.backends.configuration import (
    Configuration,
    InvalidConfigurationError,
    parameter,
    refuse_decoupled,
)
from server.backends.dali.description import describe

FALLBACK_FILE = "dali.py"
DEFAULT_FILE = "model.dali"
OWN_THREADS = -1
"""Stands for the number of threads in the pipeline's definition (``ModelParameters::GetNumThreads``)."""

TYPES = {
    types.UINT8: "TYPE_UINT8",
    types.UINT16: "TYPE_UINT16",
    types.UINT32: "TYPE_UINT32",
    types.UINT64: "TYPE_UINT64",
    types.INT8: "TYPE_INT8",
    types.INT16: "TYPE_INT16",
    types.INT32: "TYPE_INT32",
    types.INT64: "TYPE_INT64",
    types.FLOAT16: "TYPE_FP16",
    types.FLOAT: "TYPE_FP32",
    types.FLOAT64: "TYPE_FP64",
    types.BOOL: "TYPE_BOOL",
}
"""DALI's types and the model configuration's; a type not listed is ``TYPE_INVALID``."""


@dataclass(frozen=True)
class Tensor:
    """What a pipeline declares of an input or output; None for what it leaves open."""

    name: str
    data_type: str | None
    rank: int | None


def serialized_pipeline(folder: Path, configuration: Configuration, device: int | None = None) -> bytes:
    """The pipeline of a version folder, serialised.

    Tried in the native backend's order: ``default_model_filename`` (``model.dali``) as a serialised
    pipeline, the same file as Python with an ``@autoserialize`` pipeline, then ``dali.py`` as such.

    Args:
        folder: the version folder.
        configuration: the model's.
        device: number of the GPU that it must run on, None for none.

    Raises:
        InvalidConfigurationError: none of them can be read and built; with the reason of each.
    """
    path = folder / (configuration.get("default_model_filename") or DEFAULT_FILE)
    fallback = folder / FALLBACK_FILE
    reasons = []
    for source, read in ((path, _read), (path, _autoserialize), (fallback, _autoserialize)):
        try:
            serialized = read(source, device)
            Runner(serialized, max_batch=1, device=device)
        except Exception as error:  # a user's pipeline may raise anything
            reasons.append(f"{source.name}: {type(error).__name__}: {error}")
        else:
            return serialized
    raise InvalidConfigurationError(
        f"Failed to load model file. The program looked in the following locations: {path}, {fallback}. "
        "Please make sure that the model exists in any of the locations and is properly serialized or "
        f"can be properly serialized. {'; '.join(reasons)}"
    )


def _read(path: Path, device: int | None) -> bytes:
    return path.read_bytes()


def _autoserialize(path: Path, device: int | None) -> bytes:
    """Run a Python file and serialise its one ``@autoserialize`` pipeline, as ``invoke_autoserialize``."""
    # DALI reads the source of a pipeline with conditionals through the module's file.
    spec = importlib.util.spec_from_file_location("autoserialize_mod", path)
    if spec is None or spec.loader is None or not path.exists():
        raise FileNotFoundError(f"no Python file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    functions = _discover_autoserialize(module, visited=[])
    if len(functions) != 1:
        raise ValueError(f"one function must be marked with @autoserialize, there are {len(functions)}")
    # Pipelines name a GPU by habit, and without one DALI would not even serialise them.
    return bytes(functions[0](device_id=device).serialize())


def refuse_unbatched(folder: Path, configuration: Configuration) -> None:
    """Refuse a batch size of 0 that is written down, unlike one left out: requests that are whole batches.

    Only the text of ``config.pbtxt`` tells the two apart (``DaliModel::Batched`` in ``src/dali_model.h``).

    Raises:
        InvalidConfigurationError: it is written down.
    """
    path = folder.parent / "config.pbtxt"
    text = re.sub("#.*", "", path.read_text()) if path.exists() else ""
    if re.search(r"\bmax_batch_size\s*:\s*0\b", text):
        raise InvalidConfigurationError(
            f"unable to load model '{configuration['name']}', 'max_batch_size: 0' needs the native dali "
            "backend of NVIDIA's container: leave the line out for the pipeline's own batch size"
        )


def configured_device(configuration: Configuration) -> int | None:
    """Number of a GPU that the configuration gives the model, None where it gives none."""
    groups = configuration.get("instance_group", [])
    gpus = [gpu for group in groups if group.get("kind") == "KIND_GPU" for gpu in group.get("gpus") or [0]]
    return int(gpus[0]) if gpus else None


class Runner:
    """A deserialised pipeline that runs one batch at a time, and comes back after a failed one."""

    def __init__(
        self,
        serialized: bytes,
        max_batch: int | None = None,
        threads: int = OWN_THREADS,
        device: int | None = None,
    ) -> None:
        """Build the pipeline.

        Args:
            serialized: the pipeline.
            max_batch: largest number of samples; None for the pipeline's own.
            threads: CPU threads.
            device: number of the GPU, None to run without one.
        """
        self._serialized = serialized
        self._max_batch, self._threads, self._device = max_batch, threads, device
        self._pipeline = self._built()
        self._outputs: list[dali.tensors.TensorListCPU] = []
        inputs, outputs, own_max_batch = describe(serialized)
        self.max_batch = max_batch or own_max_batch
        self.inputs = [Tensor(each.name, _triton_type(each.data_type), each.rank) for each in inputs]
        declared = zip(outputs, self._pipeline.output_dtype(), self._pipeline.output_ndim(), strict=True)
        self.outputs = [Tensor(name, _triton_type(kind), rank) for name, kind, rank in declared]

    def _built(self) -> dali.Pipeline:
        override = {} if self._max_batch is None else {"batch_size": self._max_batch}
        if self._threads != OWN_THREADS:
            override["num_threads"] = self._threads
        pipeline = dali.Pipeline.deserialize(
            self._serialized,
            device_id=self._device,
            prefetch_queue_depth=1,
            exec_async=False,
            exec_pipelined=False,
            **override,
        )
        pipeline.build()
        return pipeline

    def run(self, samples: dict[str, list[npt.NDArray[Any]]]) -> list[Sequence[npt.NDArray[Any]]]:
        """Run one batch.

        Args:
            samples: for each input the batch's samples.

        Returns:
            For each output a sequence of arrays, one a sample: views of DALI's memory, valid until the next
            run.

        Raises:
            RuntimeError: an operator failed; the pipeline is ready for the next batch.
        """
        self._outputs = []  # whose memory DALI takes again
        try:
            for name, values in samples.items():
                self._pipeline.feed_input(name, values)
            outputs = self._pipeline.run()
        except Exception:
            # A pipeline that failed never runs again; building it anew takes 2 ms.
            self._pipeline = self._built()
            raise
        # Kept, as the views do not keep them.
        self._outputs = [
            output if isinstance(output, dali.tensors.TensorListCPU) else output.as_cpu()
            for output in outputs
        ]
        return [[np.asarray(sample) for sample in output] for output in self._outputs]


def _triton_type(kind: types.DALIDataType | None) -> str | None:
    return None if kind in (None, types.NO_TYPE) else TYPES.get(kind, "TYPE_INVALID")


def is_complete(configuration: Configuration) -> bool:
    """Whether nothing is left to fill in."""
    entries = [*configuration.get("input", []), *configuration.get("output", [])]
    return bool(
        configuration["max_batch_size"] > 0
        and configuration.get("input")
        and configuration.get("output")
        and all(entry.get("dims") and entry["data_type"] != "TYPE_INVALID" for entry in entries)
    )


def split_outputs(configuration: Configuration) -> set[str]:
    """Names of the outputs whose samples are split along their outer axis."""
    return set(filter(None, (parameter(configuration, "split_along_outer_axis") or "").split(":")))


def _outputs(configuration: Configuration, runner: Runner) -> list[Tensor]:
    """The pipeline's outputs; those that are split have lost their outer dimension."""
    split = split_outputs(configuration)
    return [
        replace(tensor, rank=tensor.rank - 1) if tensor.rank and tensor.name in split else tensor
        for tensor in runner.outputs
    ]


def complete(configuration: Configuration, runner: Runner) -> None:
    """Fill in what the configuration leaves out, in place (``AutofillConfig``)."""
    listed = {entry["name"]: entry for entry in configuration.setdefault("input", [])}
    for tensor in runner.inputs:
        if tensor.name not in listed:
            listed[tensor.name] = {"name": tensor.name, "allow_ragged_batch": True}
            configuration["input"].append(listed[tensor.name])
        _complete_tensor(listed[tensor.name], tensor)
    outputs, tensors = configuration.setdefault("output", []), _outputs(configuration, runner)
    outputs.extend({"name": tensor.name} for tensor in tensors[len(outputs) :])
    for entry, tensor in zip(outputs, tensors, strict=False):
        _complete_tensor(entry, tensor)
    if configuration["max_batch_size"] <= 0:
        configuration["max_batch_size"] = runner.max_batch


def _complete_tensor(entry: dict[str, Any], tensor: Tensor) -> None:
    if entry.get("data_type", "TYPE_INVALID") == "TYPE_INVALID":
        entry["data_type"] = tensor.data_type or "TYPE_INVALID"
    if not entry.get("dims") and tensor.rank is not None:
        entry["dims"] = [-1] * tensor.rank


def validate(configuration: Configuration, runner: Runner) -> None:
    """Hold a complete configuration against the pipeline (``ValidateConfig``).

    Raises:
        InvalidConfigurationError: they do not fit, or the configuration asks for what only the
            native backend does.
    """
    refuse_decoupled(configuration)
    if configuration["max_batch_size"] < 1:
        raise InvalidConfigurationError("Missing max_batch_size field in model configuration.")
    inputs = {entry["name"]: entry for entry in configuration["input"]}
    for name, entry in inputs.items():
        # BackendModel::ParseModelConfig of triton-inference-server/backend.
        if entry.get("optional", False):
            raise InvalidConfigurationError(
                f"'optional' is set to true for input '{name}' while the backend model doesn't support "
                "optional input"
            )
    tensors = {tensor.name: tensor for tensor in runner.inputs}
    for name in inputs:
        if name not in tensors:
            raise InvalidConfigurationError(
                f"Configuration file contains config for {name} but such input is not present in the "
                "pipeline."
            )
    for name, tensor in tensors.items():
        if name not in inputs:
            raise InvalidConfigurationError(f'Missing config for "{name}" input.')
        _validate_tensor(inputs[name], tensor)
    if len(configuration["output"]) != len(runner.outputs):
        raise InvalidConfigurationError(
            "The number of outputs specified in the DALI pipeline and the configuration file do not match."
            f"\nModel config outputs: {len(configuration['output'])}"
            f"\nPipeline outputs: {len(runner.outputs)}"
        )
    for entry, tensor in zip(configuration["output"], _outputs(configuration, runner), strict=True):
        _validate_tensor(entry, tensor)


def _validate_tensor(entry: dict[str, Any], tensor: Tensor) -> None:
    name = entry["name"]
    if tensor.data_type is not None and entry["data_type"] != tensor.data_type:
        raise InvalidConfigurationError(
            f'Mismatch of data_type config for "{name}".\nData type defined in config: '
            f"{entry['data_type']}\nData type defined in pipeline: {tensor.data_type}"
        )
    if tensor.rank is not None and len(entry["dims"]) != tensor.rank:
        raise InvalidConfigurationError(
            f'Mismatch in number of dimensions for "{name}"\nNumber of dimensions defined in config: '
            f"{len(entry['dims'])}\nNumber of dimensions defined in pipeline: {tensor.rank}"
        )
