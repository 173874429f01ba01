"""Embeddings of all faces of a batch in one graph: align, embed, scatter back.

Only real faces are computed: the filled slots of the whole batch are gathered, and a few at a time aligned
and embedded; the embeddings are written back to the fixed [N, K, D] shape. A few at a time, because their
activations then fit into the processor's cache, and a crowd takes no more memory than a family.

In ONNX that is a Loop, which torch cannot export: ``embed`` stands for it, a custom operator that is a Loop
about an operator ``Network`` in ONNX, in whose place ``splice`` then puts the graph of a network. So a
network that is an ONNX file, made anywhere, is as good as one of our own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from weakref import WeakValueDictionary

import onnx
import torch
from onnx import compose, helper
from onnxscript import FLOAT, INT64, UINT8, graph, opset18, script
from onnxscript.values import Opset
from torch import Tensor, nn
from torch.nn import functional

from adlens import contract
from export.networks.alignment import Alignment, Warp, plan_warp, sample, similarities

CHUNK: Final = 16
"""Faces embedded at a time."""
_NETWORKS: Final[WeakValueDictionary[int, nn.Module]] = WeakValueDictionary()
"""By number, as custom operators take tensors and numbers only."""


class EmbeddingNetwork(nn.Module):
    """PIXELS, LANDMARKS, FACE_COUNT -> FACE_EMBEDDING, as ``adlens.contract`` describes them.

    Args:
        network: chips float32 [M, 3, size, size], RGB in [0, 255] -> embeddings float32 [M, dimension].
        alignment: where the network wants the landmarks.
        dimension: of the embeddings.
        chunk: most chips that the network takes at a time.
    """

    coefficients: Tensor

    def __init__(self, network: nn.Module, alignment: Alignment, dimension: int, chunk: int = CHUNK) -> None:
        super().__init__()
        self.network = network
        self.size = alignment.size
        self.dimension = dimension
        self.chunk = chunk
        # In the state, so that other reference points are other weights: their embeddings differ.
        self.register_buffer("coefficients", alignment.coefficients())
        _NETWORKS[id(network)] = network

    def forward(self, pixels: Tensor, landmarks: Tensor, face_count: Tensor) -> Tensor:
        """Embeddings float32 [N, K, D] of length 1, 0 in empty slots."""
        pictures, slots = landmarks.shape[0], landmarks.shape[1]
        filled = torch.arange(slots, device=landmarks.device) < face_count
        index = filled.flatten().nonzero().squeeze(1)
        faces = landmarks.reshape(-1, len(contract.LANDMARK_NAMES), 2)[index]
        warp = plan_warp(pixels, index // slots, similarities(faces, self.coefficients), self.size)
        found = functional.normalize(embed(*warp, id(self.network), self.dimension, self.chunk))
        flat = torch.zeros(pictures * slots, self.dimension, device=landmarks.device)
        flat = flat.index_put((index,), found)
        return flat.reshape(pictures, slots, -1)


@torch.library.custom_op("adlens::embed", mutates_args=())
def embed(
    pixels: Tensor,
    starts: Tensor,
    ends: Tensor,
    rows: Tensor,
    terms: Tensor,
    network: int,
    dimension: int,
    chunk: int,
) -> Tensor:
    """What a network makes of chips, float32 [M, dimension].

    Args:
        pixels: this and the next four as in ``Warp``.
        starts: see there.
        ends: see there.
        rows: see there.
        terms: see there.
        network: key of ``_NETWORKS``.
        dimension: of the network's output.
        chunk: most chips at a time.
    """
    found = [terms.new_empty(0, dimension)]
    for first in range(0, len(terms), chunk):
        some = slice(first, first + chunk)
        found.append(_NETWORKS[network](sample(Warp(pixels, starts[some], ends[some], rows, terms[some]))))
    return torch.cat(found)


@embed.register_fake
def _(
    pixels: Tensor, starts: Tensor, ends: Tensor, rows: Tensor, terms: Tensor, network: int, dimension: int,
    chunk: int,
) -> Tensor:  # fmt: skip
    return terms.new_empty(terms.shape[0], dimension)


op: Any = opset18
_adlens: Any = Opset("adlens", 1)


@script()
def _embed_to_onnx(
    pixels: UINT8,
    starts: INT64,
    ends: INT64,
    rows: FLOAT,
    terms: FLOAT,
    network: int,
    dimension: int,
    chunk: int,
) -> FLOAT:
    side = op.Shape(rows, start=0, end=1)
    points = op.Concat(op.Constant(value_ints=[1]), side, side, op.Constant(value_ints=[2]), axis=0)
    shape = op.Concat(op.Constant(value_ints=[-1, 3]), side, side, axis=0)
    step = op.Reshape(op.Constant(value_int=chunk), op.Constant(value_ints=[1]))
    wide = op.Reshape(op.Constant(value_int=dimension), op.Constant(value_ints=[1]))
    count = op.Shape(terms, start=0, end=1)
    chunks = op.Squeeze(op.Div(op.Sub(op.Add(count, step), 1), step))
    found = op.ConstantOfShape(op.Concat(op.Constant(value_ints=[0]), wide, axis=0))

    # Face by face, as what ONNX Runtime notes of a grid, 72 bytes a point, then stays in the cache.
    @graph()
    def one(start: INT64[3], end: INT64[3], term: FLOAT[...]):  # type: ignore  # noqa: ANN202
        window = op.Cast(op.Transpose(op.Slice(pixels, start, end), perm=[0, 3, 1, 2]), to=FLOAT.dtype)
        grid = op.Reshape(op.MatMul(rows, term), points)
        return op.GridSample(window, grid, mode="bilinear", padding_mode="zeros")

    for index in range(chunks):
        first = op.Mul(index, step)
        last = op.Add(first, step)
        chips = op.Scan(
            op.Slice(starts, first, last),
            op.Slice(ends, first, last),
            op.Slice(terms, first, last),
            body=one,
            num_scan_inputs=3,
        )
        found = op.Concat(found, _adlens.Network(op.Reshape(chips, shape)), axis=0)
    return found  # type: ignore[no-any-return]


TRANSLATIONS: Final[dict[Callable[..., Any], Any]] = {torch.ops.adlens.embed.default: _embed_to_onnx}
"""As ``export.networks.ops.TRANSLATIONS``."""


def splice(model: onnx.ModelProto, network: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with the graph of ``network`` in place of its operator ``Network``.

    Args:
        model: an ``EmbeddingNetwork`` as exported; it is changed.
        network: with one input and one output.
    """
    network = compose.add_prefix(network, "network/")
    loop = next(node for node in model.graph.node if node.op_type == "Loop")
    body = next(attribute.g for attribute in loop.attribute if attribute.name == "body")
    place, stand_in = next((i, node) for i, node in enumerate(body.node) if node.op_type == "Network")
    enter = helper.make_node("Identity", stand_in.input, [network.graph.input[0].name])
    leave = helper.make_node("Identity", [network.graph.output[0].name], stand_in.output)
    nodes = [*body.node[:place], enter, *network.graph.node, leave, *body.node[place + 1 :]]
    del body.node[:]
    body.node.extend(nodes)
    # In the body, as ONNX Runtime lays out weights anew only in the graph in which they are used.
    body.initializer.extend(network.graph.initializer)
    own = next(opset for opset in model.opset_import if opset.domain == _adlens.domain)
    model.opset_import.remove(own)
    known = {opset.domain for opset in model.opset_import}
    model.opset_import.extend(opset for opset in network.opset_import if opset.domain not in known)
    onnx.checker.check_model(model)
    return model
