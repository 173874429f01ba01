"""Posts whose engagement follows a known relation: they stand in for an account, and show what a model finds.

Likes and comments depend on what can be seen in the picture (warm light, many things), on the context (the
evening, the end of the week, some hashtags, followers), on both, or on nothing; the rest is chance. Whoever
knew the relation and not the chance would be right in 7 of 10 cases, where always saying one class is in a
third, and would rank with a Spearman coefficient of .87. Every post obeys the rules of cleaning.

``python -m export.engagement.planted FOLDER`` writes pictures and ``posts.csv``.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

import click
import numpy as np
from numpy.typing import NDArray

from export.engagement.scenes import MAX_THINGS, Look, draw

RELATIONS: Final = ("image", "context", "both", "none")
COLUMNS: Final = (
    "image", "account", "likes", "comments", "timestamp", "caption", "followers", "advertised"
)  # fmt: skip
POSTS: Final = "posts.csv"
COUNT: Final = 1000
SEED: Final = 20
CORRELATION: Final = 0.88
"""Between what can be known of a post and its rank among all; the rest is noise."""
ACCOUNTS: Final = ("atelier", "bakery", "cyclist", "diner")
_TOTALS: Final = ((0, 1 / 3, 2 / 3, 1), (2_500, 7_000, 11_000, 15_500))
"""Ranks among all posts, and the likes and comments there: a third of the posts is in each fixed class."""
_RATIO: Final = (0.008, 0.015)
"""Comments a like; inside the rules of cleaning."""
_START: Final = datetime(2023, 1, 1, tzinfo=UTC)
_DAYS: Final = 730
_WORDS: Final = (
    "a", "slow", "morning", "light", "new", "in", "our", "favourite", "corner", "of", "the", "city", "with",
    "coffee", "and", "friends", "today", "see", "you", "soon", "spring", "collection",
)  # fmt: skip
_TAGS: Final = ("light", "design", "coffee", "city", "slowliving", "café", "spring", "home", "weekend", "new")


@dataclass(frozen=True)
class Planted:
    """``n`` posts by chance, and what their engagement comes from.

    Attributes:
        looks: what can be seen in each.
        accounts: int64 [n], places in ACCOUNTS.
        minutes: int64 [n], since the first post could be.
        words: int64 [n], of the caption.
        hashtags: int64 [n].
        followers: int64 [n].
        advertised: bool [n].
        scores: float64 [n], what can be known of the engagement, standardised; 0 where nothing can.
        likes: int64 [n].
        comments: int64 [n].
    """

    looks: tuple[Look, ...]
    accounts: NDArray[np.int64]
    minutes: NDArray[np.int64]
    words: NDArray[np.int64]
    hashtags: NDArray[np.int64]
    followers: NDArray[np.int64]
    advertised: NDArray[np.bool_]
    scores: NDArray[np.float64]
    likes: NDArray[np.int64]
    comments: NDArray[np.int64]

    @property
    def totals(self) -> NDArray[np.int64]:
        """Likes and comments together, int64 [n]."""
        return self.likes + self.comments


def plant(count: int, relation: str, seed: int = SEED) -> Planted:
    """Draw ``count`` posts; the same numbers give the same posts.

    Args:
        count: at least 3.
        relation: one of RELATIONS.
        seed: of all that is chance.

    Raises:
        ValueError: the relation is unknown, or there are too few posts for three classes.
    """
    if relation not in RELATIONS or count < len(RELATIONS) - 1:
        raise ValueError(f"{count} posts by {relation!r}; at least 3, by one of {', '.join(RELATIONS)}")
    random = np.random.default_rng(seed)
    warmth, things = random.uniform(-1, 1, count), random.integers(1, MAX_THINGS + 1, count)
    accounts = random.integers(0, len(ACCOUNTS), count)
    minutes = random.integers(0, _DAYS * 24 * 60, count)
    hashtags = np.minimum(random.geometric(0.12, count) - 1, 30)
    grown = 1 + 0.2 * minutes / minutes.max()
    followers = (20_000 * 2.2**accounts * grown * random.uniform(0.97, 1.03, count)).astype(np.int64)
    advertised = random.random(count) < 0.15
    hours, days = minutes / 60 % 24, (_START.weekday() + minutes // (24 * 60)) % 7
    parts: Mapping[str, NDArray[Any]] = {
        "image": 0.9 * _standard(warmth) + 0.45 * _standard(things),
        "context": 0.75 * _standard(np.cos(2 * np.pi * (hours - 19.5) / 24))
        + 0.3 * _standard(np.cos(2 * np.pi * (days - 5) / 7))
        + 0.3 * _standard(-((np.log1p(hashtags) - np.log1p(8)) ** 2))
        + 0.45 * _standard(np.log(followers))
        - 0.2 * _standard(advertised),
        "none": np.zeros(count),
    }
    both = _standard(parts["image"]) + _standard(parts["context"])
    scores = _standard(both if relation == "both" else parts[relation])
    chance = random.standard_normal(count)
    ranks = np.argsort(np.argsort(CORRELATION * scores + np.sqrt(1 - CORRELATION**2) * chance))
    totals = np.interp((ranks + 0.5) / count, *_TOTALS).astype(np.int64)
    comments = (totals * random.uniform(*_RATIO, count)).round().astype(np.int64)
    return Planted(
        tuple(Look(*each) for each in zip(warmth.tolist(), things.tolist(), strict=True)),
        accounts,
        minutes,
        random.integers(0, 60, count),
        hashtags,
        followers,
        advertised,
        scores,
        totals - comments,
        comments,
    )


def write_posts(folder: Path, count: int = COUNT, relation: str = "both", seed: int = SEED) -> Path:
    """Write the pictures of ``count`` posts as JPEG files below ``folder``, and their export, last.

    Args:
        folder: made where it is not there.
        count: of posts.
        relation: one of RELATIONS.
        seed: of all that is chance.

    Returns:
        The CSV: COLUMNS, one row a post, not in the order of time. Where it is there already, nothing is
        written.

    Raises:
        ValueError: as for ``plant``.
    """
    return write_export(folder, plant(count, relation, seed), seed)


def write_export(folder: Path, planted: Planted, seed: int) -> Path:
    """Write what ``write_posts`` does, of posts drawn already; ``seed`` is that of their pictures."""
    file = folder / POSTS
    if file.exists():
        return file
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, look in enumerate(planted.looks):
        random = Random(f"{seed}/{number}")  # noqa: S311 - pictures, not secrets
        path = Path("pictures", f"{number:05}.jpg")
        draw(look, random).save(folder / path, quality=88)
        rows.append((path.as_posix(), *_row(planted, number, random)))
    partial = file.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    partial.rename(file)
    return file


def _row(planted: Planted, number: int, random: Random) -> tuple[str, int, int, str, str, int, str]:
    """All columns but the first."""
    tags = random.choices(_TAGS, k=int(planted.hashtags[number]))
    words = random.choices(_WORDS, k=int(planted.words[number]))
    return (
        ACCOUNTS[planted.accounts[number]],
        int(planted.likes[number]),
        int(planted.comments[number]),
        (_START + timedelta(minutes=int(planted.minutes[number]))).replace(tzinfo=None).isoformat(),
        " ".join([*words, *(f"#{tag}" for tag in tags)]),
        int(planted.followers[number]),
        str(bool(planted.advertised[number])).lower(),
    )


def _standard(values: NDArray[Any]) -> NDArray[np.float64]:
    """With mean 0 and standard deviation 1; 0 where all are alike."""
    spread = float(values.std())
    return np.asarray((values - values.mean()) / spread if spread else np.zeros(len(values)), np.float64)


@click.command(context_settings={"show_default": True})
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--count", default=COUNT, type=click.IntRange(min=3), help="Posts.")
@click.option("--relation", default="both", type=click.Choice(RELATIONS), help="What engagement comes from.")
@click.option("--seed", default=SEED, help="Of pictures, contexts and noise.")
def main(folder: Path, count: int, relation: str, seed: int) -> None:
    """Write generated posts, whose engagement follows a known relation, into FOLDER."""
    click.echo(write_posts(folder, count, relation, seed))


if __name__ == "__main__":
    main()
