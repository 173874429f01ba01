"""A ranking of influencers as a table for a terminal: who, how well, and why."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import shorten
from typing import Final

from adlens.answers import percent
from adlens.influencers import InfluencerAnswer, InfluentialPost, RankedInfluencer

_HEADER: Final = ("rank", "influencer", "score", "followers", "engagement", "why")
_LEFT: Final = frozenset({"influencer", "why"})
_CAPTION: Final = 48
"""Characters of a caption that are shown."""


def table(answer: InfluencerAnswer) -> Iterator[str]:
    """Its lines; below each influencer, the posts that are told as reasons."""
    shown, passing = len(answer.influencers), answer.passing
    yield f"{answer.brand}: {shown} of {passing} influencer{'' if passing == 1 else 's'} that may be found"
    if not shown:
        return
    rows = [_cells(influencer) for influencer in answer.influencers]
    widths = [max(map(len, column)) for column in zip(_HEADER, *rows, strict=True)]
    yield _line(_HEADER, widths)
    for influencer, row in zip(answer.influencers, rows, strict=True):
        yield _line(row, widths)
        for post in influencer.posts:
            yield f"{' ' * (widths[0] + 2)}{_post(post)}"


def _cells(influencer: RankedInfluencer) -> tuple[str, ...]:
    return (
        str(influencer.rank),
        influencer.id,
        f"{influencer.score:.4g}",
        "?" if influencer.followers is None else f"{influencer.followers:,.0f}",
        "?" if influencer.engagement is None else percent(influencer.engagement, 1),
        why(influencer),
    )


def why(influencer: RankedInfluencer) -> str:
    """The shares of its blocks, the largest first."""
    shares = sorted(influencer.shares.items(), key=lambda share: -share[1])
    return ", ".join(f"{block} {percent(round(share, 2) + 0.0)}" for block, share in shares)  # never -0 %


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    padded = (
        cell.ljust(width) if name in _LEFT else cell.rjust(width)
        for name, cell, width in zip(_HEADER, cells, widths, strict=True)
    )
    return "  ".join(padded).rstrip()


def _post(post: InfluentialPost) -> str:
    caption = shorten(post.caption, _CAPTION, placeholder="...")
    said = f' "{caption}"' if caption else ""
    return f"{post.contribution:+.3g}  {post.image or f'post {post.line}'}{said}"
