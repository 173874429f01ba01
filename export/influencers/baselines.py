"""What a ranker has to beat: untuned cosine, and a ridge regression on products of features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from export.datasets import DatasetError
from export.influencers.blocks import Blocks, Pairs

Array = NDArray[np.float64]
Scorer = Callable[[Blocks, Blocks], Array]
"""Blocks of brands and of influencers -> scores float64 [brands, influencers]."""
PENALTY: Final = 300.0
"""Of the ridge, on products of values in blocks of length 1."""


def unit(values: NDArray[Any]) -> Array:
    """Rows of length 1; rows of zeros stay so."""
    wide = values.astype(np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12))


def fit_cosine(pairs: Pairs) -> Scorer:
    """Cosine of the blocks that both sides share, as they are, side by side; nothing is learned.

    Raises:
        DatasetError: no block is shared.
    """
    names = _shared(pairs)

    def score(brands: Blocks, influencers: Blocks) -> Array:
        there = [name for name in names if name in brands and name in influencers]
        if not there:
            raise DatasetError(f"none of the blocks {', '.join(names)} is there on both sides")
        left, right = (np.hstack([finite(side[name]) for name in there]) for side in (brands, influencers))
        return np.asarray(unit(np.nan_to_num(left)) @ unit(np.nan_to_num(right)).T)

    return score


def fit_ridge(pairs: Pairs, penalty: float = PENALTY) -> Scorer:
    """Ridge regression of pair or no pair on all products of a brand's value with an influencer's.

    Blocks are centred and brought to length 1. Each brand counts alike, whatever its number of positives.
    The coefficients of all products of m with n values have a closed form by the eigenvectors of both sides
    (Kronecker ridge).

    Raises:
        DatasetError: no block is shared.
    """
    names = _shared(pairs)
    left, right = _prepared(pairs.brands, names), _prepared(pairs.influencers, names)
    kernel = kronecker_ridge(left(pairs.brands), right(pairs.influencers), targets(pairs.positive), penalty)

    def score(brands: Blocks, influencers: Blocks) -> Array:
        return np.asarray(left(brands) @ kernel @ right(influencers).T)

    return score


def targets(positive: NDArray[np.bool_]) -> Array:
    """What a ridge is to say of pairs: each brand's row has mean 0, and its positives together length 1."""
    rows = positive / np.sqrt(np.maximum(positive.sum(1, keepdims=True), 1))
    return np.asarray(rows - rows.mean(1, keepdims=True))


def kronecker_ridge(left: Array, right: Array, target: Array, penalty: float) -> Array:
    """The W with the least ``|left W right' - target|^2 + penalty |W|^2``, in closed form.

    Args:
        left: [m, p].
        right: [n, q].
        target: [m, n].
        penalty: above 0.

    Returns:
        [p, q].
    """
    return solve_kronecker(left.T @ left, right.T @ right, left.T @ target @ right, penalty)


def solve_kronecker(left: Array, right: Array, moment: Array, penalty: float) -> Array:
    """The W for which ``left W right + penalty W = moment``; both sides are positive semidefinite."""
    first, u = np.linalg.eigh(left)
    second, v = np.linalg.eigh(right)
    scale = first.clip(0)[:, None] * second.clip(0)[None] + penalty
    return np.asarray(u @ ((u.T @ moment @ v) / scale) @ v.T)


def _shared(pairs: Pairs) -> tuple[str, ...]:
    if not pairs.shared:
        raise DatasetError(f"{pairs.name}: no block is on both sides with as many values: nothing to compare")
    return pairs.shared


def _prepared(blocks: Blocks, names: tuple[str, ...]) -> Callable[[Blocks], Array]:
    """Each block less its mean and to length 1, side by side; 0 where it is not known."""
    means = {name: known_mean(blocks[name]) for name in names}

    def prepare(some: Blocks) -> Array:
        count = len(next(iter(some.values())))
        return np.hstack(
            [
                unit(np.nan_to_num(finite(some[name]) - mean))
                if name in some
                else np.zeros((count, len(mean)))
                for name, mean in means.items()
            ]
        )

    return prepare


def finite(values: NDArray[Any]) -> Array:
    """Float64, with rows that are not known, those with any value that is not finite, all NaN."""
    return np.where(np.isfinite(values).all(1, keepdims=True), values, np.nan).astype(np.float64)


def known_mean(values: NDArray[Any]) -> Array:
    """Mean [values] of the rows that are known; 0 where there are none."""
    known = values[np.isfinite(values).all(1)].astype(np.float64)
    return np.asarray(known.mean(0)) if len(known) else np.zeros(values.shape[1])
