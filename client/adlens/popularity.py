"""Draws how popular posts will be: one picture with its probabilities, or candidates in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from PIL import Image

from adlens import contract, pictures, tiles
from adlens.answers import Box, percent, told_apart
from adlens.engagement import CONTEXT, EngagementAnswer, EngagementRanking
from adlens.pictures import ImageLike
from adlens.sheets import (
    DECIDING,
    INK,
    MAX_SIDE,
    MIN_SIDE,
    MUTED,
    OTHER,
    PASSIVE,
    WHITE,
    Colour,
    Sheet,
    with_band,
)
from adlens.tiles import MARGIN, Grid, write

_COLOURS: Final[Mapping[str, Colour]] = {"low": PASSIVE, "neutral": OTHER, "high": DECIDING}
"""Of the classes; all PASSIVE where there is no signal."""
_NARROWEST: Final = MIN_SIDE * 2 // 3
"""Width of a drawing in which three bars can be read."""
_STRIP: Final = 76
"""Height of the bars below a picture, in 720ths of the drawing's width."""
_ROW: Final = 24
_WORDS: Final = 40 + 3 * _ROW
"""Height of what is written below a candidate: its name, and a row a class."""
_HEADING: Final = 52
_COLUMNS: Final = range(3, 7)
_SHOWN: Final = 60
"""Candidates on one sheet."""
_SECOND_THOUGHTS: Final = "NOT TRAINED ON YOUR DATA"


def draw(image: ImageLike, answer: EngagementAnswer) -> Image.Image:
    """Draw ``answer`` around ``image``: a band above it, and a bar for each class below.

    Returns:
        RGB, upright, the longer side of the picture within ``MIN_SIDE`` to ``MAX_SIDE``.

    Raises:
        BadImage: ``image`` cannot be read.
    """
    picture = pictures.open_upright(pictures.load(image))
    longer = max(picture.size)
    scale = min(max(longer, MIN_SIDE), MAX_SIDE) / longer
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    picture = picture.resize((size[0], size[1]), Image.Resampling.LANCZOS, reducing_gap=3)
    width = max(picture.width, _NARROWEST)
    unit = width / MIN_SIDE
    canvas = Image.new("RGB", (width, picture.height + round(_STRIP * unit)), INK[:3])
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    sheet = Sheet(canvas, 1)
    margin, gap = 26 * unit, 30 * unit
    across = (width - 2 * margin - 2 * gap) / 3
    for place, label in enumerate(contract.ENGAGEMENT_CLASSES):
        left, top = margin + place * (across + gap), picture.height + 12 * unit
        _class_above_bar(sheet, answer, label, Box(left, top, left + across, top + 54 * unit))
    bright = answer.signal and answer.label == contract.ENGAGEMENT_CLASSES[-1]
    return with_band(sheet.drawn(), answer.title, _evidence(answer, _missing(answer)), bright)


