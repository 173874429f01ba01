"""Does an ONNX model fit its Triton configuration? The rules and messages of the native backend.

Source: triton-inference-server/onnxruntime_backend, ``src/onnxruntime.cc`` (``AutoCompleteConfig``,
``AutoCompleteMaxBatch``, ``AutoCompleteIO``, ``ValidateInputs``, ``ValidateOutputs``) and
``src/onnxruntime_utils.cc`` (``CompareDimsSupported``). ``sequence_batching``, ``batch_input`` and
ragged inputs are refused here: only the native backend runs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from server.backends.configuration import Configuration, InvalidConfigurationError, shape_text

if TYPE_CHECKING:
    import onnxruntime

DEFAULT_MAX_BATCH = 4
"""Filled in for a model that can batch and does not say (``--backend-config=default-max-batch-size``)."""

TYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "STRING",
}
"""ONNX Runtime's type names and the model configuration's, less ``TYPE_``."""

KINDS = {
    "tensor": "ONNX_TYPE_TENSOR",
    "seq": "ONNX_TYPE_SEQUENCE",
    "map": "ONNX_TYPE_MAP",
    "sparse_tensor": "ONNX_TYPE_SPARSETENSOR",
}
"""The outer part of ONNX Runtime's type names and the native backend's."""


class NodeArgument(Protocol):
    """What ONNX Runtime tells of an input or output (``onnxruntime.NodeArg``)."""

    name: str
    type: str
    shape: list[int | str | None]


@dataclass(frozen=True)
class Tensor:
    """An input or output of an ONNX model; ``shape`` has -1 for what is open."""

    name: str
    data_type: str
    shape: list[int]


@dataclass(frozen=True)
class Signature:
    """Inputs, outputs and overridable initialisers of an ONNX model, by name."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    initializers: Mapping[str, Tensor]

    @classmethod
    def of(cls, session: onnxruntime.InferenceSession) -> Signature:
        """The signature of an ``onnxruntime.InferenceSession``.

        Raises:
            InvalidConfigurationError: an input or output is no tensor, or of a type Triton lacks.
        """
        return cls(
            inputs=_tensors(session.get_inputs()),
            outputs=_tensors(session.get_outputs()),
            initializers=_tensors(session.get_overridable_initializers()),
        )

    @property
    def batches(self) -> bool:
        """Whether every input and output has an open first dimension."""
        tensors = (*self.inputs.values(), *self.outputs.values())
        return all(tensor.shape[:1] == [-1] for tensor in tensors)


def _tensors(arguments: list[NodeArgument]) -> dict[str, Tensor]:
    tensors = {}
    for argument in arguments:
        if argument.type not in TYPES:
            kind = KINDS.get(argument.type.partition("(")[0], "ONNX_TYPE_UNKNOWN")
            raise InvalidConfigurationError(
                f"Unsupported ONNX Type '{kind}' for I/O '{argument.name}', expected 'ONNX_TYPE_TENSOR' "
                f"of a type that Triton has, not {argument.type}."
            )
        shape = [size if isinstance(size, int) else -1 for size in argument.shape]
        tensors[argument.name] = Tensor(argument.name, f"TYPE_{TYPES[argument.type]}", shape)
    return tensors


def needs_completion(configuration: Configuration) -> bool:
    """Whether auto-completion runs: the configuration lists no inputs, or no outputs."""
    return not (
        (configuration.get("input") or configuration.get("batch_input")) and configuration.get("output")
    )


def complete(configuration: Configuration, signature: Signature) -> None:
    """Fill in what the configuration leaves out, in place.

    Raises:
        InvalidConfigurationError: a batch size is given and the model cannot batch.
    """
    if signature.batches:
        if configuration["max_batch_size"] == 0:
            configuration["max_batch_size"] = DEFAULT_MAX_BATCH
        if configuration["max_batch_size"] > 1 and "sequence_batching" not in configuration:
            configuration.setdefault("dynamic_batching", {})
    elif configuration["max_batch_size"] != 0:
        raise InvalidConfigurationError(
            f"autofill failed for model '{configuration['name']}': model does not support batching "
            "while non-zero max_batch_size is specified"
        )
    for key, tensors in (("input", signature.inputs), ("output", signature.outputs)):
        if not configuration.get(key):
            batched = configuration["max_batch_size"] > 0
            configuration[key] = [_completed(tensor, batched) for tensor in tensors.values()]


