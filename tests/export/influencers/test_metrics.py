"""Metrics of rankings against figures counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from export.influencers.metrics import METRICS, NO_CATEGORY, auc, evaluate, ranks_of_positives


def test_auc_is_the_share_of_pairs_in_which_the_positive_scores_more_and_a_tie_counts_half() -> None:
    # 3 over 2 and 1; 2 ties with 2 and is over 1: (1 + 1 + .5 + 1) of 4.
    assert auc(np.array([3.0, 2.0]), np.array([2.0, 1.0])) == pytest.approx(3.5 / 4)
    assert np.isnan(auc(np.array([1.0]), np.array([])))


def test_auc_is_the_mean_over_brands_and_not_over_pairs() -> None:
    scores = np.array([[4.0, 3.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0]])
    positive = np.array([[True, False, False, False], [False, True, True, True]])
    # 1 for the first brand (3 pairs of 3), 0 for the second (0 of 3).
    assert evaluate(scores, positive).values["AUC"] == pytest.approx(0.5)


def test_cauc_has_negatives_of_the_brands_own_category_alone() -> None:
    scores = np.array([[5.0, 4.0, 9.0, 6.0]])
    positive = np.array([[False, True, False, False]])
    brand, influencers = np.array(["shoes"]), np.array(["shoes", "shoes", "shoes", "food"])
    judged = evaluate(scores, positive, brand, influencers)
    # Against 5 and 9, of its category, 4 loses twice; against 6 too, which does not count.
    assert judged.values["cAUC"] == 0.0
    judged = evaluate(scores, positive, brand, np.array(["food", "food", "food", "shoes"]))
    assert judged.values["cAUC"] == 0.0
    scores[0, 3] = 1.0
    assert evaluate(scores, positive, brand, np.array(["food"] * 3 + ["shoes"])).values["cAUC"] == 1.0
    assert evaluate(scores, positive).values["AUC"] == pytest.approx(1 / 3)


def test_influencers_are_of_the_categories_of_the_brands_that_they_promoted_where_none_is_told() -> None:
    positive = np.eye(3, dtype=bool)
    scores = np.array([[2.0, 3.0, 1.0], [0.0, 1.0, 5.0], [5.0, 5.0, 1.0]])
    judged = evaluate(scores, positive, np.array([7, 7, 8]))
    # First brand: 2 against 3, of the other brand of category 7. Second: 1 against 0. Third: no other.
    assert judged.by_brand["cAUC"][:2].tolist() == [0.0, 1.0]
    assert np.isnan(judged.by_brand["cAUC"][2])
    assert judged.values["cAUC"] == pytest.approx(0.5)


def test_without_categories_there_is_no_cauc_and_it_is_said_why() -> None:
    said = evaluate(np.array([[2.0, 1.0]]), np.array([[True, False]])).to_json()
    assert said["cAUC"] is None
    assert said["cAUC_missing"] == NO_CATEGORY


def test_brands_of_no_known_category_have_no_cauc() -> None:
    scores = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    positive = np.array([[False, True, False], [False, True, False]])
    unknown = np.array(["", "", ""])
    assert evaluate(scores, positive, unknown[:2], unknown).cauc_missing == NO_CATEGORY
    for theirs in (np.array(["", "food", "food"]), None):
        found = evaluate(scores, positive, np.array(["", "food"]), theirs)
        assert np.isnan(found.by_brand["cAUC"][0])
    assert (
        evaluate(scores, positive, np.array(["", "food"]), np.array(["", "food", "food"])).values["cAUC"] == 0
    )


def test_recalls_are_shares_of_a_brands_positives_among_its_first_10_and_50() -> None:
    scores = -np.arange(100.0)[None]
    positive = np.zeros((1, 100), bool)
    positive[0, [0, 9, 10, 49, 50, 99, 98, 97]] = True
    values = evaluate(scores, positive).values
    # Ranks 1, 10, 11, 50, 51, 98, 99, 100.
    assert values["R@10"] == pytest.approx(2 / 8)
    assert values["R@50"] == pytest.approx(4 / 8)
    assert values["MedR"] == 1


def test_medr_is_the_median_over_brands_of_the_rank_of_the_best_positive() -> None:
    scores = np.tile(-np.arange(20.0), (4, 1))
    positive = np.zeros((4, 20), bool)
    positive[0, [2, 3]] = positive[1, [6]] = positive[2, [19, 10]] = positive[3, [0, 19]] = True
    # Best ranks 3, 7, 11, 1: the median is between 3 and 7.
    assert evaluate(scores, positive).values["MedR"] == 5


def test_a_positive_ranks_behind_all_negatives_that_have_its_score() -> None:
    positive = np.array([True, False, True, False])
    assert ranks_of_positives(np.array([1.0, 1.0, 1.0, 1.0]), positive).tolist() == [3, 4]
    assert ranks_of_positives(np.array([1.0, 1.0, 2.0, 1.0]), positive).tolist() == [1, 4]


def test_a_ranker_that_tells_nothing_apart_has_auc_one_half_and_finds_nothing() -> None:
    positive = np.zeros((3, 200), bool)
    positive[:, 5] = True
    values = evaluate(np.zeros((3, 200)), positive).values
    assert (values["AUC"], values["R@50"], values["MedR"]) == (0.5, 0.0, 200)


def test_brands_without_a_positive_do_not_count() -> None:
    scores, positive = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([[True, False], [False, False]])
    judged = evaluate(scores, positive)
    assert judged.brands == 1
    assert judged.values["AUC"] == 1.0


def test_intervals_hold_the_value_and_shrink_with_more_brands() -> None:
    random = np.random.default_rng(1)
    positive = np.zeros((400, 50), bool)
    positive[:, :5] = True
    scores = random.normal(size=(400, 50)) + positive
    few, many = evaluate(scores[:25], positive[:25]), evaluate(scores, positive)
    for metric in set(METRICS) - {"cAUC"}:
        low, high = many.intervals()[metric]
        assert low <= many.values[metric] <= high
    assert np.ptp(many.intervals()["AUC"]) < np.ptp(few.intervals()["AUC"]) / 2
    # Of one brand four hundred times over nothing is uncertain.
    same = evaluate(np.tile(scores[:1], (9, 1)), positive[:9]).intervals()["AUC"]
    assert same[0] == same[1]


@pytest.mark.parametrize(
    ("scores", "positive", "message"),
    [
        (np.zeros((1, 2)), np.zeros((1, 3), bool), "differ in shape"),
        (np.array([[np.nan, 0.0]]), np.array([[True, False]]), "NaN"),
        (np.zeros((1, 2)), np.zeros((1, 2), bool), "no brand has a positive"),
    ],
)
def test_what_cannot_be_judged_is_refused(scores: np.ndarray, positive: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(scores, positive)
