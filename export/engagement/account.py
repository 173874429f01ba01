"""A generated account whose figures are those of the seed document, to the count.

Its posts are drawn, and then four spreads are solved for: of likes and of comments, among the posts that
cleaning keeps and among all. What comes out is rounded to whole likes and comments, which moves a standard
deviation by far less than the rounding of the figures themselves.

``python -m export.engagement.account FOLDER`` writes pictures and ``posts.csv``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from export.datasets import DatasetError
from export.engagement.classes import BOUNDARIES
from export.engagement.cleaning import Rules
from export.engagement.planted import SEED, plant, write_export

LIKES_SD: Final = (6085, 2897)
"""Standard deviation before and after cleaning."""
COMMENTS_SD: Final = (98, 44)
KEPT: Final = (107, 142, 95)
"""Posts that cleaning keeps: low, neutral, high."""
TOO_POPULAR: Final = 60
FEW_COMMENTS: Final = 70
MANY_COMMENTS: Final = 25
NO_LIKES: Final = 1
"""Posts that cleaning drops, by reason. The document tells their number alone: about 500 less 344."""
_LEAST: Final = 2_500
"""Likes and comments of the least popular post that is kept."""
_RATIO: Final = (0.0122, 0.0069)
"""Comments a like of the posts that are kept: the middle, and how far they may lie from it."""
_FOLLOWERS: Final = 210_000
"""At first."""

Integers = NDArray[np.int64]


class Account(NamedTuple):
    """Likes and comments of all posts, each int64 [n], in no order."""

    likes: Integers
    comments: Integers


def generate(seed: int = SEED) -> Account:
    """Likes and comments of 500 posts; the same seed gives the same.

    Raises:
        DatasetError: the figures cannot be met by what was drawn from ``seed``.
    """
    random = np.random.default_rng(seed)
    kept = _kept(random)
    likes, comments = _dropped(random, kept)
    order = random.permutation(len(likes))
    return Account(likes[order], comments[order])


def _kept(random: np.random.Generator) -> Account:
    """Posts of the three classes; the outer two are moved from or to the middle until spreads are right."""
    classes = np.repeat(np.arange(len(KEPT)), KEPT)
    share, ratio = random.random((2, len(classes)))
    lower, upper = (int(boundary) for boundary in BOUNDARIES)
    least, most = np.array([_LEAST, lower, upper + 1]), np.array([lower - 1, upper, Rules().max_likes])

    def posts(outward: float, width: float) -> Account:
        power = np.exp(outward)
        moved = np.select([classes == 0, classes == 2], [share**power, 1 - (1 - share) ** power], share)
        totals = (least[classes] + moved * (most - least)[classes]).round().astype(np.int64)
        middle, reach = _RATIO
        ratios = middle + width * reach * (2 * ratio - 1)
        comments = (totals * ratios / (1 + ratios)).round().astype(np.int64)
        return Account(totals - comments, comments)

    def outward_at(width: float) -> float:
        return _solve(lambda x: posts(x, width).likes, LIKES_SD[1], -2, 2)

    def width_at(outward: float) -> float:
        return _solve(lambda x: posts(outward, x).comments, COMMENTS_SD[1], 0, 1)

    width = 0.5
    # Each hardly moves the other's spread, so that a few turns settle both.
    for _ in range(4):
        width = width_at(outward_at(width))
    return posts(outward_at(width), width)


def _dropped(random: np.random.Generator, kept: Account) -> Account:
    """Those and the posts that cleaning drops."""
    rules = Rules()
    over, beyond = random.exponential(1, TOO_POPULAR), random.exponential(1, MANY_COMMENTS)
    few = random.integers(4_000, rules.max_likes, FEW_COMMENTS)
    many = random.integers(2_000, 9_000, MANY_COMMENTS)
    popular_ratio = random.uniform(0.002, 0.012, TOO_POPULAR)
    few_ratio = random.uniform(0.001, 0.9 * rules.min_ratio, FEW_COMMENTS)

    def likes(spread: float) -> Integers:
        popular = rules.max_likes + 1 + (spread * over).astype(np.int64)
        return np.concatenate([kept.likes, popular, few, many, np.zeros(NO_LIKES, np.int64)])

    found = likes(_solve(likes, LIKES_SD[0], 100, 20_000))
    first = len(kept.likes)
    popular = (found[first : first + TOO_POPULAR] * popular_ratio).astype(np.int64)
    quiet = (few * few_ratio).astype(np.int64)

    def comments(spread: float) -> Integers:
        loud = np.ceil(many * (1.1 * rules.max_ratio + spread * beyond)).astype(np.int64)
        return np.concatenate([kept.comments, popular, quiet, loud, np.full(NO_LIKES, 3)])

    return Account(found, comments(_solve(comments, COMMENTS_SD[0], 0, 0.5)))


def _solve(numbers: Callable[[float], Integers], wanted: int, low: float, high: float) -> float:
    """Where the standard deviation (with n - 1) of ``numbers`` is ``wanted``."""
    try:
        return float(brentq(lambda x: float(numbers(x).std(ddof=1)) - wanted, low, high))
    except ValueError as error:
        raise DatasetError(f"a standard deviation of {wanted} is out of reach; take another seed") from error


def write_account(folder: Path, seed: int = SEED) -> Path:
    """Write the account's pictures and export into ``folder``, as ``planted.write_posts`` does.

    Pictures and contexts tell nothing of the engagement.
    """
    likes, comments = generate(seed)
    drawn = plant(len(likes), "none", seed)
    followers = (_FOLLOWERS * (1 + 0.2 * drawn.minutes / drawn.minutes.max())).astype(np.int64)
    one = np.zeros_like(drawn.accounts)
    account = replace(drawn, likes=likes, comments=comments, followers=followers, accounts=one)
    return write_export(folder, account, seed)


@click.command(context_settings={"show_default": True})
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--seed", default=SEED)
def main(folder: Path, seed: int) -> None:
    """Write a generated account with the figures of the seed document into FOLDER."""
    click.echo(write_account(folder, seed))


if __name__ == "__main__":
    main()
