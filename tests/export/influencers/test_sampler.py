"""K-buckets sampling: what lists hold, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest

from export.datasets import DatasetError
from export.influencers.sampler import LOWEST, KBucketsSampler, normalise


def _labels() -> np.ndarray:
    labels = np.zeros((3, 20), np.float32)
    labels[0, :6] = [0.001, 0.2, 0.03, 0.0001, 0.1, 0.01]
    labels[1, [7, 8]] = [0.05, 0.004]
    return labels


def test_buckets_part_positives_by_competence_and_the_last_holds_the_negatives() -> None:
    sampler = KBucketsSampler(_labels(), 4)
    buckets = sampler.buckets(0, np.random.default_rng(0))
    assert [sorted(bucket.tolist()) for bucket in buckets[:-1]] == [[1, 4], [2, 5], [0, 3]]
    assert sorted(buckets[-1].tolist()) == list(range(6, 20))


@pytest.mark.parametrize("k", [2, 3, 4])
def test_a_list_has_one_influencer_of_each_bucket(k: int) -> None:
    labels = _labels()
    sampler = KBucketsSampler(labels, k)
    lists = sampler.draw(np.random.default_rng(0))
    assert lists.influencers.shape == (8, k)
    assert set(lists.brands.tolist()) == {0, 1}
    competence = labels[lists.brands[:, None], lists.influencers]
    assert (competence[:, -1] == 0).all()
    assert (competence[:, :-1] > 0).all()
    assert (np.diff(competence[lists.brands == 0, :-1], axis=1) < 0).all()


def test_labels_are_normalised_competence_as_a_softmax_would_say_it() -> None:
    labels = _labels()
    lists = KBucketsSampler(labels, 3).draw(np.random.default_rng(3))
    assert lists.labels.sum(1) == pytest.approx(1)
    wanted = normalise(labels)[lists.brands[:, None], lists.influencers]
    assert lists.labels == pytest.approx(wanted / wanted.sum(1, keepdims=True))


def test_competence_is_normalised_by_its_logarithm() -> None:
    found = normalise(np.array([[0.0, 0.001, 0.01, 0.1]], np.float32))
    assert found[0] == pytest.approx([0, LOWEST, (1 + LOWEST) / 2, 1])
    assert normalise(np.array([[0.0, 1.0, 1.0]], np.float32)).tolist() == [[0, 1, 1]]


def test_positives_that_are_alike_are_shuffled_into_buckets_anew() -> None:
    labels = np.zeros((1, 30), np.float32)
    labels[0, :9] = 1
    sampler = KBucketsSampler(labels, 4)
    firsts = {tuple(sorted(sampler.buckets(0, np.random.default_rng(seed))[0])) for seed in range(5)}
    assert len(firsts) > 1
    assert sampler.draw(np.random.default_rng(0)).labels[0] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])


def test_a_brand_with_few_positives_fills_its_lists_with_them() -> None:
    buckets = KBucketsSampler(_labels(), 4).buckets(1, np.random.default_rng(0))
    assert all(len(bucket) for bucket in buckets)
    assert {int(each) for bucket in buckets[:-1] for each in bucket} == {7, 8}


def test_random_sampling_has_one_positive_and_negatives() -> None:
    labels = _labels()
    lists = KBucketsSampler(labels, 4, "random").draw(np.random.default_rng(0))
    competence = labels[lists.brands[:, None], lists.influencers]
    assert ((competence > 0) == np.array([True, False, False, False])).all()
    assert (lists.labels == (competence > 0)).all()


def test_the_same_seed_draws_the_same_lists() -> None:
    first, second = (KBucketsSampler(_labels(), 3).draw(np.random.default_rng(9)) for _ in range(2))
    assert (first.influencers == second.influencers).all()


@pytest.mark.parametrize(
    ("labels", "k", "how", "message"),
    [
        (_labels(), 1, "buckets", "k is 1"),
        (_labels(), 4, "hard", "'hard' is unknown"),
        (np.ones((2, 3), np.float32), 2, "buckets", "no brand has both"),
    ],
)
def test_what_cannot_be_sampled_is_refused(labels: np.ndarray, k: int, how: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        KBucketsSampler(labels, k, how)
