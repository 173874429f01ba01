"""The variants of a picture, each a registered function under its label.

A new one is a function here and a line in ``creative.yaml``. Training, serving and rendering call the same
functions. Every length in them is a share of the square's side, so that a variant looks the same at the
size that the network reads and at the size that people see. They export to ONNX: no step depends on a
pixel's value in Python.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Apply = Callable[[Tensor, Tensor], Tensor]
"""Squares float32 [N, 3, S, S], RGB in [0, 255], and their background [N, 3, 1, 1] -> [N, 3, S, S]."""
Move = Callable[[Tensor, int], Tensor]
"""Boxes float32 [N, 4] of the pictures on squares of a side -> where the variant has them."""


def _stay(boxes: Tensor, side: int) -> Tensor:
    return boxes


@dataclass(frozen=True)
class Variant:
    """One version of a picture."""

    label: str
    apply: Apply
    move: Move = _stay


VARIANTS: Final[dict[str, Variant]] = {}
"""All registered variants by label."""


def variant(label: str, move: Move = _stay) -> Callable[[Apply], Apply]:
    """Register a function as the variant ``label``.

    Raises:
        ValueError: there is one of that label.
    """

    def register(apply: Apply) -> Apply:
        if label in VARIANTS:
            raise ValueError(f"there are two variants {label!r}; give each a label of its own")
        VARIANTS[label] = Variant(label, apply, move)
        return apply

    return register


Floats = NDArray[np.float64]


def _constant(values: Floats, like: Tensor) -> Tensor:
    """``values`` as a tensor of the same type and on the same device as ``like``.

    Whatever is known beforehand comes through here: of what numpy computes, an exported graph holds the
    result alone.
    """
    return torch.from_numpy(values).to(like)


LUMA: Final = (0.299, 0.587, 0.114)
"""Weight of red, green and blue in brightness (ITU-R BT.601)."""


def luma(pictures: Tensor) -> Tensor:
    """Brightness float32 [N, 1, S, S] of [N, 3, S, S]."""
    red, green, blue = (pictures[:, channel, None] for channel in range(3))
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


BRIGHTER_GAMMA: Final = 0.75
BRIGHTER_LIFT: Final = 0.26
"""Share of the range by which black is lifted."""
BRIGHTER_TINT: Final = (1.0, 0.985, 0.925)
"""Of red, green and blue: a little warmth, as white on white cannot tell that there is more light."""
DARKER_GAIN: Final = 0.66
DARKER_BEND: Final = 0.25
"""How much more the shadows lose than the lights."""


@variant("brighter")
def brighter(pictures: Tensor, background: Tensor) -> Tensor:
    """More light, as of the sun: shadows opened, middle tones raised, whites a little warm."""
    tone = luma(pictures) / 255
    raised = BRIGHTER_LIFT + (1 - BRIGHTER_LIFT) * tone**BRIGHTER_GAMMA
    tint = _constant(np.array(BRIGHTER_TINT).reshape(1, 3, 1, 1), pictures)
    return tint * (pictures + 255 * (raised - tone)).clamp(0, 255)


@variant("darker")
def darker(pictures: Tensor, background: Tensor) -> Tensor:
    """Less light on everything, white too, and deeper shadows."""
    return DARKER_GAIN * pictures * (1 - DARKER_BEND + (DARKER_BEND / 255) * pictures)


@variant("original")
def original(pictures: Tensor, background: Tensor) -> Tensor:
    """The picture as it came."""
    return pictures


def _turn_boxes(boxes: Tensor, side: int) -> Tensor:
    x1, y1, x2, y2 = boxes.unbind(1)
    return torch.stack((y1, side - x2, y2, side - x1), dim=1)


@variant("rotate", _turn_boxes)
def rotate(pictures: Tensor, background: Tensor) -> Tensor:
    """A quarter turn in the plane, against the clock."""
    return pictures.transpose(2, 3).flip(2)


SKETCH_BLUR: Final = 1 / 64
"""Standard deviation of the blur over the side: a pencil's stroke."""


@variant("sketch")
def sketch(pictures: Tensor, background: Tensor) -> Tensor:
    """Pencil on paper: grey, inverted, blurred, and the grey divided by what that leaves (colour dodge)."""
    grey = luma(pictures)
    side = pictures.shape[3]
    blur = _constant(_gaussian(side, SKETCH_BLUR * side), pictures)
    blurred = _along_both(255 - grey, blur)
    # The half keeps black on black from being divided by nothing.
    dodged = (255 * grey / (255 - blurred).clamp(min=0.5)).clamp(0, 255)
    return dodged.expand(-1, 3, -1, -1)


