"""A picture of any shape, framed into a square: fitted in whole, the rest its own background.

All in tensor operations that export to ONNX, for a batch of pictures of different sizes at once: the
resampling along each axis is one matrix product a picture, whose weights are computed from its size.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import torch
from torch import Tensor

from adlens import contract

_BAND: Final = 28
"""Rows of the square that are resampled together."""
_RIM: Final = 1 / 56
"""How much of the square's side counts as the outermost pixels of a picture."""


class Framed(NamedTuple):
    """Pictures on squares of side S."""

    squares: Tensor
    """float32 [N, 3, S, S], RGB in [0, 255]."""
    background: Tensor
    """float32 [N, 3, 1, 1]: the mean colour of the picture's outermost pixels, which fills the rest."""
    boxes: Tensor
    """int64 [N, 4]: x1, y1, x2, y2 of the picture on its square."""


def frame(pixels: Tensor, picture_size: Tensor, side: int) -> Framed:
    """Fit each picture into a square, aspect kept, in the middle.

    A triangle as wide as the step between samples, at least a pixel, weighs the pixels: bilinear where the
    picture grows, and antialiased where it shrinks, as Pillow's ``Resampling.BILINEAR``.

    Args:
        pixels: PIXELS uint8 [N, C, C, 3], the picture at the top left.
        picture_size: PICTURE_SIZE int32 [N, 2], height and width in the picture's own pixels.
        side: S.
    """
    source = _on_canvas(picture_size)
    longest = source.amax(1, keepdim=True)
    target = (source * side / longest + 0.5).floor().clamp(min=1)
    start = ((side - target) / 2).floor()
    rows = _resampling(source[:, 0], target[:, 0], start[:, 0], side)
    columns = _resampling(source[:, 1], target[:, 1], start[:, 1], side)
    count, canvas = pixels.shape[0], contract.CANVAS
    # Rows first, with the colours still interleaved: no copy of the canvas.
    lines = pixels.reshape(count, canvas, canvas * 3)
    shrunk = _product(rows, lines, source[:, 0] / target[:, 0], start[:, 0]).reshape(count, side, canvas, 3)
    pictures = shrunk.permute(0, 3, 1, 2) @ columns.transpose(1, 2)[:, None]
    end = start + target
    inside = (
        _between(start[:, 0], end[:, 0], side)[:, None, :, None]
        * _between(start[:, 1], end[:, 1], side)[:, None, None, :]
    )
    rim = max(1, round(_RIM * side))
    within = (
        _between(start[:, 0] + rim, end[:, 0] - rim, side)[:, None, :, None]
        * _between(start[:, 1] + rim, end[:, 1] - rim, side)[:, None, None, :]
    )
    outermost = inside - within
    background = (pictures * outermost).sum((2, 3), keepdim=True) / outermost.sum((2, 3), keepdim=True)
    squares = (pictures + (1 - inside) * background).clamp(0, 255)
    boxes = torch.stack((start[:, 1], start[:, 0], end[:, 1], end[:, 0]), dim=1)
    return Framed(squares, background, boxes.long())


def _on_canvas(picture_size: Tensor) -> Tensor:
    """Heights and widths of the pictures on their canvases, whole float32 [N, 2], as ``decode`` shrinks."""
    size = picture_size.float().clamp(min=1)
    scale = (contract.CANVAS / size.amax(1, keepdim=True)).clamp(max=1)
    return (size * scale + 0.5).floor().clamp(1, contract.CANVAS)


def _resampling(source: Tensor, target: Tensor, start: Tensor, side: int) -> Tensor:
    """What each pixel of the canvas weighs along one axis of the square.

    Args:
        source: float32 [N], pixels of the picture on the canvas.
        target: float32 [N], its pixels on the square.
        start: float32 [N], the first of these.
        side: of the square.

    Returns:
        float32 [N, side, CANVAS]; a row sums to 1, or to 0 where the picture is not.
    """
    step = (source / target)[:, None, None]
    place = torch.arange(side, device=source.device, dtype=torch.float32)[None, :, None] + 0.5
    pixel = torch.arange(contract.CANVAS, device=source.device, dtype=torch.float32)[None, None, :] + 0.5
    centre = (place - start[:, None, None]) * step
    weight = (1 - (pixel - centre).abs() / step.clamp(min=1)).clamp(min=0)
    weight = weight * (pixel < source[:, None, None])
    weight = weight / weight.sum(2, keepdim=True).clamp(min=1e-6)
    return weight * _between(start, start + target, side)[:, :, None]


def _product(weights: Tensor, lines: Tensor, step: Tensor, start: Tensor) -> Tensor:
    """``weights @ lines`` where each row of ``weights`` is 0 but for a few neighbours, by bands of rows.

    A band's rows take all they need from a few lines, so that most zeros are never multiplied.

    Args:
        weights: float32 [N, side, CANVAS], as ``_resampling`` gives them.
        lines: uint8 [N, CANVAS, W].
        step: float32 [N], lines a row.
        start: float32 [N], the first row that is not 0.

    Returns:
        float32 [N, side, W].
    """
    count, side = weights.shape[0], weights.shape[1]
    bands = max(1, side // _BAND)
    height = side // bands
    most = max(1.0, contract.CANVAS / side)
    wide = min(contract.CANVAS, math.ceil((height + 2) * most) + 2)
    if wide == contract.CANVAS or height * bands != side:
        return weights @ lines.float()
    first = torch.arange(bands, device=lines.device, dtype=torch.float32) * height
    lowest = ((first[None, :] - start[:, None] - 1) * step[:, None]).floor() - 1
    taken = torch.arange(wide, device=lines.device)
    place = lowest.clamp(0, contract.CANVAS - wide).long()[:, :, None] + taken
    picture = torch.arange(count, device=lines.device)[:, None, None] * contract.CANVAS
    flat = lines.reshape(count * contract.CANVAS, lines.shape[2])
    near = flat[(place + picture).flatten()].float().reshape(count, bands, wide, lines.shape[2])
    banded = weights.reshape(count, bands, height, contract.CANVAS)
    factors = banded.gather(3, place[:, :, None, :].expand(-1, -1, height, -1))
    found = factors @ near
    return found.reshape(count, side, lines.shape[2])


def _between(start: Tensor, end: Tensor, side: int) -> Tensor:
    """float32 [N, side]: 1 from ``start`` until before ``end``, else 0."""
    place = torch.arange(side, device=start.device, dtype=torch.float32)
    return ((place >= start[:, None]) & (place < end[:, None])).float()
