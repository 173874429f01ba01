"""Random changes to face crops in training.

The kinds of change are those of the IMG2RECOMMENDER project (Keras' ``ImageDataGenerator``). Its ranges
(``IMG2RECOMMENDER``: zoom 0.8 to 1.7, where above 1 shows more of the picture, shear 0.2 degrees, brightness
0.5 to 1.5, rotation 40 degrees, shifts 0.2 of a side, horizontal flip) are wider than what a detector's
boxes leave open, so the default is narrower.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from export.networks.attributes import crop_boxes, crop_faces

MARGIN: Final = 1.5
"""Side of the crop that is warped, over the side of a chip; beyond it all is black."""


@dataclass(frozen=True)
class Augmentation:
    """Ranges from which each face draws its own change."""

    zoom: tuple[float, float] = (0.85, 1.2)
    shear_degrees: float = 0.2
    brightness: tuple[float, float] = (0.6, 1.4)
    rotation_degrees: float = 20.0
    shift: float = 0.06
    flip: float = 0.5

    def chips(self, pixels: Tensor, boxes: Tensor, size: int, random: torch.Generator) -> Tensor:
        """Changed chips of one face a picture.

        Args:
            pixels: uint8 [n, S, S, 3] canvases.
            boxes: float32 [n, 4], a face box of each.
            size: side of a chip.
            random: source of the changes.

        Returns:
            float32 [n, 3, size, size], RGB in [0, 255].
        """
        rows = torch.arange(len(boxes))
        wide = crop_faces(pixels, _grown(crop_boxes(boxes), MARGIN), rows, round(MARGIN * size))
        grid = functional.affine_grid(self._warps(len(boxes), random), [len(boxes), 3, size, size], False)
        chips = functional.grid_sample(wide, grid / MARGIN, "bilinear", "zeros", align_corners=False)
        brightness = _uniform(random, len(boxes), *self.brightness).reshape(-1, 1, 1, 1)
        return (chips * brightness).clamp(0, 255)

    def _warps(self, count: int, random: torch.Generator) -> Tensor:
        """Affine maps [count, 2, 3] from chip to crop, both in [-1, 1]."""
        angle = _uniform(random, count, -1, 1) * math.radians(self.rotation_degrees)
        shear = _uniform(random, count, -1, 1) * math.radians(self.shear_degrees)
        zoom = _uniform(random, count, *self.zoom)
        mirror = 1 - 2 * (torch.rand(count, generator=random) < self.flip).float()
        shift = 2 * self.shift * (2 * torch.rand(count, 2, generator=random) - 1)
        rotation = torch.stack((angle.cos(), -(angle + shear).sin(), angle.sin(), (angle + shear).cos()), 1)
        linear = rotation.reshape(-1, 2, 2) * zoom.reshape(-1, 1, 1)
        linear[:, :, 0] *= mirror.reshape(-1, 1)
        return torch.cat((linear, shift.unsqueeze(2)), dim=2)


IMG2RECOMMENDER: Final = Augmentation((0.8, 1.7), 0.2, (0.5, 1.5), 40.0, 0.2)


def plain_chips(pixels: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Chips as the server crops them, one face a picture: float32 [n, 3, size, size]."""
    return crop_faces(pixels, crop_boxes(boxes), torch.arange(len(boxes)), size)


def _grown(boxes: Tensor, factor: float) -> Tensor:
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, factor * (boxes[:, 2:] - boxes[:, :2]) / 2
    return torch.cat((centre - half, centre + half), dim=1)


def _uniform(random: torch.Generator, count: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=random)