def _gaussian(side: int, deviation: float) -> Floats:
    """[side, side]: each row blurs along an axis, by the pixels that there are."""
    place = np.arange(side)
    weight = np.exp(-((place[:, None] - place) ** 2) / (2 * deviation**2))
    return np.asarray(weight / weight.sum(1, keepdims=True))


def _along_both(x: Tensor, matrix: Tensor) -> Tensor:
    """``matrix @ x @ matrix.T`` of [N, C, s, s], in plain products: others fail where there are no rows."""
    for _ in range(2):
        x = (x.flatten(0, 2) @ matrix.T).reshape(*x.shape[:3], -1).transpose(2, 3)
    return x


SWIVEL_ANGLE: Final = math.radians(30)
SWIVEL_DISTANCE: Final = 3.0
"""Of the pinhole from the middle of the picture, in half sides of the square."""


def _swivel_geometry() -> tuple[float, float]:
    """Focal length by which the near edge is as tall as the square, and the shift that centres the view.

    A point (x, y) of the picture, -1 to 1 each, lies at (x cos a, y, x sin a) once it is turned, and is seen
    at f / (d + x sin a) times its first two places (a pinhole camera at distance d; Hartley and Zisserman,
    Multiple View Geometry, 6.1).
    """
    sine, cosine = math.sin(SWIVEL_ANGLE), math.cos(SWIVEL_ANGLE)
    focal = SWIVEL_DISTANCE - sine
    near, far = -focal * cosine / (SWIVEL_DISTANCE - sine), focal * cosine / (SWIVEL_DISTANCE + sine)
    return focal, -(near + far) / 2