def _completed(tensor: Tensor, batched: bool) -> dict[str, Any]:
    dims = tensor.shape[1:] if batched else tensor.shape
    entry: dict[str, Any] = {"name": tensor.name, "data_type": tensor.data_type, "dims": dims or [1]}
    if batched and not dims:
        entry["reshape"] = {"shape": []}
    return entry


def validate(configuration: Configuration, signature: Signature) -> None:
    """Hold a complete configuration against the model.

    Raises:
        InvalidConfigurationError: they do not fit, or the configuration asks for what only the
            native backend does.
    """
    for key in ("sequence_batching", "batch_input", "batch_output"):
        if configuration.get(key):
            raise InvalidConfigurationError(
                f"unable to load model '{configuration['name']}', '{key}' needs the native onnxruntime "
                "backend of NVIDIA's container"
            )
    _validate_inputs(configuration, signature)
    for entry in configuration["output"]:
        tensor = _lookup(configuration, entry, signature.outputs, "output")
        _validate_dims(configuration, entry, tensor, exact=True)


def _validate_inputs(configuration: Configuration, signature: Signature) -> None:
    name = configuration["name"]
    expected = sum(not entry.get("optional", False) for entry in configuration["input"])
    if expected != len(signature.inputs):
        raise InvalidConfigurationError(
            f"unable to load model '{name}', configuration expects {expected} inputs, "
            f"model provides {len(signature.inputs)}"
        )
    for entry in configuration["input"]:
        if entry.get("optional", False) and configuration["max_batch_size"] != 0:
            raise InvalidConfigurationError(
                f"unable to load model '{name}', optional input '{entry['name']}' is not supported for "
                "models that support batching"
            )
        tensor = _lookup(configuration, entry, {**signature.inputs, **signature.initializers}, "input")
        if entry.get("allow_ragged_batch", False):
            raise InvalidConfigurationError(
                f"unable to load model '{name}', ragged input '{entry['name']}' needs the native "
                "onnxruntime backend of NVIDIA's container"
            )
        _validate_dims(configuration, entry, tensor, exact=False)


def _lookup(
    configuration: Configuration, entry: dict[str, Any], tensors: Mapping[str, Tensor], kind: str
) -> Tensor:
    tensor = tensors.get(entry["name"])
    if tensor is None:
        raise InvalidConfigurationError(
            f"unexpected inference {kind} '{entry['name']}', allowed {kind}s are: "
            f"{', '.join(sorted(tensors))}"
        )
    if entry["data_type"] != tensor.data_type:
        # In a model's datatype the native backend calls strings by their name on the wire.
        provided = tensor.data_type.replace("STRING", "BYTES")
        raise InvalidConfigurationError(
            f"unable to load model '{configuration['name']}', configuration expects datatype "
            f"{entry['data_type']} for {kind} '{tensor.name}', model provides {provided}"
        )
    return tensor


def _validate_dims(
    configuration: Configuration, entry: dict[str, Any], tensor: Tensor, *, exact: bool
) -> None:
    """Inputs may narrow a dimension that the model leaves open, outputs must be ``exact``."""
    dims = [int(size) for size in (entry["reshape"]["shape"] if "reshape" in entry else entry["dims"])]
    batched = configuration["max_batch_size"] > 0
    where = f"model '{configuration['name']}', tensor '{tensor.name}'"
    if not tensor.shape:
        if any(size != 1 for size in dims):
            raise InvalidConfigurationError(
                f"unable to load model '{configuration['name']}', scalar tensor '{tensor.name}', should "
                "only provide 1 in the model configuration when the model doesn't support batching. "
                f"Model configuration provided: {shape_text(dims)}."
            )
        return
    if batched and tensor.shape[0] != -1:
        raise InvalidConfigurationError(
            f"{where}: for the model to support batching the shape should have at least 1 dimension and "
            "the first dimension must be -1; but shape expected by the model is "
            f"{shape_text(tensor.shape)}"
        )
    full = [-1, *dims] if batched else dims
    fits = len(full) == len(tensor.shape) and all(
        size == given or (size == -1 and not exact) for size, given in zip(tensor.shape, full, strict=True)
    )
    if not fits:
        specified = (
            f"{len(full)} dimensions (an initial batch dimension because max_batch_size > 0 followed by "
            f"the explicit tensor shape, making complete shape {shape_text(full)})"
            if batched
            else f"{len(full)} dimensions (shape {shape_text(full)})"
        )
        raise InvalidConfigurationError(
            f"{where}: the model expects {len(tensor.shape)} dimensions (shape "
            f"{shape_text(tensor.shape)}) but the model configuration specifies {specified}"
        )
