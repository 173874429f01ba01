"""A face embedder given as an ONNX file, as a torch module and as a graph that can be spliced."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import helper, numpy_helper, version_converter
from torch import Tensor, nn

from export.graph import OPSET, open_session
from export.weights import WeightsError, sha256

_INPUT: Final = "adlens/CHIPS"


class ForeignNetwork(nn.Module):
    """Chips float32 [M, 3, size, size], RGB in [0, 255] -> embeddings [M, dimension], by ONNX Runtime.

    Args:
        file: with one input [N, 3, size, size] and one output [N, dimension], float32 both; N open or 1.
        size: of the chips, in pixels.
        channels: ``RGB`` or ``BGR``.
        mean: (pixel - mean) / scale goes into the graph of the file.
        scale: see there.

    Attributes:
        graph: all of that, in the operators of ``OPSET``.
        dimension: of the embeddings.
        batch: chips that the graph takes at a time; 0 for any number.

    Raises:
        WeightsError: the file holds something else.
    """

    checksum: Tensor

    def __init__(self, file: Path, size: int, channels: str, mean: float, scale: float) -> None:
        super().__init__()
        model = _read(file)
        given, made = _only_image(model, file, size), _only_vector(model, file)
        self.batch = given.type.tensor_type.shape.dim[0].dim_value
        if self.batch > 1:
            raise WeightsError(
                f"{file} takes {self.batch} faces at a time, neither more nor less: "
                "export it with a batch of 1 or an open one"
            )
        self.dimension = made.type.tensor_type.shape.dim[1].dim_value
        self.graph = _scaled(model, given, channels, mean, scale)
        onnx.checker.check_model(self.graph)
        self._session = open_session(self.graph.SerializeToString())
        # For the digest: other files and other scaling are other weights.
        story = f"{sha256(file)} {channels} {mean} {scale}".encode()
        self.register_buffer("checksum", torch.frombuffer(bytearray(story), dtype=torch.uint8))

    def forward(self, chips: Tensor) -> Tensor:
        """Embeddings, not normalised."""
        found: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = self._session.run(
            None, {_INPUT: chips.contiguous().numpy()}
        )
        return torch.from_numpy(found[0])


def _read(file: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(file)
        version = next(opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx"))
        return model if version == OPSET else version_converter.convert_version(model, OPSET)
    except (DecodeError, OSError, RuntimeError, StopIteration, ValueError) as error:
        raise WeightsError(
            f"{file}: no ONNX file in operators of version {OPSET} or below: {error}"
        ) from error


def _only_image(model: onnx.ModelProto, file: Path, size: int) -> onnx.ValueInfoProto:
    weights = {initializer.name for initializer in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1 or _sides(inputs[0])[1:] != [3, size, size]:
        raise WeightsError(
            f"{file}: inputs {_described(inputs)}; one image [N, 3, {size}, {size}] of float32 is needed"
        )
    return inputs[0]


def _only_vector(model: onnx.ModelProto, file: Path) -> onnx.ValueInfoProto:
    outputs = list(model.graph.output)
    if len(outputs) != 1 or len(_sides(outputs[0])) != 2 or _sides(outputs[0])[1] < 1:
        raise WeightsError(
            f"{file}: outputs {_described(outputs)}; one embedding [N, dimension] of float32 is needed"
        )
    return outputs[0]


def _sides(value: onnx.ValueInfoProto) -> list[int]:
    """Its shape, 0 where open; none where it is not float32."""
    tensor = value.type.tensor_type
    floats = tensor.elem_type == onnx.TensorProto.FLOAT
    return [dim.dim_value for dim in tensor.shape.dim] if floats else []


def _described(values: list[onnx.ValueInfoProto]) -> str:
    return ", ".join(f"{value.name} {_sides(value) or '(not float32)'}" for value in values) or "(none)"


def _scaled(
    model: onnx.ModelProto, given: onnx.ValueInfoProto, channels: str, mean: float, scale: float
) -> onnx.ModelProto:
    """``model`` with its one input fed from ``_INPUT``, RGB in [0, 255]; its weights are no inputs."""
    graph = model.graph
    steps: list[tuple[str, np.ndarray[tuple[int, ...], np.dtype[Any]], dict[str, Any]]] = []
    if channels == "BGR":
        steps.append(("Gather", np.array([2, 1, 0], np.int64), {"axis": 1}))
    if mean:
        steps.append(("Sub", np.array(mean, np.float32), {}))
    if scale != 1:
        steps.append(("Div", np.array(scale, np.float32), {}))
    name, nodes = _INPUT, []
    for operator, constant, options in steps:
        by, scaled = f"adlens/{operator}/by", f"adlens/{operator}"
        graph.initializer.append(numpy_helper.from_array(constant, by))
        nodes.append(helper.make_node(operator, [name, by], [scaled], **options))
        name = scaled
    nodes.append(helper.make_node("Identity", [name], [given.name]))
    nodes += graph.node
    del graph.node[:]
    graph.node.extend(nodes)
    outer = onnx.ValueInfoProto()
    outer.CopyFrom(given)
    outer.name = _INPUT
    del graph.input[:]
    graph.input.append(outer)
    return model
