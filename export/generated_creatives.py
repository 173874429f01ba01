"""Generated product pictures: drawn sneakers of many shapes and colours, with a catalogue as CSV.

They let everything of job 3 run where no pictures of products are at hand: the starter judge learns from
them, the demo and the tests use them. One product model is one shape and colouring, shown from both sides,
at several sizes and on several backgrounds.

``python -m export.generated_creatives FOLDER`` writes pictures and ``catalogue.csv``.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import click
from PIL import Image, ImageDraw, ImageFilter

COLUMNS: Final = ("relative_im_path", "shoe_brand", "shoe_gender", "shoe_name")
GENDERS: Final = ("men", "women", "boy", "girl")
BRANDS: Final = ("Alder", "Birch", "Cedar", "Dogwood")
CATALOGUE: Final = "catalogue.csv"
MODELS: Final = 40
PICTURES: Final = 3
"""Of each model."""
SEED: Final = 20
_INK: Final = (12, 12, 14)
"""Of lining and tread: every picture has some black, as photographs do."""
_OVERSAMPLING: Final = 2
"""Shapes are drawn this much larger and shrunk, which smooths their edges."""
_BACKGROUNDS: Final = (
    (255, 255, 255), (250, 250, 248), (244, 244, 246), (236, 233, 228), (225, 230, 236), (242, 232, 220),
)  # fmt: skip
_SIZES: Final = ((640, 480), (480, 360), (400, 300), (800, 600))
Point = tuple[float, float]
Colour = tuple[int, int, int]
_Place = Callable[..., list[Point]]
"""From parts of the shoe's length, x from the heel and y from the ground, to pixels."""


@dataclass(frozen=True)
class Shoe:
    """One model: its colours, and lengths in parts of the shoe's."""

    upper: Colour
    panel: Colour
    sole: Colour
    laces: Colour
    collar: float
    """Height of the ankle's opening above the sole."""
    toe: float
    thickness: float
    """Of the sole."""
    stripes: int


def new_shoe(random: Random) -> Shoe:
    """A model by chance."""
    return Shoe(
        upper=_colour(random, 15, 235),
        panel=_colour(random, 10, 240),
        sole=random.choice([(245, 245, 240), (228, 222, 205), (40, 40, 44), (200, 160, 110)]),
        laces=random.choice([(250, 250, 250), (20, 20, 22), _colour(random, 60, 240)]),
        collar=random.uniform(0.38, 0.46),
        toe=random.uniform(0.18, 0.22),
        thickness=random.uniform(0.09, 0.12),
        stripes=random.randint(0, 4),
    )


