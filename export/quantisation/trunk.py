"""Which operators of an exported graph compute in integers: those of its trunk.

A trunk is what ONNX Runtime can keep in integers from the first convolution to the last: convolutions, and
what lies between them. Everything before (crops, framing, variants, normalisation) and behind (averages,
heads, scattering) stays as it is. Nodes are chosen by type and place, not by name, so that any exported
backbone will do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import onnx

CONVOLUTION: Final = "Conv"
BETWEEN: Final = ("Relu", "MaxPool", "AveragePool", "Add", "Pad")
"""Operators that ONNX Runtime can have between integers, and that lie between convolutions."""
WIDE: Final = "Sqrt"
"""The wide features are square roots (``export.networks.backbones.pooled``), and nothing else is."""


class TrunkError(ValueError):
    """A graph without a trunk, or with parts that cannot be told apart."""


@dataclass(frozen=True)
class Trunk:
    """Names of nodes, in the order of the graph; ``convolutions`` are among ``nodes``."""

    nodes: tuple[str, ...]
    convolutions: tuple[str, ...]


def find_trunk(model: onnx.ModelProto) -> Trunk:
    """The trunk of a graph: convolutions that follow each other, and what lies between them.

    One alone is no layer of a network: it blurs a picture, or measures its tones.

    Raises:
        TrunkError: it has none, such as one whose network stands inside a loop.
    """
    weights = {weight.name for weight in model.graph.initializer}
    # By tensor, the convolutions that it comes from through nothing but what lies between such.
    origins = dict[str, frozenset[str]]()
    inside, followed = list[onnx.NodeProto](), set[str]()
    for node in model.graph.node:
        taken = [origins.get(name, frozenset()) for name in node.input if name and name not in weights]
        if node.op_type == CONVOLUTION:
            followed |= taken[0] | ({node.name} if taken[0] else set())
            origins[node.output[0]] = frozenset({node.name})
        # An addition of something from elsewhere belongs to a head.
        elif node.op_type in BETWEEN and taken and all(taken):
            origins[node.output[0]] = frozenset().union(*taken)
        else:
            continue
        inside.append(node)
    nodes = [node for node in inside if followed & origins[node.output[0]]]
    convolutions = [node.name for node in nodes if node.op_type == CONVOLUTION]
    if not convolutions:
        raise TrunkError("no convolutional network in the graph itself; what runs in a loop stays as it is")
    return Trunk(tuple(node.name for node in nodes), tuple(convolutions))


def wide_features(model: onnx.ModelProto) -> str:
    """Name of the tensor that the heads of an attribute model read.

    Raises:
        TrunkError: there is none, or there are several.
    """
    found = [node.output[0] for node in model.graph.node if node.op_type == WIDE]
    if len(found) != 1:
        raise TrunkError(f"{len(found)} tensors of square roots, where the wide features are one")
    return str(found[0])
