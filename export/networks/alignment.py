"""Faces turned upright: from five landmarks to a chip with eyes and mouth where an embedder wants them.

A chip is the picture under a similarity (turned, scaled, moved; never sheared or mirrored), the one that
brings the landmarks closest to the embedder's reference points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from adlens.contract import CANVAS


@dataclass(frozen=True)
class Alignment:
    """Where an embedder wants the landmarks.

    Attributes:
        size: side of the chip, in pixels.
        points: x, y in chip pixels, in the order of ``contract.LANDMARK_NAMES``.
        aspect: height of a chip pixel over its width, in the picture.
    """

    size: int
    points: tuple[tuple[float, float], ...]
    aspect: float = 1.0

    def coefficients(self) -> Tensor:
        """float32 [10, 6]: landmarks in a row, times this, are the similarity of ``similarities`` in a row.

        Umeyama's least squares (IEEE PAMI 13(4), 1991) in the plane, where points are complex numbers: of
        the maps p -> a p + b, the one that brings the points p closest to the landmarks q has
        a = mean conj(p - mean p) q / mean |p - mean p|^2 and b = mean q - a mean p. Both are linear in q.
        """
        points = np.array(self.points) @ (1, 1j * self.aspect)
        spread = (points - points.mean()).conj() / np.square(np.abs(points - points.mean())).sum()
        landmarks = np.eye(2 * len(points)).reshape(-1, len(points), 2) @ (1, 1j)
        a = landmarks @ spread
        b = landmarks.mean(axis=1) - a * points.mean()
        down = a * 1j * self.aspect
        rows = np.stack([a.real, down.real, b.real, a.imag, down.imag, b.imag], 1)
        return torch.from_numpy(rows.astype(np.float32))


DLIB: Final = Alignment(
    150, ((47.24, 45.37), (101.68, 45.43), (74.13, 77.64), (50.46, 105.02), (98.22, 105.01))
)
"""Where MTCNN's landmarks lie in dlib's own chips, ``get_face_chip(..., 150, 0.25)``: medians over 2,575
faces of LFW, one a person.

Tried on 354 pairs of one person and 4.4 million of two: eyes and nose weighted more in the fit, or a linear
map from the landmarks to dlib's own similarity, come closer to dlib's chips, but tell people apart no better
(d' 4.42 for this, 4.42 weighted, 4.32 for the map, 4.39 for dlib's own alignment). Shrinking large faces by
areas changes their embeddings by a cosine of 1e-4.
"""

ARCFACE: Final = Alignment(
    112,
    ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)),
)
"""InsightFace's template (``insightface/utils/face_align.py``), used by most embedders of today."""

FACENET: Final = Alignment(
    160,
    ((52.02, 66.18), (111.64, 65.24), (82.56, 90.86), (56.42, 113.49), (110.09, 112.55)),
    aspect=1.35,
)
"""facenet was trained on MTCNN's boxes with a margin of 16 pixels a side, made square whatever their shape:
medians over the same faces of where the landmarks then lie, and of the boxes' height over their width.
"""

TEMPLATES: Final = {"dlib": DLIB, "arcface": ARCFACE, "facenet": FACENET}
"""By the names under which ``embedders.yaml`` asks for them."""


def similarities(landmarks: Tensor, coefficients: Tensor) -> Tensor:
    """From (x, y, 1) in chip pixels to x, y in picture pixels, float32 [M, 2, 3].

    Args:
        landmarks: float32 [M, 5, 2], x, y in picture pixels. What is no number counts as 0.
        coefficients: of an ``Alignment``.
    """
    # No picture is larger; numbers beyond are no landmarks, and no grid of them should overflow.
    bounded = landmarks.nan_to_num().clamp(-CANVAS, 2 * CANVAS)
    return (bounded.flatten(1) @ coefficients).reshape(-1, 2, 3)


class Warp(NamedTuple):
    """What chips are sampled from, and where.

    A chip sees a window of its picture; ``rows @ terms`` are grids of P x P points x, y each, in units in
    which -1 and 1 are the edges of the window, as in ONNX's GridSample.
    """

    pixels: Tensor
    """uint8 [N, S, S, 3]."""
    starts: Tensor
    """int64 [M, 3]: picture, top and left of each window."""
    ends: Tensor
    """int64 [M, 3], exclusive."""
    rows: Tensor
    """float32 [P, 2], the same for all grids."""
    terms: Tensor
    """float32 [M, 2, 2 P]."""


def plan_warp(pixels: Tensor, picture: Tensor, transforms: Tensor, size: int) -> Warp:
    """How chips are to be sampled.

    Args:
        pixels: uint8 [N, S, S, 3].
        picture: int64 [M], row of ``pixels`` for each chip.
        transforms: float32 [M, 2, 3], from chip pixels to picture pixels.
        size: side of a chip, in pixels.
    """
    last = float(size - 1)
    corners = torch.tensor([[0.0, last, 0.0, last], [0.0, 0.0, last, last], [1.0, 1.0, 1.0, 1.0]])
    reach = transforms @ corners
    low = reach.amin(2).floor().clamp(0, CANVAS - 1)
    high = (reach.amax(2).floor() + 2).clamp(1, CANVAS)
    scale = 2 / (high - low)
    onto = transforms * scale[:, :, None]
    column = torch.arange(size, dtype=onto.dtype)
    shift = onto[:, :, 2] + (0.5 - low) * scale - 1
    along = onto[:, None, :, 0] * column[:, None] + shift[:, None]
    down = onto[:, None, :, 1].expand(-1, size, -1)
    return Warp(
        pixels,
        torch.cat([picture[:, None], low.flip(1).long()], 1),
        torch.cat([picture[:, None] + 1, high.flip(1).long()], 1),
        torch.stack([torch.ones_like(column), column], 1),
        torch.stack([along, down], 1).flatten(2),
    )


def sample(warp: Warp) -> Tensor:
    """Chips float32 [M, 3, P, P], RGB in [0, 255], bilinear; what lies outside the picture is black."""
    size = len(warp.rows)
    chips = warp.terms.new_empty(len(warp.terms), 3, size, size)
    for chip, start, end, term in zip(
        chips, warp.starts.tolist(), warp.ends.tolist(), warp.terms, strict=True
    ):
        window = warp.pixels[tuple(map(slice, start, end))].permute(0, 3, 1, 2).float()
        grid = (warp.rows @ term).reshape(1, size, size, 2)
        chip[:] = functional.grid_sample(window, grid, align_corners=False)[0]
    return chips
