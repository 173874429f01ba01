"""Putting requests together into one run of a model, and taking its outputs apart again.

Sources: ``ModelInstanceState::SetInputTensors`` in ``src/onnxruntime.cc`` of
triton-inference-server/onnxruntime_backend; ``src/backend_input_collector.cc`` and
``src/backend_output_responder.cc`` of triton-inference-server/backend.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from server.backends.configuration import Configuration
from server.backends.isolation import BadRequestError
from server.backends.onnxruntime.signature import Signature, model_dims

Array = npt.NDArray[Any]
Tensors = dict[str, Array]
"""Arrays by the names of their tensors."""
Shape = tuple[int, ...]


class SplitError(RuntimeError):
    """A model gave fewer rows than it was given."""


BATCH_INPUTS: dict[str, Callable[[Sequence[Shape]], Any]] = {
    "BATCH_ELEMENT_COUNT": lambda shapes: [prod(shape) for shape in shapes],
    "BATCH_ACCUMULATED_ELEMENT_COUNT": lambda shapes: [*accumulate(map(prod, shapes))],
    "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO": lambda shapes: [*accumulate(map(prod, shapes), initial=0)],
    # Only the shape tells; the native backend leaves the values to chance.
    "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE": lambda shapes: [0] * max(map(prod, shapes)),
    "BATCH_ITEM_SHAPE": lambda shapes: [shape[1:] for shape in shapes for _ in range(shape[0])],
    "BATCH_ITEM_SHAPE_FLATTEN": lambda shapes: [
        size for shape in shapes for _ in range(shape[0]) for size in shape[1:]
    ],
}
"""What a ``batch_input`` of each kind tells a model of its source input's shapes, one a request
(``BatchInputShape`` and ``ProcessBatchInput``)."""


class Batcher:
    """Requests to feeds and outputs to answers, as one configuration wants it."""

    def __init__(self, configuration: Configuration, signature: Signature) -> None:
        """Read from a configuration that fits the model's ``signature``."""
        given = (*signature.inputs.values(), *signature.initializers.values())
        self._scalars = {tensor.name for tensor in given if not tensor.shape}
        self._ragged = {entry["name"] for entry in configuration["input"] if entry.get("allow_ragged_batch")}
        self._batch_inputs = configuration.get("batch_input", [])
        self._batches = configuration["max_batch_size"] > 0
        self._dims = {entry["name"]: model_dims(entry) for entry in configuration["output"]}
        self._sources = {
            entry["target_name"][0]: entry["source_input"][0]
            for entry in configuration.get("batch_output", [])
        }

    def feed(self, requests: Sequence[Tensors]) -> Tensors:
        """The model's inputs for requests that run together, given each one's inputs.

        Raises:
            BadRequestError: a string is no text.
        """
        feed = {name: self._joined(name, [each[name] for each in requests]) for name in requests[0]}
        for entry in self._batch_inputs:
            shapes = [each[entry["source_input"][0]].shape for each in requests]
            kind = np.float32 if entry["data_type"] == "TYPE_FP32" else np.int32
            value = np.array(BATCH_INPUTS[entry["kind"]](shapes), kind)
            feed.update(dict.fromkeys(entry["target_name"], value))
        return feed

    def _joined(self, name: str, values: list[Array]) -> Array:
        if name in self._ragged:
            values = [value.reshape(-1) for value in values]
        value = values[0] if len(values) == 1 else np.concatenate(values)
        if value.dtype == object:
            value = _texts(name, value)
        return value.reshape(()) if name in self._scalars else value

    def divide(self, outputs: Tensors, requests: Sequence[Tensors]) -> list[Tensors | SplitError]:
        """Each request's part of the model's outputs, as views, or why there is none.

        Args:
            outputs: of one run of the model.
            requests: the inputs that it was given, in the same order.
        """
        answers: list[Tensors | SplitError] = [{} for _ in requests]
        for name, value in outputs.items():
            for index, part in enumerate(self._parts(name, value, requests)):
                answer = answers[index]
                if isinstance(part, SplitError):
                    answers[index] = part
                elif isinstance(answer, dict):
                    answer[name] = part
        return answers

    def _parts(self, name: str, value: Array, requests: Sequence[Tensors]) -> list[Array | SplitError]:
        if name in self._sources:
            shapes = [each[self._sources[name]].shape for each in requests]
            return [*_scattered(value, [self._scattered_shape(name, shape) for shape in shapes])]
        if value.ndim == 0:
            value = value.reshape(self._dims[name])
        if not self._batches:
            return [value for _ in requests]
        ends = [*accumulate(len(next(iter(each.values()))) for each in requests)]
        starts = [0, *ends]
        return [_rows(name, value, start, end) for start, end in zip(starts, ends, strict=False)]

    def _scattered_shape(self, name: str, source: Shape) -> Shape:
        """An output's shape, open dimensions as in its source (``BATCH_SCATTER_WITH_INPUT_SHAPE``)."""
        dims = [-1, *self._dims[name]] if self._batches else self._dims[name]
        return tuple(source[axis] if size == -1 else size for axis, size in enumerate(dims))


def _scattered(value: Array, shapes: Sequence[Shape]) -> list[Array]:
    ends = [*accumulate(map(prod, shapes))]
    parts = np.split(value.reshape(-1)[: ends[-1]], ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _rows(name: str, value: Array, start: int, end: int) -> Array | SplitError:
    if end > len(value):
        return SplitError(
            f"failed to split the output tensor '{name}' in responses: expected batch size of atleast {end} "
            f"in model output, got {len(value)}"
        )
    return value[start:end]


def _texts(name: str, values: Array) -> Array:
    """BYTES as ONNX Runtime takes them: text, which ends before a zero byte."""
    try:
        texts = [item if isinstance(item, str) else item.partition(b"\0")[0].decode() for item in values.flat]
    except UnicodeDecodeError as error:
        raise BadRequestError(f"input '{name}' is no UTF-8 text: {error}") from error
    return np.array(texts, dtype=object).reshape(values.shape)
