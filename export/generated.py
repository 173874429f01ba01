"""Generated pictures with known labels: hats, beards and glasses painted onto one public-domain face.

They let everything run where no labelled pictures of people are at hand: starter heads are trained on
them, and the demo shows them beside a real photo. A head that knows only these is no judge of real
pictures, and its card says so (``starter``, skill 0).

``python -m export.generated FOLDER`` writes the photo and one painted picture a label, for the demo.

The face is NASA's portrait of Eileen Collins, which scikit-image carries (public domain).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import click
import numpy as np
import skimage.data
from PIL import Image, ImageDraw, ImageFilter

from export.datasets import LabelledPictures

LABELS: Final = ("hat", "beard", "eyewear")
_OVERSAMPLING: Final = 3
"""Shapes are drawn this much larger and shrunk, which smooths their edges."""
Point = tuple[float, float]
Colour = tuple[int, ...]


@dataclass(frozen=True)
class Landmarks:
    """Five points of a face in pixels, named as in ``adlens.contract.LANDMARK_NAMES``."""

    left_eye: Point
    right_eye: Point
    nose: Point
    mouth_left: Point
    mouth_right: Point


ASTRONAUT: Final = Landmarks((203, 102), (247, 103), (225, 127), (204, 140), (244, 141))
"""Read off the picture by eye; 512x512 pixels."""


def astronaut() -> Image.Image:
    """The photo, RGB 512x512."""
    return Image.fromarray(skimage.data.astronaut())  # type: ignore[no-untyped-call]


def paint(labels: Sequence[str], random: Random) -> Image.Image:
    """The photo with the things that ``labels`` names painted on; colours and sizes vary with ``random``.

    Raises:
        ValueError: nothing can be painted for a label.
    """
    unknown = set(labels) - set(LABELS)
    if unknown:
        raise ValueError(f"cannot paint {', '.join(sorted(unknown))}; only {', '.join(LABELS)}")
    picture = astronaut()
    # Glasses lie over a beard, a hat over everything.
    for label, painter in (("beard", _paint_beard), ("eyewear", _paint_glasses), ("hat", _paint_hat)):
        if label in labels:
            picture = _composed(picture, painter, random)
    return picture


def vary(picture: Image.Image, random: Random) -> Image.Image:
    """Another look at ``picture``: mirrored, turned, framed and lit at random."""
    if random.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    picture = picture.rotate(random.uniform(-12, 12), Image.Resampling.BICUBIC)
    side = random.uniform(250, 420)
    left = picture.width / 2 - side / 2 + random.uniform(-40, 40) - 15
    top = random.uniform(0, 20)
    framed = picture.crop((round(left), round(top), round(left + side), round(top + side)))
    lit = framed.point(
        [min(255, round(value * gain)) for gain in [random.uniform(0.6, 1.4)] for value in range(256)] * 3
    )
    return lit.filter(ImageFilter.GaussianBlur(random.uniform(0, 1.2)))


def write_dataset(folder: Path, count: int, seed: int) -> LabelledPictures:
    """``count`` varied pictures with independent labels, as JPEG files in ``folder``; made once.

    The same count and seed give the same pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths, rows = [], []
    for number in range(count):
        random = Random(f"{seed}/{number}")  # noqa: S311 - pictures, not secrets
        shown = [label for label in LABELS if random.random() < 0.5]
        path = folder / f"{number:04d}-{'+'.join(shown) or 'none'}.jpg"
        if not path.exists():
            vary(paint(shown, random), random).save(path, quality=92)
        paths.append(path)
        rows.append([float(label in shown) for label in LABELS])
    return LabelledPictures("generated", tuple(paths), LABELS, np.array(rows, dtype=np.float32))


def write_demo(folder: Path) -> list[Path]:
    """The real photo and one painted picture for each label, as JPEG files named after what they show."""
    random = Random(3)  # noqa: S311 - pictures, not secrets
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {"astronaut": astronaut(), **{f"painted-{label}": paint([label], random) for label in LABELS}}
    paths = []
    for name, picture in pictures.items():
        paths.append(folder / f"{name}.jpg")
        picture.save(paths[-1], quality=95)
    return paths


def _composed(
    picture: Image.Image, painter: Callable[[_Canvas, Landmarks, Random], None], random: Random
) -> Image.Image:
    size = (picture.width * _OVERSAMPLING, picture.height * _OVERSAMPLING)
    layer = Image.new("RGBA", size, (0, 0, 0, 0))
    painter(_Canvas(ImageDraw.Draw(layer, "RGBA")), ASTRONAUT, random)
    layer = layer.resize(picture.size, Image.Resampling.LANCZOS).filter(ImageFilter.GaussianBlur(0.5))
    return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")


