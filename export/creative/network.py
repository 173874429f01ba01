"""The two graphs of job 3: one judges the variants of pictures, the other shows them.

Both frame the picture and make the variants by the same functions. The judge runs its trunk once, on the
wanted variants of the whole batch, gathered, and scatters what it finds back to fixed shapes; so nothing
is padded, and nothing returns to Python in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from adlens import contract
from export.creative.framing import frame
from export.creative.variants import LUMA, VARIANTS, Variant
from export.networks.backbones import ImageNetNormalise, pooled
from export.networks.resnet import ResNet, ResNet34, ResNet50, fold_batch_norm

SIDE: Final = 224
"""Of the squares that the network reads, in pixels, as ImageNet's."""
BACKBONES: Final[dict[str, type[ResNet]]] = {"resnet50": ResNet50, "resnet34": ResNet34}
GRIDS: Final = (2, 2, 1)
"""Cells a side to which layers 2 to 4 are averaged for the head; the first would cost more than it tells."""
TONES: Final = 16
"""Thresholds of a tone curve, evenly from black to white."""
SEEN_TONES: Final = (LUMA, (0.0, 0.0, 1.0))
"""Weights of red, green and blue in what has a curve: brightness, and blue, of which warm light has less."""
_FLOOR: Final = 1e-5
"""Of a tone under the logarithm: a few pixels in a thousand stand out from none, whatever the others are."""
_TILE: Final = 8
"""Side of what is averaged at first; half of SIDE is a multiple of it."""
DERIVATIVES: Final = (
    (0, 0, 0, -1, 1, 0, 0),
    (0, 0, -1, 0, 1, 0, 0),
    (0, 0, -1, 2, -1, 0, 0),
    (0, 0, 1, -3, 3, -1, 0),
    (0, -1, 0, 2, 0, -1, 0),
    (0, 1, -4, 6, -4, 1, 0),
    (0, 1, 0, 0, -1, 0, 0),
    (1, 0, -3, 0, 3, 0, -1),
)
"""Differences of the first to the fourth order, of neighbours and of pixels that are two or three apart."""
SEEN_EDGES: Final = (LUMA, (1 - LUMA[0], -LUMA[1], -LUMA[2]), (-LUMA[0], -LUMA[1], 1 - LUMA[2]))
"""Brightness, and the two differences of colour that JPEG keeps beside it (ITU-T T.871)."""
EDGES: Final = (0.0, 1.0)
"""From how steep an edge counts, in levels of 255."""
_LEAST_EDGE: Final = 1e-3
EMBEDDING_SEED: Final = 20
Features = tuple[Tensor, Tensor]
"""What the trunk knows of M squares: for the head [M, wide], and its last layer averaged [M, last]."""


class Tones(nn.Module):
    """How dark and how bright squares are: [M, 3, S, S], RGB in [0, 255] -> [M, length], logarithms.

    By how much each of SEEN_TONES falls below each threshold, on average, and by how much it rises above: a
    cumulative histogram. Networks learn to overlook just this on ImageNet. As a convolution it costs nothing.
    """

    length: Final = 2 * TONES * len(SEEN_TONES)

    def __init__(self) -> None:
        super().__init__()
        below = (torch.arange(1, TONES + 1) / TONES).repeat(len(SEEN_TONES))
        weight = torch.tensor(SEEN_TONES).repeat_interleave(TONES, dim=0)[:, :, None, None] / 255
        self.register_buffer("weight", torch.cat((-weight, weight)), persistent=False)
        self.register_buffer("bias", torch.cat((below, -(below - 1 / TONES))), persistent=False)

    def forward(self, squares: Tensor) -> Tensor:
        """Every other pixel will do."""
        beyond = functional.conv2d(squares, self.get_buffer("weight"), self.get_buffer("bias"), stride=2)
        # In two steps, as ONNX Runtime pools in the layout of its convolutions, and leaves it for a mean.
        tiles = functional.avg_pool2d(functional.relu(beyond), _TILE)
        return (tiles.mean(dim=(2, 3)) + _FLOOR).log()