def draw(shoe: Shoe, random: Random) -> Image.Image:
    """One picture of ``shoe``, RGB: its size, framing, background and side vary with ``random``."""
    width, height = (side * _OVERSAMPLING for side in random.choice(_SIZES))
    ground = random.choice(_BACKGROUNDS)
    image = Image.new("RGB", (width, height), ground)
    length = random.uniform(0.86, 0.9) * width
    left = (width - length) * random.uniform(0.45, 0.55)
    base = height / 2 + length * random.uniform(0.16, 0.22)

    def at(*points: Point) -> list[Point]:
        return [(left + x * length, base - y * length) for x, y in points]

    shadow = Image.new("L", image.size, 0)
    box = [*at((0.0, 0.025))[0], *at((1.02, -0.05))[0]]
    ImageDraw.Draw(shadow).ellipse(box, fill=random.randint(60, 130))
    shadow = shadow.filter(ImageFilter.GaussianBlur(length * 0.015))
    image.paste((30, 30, 34), mask=shadow)
    _draw_shoe(ImageDraw.Draw(image), shoe, at, length)
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image.resize((width // _OVERSAMPLING, height // _OVERSAMPLING), Image.Resampling.LANCZOS)


def _draw_shoe(pen: ImageDraw.ImageDraw, shoe: Shoe, at: _Place, length: float) -> None:
    """Seen from the side, heel to the left: upper, panels, stripes, laces, sole."""
    low, high = shoe.thickness, shoe.collar
    pen.polygon(at(*_curve(_outline(shoe))), fill=shoe.upper)
    heel = [(0.02, low), (0.0, high * 0.8), (0.1, high * 0.85), (0.2, low + 0.12), (0.24, low)]
    pen.polygon(at(*_curve(heel)), fill=shoe.panel)
    toe = [(0.72, low), (0.74, shoe.toe * 0.95), (0.9, shoe.toe), (1.0, low + 0.03), (0.98, low)]
    pen.polygon(at(*_curve(toe)), fill=shoe.panel)
    for number in range(shoe.stripes):
        x = 0.34 + 0.08 * number
        pen.polygon(
            at((x, low), (x + 0.035, low), (x + 0.1, high * 0.6), (x + 0.065, high * 0.6)), fill=shoe.panel
        )
    for number in range(5):
        share = number / 4
        x, y = 0.38 + 0.3 * share, high * 0.92 + (shoe.toe - high * 0.92) * share
        pen.line(at((x - 0.03, y - 0.06), (x + 0.05, y + 0.005)), shoe.laces, max(1, round(length * 0.014)))
    collar = [(0.03, high), (0.1, high - 0.05), (0.26, high - 0.05), (0.34, high - 0.01), (0.2, high + 0.015)]
    pen.polygon(at(*_curve(collar)), fill=_INK)
    sole = [
        (-0.01, low),
        (0.3, low * 0.9),
        (0.7, low * 0.9),
        (1.01, low + 0.01),
        (1.0, 0.0),
        (0.5, 0.008),
        (0.0, 0.0),
    ]
    pen.polygon(at(*_curve(sole)), fill=shoe.sole)
    pen.line(at((0.0, low * 0.35), (1.0, low * 0.35)), _darker(shoe.sole), max(1, round(length * 0.01)))
    pen.line(at((0.01, 0.016), (0.99, 0.016)), _INK, max(1, round(length * 0.02)))


def _outline(shoe: Shoe) -> list[Point]:
    low, high, toe = shoe.thickness, shoe.collar, shoe.toe
    return [
        (0.0, low), (-0.005, high * 0.5), (0.02, high), (0.2, high - 0.03), (0.36, high * 0.95),
        (0.55, toe + (high - toe) * 0.45), (0.74, toe), (0.92, toe * 0.85), (1.0, low + 0.02), (0.98, low),
    ]  # fmt: skip


def _curve(corners: Sequence[Point], rounds: int = 3) -> list[Point]:
    """Corners cut until they are round (Chaikin, Computer Graphics and Image Processing 3, 1974)."""
    points = list(corners)
    for _ in range(rounds):
        cut: list[Point] = []
        for (ax, ay), (bx, by) in zip(points, [*points[1:], points[0]], strict=True):
            cut += [
                (0.75 * ax + 0.25 * bx, 0.75 * ay + 0.25 * by),
                (0.25 * ax + 0.75 * bx, 0.25 * ay + 0.75 * by),
            ]
        points = cut
    return points


def _colour(random: Random, low: int, high: int) -> Colour:
    return random.randint(low, high), random.randint(low, high), random.randint(low, high)


def _darker(colour: Colour) -> Colour:
    red, green, blue = (math.floor(0.75 * value) for value in colour)
    return red, green, blue


def write_catalogue(folder: Path, models: int = MODELS, pictures: int = PICTURES, seed: int = SEED) -> Path:
    """Write ``pictures`` JPEG files of each of ``models`` shoes, a folder each, and their CSV, last.

    Returns:
        The CSV: COLUMNS, one row a picture. Where it is there already, nothing is written.
    """
    file = folder / CATALOGUE
    if file.exists():
        return file
    random = Random(seed)  # noqa: S311 - no secret
    rows = []
    for number in range(models):
        shoe = new_shoe(random)
        name = f"model-{number:03}"
        (folder / name).mkdir(parents=True, exist_ok=True)
        for view in range(pictures):
            path = Path(name, f"{view}.jpg")
            draw(shoe, random).save(folder / path, quality=92)
            rows.append(
                (path.as_posix(), BRANDS[number % len(BRANDS)], GENDERS[number // 2 % len(GENDERS)], name)
            )
    partial = file.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    partial.rename(file)
    return file


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--models", default=MODELS, show_default=True, help="Shoes.")
@click.option("--pictures", default=PICTURES, show_default=True, help="Of each.")
@click.option("--seed", default=SEED, show_default=True)
def main(folder: Path, models: int, pictures: int, seed: int) -> None:
    """Write pictures of generated products and their catalogue into FOLDER."""
    click.echo(write_catalogue(folder, models, pictures, seed))


if __name__ == "__main__":
    main()
