"""Chips: landmarks come to lie where an embedder wants them, whatever the face's place, size and angle."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from adlens.contract import CANVAS
from export.networks.alignment import TEMPLATES, Alignment, Warp, plan_warp, sample, similarities


def placed(alignment: Alignment, scale: float, angle: float, x: float, y: float) -> Tensor:
    """The reference points as landmarks of a face of that scale and angle, its chip's origin at x, y."""
    points = torch.tensor(alignment.points) * torch.tensor([1, alignment.aspect])
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return scale * points @ turn.T + torch.tensor([x, y])


def chips(pixels: Tensor, picture: list[int], transforms: Tensor, size: int) -> Tensor:
    return sample(plan_warp(pixels, torch.tensor(picture), transforms, size))


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize(("scale", "angle"), [(1, 0), (0.5, 0.4), (3, -2.5)])
def test_reference_points_are_brought_onto_the_landmarks(template: str, scale: float, angle: float) -> None:
    alignment = TEMPLATES[template]
    landmarks = placed(alignment, scale, angle, 100, 200)
    transform = similarities(landmarks[None], alignment.coefficients())[0]
    points = torch.tensor(alignment.points)
    found = points @ transform[:, :2].T + transform[:, 2]
    torch.testing.assert_close(found, landmarks, rtol=0, atol=1e-3)


def test_of_landmarks_that_fit_no_similarity_the_squares_of_the_errors_are_least() -> None:
    alignment = TEMPLATES["dlib"]
    random = np.random.default_rng(3)
    points = np.array(alignment.points)
    landmarks = 1.5 * points + random.normal(scale=8, size=points.shape)
    # x' = a x - b y + c, y' = b x + a y + d
    rows = np.zeros((10, 4))
    rows[0::2] = np.stack([points[:, 0], -points[:, 1], np.ones(5), np.zeros(5)], 1)
    rows[1::2] = np.stack([points[:, 1], points[:, 0], np.zeros(5), np.ones(5)], 1)
    a, b, c, d = np.linalg.lstsq(rows, landmarks.ravel(), rcond=None)[0]
    found = similarities(torch.tensor(landmarks[None], dtype=torch.float32), alignment.coefficients())[0]
    np.testing.assert_allclose(found, [[a, -b, c], [b, a, d]], rtol=1e-4, atol=1e-3)


def test_a_chip_of_an_upright_face_of_its_size_is_the_picture_itself() -> None:
    pixels = torch.randint(0, 256, (2, CANVAS, CANVAS, 3), dtype=torch.uint8)
    transform = torch.tensor([[1.0, 0, 37], [0, 1, 590]]).expand(2, 2, 3)
    found = chips(pixels, [1, 0], transform, 60).permute(0, 2, 3, 1)
    for chip, picture in zip(found, (1, 0), strict=True):
        expected = torch.zeros(60, 60, 3)
        expected[:50] = pixels[picture, 590:, 37:97].float()
        torch.testing.assert_close(chip, expected, rtol=0, atol=0.1)


def test_outside_of_its_own_picture_a_chip_is_black() -> None:
    """Above and below it lie other pictures of the batch."""
    pixels = torch.full((3, CANVAS, CANVAS, 3), 200, dtype=torch.uint8)
    corners = torch.tensor([[-20.0, -20.0], [CANVAS - 20.0, CANVAS - 20.0], [-20.0, 900.0]])
    transforms = torch.cat([torch.eye(2).expand(3, 2, 2), corners[:, :, None]], 2)
    for picture in range(3):
        found = chips(pixels, [picture] * 3, transforms, 40)
        assert found[0, :, 20:, 20:].min() > 199.9
        assert found[0, :, :19].max() < 0.1
        assert found[0, :, :, :19].max() < 0.1
        assert found[1, :, :19, :19].min() > 199.9
        assert found[1, :, 21:].max() < 0.1
        assert found[1, :, :, 21:].max() < 0.1
        assert found[2].max() < 0.1


def test_a_turned_face_is_turned_back() -> None:
    """A picture of two halves, turned with the landmarks: the chip shows the halves upright."""
    alignment = TEMPLATES["dlib"]
    y, x = torch.meshgrid(torch.arange(CANVAS) - 320.0, torch.arange(CANVAS) - 320.0, indexing="ij")
    for angle in (0.0, 0.7, 2.0, -1.5):
        above = -math.sin(angle) * x + math.cos(angle) * y < 0
        pixels = (above * 255).to(torch.uint8)[None, :, :, None].expand(1, -1, -1, 3).contiguous()
        middle = torch.tensor([75.0, 75.0])
        landmarks = placed(alignment, 1, angle, 0, 0) - placed(
            Alignment(150, (tuple(middle.tolist()),) * 5), 1, angle, 0, 0
        ) + 320  # fmt: skip
        chip = chips(pixels, [0], similarities(landmarks[None], alignment.coefficients()), 150)[0]
        assert chip[:, :70, 10:140].min() > 250, angle
        assert chip[:, 80:, 10:140].max() < 5, angle


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 3e38])
def test_landmarks_that_are_none_give_a_finite_chip(value: float) -> None:
    alignment = TEMPLATES["dlib"]
    landmarks = placed(alignment, 1, 0, 100, 100)[None].clone()
    landmarks[0, 2, 1] = value
    warp = plan_warp(
        torch.full((1, CANVAS, CANVAS, 3), 9, dtype=torch.uint8), torch.tensor([0]),
        similarities(landmarks, alignment.coefficients()), 150,
    )  # fmt: skip
    assert isinstance(warp, Warp)
    assert sample(warp).isfinite().all()
