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

_BAND: Final = 8
"""Lines of the square that are resampled together, at most: with more, most weights are zeros, with fewer,
lines of the canvas are taken several times."""
_RIM: Final = 1 / 56
"""How much of the square's side counts as the outermost pixels of a picture."""


class _Resampling(NamedTuple):
    """Of B bands of H lines of a square, which W lines of the canvas they take, and what these weigh.

    All other lines weigh nothing in a band, so that most zeros are never multiplied. Along both axes, rows
    first: what is small is computed of both at once, as ONNX Runtime takes its time for each operator.
    """

    lines: Tensor
    """int64 [N, 2, B, W]."""
    factors: Tensor
    """float32 [N, 2, B, H, W]; the weights of a line of the square sum to 1, or to 0 where no picture is."""


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
    end = start + target
    there = _between(start, end, side)
    lines, factors = _resampling(source, target, start, there)
    count, canvas = pixels.shape[0], contract.CANVAS
    # Rows first, with the colours still interleaved: no copy of the canvas.
    shrunk = _resample(pixels.reshape(count, canvas, canvas * 3), lines[:, 0], factors[:, 0])
    turned = shrunk.reshape(count, side, canvas, 3).permute(0, 2, 3, 1).reshape(count, canvas, 3 * side)
    pictures = _resample(turned, lines[:, 1], factors[:, 1]).reshape(count, side, 3, side).permute(0, 2, 3, 1)
    rim = max(1, round(_RIM * side))
    inside = _crossed(there)
    outermost = inside - _crossed(_between(start + rim, end - rim, side))
    background = (pictures * outermost).sum((2, 3), keepdim=True) / outermost.sum((2, 3), keepdim=True)
    squares = (pictures + (1 - inside) * background).clamp(0, 255)
    boxes = torch.stack((start[:, 1], start[:, 0], end[:, 1], end[:, 0]), dim=1)
    return Framed(squares, background, boxes.long())


def _on_canvas(picture_size: Tensor) -> Tensor:
    """Heights and widths of the pictures on their canvases, whole float32 [N, 2], as ``decode`` shrinks."""
    size = picture_size.float().clamp(min=1)
    scale = (contract.CANVAS / size.amax(1, keepdim=True)).clamp(max=1)
    return (size * scale + 0.5).floor().clamp(1, contract.CANVAS)


def _resampling(source: Tensor, target: Tensor, start: Tensor, there: Tensor) -> _Resampling:
    """How both axes of the canvas become those of the square.

    Args:
        source: float32 [N, 2], pixels of the picture on the canvas.
        target: float32 [N, 2], its pixels on the square.
        start: float32 [N, 2], the first of these.
        there: float32 [N, 2, S], 1 for all of these, else 0.
    """
    side = there.shape[2]
    height = max(each for each in range(1, _BAND + 1) if side % each == 0)
    most = max(1.0, contract.CANVAS / side)
    wide = min(contract.CANVAS, math.ceil((height + 2) * most) + 2)
    step = (source / target)[:, :, None]
    place = torch.arange(side, device=source.device, dtype=torch.float32)
    lowest = ((place[::height] - start[:, :, None] - 1) * step).floor() - 1
    lines = lowest.clamp(0, contract.CANVAS - wide)[..., None] + torch.arange(wide, device=source.device)
    centre = ((place + 0.5 - start[:, :, None]) * step).reshape(-1, 2, side // height, height)
    gap = (lines + 0.5)[:, :, :, None] - centre[..., None]
    factors = (1 - gap.abs() / step.clamp(min=1)[..., None, None]).clamp(min=0)
    factors = factors * (lines < source[:, :, None, None])[:, :, :, None]
    inside = there.reshape(-1, 2, side // height, height)
    factors = factors * (inside / factors.sum(4).clamp(min=1e-6))[..., None]
    return _Resampling(lines.long(), factors)


def _resample(canvas: Tensor, lines: Tensor, factors: Tensor) -> Tensor:
    """Lines of the canvas [N, CANVAS, W] -> those of the square, float32 [N, S, W], along one axis."""
    count, bands, height, wide = factors.shape
    first = torch.arange(count, device=lines.device)[:, None, None] * contract.CANVAS
    taken = canvas.reshape(count * contract.CANVAS, canvas.shape[2])[(lines + first).flatten()]
    near = taken.float().reshape(count, bands, wide, canvas.shape[2])
    return (factors @ near).reshape(count, bands * height, canvas.shape[2])


def _between(start: Tensor, end: Tensor, side: int) -> Tensor:
    """From float32 [N, 2] each, float32 [N, 2, side]: 1 from ``start`` until before ``end``, else 0."""
    place = torch.arange(side, device=start.device, dtype=torch.float32)
    return ((place >= start[:, :, None]) & (place < end[:, :, None])).float()


def _crossed(axes: Tensor) -> Tensor:
    """Products of all rows and columns, float32 [N, 2, S] -> [N, 1, S, S]."""
    return axes[:, 0, None, :, None] * axes[:, 1, None, None, :]