def draw_ranking(ranking: EngagementRanking) -> Image.Image:
    """Draw the candidates, the best first and framed, each with a bar for each class.

    Returns:
        RGB; at most the first 60. A picture that cannot be read any longer is shown by its words alone.
    """
    shown = ranking.ranked[:_SHOWN]
    grid = Grid(_columns(len(shown)), _WORDS)
    sheet = tiles.paper(grid.width, _HEADING + grid.height(len(shown)) + MARGIN // 2)
    boxes = grid.places(len(shown), _HEADING)
    thumbnails = [tiles.thumbnail(answer.path) for answer in shown]
    tiles.paste(sheet, zip(thumbnails, boxes, strict=True))
    overlay = Sheet(sheet, 1)
    heading = (MARGIN, 0, grid.width - MARGIN, _HEADING)
    write(overlay, heading, _about(ranking, len(shown)), 21, MUTED)
    for rank, (answer, thumbnail, box) in enumerate(zip(shown, thumbnails, boxes, strict=True), 1):
        best = ranking.decided and answer is ranking.best
        if best:
            tiles.frame(overlay, box, DECIDING)
        if thumbnail is None:
            write(overlay, (box.x1 + 12, box.y1, box.x2 - 12, box.y2), "picture not at hand", 18, MUTED, "mm")
        _badge(overlay, box, rank, DECIDING if best else WHITE if ranking.signal else MUTED)
        below = (box.x1, box.y2 + 10, box.x2, box.y2 + 36)
        write(overlay, below, ranking.named(answer), 20, WHITE if best else PASSIVE)
        _bars(overlay, answer, box._replace(y1=box.y2 + 40, y2=box.y2 + 40 + 3 * _ROW))
    evidence = _evidence(ranking.ranked[0], _missing_of_all(ranking)) if shown else ""
    return with_band(overlay.drawn(), ranking.title, evidence, ranking.decided)


def _columns(number: int) -> int:
    """Those that leave the fewest places empty; of equals, the most."""
    widest = _COLUMNS[-1]
    return widest if number > 2 * widest else min(_COLUMNS, key=lambda columns: (-number % columns, -columns))


def _class_above_bar(sheet: Sheet, answer: EngagementAnswer, label: str, box: Box) -> None:
    """Name and probability of a class over its bar."""
    share, size = answer.probabilities[label], box.height * 0.42
    middle = box.y1 + box.height * 0.62
    bright = answer.signal and label == answer.label
    taken = write(sheet, (box.x1, box.y1, box.x2, middle), percent(share), size, _bright(bright), "rm")
    write(sheet, (box.x1, box.y1, box.x2 - taken, middle), label, size, _bright(bright))
    bar = Box(box.x1, middle + box.height * 0.08, box.x2, middle + box.height * 0.22)
    tiles.bar(sheet, bar, share, _colour(answer, label))


def _bars(sheet: Sheet, answer: EngagementAnswer, box: Box) -> None:
    """A row for each class of a candidate, high first."""
    for row, label in enumerate(reversed(contract.ENGAGEMENT_CLASSES)):
        top, share = box.y1 + row * _ROW, answer.probabilities[label]
        bright = answer.signal and label == answer.label
        write(sheet, (box.x1, top, box.x1 + 70, top + _ROW), label, 18, _bright(bright))
        write(sheet, (box.x2 - 62, top, box.x2, top + _ROW), percent(share), 18, _bright(bright), "rm")
        middle = top + _ROW / 2
        bar = Box(box.x1 + 76, middle - 4, box.x2 - 64, middle + 4)
        tiles.bar(sheet, bar, share, _colour(answer, label))


def _badge(sheet: Sheet, box: Box, rank: int, colour: Colour) -> None:
    """The rank, in a corner of the picture."""
    badge = Box(box.x1 + 10, box.y1 + 10, box.x1 + 46, box.y1 + 46)
    shape = sheet.around(badge)
    sheet.draw.ellipse(shape, fill=INK)
    write(sheet, badge, str(rank), 21, colour, "mm")


def _about(ranking: EngagementRanking, shown: int) -> str:
    number = len(ranking.ranked)
    first = f"the first {shown} of {number} candidates" if shown < number else f"{number} candidates"
    if not ranking.signal:
        return f"{first}, by figures that mean nothing".capitalize()
    return f"{first}, the most popular to be expected first".capitalize()


def _evidence(answer: EngagementAnswer, missing: str) -> str:
    """The line under the title; ``missing`` tells what of the post was not known."""
    said = [_SECOND_THOUGHTS] if answer.starter else []
    if not answer.signal:
        right, frequent = told_apart(answer.accuracy, answer.majority)
        figures = (
            f"right in {right} of posts it had not seen, always saying the most frequent class: {frequent}"
        )
        return " · ".join([figures, *said])
    said.append(missing)
    if answer.boundaries and not answer.starter:
        said.append(f"high: more than {answer.boundaries[-1]:,.0f} likes and comments")
    return " · ".join(filter(None, said))


def _missing(answer: EngagementAnswer) -> str:
    """What of the post was not known, in few words."""
    if CONTEXT not in answer.reads:
        return "by the picture alone"
    if not answer.missing:
        return ""
    if not answer.known:
        return "nothing known of the post"
    return f"not known: {', '.join(map(_spoken, answer.missing))}"


def _missing_of_all(ranking: EngagementRanking) -> str:
    found = {_missing(answer) for answer in ranking.ranked}
    return found.pop() if len(found) == 1 else "not as much is known of each"


def _spoken(name: str) -> str:
    return name.replace("_", " ")


def _colour(answer: EngagementAnswer, label: str) -> Colour:
    return _COLOURS.get(label, PASSIVE) if answer.signal else PASSIVE


def _bright(bright: bool) -> Colour:
    return WHITE if bright else MUTED
