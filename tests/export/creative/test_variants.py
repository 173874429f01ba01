"""Each variant is what its label says, at any size, and a new one is a function and a line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from adlens import contract
from export import generated, generated_creatives
from export.creative import variants
from export.creative.framing import Framed, frame
from export.creative.network import RenderNetwork
from export.creative.variants import VARIANTS, luma

SIDE = 224
ALL_WANTED = torch.ones(1, contract.MAX_VARIANTS, dtype=torch.uint8)


def framed(image: Image.Image, side: int = SIDE) -> Framed:
    """An image of at most the canvas's size."""
    pixels = np.zeros((1, contract.CANVAS, contract.CANVAS, 3), np.uint8)
    pixels[0, : image.height, : image.width] = np.asarray(image)
    return frame(
        torch.from_numpy(pixels), torch.tensor([[image.height, image.width]], dtype=torch.int32), side
    )


def pictures() -> list[Image.Image]:
    shoe = generated_creatives.new_shoe(Random(1))
    return [
        generated_creatives.draw(shoe, Random(2)).resize((400, 300)),
        generated.astronaut(),
        Image.new("RGB", (30, 90), "white"),
        Image.new("RGB", (90, 30)),
    ]


def made(label: str, found: Framed) -> Tensor:
    return VARIANTS[label].apply(found.squares, found.background)


@pytest.mark.parametrize("label", VARIANTS)
def test_a_variant_is_a_picture_of_the_same_size(label: str) -> None:
    for image in pictures():
        found = framed(image)
        picture = made(label, found)
        assert picture.shape == found.squares.shape
        assert -0.01 <= float(picture.min()) <= float(picture.max()) <= 255.01


@pytest.mark.parametrize("label", VARIANTS)
def test_a_variant_looks_alike_small_and_large(label: str) -> None:
    for image in pictures()[:2]:
        small = made(label, framed(image, 160))[0]
        large = made(label, framed(image, 640))[0]
        shrunk = torch.nn.functional.avg_pool2d(large, 4)
        assert float((small - shrunk).abs().mean()) < 8, label


def test_brighter_and_darker_are_so_on_a_white_ground_as_well() -> None:
    for image in pictures():
        found = framed(image)
        original = luma(found.squares)
        # White on white cannot get brighter, but warmer.
        assert float(luma(made("brighter", found)).mean()) >= min(float(original.mean()) + 2, 250)
        assert float(luma(made("darker", found)).mean()) <= float(original.mean())
        assert float(luma(made("brighter", found)).min()) > 60
        assert float(luma(made("darker", found)).max()) < 170
    white = framed(pictures()[2])
    assert float((white.squares - made("darker", white)).min()) > 80
    red, green, blue = made("brighter", white)[0].flatten(1).mean(1).tolist()
    assert red >= green >= blue + 10
    assert blue > 230


def test_the_original_stays_as_it_is() -> None:
    found = framed(generated.astronaut())
    assert torch.equal(made("original", found), found.squares)


def test_rotate_is_a_quarter_turn_in_the_plane() -> None:
    found = framed(pictures()[0])
    expected = np.rot90(found.squares[0].permute(1, 2, 0).numpy())
    np.testing.assert_array_equal(made("rotate", found)[0].permute(1, 2, 0).numpy(), expected)


def test_sketch_is_grey_inverted_blurred_and_dodged() -> None:
    found = framed(generated.astronaut())
    sketch = made("sketch", found)[0]
    assert torch.equal(sketch[0], sketch[1])
    assert torch.equal(sketch[0], sketch[2])
    grey = luma(found.squares)[0, 0].numpy()
    # The same by an independent blur, away from the border, where that one has other pixels.
    from skimage.filters import gaussian

    blurred = gaussian(255 - grey, variants.SKETCH_BLUR * SIDE, truncate=6, preserve_range=True)
    expected = np.clip(255 * grey / np.maximum(255 - blurred, 0.5), 0, 255)
    inner = slice(30, -30)
    np.testing.assert_allclose(sketch[0].numpy()[inner, inner], expected[inner, inner], atol=0.5)
    # Paper where nothing is drawn.
    white = framed(pictures()[2])
    assert float(made("sketch", white).min()) > 254.9


