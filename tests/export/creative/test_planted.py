"""Planted outcomes have the shares that the seed document names, and hang on nothing else."""

from __future__ import annotations

import numpy as np

from adlens import contract
from export.creative.planted import LIKELY_VARIANTS, VALUES, plant
from tests.export.creative.synthetic import VARIANTS, catalogue

PICTURES = 1500


def test_brighter_and_rotated_pictures_succeed_four_times_as_often() -> None:
    sends = plant(catalogue(PICTURES), VARIANTS)
    for column in sends.outcomes.T:
        for label in VARIANTS:
            share = column[sends.variants == label].mean()
            expected = 0.8 if label in ("brighter", "rotate") else 0.2
            assert abs(share - expected) < 4 * np.sqrt(0.16 / PICTURES), label
    assert sends.outcomes.shape == sends.truth.shape == (PICTURES * 6, 4)  # type: ignore[union-attr]


def test_every_version_is_sent_as_often_as_asked_in_contexts_of_every_kind() -> None:
    sends = plant(catalogue(300), VARIANTS, sends_each=2)
    assert len(sends) == 300 * 6 * 2
    places = {label: place for place, label in enumerate(VARIANTS)}
    sent = [places[label] for label in sends.variants.tolist()]
    assert (np.bincount(sends.pictures * 6 + sent) == 2).all()
    for column, name in zip(sends.context.T, contract.CONTEXT_NAMES, strict=True):
        values, counts = np.unique(column, return_counts=True)
        assert tuple(values) == VALUES[name]
        assert counts.min() > 0.8 * len(sends) / len(values)


def test_outcomes_hang_neither_on_the_context_nor_on_each_other() -> None:
    sends = plant(catalogue(PICTURES), VARIANTS)
    surprise = sends.outcomes - sends.truth
    for column in sends.context.T:
        for value in np.unique(column):
            assert np.abs(surprise[column == value].mean(axis=0)).max() < 0.04
    correlations = np.corrcoef(surprise.T) - np.eye(4)
    assert np.abs(correlations).max() < 0.05


def test_a_known_type_goes_into_the_context() -> None:
    types = tuple(("women", "boy", "men")[number % 3] for number in range(30))
    sends = plant(catalogue(30), VARIANTS, types)
    assert sends.context[:, 2].tolist() == [types[picture] for picture in sends.pictures]


def test_shuffled_outcomes_are_the_same_ones_elsewhere() -> None:
    sends, shuffled = (plant(catalogue(PICTURES), VARIANTS, shuffle=shuffle) for shuffle in (False, True))
    np.testing.assert_array_equal(shuffled.outcomes.sum(axis=0), sends.outcomes.sum(axis=0))
    likely = np.isin(shuffled.variants, LIKELY_VARIANTS)
    gap = shuffled.outcomes[likely].mean(axis=0) - shuffled.outcomes[~likely].mean(axis=0)
    assert np.abs(gap).max() < 0.05
    assert set(np.unique(shuffled.truth)) == {np.float32(0.4)}


def test_the_same_seed_plants_the_same() -> None:
    first, second, other = (plant(catalogue(40), VARIANTS, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.outcomes, second.outcomes)
    np.testing.assert_array_equal(first.context, second.context)
    assert (first.outcomes != other.outcomes).any()
