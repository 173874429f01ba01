"""Draws the influencers that fit a brand as one sheet: each with the posts that speak for it."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import shorten
from typing import Final

from PIL import Image

from adlens import tiles
from adlens.answers import Box, percent
from adlens.influencer_table import why
from adlens.influencers import InfluencerAnswer, InfluentialPost, RankedInfluencer
from adlens.sheets import DECIDING, MUTED, PASSIVE, WHITE, Sheet, with_band
from adlens.tiles import MARGIN, Grid, write

Pictures = Mapping[tuple[str, int], Image.Image]
"""Of posts, by the account's id and the post's line."""
_WORDS: Final = 64
"""Height of what is written below a picture."""
_HEADING: Final = 60
_CAPTION: Final = 34
"""Characters that are shown."""
_COLUMNS: Final = range(3, 7)
"""Fewest, so that the headings have room, and most."""


def draw(answer: InfluencerAnswer, pictures: Pictures) -> Image.Image:
    """Draw the sheet.

    Args:
        answer: influencers, of whom those without posts are shown by their words alone.
        pictures: of the posts; one that is missing is shown by its caption.

    Returns:
        RGB; below the title a row for each influencer, the best first.
    """
    most = max((len(each.posts) for each in answer.influencers), default=0)
    columns = min(max(most, _COLUMNS.start), _COLUMNS.stop - 1)
    grid = Grid(columns, _WORDS)
    heights = [_HEADING + grid.height(min(len(each.posts), columns)) for each in answer.influencers]
    sheet = tiles.paper(grid.width, sum(heights) + MARGIN)
    placed = []
    for row, each in enumerate(answer.influencers):
        top = sum(heights[:row])
        shown = each.posts[:columns]
        boxes = grid.places(len(shown), top + _HEADING)
        tiles.paste(
            sheet,
            [(pictures.get((each.id, post.line)), box) for post, box in zip(shown, boxes, strict=True)],
        )
        placed.append((each, top, list(zip(shown, boxes, strict=True))))
    overlay = Sheet(sheet, 1)
    for each, top, posts in placed:
        _head(overlay, each, Box(MARGIN, top, grid.width - MARGIN, top + _HEADING))
        for post, box in posts:
            _annotate(overlay, post, box, bare=(each.id, post.line) not in pictures)
    return with_band(overlay.drawn(), _title(answer), _evidence(answer), recommended=bool(placed))


def _title(answer: InfluencerAnswer) -> str:
    if not answer.influencers:
        return f"{answer.brand}: no influencer found"
    return f"{answer.brand}: {answer.influencers[0].id} fits best"


def _evidence(answer: InfluencerAnswer) -> str:
    """The line under the title."""
    said = [f"{len(answer.influencers)} of {answer.passing} that may be found"]
    if answer.starter:
        said.insert(0, "NOT TRAINED ON YOUR DATA: who is found means little")
    return " · ".join(said)


def _head(sheet: Sheet, influencer: RankedInfluencer, box: Box) -> None:
    """Rank, name and score; and at the right, why."""
    first = influencer.rank == 1
    words = [f"{influencer.rank}  {influencer.id}", f"score {influencer.score:.3g}"]
    if influencer.followers is not None:
        words.append(f"{influencer.followers:,.0f} followers")
    if influencer.engagement is not None:
        words.append(f"{percent(influencer.engagement, 1)} engagement")
    middle = box.x1 + 0.62 * (box.x2 - box.x1)
    write(sheet, (box.x1, box.y1, middle - 12, box.y2), " · ".join(words), 18, DECIDING if first else WHITE)
    write(sheet, (middle, box.y1, box.x2, box.y2), why(influencer), 17, MUTED, "rm")


def _annotate(sheet: Sheet, post: InfluentialPost, box: Box, *, bare: bool) -> None:
    if bare:
        write(sheet, (box.x1 + 12, box.y1, box.x2 - 12, box.y2), "picture not at hand", 18, MUTED, "mm")
    below = box.y2 + 8
    write(sheet, (box.x1, below, box.x2, below + 26), f"{post.contribution:+.3g}", 20, WHITE)
    if caption := shorten(post.caption, _CAPTION, placeholder="..."):
        write(sheet, (box.x1, below + 28, box.x2, below + 50), caption, 17, PASSIVE)