class Edges(nn.Module):
    """Which way fine structure runs: [M, 3, S, S], RGB in [0, 255] -> [M, length], logarithms of ratios.

    How steep edges are along the rows, on average, over how steep they are along the columns: edge directions
    tell which way up a picture is (Vailaya et al., IEEE Trans. Image Processing 11(7), 2002). What cameras
    and JPEG leave turns with a picture, too: JPEG keeps columns and rows in unlike detail (ITU-T T.81,
    table K.1). Networks that were trained on ImageNet look past it.
    """

    length: Final = len(DERIVATIVES) * len(SEEN_EDGES) * len(EDGES)

    def __init__(self) -> None:
        super().__init__()
        steps = torch.tensor(DERIVATIVES, dtype=torch.float32)
        steps = steps / steps.abs().sum(1, keepdim=True)
        weight = torch.einsum("cr,dk->cdrk", torch.tensor(SEEN_EDGES), steps).flatten(0, 1)
        self.register_buffer("weight", weight.repeat(len(EDGES), 1, 1)[:, :, None], persistent=False)
        bias = -torch.tensor(EDGES).repeat_interleave(len(weight))
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, squares: Tensor) -> Tensor:
        """Every other pixel will do."""
        weight, bias = self.get_buffer("weight"), self.get_buffer("bias")
        along, across = (
            functional.avg_pool2d(functional.relu(functional.conv2d(squares, each, bias, stride=2)), _TILE)
            for each in (weight, weight.transpose(2, 3))
        )
        steep = (each.mean(dim=(2, 3)) + _LEAST_EDGE for each in (along, across))
        return torch.log(next(steep) / next(steep))


class Statistics(nn.Module):
    """What no layer of the network says of squares: ``Tones`` and ``Edges``, [M, length]."""

    length: Final = Tones.length + Edges.length

    def __init__(self) -> None:
        super().__init__()
        self.tones, self.edges = Tones(), Edges()

    def forward(self, squares: Tensor) -> Tensor:
        """Float32."""
        return torch.cat((self.tones(squares), self.edges(squares)), dim=1)


