"""Draws variants and alternates of a picture as one sheet, with their probabilities, the best framed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from adlens.answers import Box, percent
from adlens.creatives import WORDS, CreativeAnswer
from adlens.sheets import (
    DECIDING,
    INK,
    MUTED,
    OTHER,
    PASSIVE,
    TRACK,
    WHITE,
    Colour,
    Sheet,
    fitting,
    with_band,
)

_TILE: Final = 264
"""Side of the square in which each picture lies, in pixels of the sheet, as all lengths here."""
_INSET: Final = 10
_GAP: Final = 20
_MARGIN: Final = 36
_WORDS: Final = 72
"""Height of what is written below a picture."""
_HEADING: Final = 52
_COLUMNS: Final = (4, 6)
"""Fewest, so that the title has room, and most."""
_RADIUS: Final = 14
_FRAME: Final = 6
_SMOOTH: Final = 4
"""Pillow's masks have no smooth edges, so they are drawn larger and then reduced."""


class _Tile(NamedTuple):
    """One picture of the sheet: ``name`` and ``note`` in words, the best of its row in ``colour``."""

    picture: Image.Image | None
    name: str
    note: str
    probability: float
    colour: Colour | None


def draw(
    answer: CreativeAnswer, versions: Mapping[str, Image.Image], alternates: Mapping[str, Image.Image]
) -> Image.Image:
    """Draw the sheet.

    Args:
        answer: the probabilities, and what is best.
        versions: pictures of the variants, the original among them, by label.
        alternates: pictures of alternates by id; one that is missing is shown by its words alone.

    Returns:
        RGB; below the title the picture as it is and its variants, the best first, then the best alternates.
    """
    rows = [(_about_versions(answer), _version_tiles(answer, versions))]
    number = len(rows[0][1])
    fewest, most = _COLUMNS
    # Eight stand better as twice four than as six and two.
    columns = max(fewest, number if number <= most else -(-number // 2))
    if answer.alternates:
        rows.append((_about_alternates(answer, columns), _alternate_tiles(answer, alternates)[:columns]))
    width = 2 * _MARGIN + columns * (_TILE + _GAP) - _GAP
    heights = [_HEADING + -(-len(tiles) // columns) * (_TILE + _WORDS + _GAP) for _, tiles in rows]
    sheet = Image.new("RGB", (width, sum(heights) + _MARGIN // 2), INK[:3])
    tops = [sum(heights[:row]) for row in range(len(rows))]
    for top, (_, tiles) in zip(tops, rows, strict=True):
        _paste(sheet, tiles, top + _HEADING, columns)
    overlay = Sheet(sheet, 1)
    for top, (heading, tiles) in zip(tops, rows, strict=True):
        _write(overlay, (_MARGIN, top, width - _MARGIN, top + _HEADING), heading, 21, MUTED)
        for tile, box in zip(tiles, _places(tiles, top + _HEADING, columns), strict=True):
            _annotate(overlay, tile, box)
    return with_band(overlay.drawn(), answer.title, _evidence(answer), recommended=True)


def _version_tiles(answer: CreativeAnswer, pictures: Mapping[str, Image.Image]) -> list[_Tile]:
    return [
        _Tile(
            pictures.get(version.label),
            "as it is" if version is answer.original else version.label,
            "",
            version.probability,
            DECIDING if version is answer.recommended else None,
        )
        for version in (answer.original, *answer.variants)
    ]


def _alternate_tiles(answer: CreativeAnswer, pictures: Mapping[str, Image.Image]) -> list[_Tile]:
    return [
        _Tile(
            pictures.get(each.id),
            f"similarity {each.similarity:.3f}",
            _short(each.id),
            each.probability,
            OTHER if each is answer.best_alternate else None,
        )
        for each in answer.alternates
    ]


def _about_versions(answer: CreativeAnswer) -> str:
    lower = "; lower is better" if answer.lower_is_better else ""
    does = WORDS.get(answer.target, answer.target)
    return f"The picture and its variants: how many {does}{lower}"


def _about_alternates(answer: CreativeAnswer, columns: int) -> str:
    number = len(answer.alternates)
    shown = f", the best {columns} of {number}" if number > columns else ""
    return f"Other pictures like it{shown}"


def _evidence(answer: CreativeAnswer) -> str:
    """The line under the title."""
    said = list(answer.context.values())
    if answer.best_alternate:
        best = answer.best_alternate
        said.append(f"best alternate {_short(best.id)} {percent(best.probability)}")
    if answer.starter:
        said.insert(0, "NOT TRAINED ON YOUR DATA: figures mean little")
    return " · ".join(said)


def _short(name: str) -> str:
    """Of an id that is a path, the file and its folder."""
    return "/".join(name.split("/")[-2:])


def _places(tiles: Sequence[_Tile], top: int, columns: int) -> list[Box]:
    """Where the picture of each tile lies."""
    places = []
    for number in range(len(tiles)):
        row, column = divmod(number, columns)
        left, above = _MARGIN + column * (_TILE + _GAP), top + row * (_TILE + _WORDS + _GAP)
        places.append(Box(left, above, left + _TILE, above + _TILE))
    return places


def _paste(sheet: Image.Image, tiles: Sequence[_Tile], top: int, columns: int) -> None:
    """Lay the pictures on paper of the colour of their edges, with round corners."""
    mask = Image.new("L", (_TILE * _SMOOTH, _TILE * _SMOOTH))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, *mask.size), _RADIUS * _SMOOTH, fill=255)
    mask = mask.reduce(_SMOOTH)
    for tile, box in zip(tiles, _places(tiles, top, columns), strict=True):
        paper = Image.new("RGB", (_TILE, _TILE), TRACK[:3])
        if tile.picture:
            fitted = _fitted(tile.picture.convert("RGB"), _TILE - 2 * _INSET)
            paper.paste(_edge(fitted), (0, 0, _TILE, _TILE))
            paper.paste(fitted, ((_TILE - fitted.width) // 2, (_TILE - fitted.height) // 2))
        sheet.paste(paper, (round(box.x1), round(box.y1)), mask)


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


def _annotate(sheet: Sheet, tile: _Tile, box: Box) -> None:
    """Write name, figure and a bar below the picture, and frame it where it is the best."""
    if tile.colour:
        around = sheet.around(Box(box.x1 - _FRAME, box.y1 - _FRAME, box.x2 + _FRAME, box.y2 + _FRAME))
        finer = (around.right - around.left) / (_TILE + 2 * _FRAME)
        radius, line = (_RADIUS + _FRAME) * finer, round(_FRAME * finer)
        sheet.draw.rounded_rectangle(around, radius, outline=tile.colour, width=line)
    if not tile.picture:
        _write(sheet, (box.x1 + 12, box.y1, box.x2 - 12, box.y2), "picture not at hand", 18, MUTED, "mm")
    below, bright = box.y2 + 12, WHITE if tile.colour else PASSIVE
    figure = percent(tile.probability)
    taken = _write(sheet, (box.x2 - 90, below, box.x2, below + 28), figure, 25, tile.colour or WHITE, "rm")
    _write(sheet, (box.x1, below, box.x2 - taken - 12, below + 28), tile.name, 21, bright)
    bar = Box(box.x1, below + 36, box.x2, below + 42)
    filled = bar._replace(x2=max(bar.x1 + 6, bar.x1 + _TILE * tile.probability))
    for part, colour in ((bar, TRACK), (filled, tile.colour or PASSIVE)):
        shape = sheet.around(part)
        sheet.draw.rounded_rectangle(shape, (shape.bottom - shape.top) / 2, fill=colour)
    if tile.note:
        _write(sheet, (box.x1, below + 46, box.x2, below + 64), tile.note, 17, MUTED)


def _write(
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
