"""What sheets of several pictures share: square tiles in rows, frames, bars, and words that fit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from adlens import pictures
from adlens.answers import Box
from adlens.errors import BadImage
from adlens.pictures import ImageLike
from adlens.sheets import INK, TRACK, Colour, Sheet, fitting

TILE: Final = 264
"""Side of the square in which each picture lies, in pixels of the sheet, as all lengths here."""
GAP: Final = 20
MARGIN: Final = 36
_INSET: Final = 10
_RADIUS: Final = 14
_FRAME: Final = 6
_SMOOTH: Final = 4
"""Pillow's masks have no smooth edges, so they are drawn larger and then reduced."""


class Grid(NamedTuple):
    """Tiles in rows of ``columns``, each with ``words`` pixels below it for what is written there."""

    columns: int
    words: int

    @property
    def width(self) -> int:
        """Of the sheet."""
        return 2 * MARGIN + self.columns * (TILE + GAP) - GAP

    def height(self, number: int) -> int:
        """That ``number`` tiles take."""
        return -(-number // self.columns) * (TILE + self.words + GAP)

    def places(self, number: int, top: int) -> list[Box]:
        """Where the pictures of ``number`` tiles lie, from ``top`` on."""
        found = []
        for place in range(number):
            row, column = divmod(place, self.columns)
            left, above = MARGIN + column * (TILE + GAP), top + row * (TILE + self.words + GAP)
            found.append(Box(left, above, left + TILE, above + TILE))
        return found


def paper(width: int, height: int) -> Image.Image:
    """An empty sheet."""
    return Image.new("RGB", (width, height), INK[:3])


def thumbnail(image: ImageLike) -> Image.Image | None:
    """``image``, no larger than its tile needs; None where it is not at hand."""
    try:
        picture = pictures.open_upright(pictures.load(image))
    except BadImage:
        return None
    picture.thumbnail((2 * TILE, 2 * TILE), Image.Resampling.LANCZOS, reducing_gap=3)
    return picture


def paste(sheet: Image.Image, tiles: Iterable[tuple[Image.Image | None, Box]]) -> None:
    """Lay pictures in their places, on paper of the colour of their edges, with round corners."""
    mask = Image.new("L", (TILE * _SMOOTH, TILE * _SMOOTH))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, *mask.size), _RADIUS * _SMOOTH, fill=255)
    mask = mask.reduce(_SMOOTH)
    for picture, box in tiles:
        below = Image.new("RGB", (TILE, TILE), TRACK[:3])
        if picture:
            fitted = _fitted(picture.convert("RGB"), TILE - 2 * _INSET)
            below.paste(_edge(fitted), (0, 0, TILE, TILE))
            below.paste(fitted, ((TILE - fitted.width) // 2, (TILE - fitted.height) // 2))
        sheet.paste(below, (round(box.x1), round(box.y1)), mask)


def frame(sheet: Sheet, box: Box, colour: Colour) -> None:
    """Frame the tile at ``box``."""
    around = sheet.around(Box(box.x1 - _FRAME, box.y1 - _FRAME, box.x2 + _FRAME, box.y2 + _FRAME))
    finer = (around.right - around.left) / (TILE + 2 * _FRAME)
    radius, line = (_RADIUS + _FRAME) * finer, round(_FRAME * finer)
    sheet.draw.rounded_rectangle(around, radius, outline=colour, width=line)


def bar(sheet: Sheet, box: Box, share: float, colour: Colour) -> None:
    """Fill ``share`` of the bar at ``box``; at least its round end."""
    filled = box._replace(x2=box.x1 + max(box.height, (box.x2 - box.x1) * share))
    for part, painted in ((box, TRACK), (filled, colour)):
        shape = sheet.around(part)
        sheet.draw.rounded_rectangle(shape, (shape.bottom - shape.top) / 2, fill=painted)


def write(
    sheet: Sheet,
    within: tuple[float, float, float, float],
    text: str,
    size: float,
    colour: Colour,
    anchor: str = "lm",
) -> float:
    """Write ``text`` into the box ``within``, by Pillow's ``anchor``; its width."""
    area = sheet.around(Box(*within))
    finer = (area.right - area.left) / (within[2] - within[0])
    text, font = fitting(text, size * finer, area.right - area.left)
    across = {"l": area.left, "m": (area.left + area.right) / 2, "r": area.right}[anchor[0]]
    sheet.draw.text((across, (area.top + area.bottom) / 2), text, colour, font, anchor)
    return font.getlength(text) / finer


def _fitted(picture: Image.Image, side: int) -> Image.Image:
    """``picture`` so large that its longer side is ``side``; of any shape, at least a pixel wide."""
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3)


def _edge(picture: Image.Image) -> tuple[int, int, int]:
    """Mean colour of the outermost pixels."""
    pixels = np.asarray(picture)
    sides = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    red, green, blue = np.concatenate(sides).mean(axis=0).round().astype(int).tolist()
    return red, green, blue
