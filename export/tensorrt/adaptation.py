"""A graph as TensorRT takes it: types at its borders, and the precision within.

TensorRT knows uint8 at inputs and outputs alone and no double, looks for what is not zero among floats, and
compares no truth values. Since version 11 it chooses no precision, so a graph in half precision must
say so itself. All of this is in the graph that is written, ``model.gpu.onnx``: ONNX Runtime runs it anywhere,
where it is held against the original, and on GPUs where no plan is wanted.
"""

from __future__ import annotations

import warnings
from typing import Final

import numpy as np
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
    shape_inference,
)
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from export.choices import Precision
from export.tensorrt.checking import element_types, subgraphs

WITHIN: Final[dict[int, int]] = {TensorProto.UINT8: TensorProto.INT32, TensorProto.DOUBLE: TensorProto.FLOAT}
"""What stands for these types within a graph: operators that take bytes take it, too, and give the same."""
INSTEAD_OF_TRUTH: Final[dict[str, int]] = {"NonZero": TensorProto.FLOAT, "Equal": TensorProto.INT32}
"""What these operators are given in place of truth values, and NonZero of whole numbers."""
_CAST: Final = "Cast"
_KEPT: Final = ("IsInf", "IsNaN", "GridSample", "NonZero")
"""Left in single precision, too: places in a picture, to a fraction of a pixel, and tests of what came in."""


def adapted(model: ModelProto, precision: Precision) -> ModelProto:
    """``model`` as TensorRT takes it, where it can take it at all; the original stays as it is.

    Args:
        model: with its weights.
        precision: FP16 has the numbers within in half precision. Of INT8 the graph is quantised already.
    """
    changed = ModelProto()
    changed.CopyFrom(model)
    _keep_bytes_at_the_borders(changed)
    changed = shape_inference.infer_shapes(changed)
    _replace_truth(changed.graph, element_types(changed.graph))
    if precision is Precision.FP16:
        changed = _halved(changed)
    return changed


def _keep_bytes_at_the_borders(model: ModelProto) -> None:
    """Whole numbers in place of uint8, but for the graph's own inputs and outputs."""
    graph = model.graph
    border = {each.name: each.type.tensor_type.elem_type for each in (*graph.input, *graph.output)}
    within = {name: f"{name}/within" for name, kind in border.items() if kind in WITHIN}
    _change_types(graph)
    _rename(graph, within)
    inputs, outputs = (
        [each.name for each in side if each.name in within] for side in (graph.input, graph.output)
    )
    enter = [_cast(name, within[name], WITHIN[border[name]]) for name in inputs]
    leave = [_cast(within[name], name, border[name]) for name in outputs]
    inner = list(graph.node)
    del graph.node[:]
    graph.node.extend([*enter, *inner, *leave])
    # What was inferred of types no longer holds.
    del graph.value_info[:]


def _cast(source: str, target: str, kind: int) -> NodeProto:
    return helper.make_node(_CAST, [source], [target], name=f"{target}/cast", to=kind)


def _change_types(graph: GraphProto) -> None:
    """Of constants and casts, here and in the graphs within."""
    for weight in graph.initializer:
        _change_type(weight)
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
                # The converter to half precision knows constants that are tensors alone.
                numbers = attribute.f if attribute.name == "value_float" else list(attribute.floats)
                constant = numpy_helper.from_array(np.array(numbers, np.float32))
                attribute.CopyFrom(helper.make_attribute("value", constant))
            elif attribute.type == AttributeProto.TENSOR:
                _change_type(attribute.t)
            elif node.op_type == _CAST and attribute.name == "to":
                attribute.i = WITHIN.get(attribute.i, attribute.i)
        for inner in subgraphs(node):
            _change_types(inner)
            for value in (*inner.input, *inner.output, *inner.value_info):
                tensor = value.type.tensor_type
                tensor.elem_type = WITHIN.get(tensor.elem_type, tensor.elem_type)


def _change_type(tensor: TensorProto) -> None:
    if tensor.data_type in WITHIN:
        numbers = numpy_helper.to_array(tensor)
        dtype = helper.tensor_dtype_to_np_dtype(WITHIN[tensor.data_type])
        tensor.CopyFrom(numpy_helper.from_array(numbers.astype(dtype), tensor.name))


def _rename(graph: GraphProto, names: dict[str, str]) -> None:
    for node in graph.node:
        for side in (node.input, node.output):
            side[:] = [names.get(name, name) for name in side]
        for inner in subgraphs(node):
            _rename(inner, names)


def _replace_truth(graph: GraphProto, types: dict[str, int]) -> None:
    """Numbers for the operators of ``INSTEAD_OF_TRUTH``, here and in the graphs within."""
    changed: list[NodeProto] = []
    for node in graph.node:
        for inner in subgraphs(node):
            _replace_truth(inner, {**types, **element_types(inner)})
        kind = INSTEAD_OF_TRUTH.get(node.op_type)
        for place, name in enumerate(node.input):
            if kind and _is_replaced(types.get(name), kind):
                changed.append(_cast(name, f"{node.output[0]}/{place}", kind))
                node.input[place] = changed[-1].output[0]
        changed.append(node)
    kept = list(changed)
    del graph.node[:]
    graph.node.extend(kept)


def _is_replaced(found: int | None, kind: int) -> bool:
    whole = kind == TensorProto.FLOAT and found in (TensorProto.INT32, TensorProto.INT64)
    return whole or found == TensorProto.BOOL


def _halved(model: ModelProto) -> ModelProto:
    """In half precision but for inputs, outputs and what ONNX Runtime's own converter leaves out."""
    with warnings.catch_warnings():
        # It tells of each number that half precision rounds to 0; parity judges whether that does harm.
        warnings.simplefilter("ignore")
        kept = [*DEFAULT_OP_BLOCK_LIST, *_KEPT]
        halved: ModelProto = convert_float_to_float16(model, keep_io_types=True, op_block_list=kept)
    _drop_repeated(halved.graph)
    # The converter writes its casts behind what they feed.
    OnnxModel.graph_topological_sort(halved.graph)
    return halved


def _drop_repeated(graph: GraphProto) -> None:
    """The converter casts a tensor anew for each node that it leaves out, under one name."""
    given: set[str] = set()
    for node in list(graph.node):
        if given & set(node.output):
            graph.node.remove(node)
        given.update(node.output)