class _Canvas:
    """Drawing in units of the picture's pixels onto the oversampled layer."""

    def __init__(self, draw: ImageDraw.ImageDraw) -> None:
        self._draw = draw

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        self._draw.polygon([(x * _OVERSAMPLING, y * _OVERSAMPLING) for x, y in points], fill=colour)

    def line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        scaled = [(x * _OVERSAMPLING, y * _OVERSAMPLING) for x, y in points]
        self._draw.line(scaled, fill=colour, width=round(width * _OVERSAMPLING), joint="curve")

    def ellipse(
        self, centre: Point, rx: float, ry: float, fill: Colour, outline: Colour, width: float
    ) -> None:
        (x, y), s = centre, _OVERSAMPLING
        box = [(x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s]
        self._draw.ellipse(box, fill=fill, outline=outline, width=round(width * s))


def _eye_distance(face: Landmarks) -> float:
    return math.dist(face.left_eye, face.right_eye)


def _colour(random: Random, low: int, high: int, alpha: int = 255) -> Colour:
    return (*(random.randint(low, high) for _ in range(3)), alpha)


def _paint_glasses(canvas: _Canvas, face: Landmarks, random: Random) -> None:
    """Two lenses, a bridge and the temples; one pair in three is sunglasses."""
    unit = _eye_distance(face)
    frame = _colour(random, 0, 70)
    glass = _colour(random, 0, 40, 235) if random.random() < 1 / 3 else (220, 230, 240, 45)
    width = unit * random.uniform(0.05, 0.1)
    rx, ry = unit * random.uniform(0.36, 0.44), unit * random.uniform(0.26, 0.36)
    for eye in (face.left_eye, face.right_eye):
        canvas.ellipse(eye, rx, ry, glass, frame, width)
    (lx, ly), (rx_, ry_) = face.left_eye, face.right_eye
    canvas.line([(lx + rx, ly - ry / 4), (rx_ - rx, ry_ - ry / 4)], frame, width)
    canvas.line([(lx - rx, ly), (lx - rx - unit * 0.35, ly - unit * 0.08)], frame, width)
    canvas.line([(rx_ + rx, ry_), (rx_ + rx + unit * 0.35, ry_ - unit * 0.08)], frame, width)


def _paint_beard(canvas: _Canvas, face: Landmarks, random: Random) -> None:
    """A full beard of single hairs around the mouth, over jaw and chin."""
    unit = _eye_distance(face)
    cx = (face.mouth_left[0] + face.mouth_right[0]) / 2
    cy = (face.mouth_left[1] + face.mouth_right[1]) / 2
    tone = random.choice([(35, 28, 24), (70, 50, 35), (110, 80, 50), (120, 115, 110), (25, 22, 20)])
    reach = random.uniform(0.75, 1.0)
    for _ in range(2600):
        angle = random.uniform(-0.15, math.pi + 0.15)
        radius = math.sqrt(random.uniform(0.05, 1.0))
        x = cx + math.cos(angle) * radius * unit * 0.95
        y = cy + math.sin(angle) * radius * unit * reach - unit * 0.12
        inside_mouth = abs(x - cx) < unit * 0.38 and abs(y - cy) < unit * 0.11
        if inside_mouth:
            continue
        shade = random.randint(-18, 22)
        colour = (*(max(0, min(255, value + shade)) for value in tone), 215)
        bend = random.uniform(-0.06, 0.06) * unit
        canvas.line([(x, y), (x + bend, y + random.uniform(0.06, 0.16) * unit)], colour, unit * 0.022)


def _paint_hat(canvas: _Canvas, face: Landmarks, random: Random) -> None:
    """A brimmed hat above the eyes: crown, band, brim."""
    unit = _eye_distance(face)
    cx = (face.left_eye[0] + face.right_eye[0]) / 2
    brim = (face.left_eye[1] + face.right_eye[1]) / 2 - unit * random.uniform(0.62, 0.8)
    colour, band = _colour(random, 20, 200), _colour(random, 0, 120)
    half, height = unit * random.uniform(1.0, 1.15), unit * random.uniform(0.95, 1.3)
    crown = [
        (cx - half, brim),
        (cx - half * 0.86, brim - height),
        (cx + half * 0.86, brim - height),
        (cx + half, brim),
    ]
    canvas.polygon(crown, colour)
    canvas.ellipse((cx, brim - height), half * 0.86, unit * 0.16, colour, colour, 1)
    canvas.polygon(
        [
            (cx - half, brim),
            (cx - half, brim - unit * 0.22),
            (cx + half, brim - unit * 0.22),
            (cx + half, brim),
        ],
        band,
    )
    shade = (*(round(value * 0.85) for value in colour[:3]), 255)
    canvas.ellipse((cx, brim), half * random.uniform(1.35, 1.7), unit * 0.2, shade, shade, 1)


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Write the demo's pictures into FOLDER."""
    for path in write_demo(folder):
        click.echo(path)


if __name__ == "__main__":
    main()
