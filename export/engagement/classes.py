"""What counts as low, neutral and high engagement: the same numbers for all, or each account's own.

A post is low where it has fewer likes and comments together than the lower boundary, high where it has more
than the upper one, and neutral between, both included. Fixed boundaries are those of the seed document unless
given. An account's own are quantiles of its posts, learned from the fitting part alone: what later posts got
would tell the model of its future.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from adlens import contract
from adlens.features import brief
from export.datasets import DatasetError
from export.engagement.posts import Posts

FIXED: Final = "fixed"
ACCOUNT: Final = "account"
WAYS: Final = (FIXED, ACCOUNT)
BOUNDARIES: Final = (7_000.0, 11_000.0)
"""Of the seed document: likes and comments of an account with about 8,900 a post."""
QUANTILES: Final = (1 / 3, 2 / 3)
MIN_POSTS: Final = 12
"""That an account needs for quantiles of its own: with fewer, a third of them is a matter of chance."""

Pair = tuple[float, float]


@dataclass(frozen=True)
class Boundaries:
    """Between the classes.

    Attributes:
        of_all: lower and upper; of every account without own ones.
        of_accounts: by the account's name; none where boundaries are fixed.
    """

    of_all: Pair
    of_accounts: Mapping[str, Pair] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what parts no classes.

        Raises:
            DatasetError: boundaries are not finite, or fall.
        """
        for pair in (self.of_all, *self.of_accounts.values()):
            check_pair("boundaries", pair, np.inf)

    def label(self, posts: Posts) -> NDArray[np.int64]:
        """Places in ENGAGEMENT_CLASSES of the contract, int64 [n]."""
        pairs = [self.of_accounts.get(account, self.of_all) for account in posts.accounts]
        lower, upper = np.array(pairs, np.float64).reshape(-1, 2).T
        return np.asarray((posts.totals >= lower).astype(np.int64) + (posts.totals > upper), np.int64)

    def counts(self, posts: Posts) -> dict[str, int]:
        """How many of ``posts`` are in each class."""
        found = np.bincount(self.label(posts), minlength=len(contract.ENGAGEMENT_CLASSES))
        return dict(zip(contract.ENGAGEMENT_CLASSES, found.tolist(), strict=True))

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "of_all": list(self.of_all),
            "of_accounts": {account: list(pair) for account, pair in self.of_accounts.items()},
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """What ``to_json`` gave.

        Raises:
            ValueError: it is none.
        """
        try:
            accounts = {str(account): _pair(pair) for account, pair in raw["of_accounts"].items()}
            return cls(_pair(raw["of_all"]), accounts)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"no boundaries: {brief(raw)} ({error!r})") from error


def fit(
    fitting: Posts, how: str = FIXED, boundaries: Pair = BOUNDARIES, quantiles: Pair = QUANTILES
) -> Boundaries:
    """Boundaries by which posts are told apart.

    Args:
        fitting: the posts that a model learns from, and no others.
        how: ``fixed`` or ``account``.
        boundaries: where they are fixed.
        quantiles: of an account's likes and comments, where each has its own. An account with fewer than
            MIN_POSTS fitting posts, or with none, gets the quantiles of all posts.

    Raises:
        DatasetError: ``how`` is unknown, a pair falls, or there is no post to learn from.
    """
    if how not in WAYS:
        raise DatasetError(f"classes {how!r} are unknown; choose one of {', '.join(WAYS)}")
    if how == FIXED:
        return Boundaries(boundaries)
    check_pair("quantiles", quantiles, 1)
    if not len(fitting):
        raise DatasetError("no post to learn an account's boundaries from")
    accounts, number = np.unique(np.array(fitting.accounts, np.str_), return_inverse=True)
    enough = np.bincount(number) >= MIN_POSTS
    return Boundaries(
        _quantiles(fitting.totals, quantiles),
        {
            account: _quantiles(fitting.totals[number == place], quantiles)
            for place, account in enumerate(accounts.tolist())
            if enough[place]
        },
    )


def check_pair(name: str, pair: Pair, largest: float) -> None:
    """Whether ``pair`` rises, or is level, from 0 to ``largest``.

    Raises:
        DatasetError: it does not.
    """
    if len(pair) != 2 or not 0 <= pair[0] <= pair[1] <= largest or not np.isfinite(pair).all():
        raise DatasetError(
            f"{name} {list(pair)}; write two numbers from 0 to {largest:g}, the lower one first"
        )


def _quantiles(totals: NDArray[np.int64], quantiles: Pair) -> Pair:
    lower, upper = np.quantile(totals, quantiles).tolist()
    return lower, upper


def _pair(raw: Any) -> Pair:  # noqa: ANN401 - out of JSON
    lower, upper = map(float, raw)
    return lower, upper