class CreativeTrunk(nn.Module):
    """A ResNet without its last product: squares float32 [M, 3, S, S], RGB in [0, 255] -> ``Features``."""

    def __init__(self, network: ResNet, statistics: type[Statistics] | type[Tones] = Statistics) -> None:
        """Take ``network`` over, its normalisations folded in place.

        Args:
            network: a whole one.
            statistics: of squares, what a head reads beside its layers.
        """
        super().__init__()
        fold_batch_norm(network)
        self.stem = nn.Sequential(network.conv1, nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.layers = nn.ModuleList([network.layer1, network.layer2, network.layer3, network.layer4])
        self.normalise = ImageNetNormalise()
        self.last = network.fc.in_features
        block = network.block.expansion
        self.statistics = statistics()
        self.wide = statistics.length + sum(128 * 2**i * block * grid**2 for i, grid in enumerate(GRIDS))

    def forward(self, squares: Tensor) -> Features:
        """[M, wide], the statistics first, and [M, last]; M may be 0."""
        levels = []
        # In this layout torch takes a third of its time; ONNX Runtime has one of its own.
        x = self.stem(self.normalise(squares).contiguous(memory_format=torch.channels_last))
        for layer in self.layers:
            x = layer(x)
            levels.append(x)
        wide = torch.cat((self.statistics(squares), pooled(levels[1:], GRIDS)), dim=1)
        return wide, x.mean(dim=(2, 3))


class Variants(nn.Module):
    """PIXELS, PICTURE_SIZE -> the variants ``labels`` of each picture, float32 [N, labels, 3, S, S]."""

    def __init__(self, labels: Sequence[str], side: int = SIDE) -> None:
        super().__init__()
        self.labels = tuple(labels)
        self.side = side
        self._variants = find_variants(labels)

    def forward(self, pixels: Tensor, picture_size: Tensor) -> Tensor:
        """RGB in [0, 255]."""
        framed = frame(pixels, picture_size, self.side)
        made = [each.apply(framed.squares, framed.background) for each in self._variants]
        return torch.stack(made, dim=1)


class FeatureNetwork(nn.Module):
    """PIXELS, PICTURE_SIZE -> what the trunk tells the head of every variant, [N, labels, wide]."""

    def __init__(self, trunk: CreativeTrunk, labels: Sequence[str]) -> None:
        super().__init__()
        self.trunk = trunk
        self.variants = Variants(labels)

    def forward(self, pixels: Tensor, picture_size: Tensor) -> Tensor:
        """Float32."""
        squares = self.variants(pixels, picture_size)
        wide: Tensor = self.trunk(squares.flatten(0, 1))[0]
        return wide.reshape(-1, len(self.variants.labels), self.trunk.wide)


class CreativeNetwork(nn.Module):
    """PIXELS, PICTURE_SIZE, WANTED -> VARIANT_LOGITS, CREATIVE_EMBEDDING, as ``adlens.contract`` says.

    The embedding is the trunk's last layer, averaged, in fewer dimensions by a seeded orthonormal
    projection, which keeps distances (Johnson and Lindenstrauss, Contemporary Mathematics 26, 1984).
    """

    projection: Tensor

    def __init__(self, trunk: CreativeTrunk, labels: Sequence[str]) -> None:
        """A head that knows nothing yet: all its logits are 0.

        Args:
            trunk: taken over.
            labels: of registered variants, the original among them, at most ``contract.MAX_VARIANTS``.

        Raises:
            ValueError: the labels are others than these.
        """
        super().__init__()
        self.trunk = trunk
        self.variants = Variants(labels)
        self.head = nn.Linear(trunk.wide, len(labels))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        # Not among the parameters, by which a judge is known: another machine's differs in its last digit.
        self.register_buffer("projection", _orthonormal(trunk.last), persistent=False)

    @property
    def labels(self) -> tuple[str, ...]:
        """What the variants, and the logits, stand for."""
        return self.variants.labels

    def forward(self, pixels: Tensor, picture_size: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """VARIANT_LOGITS float32 [N, V, V] and CREATIVE_EMBEDDING float32 [N, E]."""
        count, kinds = pixels.shape[0], len(self.labels)
        squares = self.variants(pixels, picture_size).flatten(0, 1)
        index = (wanted[:, :kinds] != 0).flatten().nonzero().squeeze(1)
        wide, last = self.trunk(squares[index])
        logits = functional.pad(self.head(wide), (0, contract.MAX_VARIANTS - kinds))
        embedding = functional.normalize(last @ self.projection)
        flat = torch.zeros(count * kinds, contract.MAX_VARIANTS, device=pixels.device)
        flat = flat.index_put((index,), logits)
        found = torch.zeros(count * kinds, contract.CREATIVE_DIMENSION, device=pixels.device)
        found = found.index_put((index,), embedding)
        table = flat.reshape(count, kinds, contract.MAX_VARIANTS)
        original = found.reshape(count, kinds, -1)[:, self.labels.index(contract.ORIGINAL)]
        return functional.pad(table, (0, 0, 0, contract.MAX_VARIANTS - kinds)), original


class RenderNetwork(nn.Module):
    """PIXELS, PICTURE_SIZE, WANTED -> RENDERED, RENDERED_BOXES, as ``adlens.contract`` describes them."""

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__()
        self._variants = find_variants(labels)

    def forward(self, pixels: Tensor, picture_size: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """RENDERED uint8 [N, V, C, C, 3] and RENDERED_BOXES int32 [N, V, 4]."""
        side = contract.CANVAS
        framed = frame(pixels, picture_size, side)
        nothing = torch.zeros_like(pixels)
        made = []
        # To bytes one by one: all variants of a batch as floats would take 300 MB.
        for number, each in enumerate(self._variants):
            rows = (wanted[:, number] != 0).nonzero().squeeze(1)
            drawn = to_bytes(each.apply(framed.squares[rows], framed.background[rows]))
            made.append(nothing.index_put((rows,), drawn))
        boxes = torch.stack([each.move(framed.boxes.float(), side) for each in self._variants], dim=1)
        boxes = boxes * (wanted[:, : len(made), None] != 0)
        missing = contract.MAX_VARIANTS - len(made)
        rendered = functional.pad(torch.stack(made, dim=1), (0, 0, 0, 0, 0, 0, 0, missing))
        return rendered, functional.pad(boxes, (0, 0, 0, missing)).int()


def to_bytes(pictures: Tensor) -> Tensor:
    """Float32 [N, 3, S, S] in [0, 255] -> uint8 [N, S, S, 3], to the nearest."""
    return (pictures + 0.5).clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8)


def find_variants(labels: Sequence[str]) -> list[Variant]:
    """The registered variants of these labels, in order.

    Raises:
        ValueError: a label is unknown or stands twice, there are too many, or no original is among them.
    """
    if unknown := [label for label in labels if label not in VARIANTS]:
        raise ValueError(f"no variant {', '.join(map(repr, unknown))}; there are {', '.join(VARIANTS)}")
    if len(set(labels)) != len(labels):
        raise ValueError(f"a variant stands twice: {', '.join(labels)}; name each once")
    if len(labels) > contract.MAX_VARIANTS:
        raise ValueError(
            f"{len(labels)} variants, and at most {contract.MAX_VARIANTS} travel; leave some out"
        )
    if contract.ORIGINAL not in labels:
        raise ValueError(f"{contract.ORIGINAL!r} is missing, with which all others are compared; add it")
    return [VARIANTS[label] for label in labels]


def _orthonormal(length: int) -> Tensor:
    """float32 [length, E] whose columns are of length 1 and at right angles.

    Raises:
        ValueError: there are fewer than E numbers to project.
    """
    if length < contract.CREATIVE_DIMENSION:
        raise ValueError(f"a last layer of {length} cannot fill {contract.CREATIVE_DIMENSION} dimensions")
    random = torch.Generator().manual_seed(EMBEDDING_SEED)
    values = torch.randn(length, contract.CREATIVE_DIMENSION, generator=random, dtype=torch.float64)
    basis: Tensor = torch.linalg.qr(values).Q.float()
    return basis
