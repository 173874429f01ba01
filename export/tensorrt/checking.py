"""Whether TensorRT takes a graph, seen without TensorRT: its operators, types and restrictions.

All graphs that ``export.choices`` gives to TensorRT are held against ``export.tensorrt.operators``, as they
are handed to it (``export.tensorrt.adaptation``). That a graph passes is needed for a plan, not enough:
TensorRT has the last word where there is a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnx
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

from export.tensorrt.operators import COMPUTED, DATA_DEPENDENT, OPSETS, TYPES, VERSION, restriction

DOMAINS: Final = ("", "ai.onnx")
LARGE: Final = 1024
"""Bytes of a weight that is no shape, place or threshold."""


@dataclass(frozen=True)
class Obstacle:
    """A node that TensorRT does not take, and why."""

    node: str
    operator: str
    reason: str

    def __str__(self) -> str:
        return f"{self.operator} '{self.node}': {self.reason}"


def obstacles(model: ModelProto) -> list[Obstacle]:
    """What of a graph is outside of what TensorRT documents, in order; its weights may be elsewhere."""
    found = [
        Obstacle("", "opset", f"{opset.version} is none of {OPSETS[0]} to {OPSETS[-1]}")
        for opset in model.opset_import
        if opset.domain in DOMAINS and opset.version not in OPSETS
    ]
    inferred = shape_inference.infer_shapes(model)
    return [*found, *_obstacles(inferred.graph, {}, {})]


def depends_on_data(model: ModelProto) -> bool:
    """Whether shapes or work depend on data, so that no CUDA graph can be recorded."""
    return any(node.op_type in DATA_DEPENDENT for node in nodes(model.graph))


def nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """All nodes of a graph and of those within, in order."""
    for node in graph.node:
        yield node
        for inner in subgraphs(node):
            yield from nodes(inner)


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs within a node: bodies of loops, branches."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def element_types(graph: GraphProto) -> dict[str, int]:
    """Type of each tensor of a graph whose types have been inferred; of those within see ``subgraphs``."""
    return {
        **{each.name: each.data_type for each in graph.initializer},
        **{
            each.name: each.type.tensor_type.elem_type
            for each in (*graph.input, *graph.value_info, *graph.output)
            if each.type.HasField("tensor_type")
        },
    }


def _obstacles(graph: GraphProto, outer: Mapping[str, int], known: Mapping[str, int]) -> Iterator[Obstacle]:
    types = {**outer, **element_types(graph)}
    constants = {**known, **_whole_numbers(graph)}
    for node in graph.node:
        if reason := _obstacle(node, types, constants):
            yield Obstacle(node.name or node.output[0], node.op_type, reason)
        for inner in subgraphs(node):
            yield from _obstacles(inner, types, constants)


def _whole_numbers(graph: GraphProto) -> dict[str, int]:
    return {
        each.name: int(numpy_helper.to_array(each).flat[0])
        for each in graph.initializer
        if each.data_type in (TensorProto.INT32, TensorProto.INT64) and list(each.dims) in ([], [1])
    }


def _obstacle(node: NodeProto, types: Mapping[str, int], constants: Mapping[str, int]) -> str | None:
    if node.domain not in DOMAINS:
        return f"of the domain {node.domain}, which TensorRT {VERSION} does not know"
    if node.op_type not in TYPES:
        return f"TensorRT {VERSION} does not support it"
    taken = TYPES[node.op_type]
    computed = COMPUTED.get(node.op_type, range(len(node.input)))
    tensors = [node.input[place] for place in computed if place < len(node.input) and node.input[place]]
    for name in tensors:
        if (kind := types.get(name)) is not None and kind not in taken:
            return f"takes {_names(taken)}, and '{name}' is {_names({kind})}"
    for name in node.output if node.op_type in ("Cast", "Constant", "ConstantOfShape") else ():
        if (kind := types.get(name)) is not None and kind not in taken:
            return f"gives {_names(taken)}, and '{name}' is {_names({kind})}"
    return restriction(node, constants)


def _names(types: set[int] | frozenset[int]) -> str:
    return ", ".join(
        helper.tensor_dtype_to_string(kind).removeprefix("TensorProto.") for kind in sorted(types)
    )


def outline(path: Path) -> ModelProto:
    """A graph without its large weights, which are nearly all of it and tell nothing of its operators."""
    model = onnx.load(path, load_external_data=False)
    for weight in model.graph.initializer:
        if len(weight.raw_data) > LARGE and weight.data_type == TensorProto.FLOAT:
            weight.ClearField("raw_data")
    return model
