"""Calibration of an ordinal score: its scale and both thresholds, fitted again on posts kept aside.

Networks grow too sure of what they learn from. Three numbers, fitted on other posts, cannot change the order
of scores, only how much a difference means and where the classes begin; they are kept only where, on posts
that they were not fitted on, what they say comes true more often.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit
from sklearn.model_selection import StratifiedGroupKFold

from adlens import contract

FOLDS: Final = 5
MIN_EACH: Final = 2
"""Posts of each class that every fold's other side needs."""
_CLASSES: Final = len(contract.ENGAGEMENT_CLASSES)

Floats = NDArray[np.float64]
Classes = NDArray[np.int64]


@dataclass(frozen=True)
class Scale:
    """Scores times ``slope``; a post is low below ``low`` and high above ``high``, as likely as not."""

    slope: float
    low: float
    high: float

    def __call__(self, scores: Floats) -> Floats:
        """Probabilities float64 [n, C] of scores [n], as ``export.engagement.network.probabilities``."""
        below = np.array([self.low, self.high]) - self.slope * scores[:, None]
        middle = expit(-below[:, 0]) * expit(below[:, 1]) * -np.expm1(self.low - self.high)
        return np.stack([expit(below[:, 0]), middle, expit(-below[:, 1])], axis=1)


@dataclass(frozen=True)
class Score:
    """How well probabilities came true; lower is better."""

    ranked: float
    """Ranked probability score: the Brier scores of "at most low" and "at most neutral", added (E. Epstein,
    Journal of Applied Meteorology 8, 1969). Saying high of what is low costs more than saying neutral."""
    brier: float
    """Squared differences, added up over the classes (G. Brier, Monthly Weather Review 78, 1950)."""
    log_loss: float

    @classmethod
    def of(cls, said: Floats, classes: Classes) -> Self:
        """Of probabilities [n, C] and the classes [n] of the posts."""
        truth = np.eye(_CLASSES)[classes]
        ranked = (np.cumsum(said - truth, axis=1)[:, :-1] ** 2).sum(axis=1).mean()
        likelihood = np.clip(said[np.arange(len(said)), classes], np.finfo(np.float32).tiny, None)
        return cls(
            float(ranked), float(((said - truth) ** 2).sum(axis=1).mean()), float(-np.log(likelihood).mean())
        )

    def to_json(self) -> dict[str, float]:
        """To four digits."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Choice:
    """A scale, and how it came about."""

    scale: Scale
    refitted: bool
    """Whether it is another than the network's own."""
    own: Score
    """Of the network's own scale."""
    cross_validated: Score | None
    """Of scales fitted on four fifths, on the last, in turn; None where there are too few posts for that."""

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            **asdict(self.scale),
            "refitted": self.refitted,
            "own": self.own.to_json(),
            "cross_validated": self.cross_validated and self.cross_validated.to_json(),
        }


def choose(own: Scale, scores: Floats, classes: Classes, seed: int, ways: int = 1) -> Choice:
    """The network's own scale, or another where that lowers both the ranked score and the log loss.

    Args:
        own: as learned.
        scores: [n], of posts that the network did not learn from; where these come in several ways, all posts
            in one way, then all in the next.
        classes: [n], theirs.
        seed: of the folds.
        ways: in which each post comes; a post is in one fold in all of them.
    """
    before = Score.of(own(scores), classes)
    counts = np.bincount(classes, minlength=_CLASSES)
    if counts.min() < FOLDS * MIN_EACH * ways:
        return Choice(own, False, before, None)
    said = np.empty((len(scores), _CLASSES))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    posts = np.tile(np.arange(len(scores) // ways), ways)
    for known, unseen in folds.split(scores, classes, posts):
        said[unseen] = fit(scores[known], classes[known])(scores[unseen])
    after = Score.of(said, classes)
    if after.ranked < before.ranked and after.log_loss < before.log_loss:
        return Choice(fit(scores, classes), True, before, after)
    return Choice(own, False, before, after)


def fit(scores: Floats, classes: Classes) -> Scale:
    """The scale under which ``classes`` are the most likely; a falling one is made flat.

    Args:
        scores: [n].
        classes: [n], all of them among these.
    """
    shares = np.cumsum(np.bincount(classes, minlength=_CLASSES))[:-1] / len(classes)
    start = np.log(shares / (1 - shares))
    spread = max(float(scores.std()), 1e-6)

    def lost(found: Floats) -> float:
        slope, low, log_gap = found
        below = np.array([low, low + np.exp(log_gap)]) - slope * scores[:, None] / spread
        middle = log_expit(-below[:, 0]) + log_expit(below[:, 1]) + np.log(-np.expm1(-np.exp(log_gap)))
        each = np.stack([log_expit(below[:, 0]), middle, log_expit(-below[:, 1])], axis=1)
        return float(-each[np.arange(len(classes)), classes].mean())

    first = [1.0, start[0], np.log(start[1] - start[0])]
    bounds = [(0.0, 100.0), (-100.0, 100.0), (-6.0, 5.0)]
    slope, low, log_gap = minimize(lost, first, bounds=bounds, method="L-BFGS-B").x
    return Scale(float(slope / spread), float(low), float(low + np.exp(log_gap)))
