"""A DALI pipeline as a Triton configuration asks for it.

Where the pipeline comes from, what is filled in and what is refused follow ``src/dali_model.h`` and
``src/config_tools/config_tools.cc`` of triton-inference-server/dali_backend.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import nvidia.dali as dali
from nvidia.dali import types
from nvidia.dali._utils.autoserialize import invoke_autoserialize

from server.backends.configuration import Configuration, InvalidConfigurationError, shape_text
from server.backends.dali.description import describe

FALLBACK_FILE = "dali.py"
DEFAULT_FILE = "model.dali"

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


def serialized_pipeline(folder: Path, configuration: Configuration) -> bytes:
    """The pipeline of a version folder, serialised.

    Tried in the native backend's order: ``default_model_filename`` (``model.dali``) as a serialised
    pipeline, the same file as Python with an ``@autoserialize`` pipeline, then ``dali.py`` as such.

    Raises:
        InvalidConfigurationError: none of them can be read; with the reason of each.
    """
    path = folder / (configuration.get("default_model_filename") or DEFAULT_FILE)
    fallback = folder / FALLBACK_FILE
    reasons = []
    for source, read in ((path, _read), (path, _autoserialize), (fallback, _autoserialize)):
        try:
            serialized = read(source)
            Runner(serialized, max_batch=1)
        except Exception as error:  # a user's pipeline may raise anything
            reasons.append(f"{source.name}: {type(error).__name__}: {error}")
        else:
            return serialized
    raise InvalidConfigurationError(
        f"Failed to load model file. The program looked in the following locations: {path}, {fallback}. "
        "Please make sure that the model exists in any of the locations and is properly serialized or "
        f"can be properly serialized. {'; '.join(reasons)}"
    )


def _read(path: Path) -> bytes:
    return path.read_bytes()


def _autoserialize(path: Path) -> bytes:
    """Run a Python file and serialise its one ``@autoserialize`` pipeline."""
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
    handle, target = tempfile.mkstemp(suffix=".dali")
    os.close(handle)
    try:
        invoke_autoserialize(module, target)
        return Path(target).read_bytes()
    finally:
        Path(target).unlink()


class Runner:
    """A deserialised pipeline that runs one batch at a time, and comes back after a failed one."""

    def __init__(
        self, serialized: bytes, max_batch: int | None = None, threads: int = 1, device: int | None = None
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
        inputs, outputs, own_max_batch = describe(serialized)
        self.max_batch = max_batch or own_max_batch
        self.inputs = [Tensor(each.name, _triton_type(each.data_type), each.rank) for each in inputs]
        declared = zip(outputs, self._pipeline.output_dtype(), self._pipeline.output_ndim(), strict=True)
        self.outputs = [Tensor(name, _triton_type(kind), rank) for name, kind, rank in declared]

    def _built(self) -> dali.Pipeline:
        override = {} if self._max_batch is None else {"batch_size": self._max_batch}
        pipeline = dali.Pipeline.deserialize(
            self._serialized,
            num_threads=self._threads,
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
            For each output a sequence of arrays, one a sample; valid until the next run.

        Raises:
            RuntimeError: an operator failed; the pipeline is ready for the next batch.
        """
        try:
            for name, values in samples.items():
                self._pipeline.feed_input(name, values)
            outputs = self._pipeline.run()
        except Exception:
            # A pipeline that failed never runs again; building it anew takes 2 ms.
            self._pipeline = self._built()
            raise
        return [_arrays(output) for output in outputs]


def _arrays(output: dali.tensors.TensorListCPU | dali.tensors.TensorListGPU) -> Sequence[npt.NDArray[Any]]:
    values = output if isinstance(output, dali.tensors.TensorListCPU) else output.as_cpu()
    return [np.asarray(values.at(index)) for index in range(len(values))]


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


def complete(configuration: Configuration, runner: Runner) -> None:
    """Fill in what the configuration leaves out, in place (``AutofillConfig``)."""
    listed = {entry["name"]: entry for entry in configuration.setdefault("input", [])}
    for tensor in runner.inputs:
        if tensor.name not in listed:
            listed[tensor.name] = {"name": tensor.name, "allow_ragged_batch": True}
            configuration["input"].append(listed[tensor.name])
        _complete_tensor(listed[tensor.name], tensor)
    outputs = configuration.setdefault("output", [])
    outputs.extend({"name": tensor.name} for tensor in runner.outputs[len(outputs) :])
    for entry, tensor in zip(outputs, runner.outputs, strict=False):
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
        InvalidConfigurationError: they do not fit.
    """
    if configuration["max_batch_size"] < 1:
        raise InvalidConfigurationError("Missing max_batch_size field in model configuration.")
    inputs = {entry["name"]: entry for entry in configuration["input"]}
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
    for entry, tensor in zip(configuration["output"], runner.outputs, strict=True):
        _validate_tensor(entry, tensor)


def _validate_tensor(entry: dict[str, Any], tensor: Tensor) -> None:
    name = entry["name"]
    if tensor.data_type is not None and entry["data_type"] != tensor.data_type:
        raise InvalidConfigurationError(
            f'Mismatch of data_type config for "{name}".\nData type defined in config: '
            f"{entry['data_type']}\nData type defined in pipeline: {tensor.data_type}"
        )
    dims = [int(size) for size in entry["dims"]]
    if tensor.rank is not None and len(dims) != tensor.rank:
        raise InvalidConfigurationError(
            f'Mismatch in number of dimensions for "{name}"\nNumber of dimensions defined in config: '
            f"{len(dims)} {shape_text(dims)}\nNumber of dimensions defined in pipeline: {tensor.rank}"
        )
