"""How fast this processor multiplies bytes, and how much of that a network asks for.

The peak is measured, not read off a data sheet: ONNX Runtime's MatMulInteger of unsigned by signed bytes, by
the kernels that quantised networks run on (MLAS; with VNNI where the processor has it), on matrices that stay
in the cache, a one-thread session on each core at the same time. The best of several shapes counts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from perf.callers import closed
from perf.embedding import Feed

SHAPES: Final = ((256, 1024, 512), (512, 2048, 512), (1024, 1024, 1024))
"""Rows, depth and columns."""
OPSET: Final = 13
_MULTIPLYING: Final = ("Conv", "Gemm", "MatMul")


def int8_peak(cores: int, seconds: float) -> dict[str, float]:
    """10^9 operations a second of each shape, all cores together; a multiplication and an addition are two.

    Args:
        cores: sessions at a time.
        seconds: of each shape.
    """
    return {"x".join(map(str, shape)): round(_rate(shape, cores, seconds), 1) for shape in SHAPES}


def _rate(shape: tuple[int, int, int], cores: int, seconds: float) -> float:
    rows, depth, columns = shape
    random = np.random.default_rng(0)
    weights = random.integers(-127, 128, (depth, columns), np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["y"])],
        "peak",
        [helper.make_tensor_value_info("a", onnx.TensorProto.UINT8, [rows, depth])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.INT32, [rows, columns])],
        [numpy_helper.from_array(weights, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    opened = _opened(model)
    feeds = [{"a": random.integers(0, 256, (rows, depth), np.uint8)} for _ in range(cores)]
    callers = [lambda feed: opened.run(None, feed)] * cores
    return 2e-9 * rows * depth * columns * closed(callers, feeds, seconds, seconds / 4).rate


def operations(model: Path, feed: Feed) -> float:
    """Operations of the convolutions and matrix products of a float graph for ``feed``, two a multiplication.

    What normalises, resizes or pools is not counted, as benchmarks of networks do not count it.
    """
    graph = onnx.load(model).graph
    weights = {each.name: tuple(each.dims) for each in graph.initializer}
    nodes = [node for node in graph.node if node.op_type in _MULTIPLYING and node.input[1] in weights]
    whole = onnx.load(model)
    del whole.graph.output[:]
    whole.graph.output.extend(
        helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, None) for node in nodes
    )
    found: list[NDArray[Any]] = _opened(whole).run([node.output[0] for node in nodes], feed)
    depths = [_depth(node, weights[node.input[1]]) for node in nodes]
    return float(sum(2.0 * value.size * depth for value, depth in zip(found, depths, strict=True)))


def _depth(node: onnx.NodeProto, weights: tuple[int, ...]) -> int:
    """Products that are added up to each number of the output."""
    if node.op_type == "Conv":
        return int(np.prod(weights[1:]))
    transposed = any(each.name == "transB" and each.i for each in node.attribute)
    return weights[1] if transposed else weights[-2]


def _opened(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
