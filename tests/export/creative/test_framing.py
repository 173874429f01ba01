"""Pictures framed into squares: whole, undistorted, resampled as by Pillow, filled with their background."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from adlens import contract
from export.creative.framing import Framed, frame

SIZES = [
    (1, 1),
    (1, 3000),
    (3000, 1),
    (640, 3),
    (50, 5000),
    (140, 140),
    (93, 140),
    (640, 480),
    (639, 640),
    (2, 3),
]
SIDE = 224


def canvas(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """What ``decode`` makes of a picture of noise, uint8 [C, C, 3], but for its shrinking."""
    scale = contract.letterbox_scale(height, width)
    h, w = (max(1, int(side * scale + 0.5)) for side in (height, width))
    pixels = np.zeros((contract.CANVAS, contract.CANVAS, 3), np.uint8)
    pixels[:h, :w] = np.random.default_rng(seed).integers(0, 256, (h, w, 3), np.uint8)
    return pixels


def framed(sizes: list[tuple[int, int]], side: int = SIDE) -> Framed:
    pixels = np.stack([canvas(*size, seed=number) for number, size in enumerate(sizes)])
    return frame(torch.from_numpy(pixels), torch.tensor(sizes, dtype=torch.int32), side)


@pytest.mark.parametrize("side", [SIDE, contract.CANVAS])
def test_a_picture_is_resampled_as_pillow_does_whatever_its_size(side: int) -> None:
    found = framed(SIZES, side)
    for number, (height, width) in enumerate(SIZES):
        scale = contract.letterbox_scale(height, width)
        h, w = (max(1, int(edge * scale + 0.5)) for edge in (height, width))
        x1, y1, x2, y2 = found.boxes[number].tolist()
        picture = Image.fromarray(canvas(height, width, number)[:h, :w])
        expected = np.asarray(picture.resize((x2 - x1, y2 - y1), Image.Resampling.BILINEAR), np.float32)
        got = found.squares[number, :, y1:y2, x1:x2].permute(1, 2, 0).numpy()
        # Pillow rounds to bytes after each axis.
        assert np.abs(got - expected).max() <= 1.5, (height, width)


def test_the_whole_picture_lies_in_the_middle_and_keeps_its_aspect() -> None:
    for (height, width), box in zip(SIZES, framed(SIZES).boxes.tolist(), strict=True):
        x1, y1, x2, y2 = box
        assert max(x2 - x1, y2 - y1) == SIDE
        assert abs(x1 - (SIDE - x2)) <= 1
        assert abs(y1 - (SIDE - y2)) <= 1
        shorter = SIDE * min(height, width) / max(height, width)
        assert min(x2 - x1, y2 - y1) == pytest.approx(shorter, abs=1)


def test_the_rest_is_the_mean_colour_of_the_outermost_pixels() -> None:
    pixels = np.zeros((1, contract.CANVAS, contract.CANVAS, 3), np.uint8)
    pixels[0, :100, :200] = (200, 100, 50)
    pixels[0, 20:80, 40:160] = (0, 0, 255)
    found = frame(torch.from_numpy(pixels), torch.tensor([[100, 200]], dtype=torch.int32), SIDE)
    assert found.background.flatten().tolist() == pytest.approx([200, 100, 50], abs=0.01)
    assert found.boxes.tolist() == [[0, 56, 224, 168]]
    for corner in (found.squares[0, :, 0, 0], found.squares[0, :, -1, -1], found.squares[0, :, 55, 100]):
        assert corner.tolist() == pytest.approx([200, 100, 50], abs=0.01)
    assert found.squares[0, :, 112, 112].tolist() == pytest.approx([0, 0, 255], abs=0.01)


def test_pictures_of_a_batch_do_not_touch_each_other() -> None:
    together = framed(SIZES)
    for number, size in enumerate(SIZES):
        pixels = torch.from_numpy(canvas(*size, seed=number)[None])
        alone = frame(pixels, torch.tensor([size], dtype=torch.int32), SIDE)
        torch.testing.assert_close(together.squares[number], alone.squares[0], atol=1e-3, rtol=0)
        assert together.boxes[number].tolist() == alone.boxes[0].tolist()


def test_an_empty_batch_gives_no_squares() -> None:
    pixels = torch.zeros(0, contract.CANVAS, contract.CANVAS, 3, dtype=torch.uint8)
    found = frame(pixels, torch.zeros(0, 2, dtype=torch.int32), SIDE)
    assert found.squares.shape == (0, 3, SIDE, SIDE)