def _see(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Where a point of the picture is seen; all from -1 to 1."""
    focal, shift = _swivel_geometry()
    depth = SWIVEL_DISTANCE + x * math.sin(SWIVEL_ANGLE)
    return focal * x * math.cos(SWIVEL_ANGLE) / depth + shift, focal * y / depth


def _look_back(u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """The inverse of ``_see``."""
    focal, shift = _swivel_geometry()
    seen = u - shift
    x = seen * SWIVEL_DISTANCE / (focal * math.cos(SWIVEL_ANGLE) - seen * math.sin(SWIVEL_ANGLE))
    return x, v * (SWIVEL_DISTANCE + x * math.sin(SWIVEL_ANGLE)) / focal


def _swivel_boxes(boxes: Tensor, side: int) -> Tensor:
    x1, y1, x2, y2 = (boxes * (2 / side) - 1).unbind(1)
    x, y = torch.stack((x1, x2, x2, x1), dim=1), torch.stack((y1, y1, y2, y2), dim=1)
    u, v = _see(x, y)
    low, high = torch.stack((u.amin(1), v.amin(1)), dim=1), torch.stack((u.amax(1), v.amax(1)), dim=1)
    seen = (torch.cat((low, high), dim=1) + 1) * (side / 2)
    return torch.cat((seen[:, :2].floor(), seen[:, 2:].ceil()), dim=1).clamp(0, side)


@variant("swivel", _swivel_boxes)
def swivel(pictures: Tensor, background: Tensor) -> Tensor:
    """Turned by 30 degrees about the vertical axis, its right side away, as a pinhole camera sees it."""
    side = pictures.shape[3]
    place = (np.arange(side) + 0.5) * (2 / side) - 1
    v, u = np.meshgrid(place, place, indexing="ij")
    grid = _constant(np.stack(_look_back(u, v), axis=2), pictures)
    # What lies outside is 0 to grid_sample: the difference to the background, of which that is none.
    seen = functional.grid_sample(
        pictures - background,
        grid[None].expand(pictures.shape[0], -1, -1, -1),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    return seen + background


COARSE: Final = 40
"""Side of the grid on which areas are looked for."""
BACKGROUND_TINT: Final = (244.0, 202.0, 112.0)
BACKGROUND_NEAR: Final = 18.0
"""Largest difference of a channel by which a pixel may still be background, of 255."""
BACKGROUND_SOFTNESS: Final = 3.0


@variant("background")
def recolour_background(pictures: Tensor, background: Tensor) -> Tensor:
    """Warm yellow in place of what is like the background and connected to the border; shadows stay."""
    alike = torch.sigmoid(
        (BACKGROUND_NEAR - (pictures - background).abs().amax(1, keepdim=True)) / BACKGROUND_SOFTNESS
    )
    area = torch.minimum(alike, _refined(_connected(_coarse(alike)), pictures.shape[3]))
    tint = _constant(np.array(BACKGROUND_TINT).reshape(1, 3, 1, 1), pictures)
    return (pictures + area * (tint - background)).clamp(0, 255)


def _connected(alike: Tensor) -> Tensor:
    """Of [N, 1, g, g] in [0, 1] what the border reaches through it.

    Morphological reconstruction by geodesic dilation (Vincent, IEEE Trans. Image Processing 2(2), 1993).
    """
    border = np.ones((COARSE, COARSE))
    border[1:-1, 1:-1] = 0
    reached = alike * _constant(border, alike)
    for _ in range(COARSE):
        reached = torch.minimum(alike, functional.max_pool2d(reached, 3, 1, 1))
    # A dilation more, so that a half-covered cell at the product's edge does not keep a halo.
    return functional.max_pool2d(reached, 3, 1, 1)


def _coarse(x: Tensor) -> Tensor:
    """Averages over a grid: [N, C, S, S] -> [N, C, COARSE, COARSE]."""
    return _along_both(x, _constant(_averaging(x.shape[3]), x))


def _refined(x: Tensor, side: int) -> Tensor:
    """Bilinear: [N, C, COARSE, COARSE] -> [N, C, side, side]."""
    centre = ((np.arange(side) + 0.5) * (COARSE / side) - 0.5).clip(0, COARSE - 1)
    matrix = _constant((1 - np.abs(centre[:, None] - np.arange(COARSE))).clip(0), x)
    return _along_both(x, matrix)


def _averaging(side: int) -> Floats:
    """[COARSE, side]: each row averages the pixels of a cell, one that lies in two of them by its parts."""
    edges = np.arange(COARSE + 1) * (side / COARSE)
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(side)
    overlap = (np.minimum(high, pixel + 1) - np.maximum(low, pixel)).clip(0)
    return np.asarray(overlap / overlap.sum(1, keepdims=True))


HUES: Final = 24
RECOLOUR_ANGLE: Final = math.radians(150)
RECOLOUR_WIDTH: Final = math.radians(28)
"""How far a hue may lie from the dominant one and still be turned by half."""
RECOLOUR_CHROMA: Final = 22.0
"""Chroma, of 255, from which on a pixel is coloured rather than grey."""


@variant("recolour")
def recolour(pictures: Tensor, background: Tensor) -> Tensor:
    """The dominant hue turned to another, with its brightness; a picture without colour stays as it is."""
    x, y = _hue_plane(pictures)
    coarse_x, coarse_y = _hue_plane(_coarse(pictures))
    ground_x, ground_y = _hue_plane(background)
    # A hue counts by how much of it there is, but for the background's own.
    apart = ((coarse_x - ground_x) ** 2 + (coarse_y - ground_y) ** 2).sqrt()
    counts = (apart / RECOLOUR_CHROMA).clamp(max=1)
    angles = np.arange(HUES).reshape(1, HUES, 1, 1) * (2 * math.pi / HUES)
    cosines, sines = _constant(np.cos(angles), pictures), _constant(np.sin(angles), pictures)
    amount = (_nearness(coarse_x, coarse_y, cosines, sines) * counts).sum((2, 3))
    dominant = amount.argmax(1)
    cosine, sine = (values.flatten()[dominant].reshape(-1, 1, 1, 1) for values in (cosines, sines))
    turned = _turn_hue(pictures)
    share = _nearness(x, y, cosine, sine)
    return (pictures + share * (turned - pictures)).clamp(0, 255)


def _hue_plane(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Hue as the angle, chroma as the length, of points x, y float32 [N, 1, S, S].

    A. Hanbury, Constructing cylindrical coordinate colour spaces, Pattern Recognition Letters 29(4), 2008.
    """
    red, green, blue = (pictures[:, channel, None] for channel in range(3))
    return red - (green + blue) / 2, (green - blue) * (math.sqrt(3) / 2)


def _nearness(x: Tensor, y: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """How much a pixel has of a hue, 0 to 1: by its angle to it, and by its chroma."""
    chroma = (x**2 + y**2 + 1e-3).sqrt()
    likeness = (x * cosine + y * sine) / chroma
    sharpness = math.log(2) / (1 - math.cos(RECOLOUR_WIDTH))
    return torch.exp(sharpness * (likeness - 1)) * (chroma / RECOLOUR_CHROMA - 0.5).clamp(0, 1)


def _turn_hue(pictures: Tensor) -> Tensor:
    """All hues turned by RECOLOUR_ANGLE in the plane of equal luma (the YIQ rotation of NTSC television)."""
    to_yiq = np.array([LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)])
    cosine, sine = math.cos(RECOLOUR_ANGLE), math.sin(RECOLOUR_ANGLE)
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    matrix = _constant(np.linalg.inv(to_yiq) @ turn @ to_yiq, pictures)
    return functional.conv2d(pictures, matrix[:, :, None, None])
