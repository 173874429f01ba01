"""Random changes of face crops stay within their ranges; no range is no change."""

from __future__ import annotations

from dataclasses import replace

import pytest
import skimage.data
import torch
from torch import Tensor

from adlens import contract
from export.augmentation import IMG2RECOMMENDER, MARGIN, Augmentation, plain_chips
from export.networks.attributes import crop_faces

STILL = Augmentation(zoom=(1, 1), shear_degrees=0, brightness=(1, 1), rotation_degrees=0, shift=0, flip=0)
SIZE = 100
BOXES = torch.tensor([[179.0, 62.0, 266.0, 173.0], [260.0, 200.0, 340.0, 300.0]])


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    """Canvases with a face whose crop reaches over the edge, and circles around the middle of another."""
    canvases = torch.zeros(2, contract.CANVAS, contract.CANVAS, 3, dtype=torch.uint8)
    canvases[0, :512, :512] = torch.from_numpy(skimage.data.astronaut())
    row, column = torch.meshgrid(torch.arange(contract.CANVAS), torch.arange(contract.CANVAS), indexing="ij")
    # Middle of the crop of the second box.
    middle_row = 250 + (contract.CROP_BELOW - contract.CROP_ABOVE) / 2 * 100
    distance = ((row + 0.5 - middle_row) ** 2 + (column + 0.5 - 300) ** 2).sqrt()
    canvases[1] = (250 - distance).clamp(0, 255).unsqueeze(2).to(torch.uint8)
    return canvases


def chips(augmentation: Augmentation, pixels: Tensor, seed: int = 1) -> Tensor:
    return augmentation.chips(pixels, BOXES, SIZE, torch.Generator().manual_seed(seed))


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Mean absolute difference, in levels of 0 to 255."""
    return float((ours - theirs).abs().mean())


def test_without_ranges_chips_are_as_served(pixels: Tensor) -> None:
    plain = plain_chips(pixels, BOXES, SIZE)
    found = chips(STILL, pixels)
    assert found.shape == plain.shape == (2, 3, SIZE, SIZE)
    # Sampled twice, so edges are a little softer; one pixel aside, the photo would differ by 9 levels.
    assert difference(found[0], plain[0]) < 4 < difference(plain[0], plain[0].roll(1, -1))
    assert difference(found[1], plain[1]) < 0.5


def test_a_flip_mirrors(pixels: Tensor) -> None:
    torch.testing.assert_close(
        chips(replace(STILL, flip=1), pixels), chips(STILL, pixels).flip(3), atol=0.1, rtol=0
    )


def test_the_same_seed_gives_the_same_chips(pixels: Tensor) -> None:
    first = chips(Augmentation(), pixels, seed=3)
    assert torch.equal(chips(Augmentation(), pixels, seed=3), first)
    assert difference(chips(Augmentation(), pixels, seed=4), first) > 1


def test_faces_of_a_batch_draw_their_own_changes(pixels: Tensor) -> None:
    twice = pixels[:1].expand(2, -1, -1, -1)
    augmented = Augmentation().chips(twice, BOXES[:1].expand(2, -1), SIZE, torch.Generator().manual_seed(1))
    assert difference(augmented[0], augmented[1]) > 1


def test_zoom_above_one_shows_more_of_the_picture(pixels: Tensor) -> None:
    height = float(BOXES[1, 3] - BOXES[1, 1])
    lower = (contract.CROP_BELOW - contract.CROP_ABOVE) / 2 * height
    middle = (BOXES[1, :2] + BOXES[1, 2:]) / 2 + torch.tensor([0.0, lower])
    sides = height * torch.tensor([contract.CROP_WIDTH, 1 + contract.CROP_ABOVE + contract.CROP_BELOW])
    wide = torch.cat((middle - MARGIN / 2 * sides, middle + MARGIN / 2 * sides)).unsqueeze(0)
    expected = crop_faces(pixels[1:], wide, torch.tensor([0]), SIZE)
    found = chips(replace(STILL, zoom=(MARGIN, MARGIN)), pixels)
    assert difference(found[1], expected[0]) < 0.5


def test_rotation_turns_about_the_middle_of_the_crop(pixels: Tensor) -> None:
    """Circles around the middle stay where they are; a face does not."""
    still, turned = chips(STILL, pixels), chips(replace(STILL, rotation_degrees=180), pixels)
    inner = slice(SIZE // 4, -SIZE // 4)
    assert difference(turned[1, :, inner, inner], still[1, :, inner, inner]) < 3
    assert difference(turned[0], still[0]) > 10


def test_brightness_multiplies_and_stays_in_range(pixels: Tensor) -> None:
    still = chips(STILL, pixels)
    bright = chips(replace(STILL, brightness=(2, 2)), pixels)
    torch.testing.assert_close(bright, (2 * still).clamp(max=255))


@pytest.mark.parametrize(
    "augmentation", [Augmentation(), IMG2RECOMMENDER], ids=["default", "img2recommender"]
)
def test_chips_keep_shape_and_range(pixels: Tensor, augmentation: Augmentation) -> None:
    found = chips(augmentation, pixels)
    assert found.shape == (2, 3, SIZE, SIZE)
    assert found.dtype == torch.float32
    assert found.min() >= 0
    assert found.max() <= 255
