"""What torch runs: bare backbones, the attributes of faces from canvases on, and the search of a gallery.

Networks are those that are exported, with seeded weights: speed does not depend on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from export.networks.backbones import Backbone, ResNet50Backbone, Vgg16Backbone
from export.networks.resnet import ResNet50
from export.networks.vgg import Vgg16
from perf.accelerated.measuring import Cost, Effort

SEED: Final = 1
CANVAS: Final = 640
"""``adlens.contract.CANVAS``, which a machine that has torch alone cannot import."""
LABELS: Final = 3
ATTRIBUTES: Final = "attributes vgg16+resnet50"
"""Name of the subject that takes canvases."""
DIMENSION: Final = 512
"""Of an embedding in the gallery, and how many of the nearest are wanted."""
NEAREST: Final = 10
FACE: Final = (200.0, 120.0, 440.0, 420.0)
"""x1, y1, x2, y2 of the one face of each canvas, in its pixels."""
WARP_UNITS: Final = 1e6
CROP: Final = (0.5, 0.2, 0.8)
"""Face heights added above, below and on either side of the middle, as ``contract.CROP_ABOVE`` and so on."""


@dataclass(frozen=True)
class Subject:
    """Something to run.

    Attributes:
        name: of it.
        network: in evaluation mode.
        inputs: makes the input of so many rows, on the CPU; float32 but for canvases.
        batches: sizes that make sense; None for the usual ones.
    """

    name: str
    network: nn.Module
    inputs: Callable[[int], Tensor]
    batches: tuple[int, ...] | None = None


def subjects(effort: Effort) -> list[Subject]:
    """All of them, of the sizes that ``effort`` asks for."""
    torch.manual_seed(SEED)
    side = effort.side or 224
    vgg16, resnet50 = _vgg16(), _resnet50()
    # Which folds the ResNet's batch norms, as its export does.
    backbones: list[Backbone] = [Vgg16Backbone(vgg16), ResNet50Backbone(resnet50)]
    return [
        Subject("resnet50", resnet50, lambda rows: _pictures(rows, side)),
        Subject("vgg16 features", vgg16.features, lambda rows: _pictures(rows, side)),
        Subject(ATTRIBUTES, Attributes(backbones).eval(), canvases),
        Subject(
            f"gallery of {effort.photos:,} x {DIMENSION}",
            Gallery(effort.photos).eval(),
            _queries,
            (effort.queries,),
        ),
    ]


def _vgg16() -> Vgg16:
    """Without its classifier, which none of ours runs and which is most of its weights."""
    with torch.device("meta"):
        network = Vgg16().eval()
    network.features.to_empty(device="cpu")
    for layer in network.features:
        if isinstance(layer, nn.Conv2d):
            layer.reset_parameters()
    return network


def _resnet50() -> ResNet50:
    """With the statistics of noise: without any, its numbers would outgrow half precision."""
    network = ResNet50()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        network(torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(SEED)))
    return network.eval()


def _pictures(rows: int, side: int) -> Tensor:
    return torch.rand(rows, 3, side, side, generator=torch.Generator().manual_seed(SEED))


def canvases(rows: int) -> Tensor:
    """uint8 [rows, CANVAS, CANVAS, 3]."""
    shape = (rows, CANVAS, CANVAS, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(SEED))


def _queries(rows: int) -> Tensor:
    found = torch.randn(rows, DIMENSION, generator=torch.Generator().manual_seed(SEED))
    return functional.normalize(found)


class Attributes(nn.Module):
    """Canvases uint8 [N, S, S, 3] with a face each -> probabilities [N, backbones * labels].

    As ``export.networks.attributes`` but for the crop: bilinear, as torch alone has no RoiAlign.
    """

    def __init__(self, backbones: list[Backbone]) -> None:
        super().__init__()
        self.backbones = nn.ModuleList(backbones)
        self.tails = nn.ModuleList(
            nn.ModuleList(each.new_tail() for _ in range(LABELS)) for each in backbones
        )
        self.sizes = [each.size for each in backbones]
        x1, y1, x2, y2 = FACE
        above, below, beside = (share * (y2 - y1) for share in CROP)
        middle = (x1 + x2) / 2
        corners = torch.tensor([middle - beside, y1 - above, middle + beside, y2 + below]) * 2 / CANVAS - 1
        scale, centre = (corners[2:] - corners[:2]) / 2, (corners[2:] + corners[:2]) / 2
        warp = torch.cat([torch.diag(scale), centre[:, None]], 1)[None]
        # As whole numbers, which stay as they are where all else becomes half precision: places in a picture.
        self.register_buffer("warp", (warp * WARP_UNITS).round().long(), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Probabilities."""
        warp = self.get_buffer("warp").float() / WARP_UNITS
        canvas = pixels.permute(0, 3, 1, 2).float()
        precision = next(self.parameters()).dtype
        found = []
        for backbone, tails, size in zip(self.backbones, self.tails, self.sizes, strict=True):
            shape = [len(pixels), 3, size, size]
            grid = functional.affine_grid(warp.expand(len(pixels), -1, -1), shape, align_corners=False)
            chips = functional.grid_sample(canvas, grid, align_corners=False).to(precision)
            shared = cast(Backbone, backbone).trunk(chips)
            found += [tail(shared) for tail in cast(nn.ModuleList, tails)]
        return torch.cat(found, 1).sigmoid()


class Gallery(nn.Module):
    """Queries [Q, D] of length 1 -> similarities [Q, NEAREST] of the nearest of all vectors, exactly."""

    def __init__(self, photos: int) -> None:
        super().__init__()
        vectors = torch.randn(photos, DIMENSION, generator=torch.Generator().manual_seed(SEED))
        self.register_buffer("vectors", functional.normalize(vectors), persistent=False)

    def forward(self, queries: Tensor) -> Tensor:
        """Similarities, highest first."""
        return (queries @ self.get_buffer("vectors").T).topk(NEAREST, 1).values


def cost(network: nn.Module, rows: Tensor, bytes_per_number: int) -> Cost:
    """Operations as torch counts them, and the bytes of weights and of all layers' inputs and outputs.

    Args:
        network: on the device of ``rows``.
        rows: an input.
        bytes_per_number: of the precision that is measured.
    """
    numbers = 0

    def count(module: nn.Module, given: tuple[Tensor, ...], taken: object) -> None:
        nonlocal numbers
        tensors = [*given, *(taken if isinstance(taken, tuple) else (taken,))]
        numbers += sum(each.numel() for each in tensors if isinstance(each, Tensor))

    layers = [module for module in network.modules() if not any(True for _ in module.children())]
    hooks = [module.register_forward_hook(count) for module in layers]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(rows)
    for hook in hooks:
        hook.remove()
    weights = sum(each.numel() for each in (*network.parameters(), *network.buffers()))
    each_row = len(rows)
    return Cost(
        counter.get_total_flops() / each_row,
        weights * bytes_per_number,
        numbers * bytes_per_number / each_row,
    )
