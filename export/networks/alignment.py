"""Faces turned upright: from five landmarks to a chip with eyes and mouth where an embedder wants them.

A chip is the picture under a similarity (turned, scaled, moved; never sheared or mirrored), the one that
brings the landmarks closest to the embedder's reference points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from onnxscript import BOOL, FLOAT, INT64, graph, opset18, script
from torch import Tensor
from torch.nn import functional

from adlens.contract import CANVAS

op: Any = opset18

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Reference:
    """Where an embedder wants the landmarks: x, y in chip pixels, in the order of ``LANDMARK_NAMES``.

    ``size`` is the side of the chip that ``points`` are given for, ``weights`` what each of them counts.
    """

    size: int
    points: Points
    weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0)


REFERENCES: Final = {
    "dlib": Reference(
        150, ((47.25, 45.14), (101.65, 45.65), (74.33, 77.47), (50.38, 104.26), (97.82, 103.91))
    ),
}


def similarity(landmarks: Tensor, reference: Reference) -> Tensor:
    """The similarities that bring the reference points closest to the landmarks, by weighted least squares.

    In two dimensions Umeyama's solution (IEEE PAMI 13(4), 1991) has a closed form: with points as complex
    numbers, p -> a p + b with a = sum w conj(p - p') (q - q') / sum w |p - p'|^2.

    Args:
        landmarks: float32 [M, 5, 2], x, y in picture pixels.
        reference: of the embedder.

    Returns:
        float32 [M, 2, 3]: from (x, y, 1) in the reference's pixels to x, y in picture pixels.
    """
    points = torch.tensor(reference.points, dtype=landmarks.dtype)
    weights = torch.tensor(reference.weights, dtype=landmarks.dtype)[:, None] / sum(reference.weights)
    centre = (weights * points).sum(0)
    spread = points - centre
    spread = weights * spread / (weights * spread.square()).sum()
    mean = (weights * landmarks).sum(1)
    offset = landmarks - mean[:, None]
    real = (offset * spread).sum((1, 2))
    imaginary = (offset[:, :, 1] * spread[:, 0] - offset[:, :, 0] * spread[:, 1]).sum(1)
    linear = torch.stack([real, -imaginary, imaginary, real], 1).reshape(-1, 2, 2)
    return torch.cat([linear, (mean - (linear * centre).sum(2))[:, :, None]], 2)


def align(pixels: Tensor, picture: Tensor, transforms: Tensor, size: int) -> Tensor:
    """Chips float32 [M, 3, size, size], RGB in [0, 255]; what lies outside the canvas is black.

    Args:
        pixels: uint8 [N, S, S, 3].
        picture: int64 [M], row of ``pixels`` for each chip.
        transforms: float32 [M, 2, 3], from chip pixels to picture pixels.
        size: side of a chip, in pixels.
    """
    height = CANVAS + 1
    # All pictures in one, a black row below each. On its way to -1..1, the edges of that.
    image = functional.pad(pixels, (0, 0, 0, 0, 0, 1)).permute(3, 0, 1, 2).flatten(1, 2).float()
    scale = 2 / torch.stack([torch.tensor(CANVAS), torch.tensor(pixels.shape[0]) * height])
    first = functional.pad((picture * height)[:, None], (1, 0))
    onto = transforms * scale[:, None]
    column = torch.arange(size, dtype=onto.dtype)
    along = onto[:, None, :, 0] * column[:, None] + (onto[:, :, 2] + (first + 0.5) * scale - 1)[:, None]
    down = onto[:, None, :, 1].expand(-1, size, -1)
    rows = torch.stack([torch.ones_like(column), column], 1)
    terms = torch.stack([along, down], 1).flatten(2)
    low = ((first - 0.5) * scale - 1).repeat(1, size)
    high = ((first + CANVAS + 0.5) * scale - 1).repeat(1, size)
    chips: Tensor = warp(image, rows, terms, low, high)
    return chips


@torch.library.custom_op("adlens::warp", mutates_args=())
def warp(image: Tensor, rows: Tensor, terms: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Bilinear samples of one image at M grids, each a product of two matrices; black outside the image.

    Args:
        image: float32 [C, H, W].
        rows: float32 [P, T], of all grids.
        terms: float32 [M, T, 2 P]; ``rows @ terms`` are grids of P x P points x, y, where -1 and 1 are the
            edges of the image.
        low: float32 [M, 2 P], least x and y in a row of a grid; points below are moved there.
        high: float32 [M, 2 P], largest x and y.

    Returns:
        float32 [M, C, P, P].
    """
    size = len(rows)
    chips = image.new_empty(len(terms), image.shape[0], size, size)
    for chip, term, least, most in zip(chips, terms, low, high, strict=True):
        grid = (rows @ term).clamp(least, most).reshape(1, size, size, 2)
        chip[:] = functional.grid_sample(image[None], grid, align_corners=False)[0]
    return chips


@warp.register_fake
def _(image: Tensor, rows: Tensor, terms: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return image.new_empty(terms.shape[0], image.shape[0], rows.shape[0], rows.shape[0])


@script()
def _warp_to_onnx(image: FLOAT, rows: FLOAT, terms: FLOAT, low: FLOAT, high: FLOAT) -> FLOAT:
    # Face by face, as what ONNX Runtime notes of each point then stays in the processor's cache.
    images = op.Unsqueeze(image, op.Constant(value_ints=[0]))
    side = op.Shape(rows, start=0, end=1)
    shape = op.Concat(op.Constant(value_ints=[1]), side, side, op.Constant(value_ints=[2]), axis=0)

    @graph()
    def one(index: INT64, more: BOOL):  # type: ignore[no-untyped-def]  # noqa: ANN202
        grid = op.MatMul(rows, op.Gather(terms, index))
        grid = op.Min(op.Max(grid, op.Gather(low, index)), op.Gather(high, index))
        chip = op.GridSample(images, op.Reshape(grid, shape), mode="bilinear", padding_mode="zeros")
        return op.Identity(more), op.Squeeze(chip, op.Constant(value_ints=[0]))

    faces = op.Squeeze(op.Shape(terms, start=0, end=1))
    go = op.Cast(op.Constant(value_int=1), to=BOOL.dtype)
    return op.Loop(faces, go, body=one)  # type: ignore[no-any-return]


TRANSLATIONS: Final[dict[Callable[..., Any], Any]] = {torch.ops.adlens.warp.default: _warp_to_onnx}
"""As ``export.networks.ops.TRANSLATIONS``."""
