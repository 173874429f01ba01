"""No post of the future trains a model that is judged on its own past; no picture is on two sides."""

from __future__ import annotations

import numpy as np
import pytest

from export.datasets import DatasetError
from export.engagement import splits
from export.engagement.posts import Posts
from export.engagement.splits import Parts, split
from tests.export.engagement.exports import posts


def some(seed: int, count: int = 300) -> Posts:
    """Posts of accounts of very different size, in no order, many at the same moment, some without a time."""
    random = np.random.default_rng(seed)
    accounts = random.choice(["a", "b", "c", "d"], count, p=[0.7, 0.25, 0.04, 0.01])
    times = random.integers(0, count // 3, count).astype(float)
    times[random.random(count) < 0.05] = np.nan
    pictures = [f"{number}.jpg" for number in random.integers(0, count // 2, count)]
    return posts(random.integers(1, 9_999, count).tolist(), 9, times.tolist(), accounts.tolist(), pictures)


def masks(parts: Parts) -> list[np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    return [parts.fitting, parts.validation, parts.held_out]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("how", splits.WAYS)
def test_no_post_is_in_two_parts(how: str, seed: int) -> None:
    parts = split(some(seed), how, seed)
    assert np.sum([*masks(parts), parts.left_out], axis=0).tolist() == [1] * 300


@pytest.mark.parametrize("seed", range(20))
def test_by_time_no_later_part_of_an_account_reaches_back(seed: int) -> None:
    all_posts = some(seed)
    parts = split(all_posts, splits.TIME)
    assert np.isnan(all_posts.times[parts.left_out]).all()
    assert np.isfinite(all_posts.times[~parts.left_out]).all()
    for account in set(all_posts.accounts):
        own = np.array(all_posts.accounts) == account
        times = [all_posts.times[mask & own] for mask in masks(parts)]
        for earlier in range(3):
            for later in range(earlier + 1, 3):
                # Strictly: posts of one moment are not parted.
                assert times[earlier].max(initial=-np.inf) < times[later].min(initial=np.inf)


@pytest.mark.parametrize("seed", range(20))
def test_at_random_no_picture_is_in_two_parts(seed: int) -> None:
    all_posts = some(seed)
    parts = split(all_posts, splits.RANDOM, seed)
    shown = [{all_posts.pictures[row] for row in np.flatnonzero(mask)} for mask in masks(parts)]
    assert not shown[0] & shown[1]
    assert not shown[0] & shown[2]
    assert not shown[1] & shown[2]
    assert not parts.left_out.any()


@pytest.mark.parametrize("how", splits.WAYS)
def test_parts_have_their_shares(how: str) -> None:
    parts = split(posts([1] * 1000), how)
    assert [int(mask.sum()) for mask in masks(parts)] == [600, 200, 200]


@pytest.mark.parametrize("how", splits.WAYS)
def test_the_order_of_the_rows_changes_nothing(how: str) -> None:
    all_posts = some(3)
    order = np.random.default_rng(1).permutation(len(all_posts))
    for mask, shuffled in zip(
        masks(split(all_posts, how, 5)), masks(split(all_posts.subset(order), how, 5)), strict=True
    ):
        np.testing.assert_array_equal(mask[order], shuffled)


def test_another_seed_is_another_random_split_and_the_same_by_time() -> None:
    all_posts = some(3)
    by_seed = [split(all_posts, splits.RANDOM, seed).held_out for seed in (1, 1, 2)]
    assert (by_seed[0] == by_seed[1]).all()
    assert (by_seed[0] != by_seed[2]).any()
    by_time = [split(all_posts, splits.TIME, seed).held_out for seed in (1, 2)]
    assert (by_time[0] == by_time[1]).all()


def test_what_cannot_be_parted_is_refused() -> None:
    with pytest.raises(DatasetError, match="5 of them without a time; name times, or split at random"):
        split(posts([1] * 5, times=[np.nan] * 5))
    assert split(posts([1] * 5, times=[np.nan] * 5), splits.RANDOM).fitting.sum() == 3
    with pytest.raises(DatasetError, match="9 posts cannot be parted in three: gather more"):
        split(posts([1] * 9, times=[7] * 9))
    with pytest.raises(DatasetError, match="split 'later' is unknown; choose one of time, random"):
        split(posts([1] * 9), "later")
