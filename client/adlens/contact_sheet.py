"""Draws variants and alternates of a picture as one sheet, with their probabilities, the best framed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from PIL import Image

from adlens import tiles
from adlens.answers import Box, percent
from adlens.creatives import WORDS, CreativeAnswer
from adlens.sheets import DECIDING, MUTED, OTHER, PASSIVE, WHITE, Colour, Sheet, with_band
from adlens.tiles import MARGIN, Grid, write

_WORDS: Final = 72
"""Height of what is written below a picture."""
_HEADING: Final = 52
_COLUMNS: Final = (4, 6)
"""Fewest, so that the title has room, and most."""


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
    grid = Grid(columns, _WORDS)
    heights = [_HEADING + grid.height(len(row)) for _, row in rows]
    sheet = tiles.paper(grid.width, sum(heights) + MARGIN // 2)
    tops = [sum(heights[:row]) for row in range(len(rows))]
    placed = [
        list(zip(row, grid.places(len(row), top + _HEADING), strict=True))
        for top, (_, row) in zip(tops, rows, strict=True)
    ]
    for row in placed:
        tiles.paste(sheet, [(tile.picture, box) for tile, box in row])
    overlay = Sheet(sheet, 1)
    for top, (heading, _), row in zip(tops, rows, placed, strict=True):
        write(overlay, (MARGIN, top, grid.width - MARGIN, top + _HEADING), heading, 21, MUTED)
        for tile, box in row:
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


def _annotate(sheet: Sheet, tile: _Tile, box: Box) -> None:
    """Write name, figure and a bar below the picture, and frame it where it is the best."""
    if tile.colour:
        tiles.frame(sheet, box, tile.colour)
    if not tile.picture:
        write(sheet, (box.x1 + 12, box.y1, box.x2 - 12, box.y2), "picture not at hand", 18, MUTED, "mm")
    below, bright = box.y2 + 12, WHITE if tile.colour else PASSIVE
    figure = percent(tile.probability)
    taken = write(sheet, (box.x2 - 90, below, box.x2, below + 28), figure, 25, tile.colour or WHITE, "rm")
    write(sheet, (box.x1, below, box.x2 - taken - 12, below + 28), tile.name, 21, bright)
    tiles.bar(sheet, Box(box.x1, below + 36, box.x2, below + 42), tile.probability, tile.colour or PASSIVE)
    if tile.note:
        write(sheet, (box.x1, below + 46, box.x2, below + 64), tile.note, 17, MUTED)
