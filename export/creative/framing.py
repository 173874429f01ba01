"""A picture of any shape, framed into a square: fitted in whole, the rest its own background.

All in tensor operations that export to ONNX, for a batch of pictures of different sizes at once: the
resampling along each axis is one matrix product a picture, whose weights are computed from its size.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

from adlens import contract

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
    # Rows first, with the colours still interleaved: one large product, and no copy of the canvas.
    shrunk = (rows @ pixels.float().reshape(count, canvas, canvas * 3)).reshape(count, side, canvas, 3)
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


def _between(start: Tensor, end: Tensor, side: int) -> Tensor:
    """float32 [N, side]: 1 from ``start`` until before ``end``, else 0."""
    place = torch.arange(side, device=start.device, dtype=torch.float32)
    return ((place >= start[:, None]) & (place < end[:, None])).float()
