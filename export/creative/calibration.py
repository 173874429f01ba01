"""Calibrators: from a model's margin to a probability that comes true as often as it says.

Platt's is a logistic curve over the margin, an isotonic one any rising curve. Both are fitted on
sends that the model did not learn from, and one is taken only where it is better on sends that it was
not fitted on either; else the margin's own sigmoid stays (``NONE``).

The rising curve has its knots at least ``GRID`` apart. Trees give few different margins, some a rounding
error apart; a curve that jumps between two of these would answer by rounding errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss
from sklearn.model_selection import GroupKFold

NONE: Final = "none"
PLATT: Final = "platt"
ISOTONIC: Final = "isotonic"
GRID: Final = 0.1
"""Log-odds; a knot of an isotonic curve stands for all margins nearer to it than to the next."""
FOLDS: Final = 5

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Calibrator:
    """One of three curves over the margin (log-odds).

    Attributes:
        method: ``none``, ``platt`` or ``isotonic``.
        slope: of Platt's curve.
        offset: of the same.
        knots: margins, rising, at least two; of an isotonic curve.
        values: its probabilities there; straight lines between them, constant beyond.
    """

    method: str = NONE
    slope: float = 1.0
    offset: float = 0.0
    knots: tuple[float, ...] = ()
    values: tuple[float, ...] = ()

    def __call__(self, margins: Floats) -> Floats:
        """Probabilities, float32 [n], of margins [n], computed as the exported graph does."""
        if self.method != ISOTONIC:
            straight = margins * np.float32(self.slope) + np.float32(self.offset)
            return np.asarray(expit(straight), np.float32)
        knots, values, slopes = self.lines()
        within = np.clip(margins, knots[0], knots[-1])
        line = (within[:, None] >= knots[1:-1]).sum(axis=1)
        return np.asarray(values[line] + (within - knots[line]) * slopes[line], np.float32)

    def lines(self) -> tuple[Floats, Floats, Floats]:
        """Knots and values [k], and slopes [k - 1] of the lines between them, float32."""
        knots, values = np.array(self.knots, np.float32), np.array(self.values, np.float32)
        return knots, values, np.diff(values) / np.diff(knots)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "method": self.method,
            "slope": self.slope,
            "offset": self.offset,
            "knots": list(self.knots),
            "values": list(self.values),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """What ``to_json`` gave.

        Raises:
            ValueError: it is no calibrator.
        """
        made = cls(
            str(raw["method"]),
            float(raw["slope"]),
            float(raw["offset"]),
            tuple(map(float, raw["knots"])),
            tuple(map(float, raw["values"])),
        )
        isotonic = made.method == ISOTONIC
        rising = len(made.knots) > 1 and all(np.diff(np.array(made.knots, np.float32)) > 0)
        if made.method not in (NONE, *FITTERS) or (isotonic and not rising):
            raise ValueError(f"no calibrator: {raw}")
        if len(made.knots) != len(made.values) or not np.isfinite([made.slope, made.offset]).all():
            raise ValueError(f"no calibrator: {raw}")
        return made


def fit_platt(margins: Floats, outcomes: Floats) -> Calibrator:
    """Fit a logistic curve, to outcomes a little less certain than 0 and 1.

    J. Platt, "Probabilistic outputs for support vector machines", 1999, section 2.2: those keep the curve
    finite where margins separate the outcomes. A curve that would fall is made constant: of a model that
    ranks worse than chance the margin says nothing.

    Args:
        margins: [n].
        outcomes: [n] of 0 and 1.
    """
    ones = float(outcomes.sum())
    zeros = len(outcomes) - ones
    certain = np.where(outcomes == 1, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    rows = np.concatenate([margins, margins])[:, None].astype(np.float64)
    labels = np.repeat([1, 0], len(margins))
    weights = np.concatenate([certain, 1 - certain])
    fitted = LogisticRegression(C=np.inf, tol=1e-8).fit(rows, labels, weights)
    slope, offset = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if slope <= 0:
        share = float(certain.mean())
        slope, offset = 0.0, math.log(share / (1 - share))
    return Calibrator(PLATT, slope, offset)


def fit_isotonic(margins: Floats, outcomes: Floats) -> Calibrator:
    """Fit a rising curve by pool-adjacent-violators; arguments as for ``fit_platt``.

    B. Zadrozny and C. Elkan, "Transforming classifier scores into accurate multiclass probability estimates",
    KDD 2002. It never says 0 or 1: no sends of the past make sure of the next (Laplace's rule).
    """
    places = np.round(margins.astype(np.float64) / GRID)
    knots, inverse, counts = np.unique(places, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, outcomes) / counts
    least = 1 / (len(outcomes) + 2)
    curve = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip")
    curve.fit(knots * GRID, means, sample_weight=counts)
    margin, value = curve.X_thresholds_.tolist(), curve.y_thresholds_.tolist()
    if len(margin) == 1:
        margin, value = [margin[0], margin[0] + GRID], value * 2
    return Calibrator(ISOTONIC, knots=tuple(margin), values=tuple(value))


FITTERS: Final[Mapping[str, Callable[[Floats, Floats], Calibrator]]] = {
    PLATT: fit_platt,
    ISOTONIC: fit_isotonic,
}


@dataclass(frozen=True)
class Score:
    """How well probabilities came true; lower is better."""

    brier: float
    """Mean squared difference (G. Brier, Monthly Weather Review 78, 1950)."""
    log_loss: float

    @classmethod
    def of(cls, probabilities: Floats, outcomes: Floats) -> Self:
        """Of probabilities [n] and outcomes [n] of 0 and 1."""
        certain = np.asarray(probabilities, np.float64)
        return cls(
            float(brier_score_loss(outcomes, certain)), float(log_loss(outcomes, certain, labels=[0, 1]))
        )


def choose(margins: Floats, outcomes: Floats, groups: NDArray[Any]) -> tuple[Calibrator, dict[str, Score]]:
    """The calibrator that is better than none on sends that it was not fitted on, if there is one.

    Each is fitted on four fifths and judged on the last, in turn. It has to lower both the Brier score and
    the log loss; of two that do, the one with the lower Brier score is taken.

    Args:
        margins: [n], of sends that the model did not learn from.
        outcomes: [n] of 0 and 1.
        groups: [n]; what belongs together is not on both sides.

    Returns:
        The calibrator, fitted on all, and the score of each method by cross-validation.
    """
    folds = min(FOLDS, len(np.unique(groups)))
    if folds < 2:
        return Calibrator(), {NONE: Score.of(Calibrator()(margins), outcomes)}
    unseen = {NONE: Calibrator()(margins)} | {name: np.empty_like(margins) for name in FITTERS}
    for known, others in GroupKFold(folds).split(margins, groups=groups):
        for name, fit in FITTERS.items():
            unseen[name][others] = fit(margins[known], outcomes[known])(margins[others])
    scores = {name: Score.of(probabilities, outcomes) for name, probabilities in unseen.items()}
    none = scores[NONE]
    better = [
        name for name in FITTERS if scores[name].brier < none.brier and scores[name].log_loss < none.log_loss
    ]
    if not better:
        return Calibrator(), scores
    best = min(better, key=lambda name: scores[name].brier)
    return FITTERS[best](margins, outcomes), scores
