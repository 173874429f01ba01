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
"""Lines of the square that are resampled together, at most."""
_RIM: Final = 1 / 56
"""How much of the square's side counts as the outermost pixels of a picture."""


class _Resampling(NamedTuple):
    """Of B bands of H lines of a square, which W lines of the canvas they take, and what these weigh.

    All other lines weigh nothing in a band, so that most zeros are never multiplied.
    """

    lines: Tensor
    """int64 [N, B, W]."""
    factors: Tensor
    """float32 [N, B, H, W]; the weights of a line of the square sum to 1, or to 0 where no picture is."""


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
    shrunk = _resample(pixels.reshape(count, canvas, canvas * 3), rows)
    lines = shrunk.reshape(count, side, canvas, 3).permute(0, 2, 3, 1).reshape(count, canvas, 3 * side)
    pictures = _resample(lines, columns).reshape(count, side, 3, side).permute(0, 2, 3, 1)
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


def _resampling(source: Tensor, target: Tensor, start: Tensor, side: int) -> _Resampling:
    """How one axis of the canvas becomes one of the square.

    Args:
        source: float32 [N], pixels of the picture on the canvas.
        target: float32 [N], its pixels on the square.
        start: float32 [N], the first of these.
        side: of the square.
    """
    height = max(each for each in range(1, _BAND + 1) if side % each == 0)
    most = max(1.0, contract.CANVAS / side)
    wide = min(contract.CANVAS, math.ceil((height + 2) * most) + 2)
    step = (source / target)[:, None]
    place = torch.arange(side, device=source.device, dtype=torch.float32)
    lowest = ((place[None, ::height] - start[:, None] - 1) * step).floor() - 1
    lines = lowest.clamp(0, contract.CANVAS - wide)[:, :, None] + torch.arange(wide, device=source.device)
    centre = ((place + 0.5 - start[:, None]) * step).reshape(-1, side // height, height)
    gap = (lines + 0.5)[:, :, None] - centre[:, :, :, None]
    factors = (1 - gap.abs() / step.clamp(min=1)[:, :, None, None]).clamp(min=0)
    factors = factors * (lines < source[:, None, None])[:, :, None]
    inside = _between(start, start + target, side).reshape(-1, side // height, height)
    factors = factors * (inside / factors.sum(3).clamp(min=1e-6))[:, :, :, None]
    return _Resampling(lines.long(), factors)


def _resample(lines: Tensor, axis: _Resampling) -> Tensor:
    """Lines of the canvas [N, CANVAS, W] -> those of the square, float32 [N, S, W]."""
    count, bands, height, wide = axis.factors.shape
    first = torch.arange(count, device=lines.device)[:, None, None] * contract.CANVAS
    taken = lines.reshape(count * contract.CANVAS, lines.shape[2])[(axis.lines + first).flatten()]
    near = taken.float().reshape(count, bands, wide, lines.shape[2])
    return (axis.factors @ near).reshape(count, bands * height, lines.shape[2])


def _between(start: Tensor, end: Tensor, side: int) -> Tensor:
    """float32 [N, side]: 1 from ``start`` until before ``end``, else 0."""
    place = torch.arange(side, device=start.device, dtype=torch.float32)
    return ((place >= start[:, None]) & (place < end[:, None])).float()
