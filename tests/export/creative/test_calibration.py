"""Calibrators make probabilities come true where they did not, and are left out where they do not help."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from export.creative.calibration import (
    FITTERS,
    GRID,
    ISOTONIC,
    NONE,
    PLATT,
    Calibrator,
    Score,
    choose,
    fit_isotonic,
    fit_platt,
)

SIZE = 6000
Floats = NDArray[np.float32]


def happened(probabilities: NDArray[Any], seed: int = 3) -> Floats:
    return (np.random.default_rng(seed).random(len(probabilities)) < probabilities).astype(np.float32)


def margins(seed: int = 1, size: int = SIZE) -> Floats:
    return np.random.default_rng(seed).normal(0, 1.5, size).astype(np.float32)


def groups(size: int = SIZE) -> NDArray[np.int64]:
    return np.arange(size) % 30


@pytest.mark.parametrize(
    ("distort", "expected"),
    [
        (lambda true: 3 * true, PLATT),
        (lambda true: 0.5 * true - 2, PLATT),
        (lambda true: np.sign(true) * np.abs(true) ** 3, ISOTONIC),
    ],
    ids=["too sure", "biased", "bent"],
)
def test_what_was_said_wrongly_comes_true_after_calibration(distort: Any, expected: str) -> None:
    true = margins()
    found, scores = choose(distort(true).astype(np.float32), happened(expit(true)), groups())
    assert found.method == expected
    assert scores[expected].brier < scores[NONE].brier - 0.002
    assert scores[expected].log_loss < scores[NONE].log_loss
    unseen = margins(seed=2)
    said = found(distort(unseen).astype(np.float32))
    assert np.abs(said - expit(unseen)).mean() < 0.03


def test_probabilities_that_come_true_stay_as_good() -> None:
    true = margins()
    found, scores = choose(true, happened(expit(true)), groups())
    assert abs(scores[found.method].brier - scores[NONE].brier) < 1e-3
    assert np.abs(found(margins(seed=2)) - expit(margins(seed=2))).mean() < 0.02


def test_no_calibrator_is_taken_that_is_worse_where_it_was_not_fitted() -> None:
    taken = set()
    for seed in range(20):
        true = margins(seed, 240)
        found, scores = choose(true, happened(expit(true), seed), groups(240))
        assert scores[found.method].brier <= scores[NONE].brier
        assert scores[found.method].log_loss <= scores[NONE].log_loss
        taken.add(found.method)
    assert NONE in taken


def test_one_product_alone_cannot_tell_whether_a_calibrator_helps() -> None:
    found, scores = choose(3 * margins(), happened(expit(margins())), np.zeros(SIZE, np.int64))
    assert (found, set(scores)) == (Calibrator(), {NONE})


def test_an_isotonic_curve_is_scikit_learns_on_margins_rounded_to_the_grid() -> None:
    x, y = margins(), happened(expit(margins()))
    rounded = np.round(x.astype(np.float64) / GRID) * GRID
    least = 1 / (SIZE + 2)
    theirs = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip").fit(rounded, y)
    everywhere = np.linspace(-9, 9, 1000, dtype=np.float32)
    np.testing.assert_allclose(fit_isotonic(x, y)(everywhere), theirs.predict(everywhere), atol=1e-5)


def test_an_isotonic_curve_is_not_steep_rises_and_is_never_sure() -> None:
    x = np.repeat(np.float32([0.2, 0.2 + 1e-6, 1.5]), 100)
    y = np.repeat(np.float32([0, 1, 1]), 100)
    curve = fit_isotonic(x, y)
    assert np.diff(curve.knots).min() >= GRID - 1e-9
    assert curve(x[:1]) == pytest.approx(curve(x[100:101]), abs=1e-4)
    said = curve(np.linspace(-50, 50, 500, dtype=np.float32))
    assert (np.diff(said) >= 0).all()
    assert 0 < said.min() < said.max() < 1


@pytest.mark.parametrize("fit", FITTERS.values(), ids=FITTERS)
@pytest.mark.parametrize("outcome", [0, 1])
def test_outcomes_all_alike_give_a_constant_short_of_certainty(fit: Any, outcome: int) -> None:
    said = fit(margins(size=50), np.full(50, outcome, np.float32))(margins(seed=2, size=50))
    assert np.abs(said - outcome).max() < 0.1
    assert 0 < said.min() <= said.max() < 1


def test_platts_curve_stays_finite_where_margins_separate_outcomes() -> None:
    x = margins(size=400)
    curve = fit_platt(x, (x > 0).astype(np.float32))
    assert 1 < curve.slope < 50
    assert abs(curve.offset) < 5
    just = curve(np.float32([-0.01, 0.01]))
    assert 0.3 < just[0] < just[1] < 0.7


def test_a_margin_that_ranks_worse_than_chance_is_made_to_say_nothing() -> None:
    x = margins()
    outcomes = happened(expit(-x))
    said = fit_platt(x, outcomes)(x)
    assert np.ptp(said) == 0
    assert said[0] == pytest.approx(outcomes.mean(), abs=1e-3)


@pytest.mark.parametrize("way", [NONE, *FITTERS])
def test_a_calibrator_comes_back_as_it_went(way: str) -> None:
    curve = FITTERS[way](margins(), happened(expit(margins()))) if way != NONE else Calibrator()
    again = Calibrator.from_json(json.loads(json.dumps(curve.to_json())))
    assert again == curve
    np.testing.assert_array_equal(again(margins(seed=2)), curve(margins(seed=2)))


@pytest.mark.parametrize(
    "damage",
    [
        {"method": "magic"},
        {"slope": float("nan")},
        {"method": ISOTONIC},
        {"method": ISOTONIC, "knots": [0, 0], "values": [0, 1]},
        {"method": ISOTONIC, "knots": [0, 1], "values": [0]},
    ],
)
def test_what_is_no_calibrator_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no calibrator"):
        Calibrator.from_json(Calibrator().to_json() | damage)


def test_scores_are_the_mean_squared_difference_and_the_mean_log_likelihood() -> None:
    found = Score.of(np.float32([0.5, 0.9]), np.float32([1, 0]))
    assert found.brier == pytest.approx((0.25 + 0.81) / 2, abs=1e-6)
    assert found.log_loss == pytest.approx(-(np.log(0.5) + np.log(0.1)) / 2, abs=1e-5)
