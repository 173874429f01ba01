"""Weights of an account's posts, and their mean, held against numpy on small cases."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adlens.errors import InvalidConfiguration
from adlens.history import PLAIN, Pool, Weighting

DAY_S = 86_400.0
NAN = math.nan


def test_without_weights_all_posts_count_alike() -> None:
    assert PLAIN.name == "plain"
    np.testing.assert_allclose(PLAIN.weights([5, NAN, 0], [0, 1e9, NAN]), [1 / 3] * 3)


def test_engagement_weighs_by_its_logarithm() -> None:
    weights = Weighting(half_life_days=math.inf).weights([0, 98, 998], [NAN] * 3)
    expected = np.log([2, 100, 1000])
    np.testing.assert_allclose(weights, expected / expected.sum())


def test_a_post_a_half_life_older_weighs_half() -> None:
    weights = Weighting(engagement=False, half_life_days=30).weights(
        [1, 2, 3], [90 * DAY_S, 60 * DAY_S, 30 * DAY_S]
    )
    np.testing.assert_allclose(weights, np.array([4, 2, 1]) / 7)


def test_what_is_not_known_counts_as_the_accounts_median() -> None:
    weights = Weighting(half_life_days=10).weights([8, 98, NAN, 998], [NAN, 20 * DAY_S, 10 * DAY_S, 0])
    liked = np.log([10, 100, 100, 1000])
    age = np.array([0.5, 1, 0.5, 0.25])
    np.testing.assert_allclose(weights, liked * age / (liked * age).sum())


def test_age_counts_from_the_newest_post_whatever_the_clock_says() -> None:
    weighting = Weighting()
    seconds = np.array([0.0, 40, 300]) * DAY_S
    np.testing.assert_allclose(
        weighting.weights([7, 70, 3], seconds), weighting.weights([7, 70, 3], seconds + 1e8)
    )


def test_no_post_weighs_nothing_and_no_posts_give_no_weights() -> None:
    weights = Weighting(half_life_days=0.001).weights([0, 0], [0, 4000 * DAY_S])
    assert (weights > 0).all()
    assert weights.sum() == pytest.approx(1)
    assert Weighting().weights([], []).shape == (0,)


@pytest.mark.parametrize("days", [0.0, -1.0, NAN])
def test_a_half_life_that_is_none_is_refused(days: float) -> None:
    with pytest.raises(InvalidConfiguration, match="half-life"):
        Weighting(half_life_days=days)


def test_a_pool_gives_numpys_weighted_mean_of_those_that_came() -> None:
    random = np.random.default_rng(3)
    vectors = random.normal(size=(50, 7)).astype(np.float32)
    weights = random.uniform(0.1, 2, 50)
    pool = Pool(7)
    for vector, weight in zip(vectors[10:], weights[10:], strict=True):
        pool.add(vector, weight)
    expected = np.average(vectors[10:].astype(np.float64), axis=0, weights=weights[10:])
    np.testing.assert_allclose(pool.mean(), expected, rtol=1e-6)
    assert pool.mean().dtype == np.float32


def test_a_pool_of_nothing_is_not_known() -> None:
    assert np.isnan(Pool(3).mean()).all()
