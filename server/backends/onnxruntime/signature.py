"""Does an ONNX model fit its Triton configuration? The rules and messages of the native backend.

Source: triton-inference-server/onnxruntime_backend, ``src/onnxruntime.cc`` (``AutoCompleteConfig``,
``AutoCompleteMaxBatch``, ``AutoCompleteIO``, ``ValidateInputs``, ``ValidateOutputs``) and
``src/onnxruntime_utils.cc`` (``CompareDimsSupported``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from server.backends.configuration import (
    Configuration,
    InvalidConfigurationError,
    refuse_decoupled,
    shape_text,
)

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

CONTROL_TYPES = {"FP32": "FLOAT", "FP16": "FLOAT16", "FP64": "DOUBLE"}
"""Types that the native backend calls by another name where it speaks of control inputs."""

KINDS = {
    "tensor": "ONNX_TYPE_TENSOR",
    "seq": "ONNX_TYPE_SEQUENCE",
    "map": "ONNX_TYPE_MAP",
    "sparse_tensor": "ONNX_TYPE_SPARSETENSOR",
}
"""The outer part of ONNX Runtime's type names and the native backend's."""

CONTROLS = ("START", "END", "READY", "CORRID")
"""Kinds of sequence control inputs, less ``CONTROL_SEQUENCE_``."""


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
        kind = KINDS.get(argument.type.partition("(")[0], "ONNX_TYPE_UNKNOWN")
        if kind != "ONNX_TYPE_TENSOR":
            raise InvalidConfigurationError(
                f"Unsupported ONNX Type '{kind}' for I/O '{argument.name}', expected 'ONNX_TYPE_TENSOR'."
            )
        shape = [size if isinstance(size, int) else -1 for size in argument.shape]
        data_type = f"TYPE_{TYPES.get(argument.type, 'INVALID')}"
        tensors[argument.name] = Tensor(argument.name, data_type, shape)
    return tensors


def model_dims(entry: dict[str, Any]) -> list[int]:
    """The dimensions, less the batch, with which the model sees a configured input or output."""
    return [
        int(size) for size in (entry["reshape"].get("shape", []) if "reshape" in entry else entry["dims"])
    ]


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
    refuse_decoupled(configuration)
    _validate_inputs(configuration, signature, _validate_controls(configuration, signature))
    scattered = {name for entry in configuration.get("batch_output", []) for name in entry["target_name"]}
    for entry in configuration["output"]:
        tensor = _lookup(configuration, entry, signature.outputs, "output")
        if entry["name"] not in scattered:
            _validate_dims(configuration, entry, tensor, exact=True)


def _validate_controls(configuration: Configuration, signature: Signature) -> int:
    """How many inputs sequence batching adds, controls and states; the controls must fit the model.

    (``ValidateBooleanSequenceControl`` and ``ValidateTypedSequenceControl``.)
    """
    batching = configuration.get("sequence_batching", {})
    controls = {
        control["kind"].removeprefix("CONTROL_SEQUENCE_"): (entry["name"], control)
        for entry in batching.get("control_input", [])
        for control in entry.get("control", [])
    }
    for kind in CONTROLS:
        if kind in controls:
            _validate_control(configuration, signature, *controls[kind])
    return len(controls) + len(batching.get("state", []))


def _validate_control(
    configuration: Configuration, signature: Signature, name: str, control: dict[str, Any]
) -> None:
    if name not in signature.inputs:
        raise InvalidConfigurationError(
            f"configuration specified sequence control '{name}', but model does not provide that input"
        )
    tensor = signature.inputs[name]
    where = f"unable to load model '{configuration['name']}', sequence control '{name}'"
    dims = tensor.shape[1:] if configuration["max_batch_size"] > 0 else tensor.shape
    if dims != [1]:
        raise InvalidConfigurationError(
            f"{where} in model has dims {shape_text(dims)} but dims [1] is expected"
        )
    expected = next(
        (f"TYPE_{kind.upper()}" for kind in ("int32", "fp32", "bool") if control.get(f"{kind}_false_true")),
        control.get("data_type"),
    )
    if tensor.data_type != expected:
        provided = tensor.data_type.removeprefix("TYPE_")
        raise InvalidConfigurationError(
            f"{where}, the model expects data-type {CONTROL_TYPES.get(provided, provided)} but the model "
            f"configuration specifies data-type {expected}"
        )


def _validate_inputs(configuration: Configuration, signature: Signature, implied: int) -> None:
    where = f"unable to load model '{configuration['name']}'"
    required = sum(not entry.get("optional", False) for entry in configuration["input"])
    expected = required + len(configuration.get("batch_input", [])) + implied
    if expected != len(signature.inputs):
        raise InvalidConfigurationError(
            f"{where}, configuration expects {expected} inputs, model provides {len(signature.inputs)}"
        )
    for entry in configuration["input"]:
        name = entry["name"]
        optional, ragged = entry.get("optional", False), entry.get("allow_ragged_batch", False)
        if optional and configuration["max_batch_size"] != 0:
            raise InvalidConfigurationError(
                f"{where}, optional input '{name}' is not supported for models that support batching"
            )
        tensor = _lookup(configuration, entry, {**signature.inputs, **signature.initializers}, "input")
        if not ragged:
            _validate_dims(configuration, entry, tensor, exact=False)
        elif optional:
            raise InvalidConfigurationError(
                f"{where}, configuration expects model provides input with shape [-1] for ragged input "
                f"'{name}', which is not supported for optional input"
            )
        elif tensor.shape != [-1]:
            # Two spaces, as in the native message.
            raise InvalidConfigurationError(
                f"{where}, configuration expects model provides input with shape [-1]  for ragged input "
                f"'{name}', model provides {shape_text(tensor.shape)}"
            )


def _lookup(
    configuration: Configuration, entry: dict[str, Any], tensors: Mapping[str, Tensor], kind: str
) -> Tensor:
    tensor = tensors.get(entry["name"])
    if tensor is None:
        raise InvalidConfigurationError(
            f"unexpected inference {kind} '{entry['name']}', allowed {kind}s are: "
            f"{', '.join(sorted(tensors))}"
        )
    if entry["data_type"].removeprefix("TYPE_") not in TYPES.values():
        raise InvalidConfigurationError(
            f"unsupported datatype {entry['data_type']} for {kind} '{tensor.name}' for model "
            f"'{configuration['name']}'"
        )
    if entry["data_type"] != tensor.data_type:
        # In a model's datatype the native backend calls strings by their name on the wire.
        provided = tensor.data_type.replace("STRING", "BYTES").replace("INVALID", "<invalid>")
        raise InvalidConfigurationError(
            f"unable to load model '{configuration['name']}', configuration expects datatype "
            f"{entry['data_type']} for {kind} '{tensor.name}', model provides {provided}"
        )
    return tensor


def _validate_dims(
    configuration: Configuration, entry: dict[str, Any], tensor: Tensor, *, exact: bool
) -> None:
    """Inputs may narrow a dimension that the model leaves open, outputs must be ``exact``."""
    dims = model_dims(entry)
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
