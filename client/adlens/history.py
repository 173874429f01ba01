"""An account's posts become one vector: their mean, plain or weighted by engagement and recency.

Gan et al. (ACM Multimedia 2019) call it social account history pooling, take a weighted mean, and state no
weights. Ours: a post weighs log(2 + likes and comments), as these are heavy-tailed, and one post that went
round the world shall not stand for all; times one half for every half-life by which it is older than the
account's newest, as an account is what it shows now. The weights of an account add up to 1. They are known
before any picture is looked at; the vectors go by one at a time, and none is kept.

A brand's posts that mention somebody tell with whom it works: that is what a ranking is to find, and what a
ranker is judged by. They are set aside, in training and in use, as it would else be told what it has to
guess; what is published does not say whether they were. (Posts of influencers that mention a brand count:
which accounts are brands is not known when they are described.)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adlens.accounts import Account, Unused
from adlens.errors import InvalidConfiguration

HALF_LIFE_DAYS: Final = 180.0
"""Two seasons: what a shop shows, and who works for it, has changed by then. Nothing is published on it."""
_DAY_S: Final = 86_400.0
_LEAST: Final = 1e-12
"""Weight of a post of old beside the newest: more than nothing, as it may be the only one with a picture."""


@dataclass(frozen=True)
class Weighting:
    """What posts weigh.

    Attributes:
        engagement: whether it counts.
        half_life_days: of a post, in days; infinite where age does not count.

    Raises:
        InvalidConfiguration: a half-life that is none.
    """

    engagement: bool = True
    half_life_days: float = HALF_LIFE_DAYS

    def __post_init__(self) -> None:
        if not self.half_life_days > 0:
            raise InvalidConfiguration(
                f"half-life {self.half_life_days} days; give a number above 0, or infinity for no half-life"
            )

    @property
    def name(self) -> str:
        """As in files and reports."""
        parts = ["engagement"] if self.engagement else []
        if math.isfinite(self.half_life_days):
            parts.append(f"half-life {self.half_life_days:g} days")
        return ", ".join(parts) or "plain"

    def weights(self, engagement: Iterable[float], seconds: Iterable[float]) -> npt.NDArray[np.float64]:
        """What each post of one account weighs: float64 [n], above 0, adding up to 1.

        Args:
            engagement: likes and comments of each; NaN where not known, which counts as the account's median.
            seconds: when each was published, since any moment, in seconds; NaN likewise.
        """
        liked = np.fromiter(engagement, np.float64)
        when = np.fromiter(seconds, np.float64, len(liked))
        weights = np.ones_like(liked)
        if self.engagement:
            weights *= _filled(np.log(2 + liked))
        if math.isfinite(self.half_life_days) and not np.isnan(when).all():
            age_days = (np.nanmax(when) - when) / _DAY_S
            weights *= np.maximum(_filled(0.5 ** (age_days / self.half_life_days)), _LEAST)
        total: float = weights.sum()
        return np.asarray(weights / total)


@dataclass(frozen=True)
class Plan:
    """What the posts of an account count, known before any picture is looked at.

    Attributes:
        weights: of the posts that are in its vectors, by line; they add up to 1.
        posts: that it has.
        set_aside: of them, in no vector, as they mention somebody.
        engagement: likes and comments of a post over followers, the mean of what is known; NaN where nothing
            is.
        digest: changes with the posts, what they weigh, and which have a picture.
    """

    weights: Mapping[int, float]
    posts: int
    set_aside: int
    engagement: float
    digest: str

    def heaviest(self, most: int) -> tuple[int, ...]:
        """Lines of the ``most`` posts that weigh most, the first the most; of equal ones the first."""
        return tuple(sorted(self.weights, key=lambda line: -self.weights[line])[:most])


def plan(account: Account, weighting: Weighting, unused: Unused) -> Plan:
    """What the posts of ``account`` count, which are read once, one at a time.

    Those of a brand that mention somebody are set aside, unless all do: then all count.

    Args:
        account: a brand or an influencer.
        weighting: what posts weigh.
        unused: takes what cannot be used.

    Raises:
        InvalidConfiguration: its posts cannot be read.
    """
    own = {account.id.lower()}
    numbers = np.array(
        [
            (post.line, post.engagement, post.seconds, post.image is not None, bool(post.mentions - own))
            for post in account.posts(unused)
        ],
        np.float64,
    ).reshape(-1, 5)
    counts = numbers[:, 4] == 0 if account.brand else np.ones(len(numbers), bool)
    if not counts.any():
        counts[:] = True
    lines, engagement, seconds, _, _ = numbers[counts].T
    weights = weighting.weights(engagement, seconds)
    known = numbers[~np.isnan(numbers[:, 1]), 1]
    total = hashlib.sha256(numbers[:, [0, 3]].tobytes())
    total.update(lines.tobytes())
    total.update(weights.tobytes())
    return Plan(
        dict(zip(lines.astype(int).tolist(), weights.tolist(), strict=True)),
        len(numbers),
        int((~counts).sum()),
        float(known.mean() / account.followers) if len(known) and account.followers > 0 else math.nan,
        total.hexdigest()[:16],
    )


PLAIN: Final = Weighting(engagement=False, half_life_days=math.inf)
"""The plain mean; ``ap`` in the tables of Gan et al."""


class Pool:
    """The weighted mean of vectors that go by one at a time: of those that come, if not all do."""

    def __init__(self, dimension: int) -> None:
        """Of vectors of ``dimension`` numbers."""
        self.sum = np.zeros(dimension, np.float64)
        self.weight = 0.0

    def add(self, vector: npt.NDArray[Any], weight: float = 1.0) -> None:
        """Take in a vector, finite numbers [dimension], of a weight above 0."""
        self.sum += weight * vector.astype(np.float64)
        self.weight += weight

    def mean(self) -> npt.NDArray[np.float32]:
        """float32 [dimension]; NaN where nothing came."""
        if not self.weight:
            return np.full(len(self.sum), np.nan, np.float32)
        return (self.sum / self.weight).astype(np.float32)


def _filled(factors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """With the median where one is not known; 1 where none is."""
    unknown = np.isnan(factors)
    typical = 1.0 if unknown.all() else float(np.median(factors[~unknown]))
    return np.where(unknown, typical, factors)
