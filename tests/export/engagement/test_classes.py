"""What counts as low, neutral and high: fixed, or learned from what an account got before."""

from __future__ import annotations

import json

import numpy as np
import pytest

from export.datasets import DatasetError
from export.engagement import classes
from export.engagement.classes import MIN_POSTS, Boundaries, fit
from tests.export.engagement.exports import posts

LOW, NEUTRAL, HIGH = range(3)


def test_fixed_classes_are_those_of_the_document() -> None:
    some = posts([6_899, 6_900, 10_900, 10_901], 100)
    assert fit(some).label(some).tolist() == [LOW, NEUTRAL, NEUTRAL, HIGH]
    assert fit(some).counts(some) == {"low": 1, "neutral": 2, "high": 1}


def test_the_example_that_the_document_failed_on_is_high() -> None:
    failed = posts([15_100], [263])
    assert fit(failed).label(failed).tolist() == [HIGH]


@pytest.mark.parametrize("seed", range(5))
def test_an_accounts_own_classes_have_its_quantiles(seed: int) -> None:
    random = np.random.default_rng(seed)
    small, large = random.integers(10, 90, 300), random.integers(5_000, 90_000, 200)
    accounts = ["small"] * 300 + ["large"] * 200
    some = posts([*small, *large], 0, accounts=accounts)
    labels = fit(some, classes.ACCOUNT).label(some)
    for part in (labels[:300], labels[300:]):
        np.testing.assert_allclose(np.bincount(part) / len(part), 1 / 3, atol=0.03)
    assert (labels[:300] == HIGH).any()


def test_labels_rise_with_likes_whatever_the_boundaries() -> None:
    random = np.random.default_rng(4)
    some = posts(random.integers(0, 1000, 400).tolist(), accounts=random.choice(["a", "b"], 400).tolist())
    for quantiles in ((1 / 3, 2 / 3), (0, 1), (0.5, 0.5)):
        found = fit(some, classes.ACCOUNT, quantiles=quantiles).label(some)
        for name in ("a", "b"):
            own = np.array(some.accounts) == name
            assert (np.diff(found[own][np.argsort(some.totals[own])]) >= 0).all()


def test_only_the_fitting_part_decides() -> None:
    before = posts(range(100, 200), accounts=["shop"] * 100)
    after = posts(range(10_000, 10_100), accounts=["shop"] * 100)
    boundaries = fit(before, classes.ACCOUNT)
    assert boundaries.label(after).tolist() == [HIGH] * 100


def test_accounts_with_few_posts_or_none_get_the_boundaries_of_all() -> None:
    accounts = ["large"] * 90 + ["new"] * (MIN_POSTS - 1) + ["old"] * MIN_POSTS
    likes = [*range(1_000, 1_090), *range(MIN_POSTS - 1), *range(MIN_POSTS)]
    some = posts(likes, 0, accounts=accounts)
    boundaries = fit(some, classes.ACCOUNT)
    assert set(boundaries.of_accounts) == {"large", "old"}
    lower, upper = boundaries.of_all
    assert (lower, upper) == tuple(np.quantile(likes, [1 / 3, 2 / 3]))
    probes = posts([int(lower) - 1, int(upper) + 1] * 2, 0, accounts=["new"] * 2 + ["unseen"] * 2)
    assert boundaries.label(probes).tolist() == [LOW, HIGH] * 2


def test_boundaries_are_kept_as_json() -> None:
    boundaries = Boundaries((1.5, 7), {"é": (2, 2)})
    assert Boundaries.from_json(json.loads(json.dumps(boundaries.to_json()))) == boundaries
    for wrong in (
        {},
        {"of_all": [1, 2]},
        {"of_all": [2, 1], "of_accounts": {}},
        {"of_all": [1], "of_accounts": {}},
    ):
        with pytest.raises(ValueError, match="boundaries"):
            Boundaries.from_json(wrong)


def test_what_parts_no_classes_is_refused() -> None:
    some = posts([1, 2])
    for wrong in ((2, 1), (-1, 1), (1, np.inf), (np.nan, 2)):
        with pytest.raises(DatasetError, match="boundaries"):
            fit(some, boundaries=wrong)
    with pytest.raises(DatasetError, match="quantiles"):
        fit(some, classes.ACCOUNT, quantiles=(0.2, 1.1))
    with pytest.raises(DatasetError, match="classes 'own' are unknown; choose one of fixed, account"):
        fit(some, "own")
    with pytest.raises(DatasetError, match="no post"):
        fit(some.subset(np.zeros(2, bool)), classes.ACCOUNT)
