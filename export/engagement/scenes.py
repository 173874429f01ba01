"""Drawn pictures that look like posts: landscapes, still lifes, streets; what can be seen in them is known.

Two things are told and drawn: how warm the light is, and how many things stand in the picture. All others
(kind of scene, shapes, framing, brightness, grain) vary by chance and tell nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

SIZES: Final = ((320, 400), (320, 320), (400, 320), (320, 426))
"""Width and height in pixels: portrait, square and landscape, as posts have them."""
MAX_THINGS: Final = 7
_OVERSAMPLING: Final = 2
"""Shapes are drawn this much larger and shrunk, which smooths their edges."""
_NOON: Final = (255.0, 250.0, 244.0)
_EVENING: Final = (255.0, 186.0, 112.0)
_DAWN: Final = (150.0, 190.0, 255.0)
"""Light that falls on a scene at warmth 0, 1 and -1."""
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """What can be seen in a picture, and counts."""

    warmth: float
    """Of the light, -1 (blue) to 1 (golden)."""
    things: int
    """Trees, cups or houses in front, 1 to MAX_THINGS."""


def draw(look: Look, random: Random) -> Image.Image:
    """One picture, RGB, of a size of SIZES; all that ``look`` does not tell varies with ``random``."""
    width, height = random.choice(SIZES)
    image = Image.new("RGB", (width * _OVERSAMPLING, height * _OVERSAMPLING))
    random.choice(_SCENES)(image, look.things, random)
    image = image.reduce(_OVERSAMPLING)
    return _lit(image, look.warmth, random)


def _landscape(image: Image.Image, things: int, random: Random) -> None:
    """Sky, sun, hills one behind the other, and trees."""
    width, height = image.size
    sky = random.randint(150, 215)
    _gradient(image, (sky - 60, sky - 20, sky + 30), (235, 232, 225))
    pen = ImageDraw.Draw(image)
    x, y, radius = random.uniform(0.15, 0.85) * width, random.uniform(0.1, 0.3) * height, 0.05 * width
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 252, 240))
    horizon = random.uniform(0.45, 0.55)
    for number in range(3):
        shade = 150 - 32 * number + random.randint(-10, 10)
        top, phase = (horizon + 0.14 * number) * height, random.uniform(0, 6)
        waves = random.uniform(1, 2.5)
        ridge = [
            (step / 24 * width, top + 0.05 * height * math.sin(phase + waves * 2 * math.pi * step / 24))
            for step in range(25)
        ]
        pen.polygon([*ridge, (width, height), (0, height)], fill=(shade - 15, shade + 10, shade - 25))
    for x in _places(things, random):
        foot, size = random.uniform(0.76, 0.95) * height, random.uniform(0.16, 0.24) * height
        _tree(pen, x * width, foot, size, random)


def _tree(pen: ImageDraw.ImageDraw, x: float, foot: float, size: float, random: Random) -> None:
    """A fir or a round tree."""
    pen.rectangle((x - size * 0.05, foot - size * 0.4, x + size * 0.05, foot), fill=(84, 66, 52))
    green = (random.randint(30, 70), random.randint(80, 120), random.randint(40, 70))
    if random.random() < 0.5:
        for level in range(3):
            base, half = foot - size * (0.2 + 0.25 * level), size * (0.36 - 0.09 * level)
            pen.polygon([(x - half, base), (x + half, base), (x, base - size * 0.45)], fill=green)
    else:
        half = size * 0.32
        pen.ellipse((x - half, foot - size, x + half, foot - size * 0.3), fill=green)


def _still_life(image: Image.Image, things: int, random: Random) -> None:
    """A table from above: a cloth, and cups, plates and leaves on it."""
    width, height = image.size
    tone = random.randint(150, 225)
    _gradient(image, (tone, tone - 8, tone - 18), (tone - 25, tone - 33, tone - 42))
    pen = ImageDraw.Draw(image)
    boards = random.randint(3, 6)
    for board in range(1, boards):
        y = board / boards * height
        pen.line(
            (0, y, width, y + random.uniform(-0.01, 0.01) * height), (tone - 60, tone - 66, tone - 72), 3
        )
    unit = min(width, height)
    for x in _places(things, random):
        y, radius = random.uniform(0.2, 0.8) * height, random.uniform(0.09, 0.13) * unit
        shade = (tone - 34, tone - 40, tone - 48)
        pen.ellipse(_box(x * width + 0.12 * radius, y + 0.16 * radius, radius * 1.03), fill=shade)
        random.choice((_cup, _plate, _leaf))(pen, x * width, y, radius, random)


def _cup(pen: ImageDraw.ImageDraw, x: float, y: float, radius: float, random: Random) -> None:
    """A saucer, a cup with its handle, and what is in it."""
    glaze = _grey(random, 180, 250)
    pen.ellipse(_box(x, y, radius), fill=_darker(glaze, 0.88))
    pen.line((x, y, x + radius * 0.95, y - radius * 0.3), _darker(glaze, 0.8), max(2, round(radius * 0.2)))
    pen.ellipse(_box(x, y, radius * 0.66), fill=glaze)
    pen.ellipse(_box(x, y, radius * 0.54), fill=random.choice([(74, 48, 34), (120, 84, 58), (96, 110, 60)]))


def _plate(pen: ImageDraw.ImageDraw, x: float, y: float, radius: float, random: Random) -> None:
    """A plate with berries."""
    pen.ellipse(_box(x, y, radius), fill=_grey(random, 190, 250))
    pen.ellipse(_box(x, y, radius * 0.74), fill=_grey(random, 170, 235))
    for _ in range(random.randint(3, 7)):
        angle, off = random.uniform(0, 2 * math.pi), random.uniform(0, 0.5) * radius
        berry = random.choice([(150, 50, 60), (70, 60, 110), (90, 120, 60), (200, 140, 70)])
        pen.ellipse(_box(x + off * math.cos(angle), y + off * math.sin(angle), radius * 0.17), fill=berry)


def _leaf(pen: ImageDraw.ImageDraw, x: float, y: float, radius: float, random: Random) -> None:
    """A sprig: leaves around a stem."""
    turn = random.uniform(0, 2 * math.pi)
    green = (random.randint(50, 90), random.randint(95, 130), random.randint(60, 90))
    for number in range(6):
        angle = turn + number * math.pi / 3
        tip = (x + radius * math.cos(angle), y + radius * math.sin(angle))
        side = (0.25 * radius * math.sin(angle), -0.25 * radius * math.cos(angle))
        middle = ((x + tip[0]) / 2, (y + tip[1]) / 2)
        corners = [
            (x, y), (middle[0] + side[0], middle[1] + side[1]),
            tip, (middle[0] - side[0], middle[1] - side[1]),
        ]  # fmt: skip
        pen.polygon(corners, fill=_darker(green, 1 - 0.06 * number))


def _street(image: Image.Image, things: int, random: Random) -> None:
    """Sky, a skyline far away, and houses with windows at a street."""
    width, height = image.size
    sky = random.randint(165, 225)
    _gradient(image, (sky - 35, sky - 15, sky + 10), (240, 238, 234))
    pen = ImageDraw.Draw(image)
    ground = random.uniform(0.78, 0.88) * height
    x = 0.0
    while x < width:
        wide, high = random.uniform(0.05, 0.12) * width, random.uniform(0.1, 0.25) * height
        shade = random.randint(165, 190)
        pen.rectangle((x, ground - high, x + wide, ground), fill=(shade, shade, shade + 6))
        x += wide
    pen.rectangle((0, ground, width, height), fill=_grey(random, 95, 140))
    pen.line((0, (ground + height) / 2, width, (ground + height) / 2), (225, 225, 220), 4)
    for x in _places(things, random):
        _house(pen, x * width, ground, width, height, random)


def _house(
    pen: ImageDraw.ImageDraw, x: float, ground: float, width: float, height: float, random: Random
) -> None:
    half, high = random.uniform(0.05, 0.065) * width, random.uniform(0.28, 0.52) * height
    wall = random.choice(
        [(178, 160, 146), (150, 158, 170), (196, 188, 176), (166, 134, 122), (140, 150, 138)]
    )
    pen.rectangle((x - half, ground - high, x + half, ground), fill=wall)
    if random.random() < 0.5:
        roof = [(x - half * 1.1, ground - high), (x + half * 1.1, ground - high), (x, ground - high * 1.22)]
        pen.polygon(roof, fill=_darker(wall, 0.6))
    floors = random.randint(3, 6)
    glass = random.choice([(70, 80, 96), (226, 222, 204), (50, 56, 66)])
    for floor in range(floors):
        y = ground - high * (0.92 - 0.8 * floor / floors)
        for column in (-0.55, 0.0, 0.55):
            pen.rectangle(
                (x + (column - 0.15) * half, y, x + (column + 0.15) * half, y + high * 0.42 / floors),
                fill=glass,
            )


_SCENES: Final[tuple[Callable[[Image.Image, int, Random], None], ...]] = (_landscape, _still_life, _street)


def _lit(image: Image.Image, warmth: float, random: Random) -> Image.Image:
    """In the light of ``warmth``, at a brightness and with a camera's grain by chance."""
    end = _EVENING if warmth > 0 else _DAWN
    light = np.array(_NOON) + abs(warmth) * (np.array(end) - np.array(_NOON))
    lit = ImageChops.multiply(image, Image.new("RGB", image.size, tuple(light.round().astype(int))))
    grain = _grain(image.size, random) * np.float32(random.uniform(1, 5))
    pixels = np.asarray(lit, np.float32) * np.float32(random.uniform(0.8, 1.1)) + grain[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@cache
def _noise() -> NDArray[np.float32]:
    """Standard normal, [N, N]; drawn once, as that takes longer than the rest of a picture."""
    side = 2 * max(map(max, SIZES))
    return np.random.default_rng(0).standard_normal((side, side), np.float32)


def _grain(size: tuple[int, int], random: Random) -> NDArray[np.float32]:
    """Some part of the noise, [height, width]."""
    width, height = size
    noise = _noise()
    top, left = random.randrange(len(noise) - height), random.randrange(len(noise) - width)
    return noise[top : top + height, left : left + width]


def _gradient(image: Image.Image, top: Colour, bottom: Colour) -> None:
    """Fill ``image`` from ``top`` to ``bottom``."""
    shares = np.linspace(0, 1, image.height)[:, None, None]
    column = np.array(top) * (1 - shares) + np.array(bottom) * shares
    image.paste(Image.fromarray(column.round().astype(np.uint8)).resize(image.size, Image.Resampling.NEAREST))


def _places(things: int, random: Random) -> list[float]:
    """Shares of the width where ``things`` stand side by side, in a random order."""
    places = [(number + 0.5 + random.uniform(-0.2, 0.2)) / things for number in range(things)]
    random.shuffle(places)
    return [0.08 + 0.84 * place for place in places]


def _box(x: float, y: float, radius: float) -> tuple[float, float, float, float]:
    return x - radius, y - radius, x + radius, y + radius


def _grey(random: Random, low: int, high: int) -> Colour:
    tone = random.randint(low, high)
    return tone, tone, tone


def _darker(colour: Colour, share: float) -> Colour:
    red, green, blue = (round(value * share) for value in colour)
    return red, green, blue
