"""Static quantisation by ONNX Runtime: ranges measured once, graphs in two forms.

The processor's dot products (VNNI) take unsigned activations with signed weights; TensorRT takes symmetric
ones only. ``quantize_static`` writes QDQ graphs, which say by pairs of QuantizeLinear and DequantizeLinear
what is to run in integers, and leave it to the runtime. (onnxruntime.ai/docs/performance, "Quantize ONNX
models"; TensorRT developer guide, "Working with quantized types".)
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from export.quantisation.trunk import BETWEEN, CONVOLUTION, Trunk, find_trunk

Feed = Mapping[str, NDArray[Any]]
"""The inputs of a graph for one picture, by name, each with a first dimension of 1."""


@dataclass(frozen=True)
class Form:
    """How integers are laid out, and where the graph is written.

    ``options`` are ``extra_options`` of ``quantize_static``.
    """

    name: str
    file: str
    activations: QuantType
    operators: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


PROCESSOR: Final = Form(
    "activations U8, weights S8 a channel", "model.int8.onnx", QuantType.QUInt8, (CONVOLUTION, *BETWEEN)
)
"""For CPUs with VNNI; without, ONNX Runtime's sums of products saturate."""
TENSORRT: Final = Form(
    "activations S8, weights S8 a channel, symmetric",
    "model.int8-symmetric.onnx",
    QuantType.QInt8,
    # A ReLU is fused into what is before it: in integers goes what operators take, not what they give.
    (CONVOLUTION, "Add", "MaxPool", "AveragePool"),
    {
        "ActivationSymmetric": True,
        "AddQDQPairToWeight": True,
        "QuantizeBias": False,
        "OpTypesToExcludeOutputQuantization": [CONVOLUTION, "Add", "MaxPool", "AveragePool"],
    },
)
"""As ONNX Runtime's own example for TensorRT has it (resnet50 in onnxruntime-inference-examples)."""
FORMS: Final = (PROCESSOR, TENSORRT)


class Quantiser:
    """Makes graphs in integers of one graph, all from one calibration."""

    def __init__(self, graph: bytes, calibration: Sequence[Feed], folder: Path) -> None:
        """Prepare.

        Args:
            graph: serialised.
            calibration: pictures by which ranges are measured, one or more.
            folder: an empty one, for what lies between.

        Raises:
            TrunkError: the graph has no trunk.
        """
        self.graph = graph
        self.trunk: Trunk = find_trunk(onnx.load_from_string(graph))
        self._calibration = calibration
        self._folder = folder
        self._original.write_bytes(graph)

    @property
    def _original(self) -> Path:
        return self._folder / "original.onnx"

    def quantise(self, form: Form, nodes: Collection[str]) -> bytes:
        """The serialised graph, of which ``nodes`` compute in integers."""
        written = self._folder / form.file
        with _quiet():
            quantize_static(
                self._original,  # a model in memory would be changed
                written,
                _Reader(self._calibration),
                op_types_to_quantize=list(form.operators),
                per_channel=True,
                activation_type=form.activations,
                weight_type=QuantType.QInt8,
                nodes_to_quantize=list(nodes),
                extra_options=dict(form.options),
                calibration_cache_path=self._folder / "ranges.json",
            )
        return written.read_bytes()


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds: Iterator[Feed] = iter(feeds)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        feed = next(self._feeds, None)
        return None if feed is None else dict(feed)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice to optimise graphs first: the exporter has folded what there is to fold."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def shown(graph: bytes, tensor: str) -> bytes:
    """A serialised graph that gives ``tensor``, float32, as an output, too."""
    model = onnx.load_from_string(graph)
    if tensor not in {output.name for output in model.graph.output}:
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(np.float32))
        model.graph.output.append(onnx.helper.make_tensor_value_info(tensor, kind, None))
    return bytes(model.SerializeToString())
