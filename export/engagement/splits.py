"""Which posts a model learns from, by which it is tuned, and by which it is judged: by time, or at random.

By time, each account's first posts are learned from and its last ones are held out, as predictions are of
what comes: no post trains a model that is tuned or judged on a post of the same account before it. At random,
a picture that was posted several times stays in one part.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from export.datasets import DatasetError
from export.engagement.posts import Posts

TIME: Final = "time"
RANDOM: Final = "random"
WAYS: Final = (TIME, RANDOM)
SHARES: Final = (0.6, 0.2, 0.2)
"""Of the posts of an account: for fitting, for validation, held out."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Parts:
    """Masks over the posts, each bool [n]; no post is in two, and one without a time may be in none."""

    fitting: Mask
    validation: Mask
    held_out: Mask

    @property
    def left_out(self) -> Mask:
        """Posts in no part: nobody knows whether they came before or after the others."""
        return ~(self.fitting | self.validation | self.held_out)


def split(posts: Posts, how: str = TIME, seed: int = 0) -> Parts:
    """Part the posts.

    Args:
        posts: cleaned, in any order.
        how: ``time`` or ``random``. By time, posts of one account at the same moment stay together, and posts
            without a time are in no part.
        seed: of the random one; the same posts fall alike, in whatever order they come.

    Raises:
        DatasetError: ``how`` is unknown, or a part stays empty.
    """
    if how not in WAYS:
        raise DatasetError(f"split {how!r} is unknown; choose one of {', '.join(WAYS)}")
    place = _by_time(posts) if how == TIME else _at_random(posts, seed)
    parts = Parts(*(place == part for part in range(len(SHARES))))
    if not all(mask.any() for mask in (parts.fitting, parts.validation, parts.held_out)):
        undated = int(parts.left_out.sum())
        told = f", {undated} of them without a time; name times, or split at random" if undated else ""
        raise DatasetError(f"{len(posts)} posts cannot be parted in three{told}: gather more")
    return parts


def _by_time(posts: Posts) -> NDArray[np.int64]:
    """The part of each post, int64 [n]; -1 where its time is unknown."""
    accounts = np.array(posts.accounts, np.str_)
    place = np.full(len(posts), -1, np.int64)
    for account in np.unique(accounts):
        rows = np.flatnonzero((accounts == account) & np.isfinite(posts.times))
        if len(rows):
            place[rows] = _cut(posts.times[rows])
    return place


def _at_random(posts: Posts, seed: int) -> NDArray[np.int64]:
    """The part of each post, int64 [n]; that of its picture."""
    pictures = np.array([os.path.normpath(path) for path in posts.pictures], np.str_)
    _, number = np.unique(pictures, return_inverse=True)
    order = np.random.default_rng(seed).permutation(number.max(initial=-1) + 1)
    return _cut(order[number])


def _cut(keys: NDArray[Any]) -> NDArray[np.int64]:
    """The part of each key, int64 [n], along their order by SHARES; equal keys are in one part.

    A key at a cut belongs to the later part, so that the earlier one has its share or less. A single post is
    for fitting.
    """
    ordered = np.append(np.sort(keys), np.inf)
    cuts = (np.cumsum(SHARES[:-1]) * len(keys)).round().astype(np.int64)
    return np.searchsorted(ordered[cuts], keys, side="right")