def bars() -> Framed:
    """White on black: two horizontal bars, a sixth of the side from the middle each."""
    squares = torch.zeros(1, 3, 600, 600)
    for row in (200, 400):
        squares[:, :, row - 3 : row + 3] = 255
    return Framed(squares, torch.zeros(1, 3, 1, 1), torch.tensor([[0, 0, 600, 600]]))


def heights(column: Tensor) -> tuple[float, float]:
    """Centres of the two bars in a column."""
    rows = torch.arange(len(column)) + 0.5
    upper, lower = column[:300], column[300:]
    return float((upper * rows[:300]).sum() / upper.sum()), float((lower * rows[300:]).sum() / lower.sum())


def test_swivel_is_a_turn_in_space_and_no_shear() -> None:
    seen = made("swivel", bars())[0, 0]
    columns = [column for column in range(600) if float(seen[:, column].max()) > 200]
    near, far = columns[4], columns[-5]
    gaps = []
    for column in (near, (near + far) // 2, far):
        upper, lower = heights(seen[:, column])
        # A shear would shift both alike; a turn about the vertical axis leaves the horizon where it is.
        assert upper + lower == pytest.approx(600, abs=1)
        gaps.append(lower - upper)
    # The near side is on the left, taller; what was parallel converges.
    assert gaps[0] > gaps[1] > gaps[2]
    # At distance 3, edges that are sin(30 degrees) nearer and farther differ in size by this much.
    assert gaps[0] / gaps[2] == pytest.approx((3 + 0.5) / (3 - 0.5), rel=0.02)
    # And it is foreshortened, by more than the cosine of the angle as it has been moved to fit.
    assert (columns[-1] - columns[0]) / 600 == pytest.approx(
        2.5 * math.cos(math.radians(30)) / 3.5 / 2 + 0.433, abs=0.01
    )


def test_swivel_equals_pillows_perspective_transform() -> None:
    found = framed(generated.astronaut())
    # Where the corners of the square come to lie, by the pinhole camera, in pixels.
    cosine, sine, side = math.cos(math.radians(30)), math.sin(math.radians(30)), float(SIDE)
    middle = (2.5 / 3.5 - 1) * cosine / 2
    corners = []
    for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        depth = 3 + x * sine
        corners.append(
            (((2.5 * x * cosine / depth - middle) + 1) * side / 2, (2.5 * y / depth + 1) * side / 2)
        )
    sources = [(0.0, 0.0), (side, 0.0), (side, side), (0.0, side)]
    rows, values = [], []
    for (u, v), (x, y) in zip(corners, sources, strict=True):
        rows += [[u, v, 1, 0, 0, 0, -u * x, -v * x], [0, 0, 0, u, v, 1, -u * y, -v * y]]
        values += [x, y]
    homography = np.linalg.solve(np.array(rows), np.array(values))
    image = Image.fromarray(found.squares[0].permute(1, 2, 0).round().byte().numpy())
    expected = image.transform(image.size, Image.Transform.PERSPECTIVE, homography, Image.Resampling.BILINEAR)
    mask = Image.new("L", image.size, 255).transform(image.size, Image.Transform.PERSPECTIVE, homography)
    inside = np.asarray(mask) == 255
    got = made("swivel", found)[0].permute(1, 2, 0).numpy()
    gap = np.abs(got - np.asarray(expected, np.float32)).max(axis=2)
    # But at its edge, where Pillow does not blend with the background.
    assert np.quantile(gap[inside], 0.97) < 2
    assert np.allclose(got[0, 0], found.background.flatten().numpy(), atol=0.01)


def test_the_background_changes_and_the_product_with_a_hole_does_not() -> None:
    image = Image.new("RGB", (300, 300), "white")
    image.paste((30, 60, 160), (60, 60, 240, 240))
    image.paste((255, 255, 255), (120, 120, 180, 180))
    found = framed(image, 300)
    picture = made("background", found)[0]
    tint = torch.tensor(variants.BACKGROUND_TINT)
    torch.testing.assert_close(picture[:, 10, 10], tint, atol=2, rtol=0)
    torch.testing.assert_close(picture[:, 90, 90], torch.tensor([30.0, 60.0, 160.0]), atol=2, rtol=0)
    # White, too, but enclosed by the product.
    torch.testing.assert_close(picture[:, 150, 150], torch.tensor([255.0, 255.0, 255.0]), atol=2, rtol=0)


def test_recolour_turns_the_dominant_hue_alone_and_keeps_brightness() -> None:
    image = Image.new("RGB", (300, 300), (240, 240, 240))
    image.paste((40, 160, 70), (50, 50, 250, 200))
    image.paste((60, 80, 200), (50, 220, 100, 250))
    found = framed(image, 300)
    picture = made("recolour", found)[0]
    green, turned = torch.tensor([40.0, 160.0, 70.0]), picture[:, 100, 100]
    assert float((turned - green).abs().max()) > 60
    weight = torch.tensor(variants.LUMA)
    assert float(turned @ weight) == pytest.approx(float(green @ weight), abs=12)
    torch.testing.assert_close(picture[:, 235, 75], torch.tensor([60.0, 80.0, 200.0]), atol=6, rtol=0)
    torch.testing.assert_close(picture[:, 10, 10], torch.tensor([240.0, 240.0, 240.0]), atol=1, rtol=0)


def test_a_picture_without_colour_has_nothing_to_recolour() -> None:
    found = framed(Image.new("RGB", (50, 50), (120, 120, 120)))
    torch.testing.assert_close(made("recolour", found), found.squares, atol=0.01, rtol=0)


def test_boxes_say_where_the_picture_is_in_each_variant() -> None:
    # A picture whose edge differs from its inside, wide, on a canvas.
    pixels = np.zeros((1, contract.CANVAS, contract.CANVAS, 3), np.uint8)
    pixels[0, :150, :300] = 255
    pixels[0, 8:142, 8:292] = 90
    labels = tuple(VARIANTS)
    rendered, boxes = RenderNetwork(labels)(
        torch.from_numpy(pixels), torch.tensor([[150, 300]], dtype=torch.int32), ALL_WANTED
    )
    assert boxes.shape == (1, contract.MAX_VARIANTS, 4)
    for number, label in enumerate(labels):
        x1, y1, x2, y2 = boxes[0, number].tolist()
        if label in ("rotate", "swivel", "original"):
            grey = rendered[0, number, :, :, 0].numpy() < 150
            rows, columns = np.flatnonzero(grey.any(1)), np.flatnonzero(grey.any(0))
            edges = (columns[0], rows[0], columns[-1], rows[-1])
            # Within the width of the picture's own edge.
            assert np.abs(np.array(edges) - (x1, y1, x2, y2)).max() < 25, label
    by_label = dict(zip(labels, boxes[0].tolist(), strict=True))
    assert by_label["original"] == [0, 160, 640, 480]
    assert by_label["rotate"] == [160, 0, 480, 640]


@pytest.fixture
def seventh() -> Iterator[str]:
    """A variant more, for the time of a test."""

    @variants.variant("negative")
    def negative(pictures: Tensor, background: Tensor) -> Tensor:
        return 255 - pictures

    yield "negative"
    del VARIANTS["negative"]


def test_a_seventh_variant_is_a_function_and_its_label(seventh: str) -> None:
    found = RenderNetwork(("original", seventh))(
        torch.full((1, contract.CANVAS, contract.CANVAS, 3), 55, dtype=torch.uint8),
        torch.tensor([[640, 640]], dtype=torch.int32),
        ALL_WANTED,
    )[0]
    assert int(found[0, 0].max()) == int(found[0, 0].min()) == 55
    assert int(found[0, 1].max()) == int(found[0, 1].min()) == 200


def test_two_variants_of_one_label_are_refused() -> None:
    with pytest.raises(ValueError, match="two variants 'sketch'"):
        variants.variant("sketch")(lambda pictures, background: pictures)
