"""Whether probabilities come true: figures and reliability diagrams of held-out sends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from export.creative.calibration import Score
from export.creative.planted import LIKELY
from export.uplift.loyalty import wilson_interval

BINS: Final = 10
_JUMP: Final = 0.1
_SAME: Final = 0.01
"""Of probabilities: a gap that ends a bin, and a difference too small to be seen."""
_CHANCE: Final = 1.645
"""Standard deviations that the area of a model without skill stays within, in 95 of 100 cases."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Reliability:
    """Of one target on held-out sends.

    Attributes:
        sends: with a known outcome.
        share: of outcomes that are 1.
        auc: area under the ROC curve.
        auc_by_chance: what it stays below in 95 of 100 cases where a model has no skill.
        accuracy: share of outcomes that are what is said with at least one half.
        majority: accuracy of always saying the commoner outcome.
        calibration: none, platt or isotonic.
        brier: mean squared difference.
        log_loss: mean negative log-likelihood.
        brier_uncalibrated: the same before calibration.
        log_loss_uncalibrated: as well.
        ceiling: accuracy of the planted truth, where it is known.
        brier_of_truth: its Brier score.
        said_of_likely: mean probability said of what was planted to be likely.
        said_of_unlikely: of the other sends.
    """

    sends: int
    share: float
    auc: float
    auc_by_chance: float
    accuracy: float
    majority: float
    calibration: str
    brier: float
    log_loss: float
    brier_uncalibrated: float
    log_loss_uncalibrated: float
    ceiling: float | None = None
    brier_of_truth: float | None = None
    said_of_likely: float | None = None
    said_of_unlikely: float | None = None

    @property
    def skill(self) -> float:
        """2 AUC - 1; 0 where it may be chance."""
        return round(2 * self.auc - 1, 4) if self.auc > self.auc_by_chance else 0.0

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, figures to four digits."""
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def judge(
    before: Floats, after: Floats, outcomes: Floats, calibration: str, truth: Floats | None = None
) -> Reliability:
    """Judge what was said of sends whose outcome is known.

    Args:
        before: probabilities [n] as learned.
        after: calibrated.
        outcomes: [n] of 0 and 1, both among them.
        calibration: the way.
        truth: the planted probabilities [n].
    """
    uncalibrated, calibrated = Score.of(before, outcomes), Score.of(after, outcomes)
    share = float(outcomes.mean())
    ones = int(outcomes.sum())
    # Of the area under the curve without skill (H. Mann and D. Whitney, 1947).
    deviation = math.sqrt((len(outcomes) + 1) / (12 * ones * (len(outcomes) - ones)))
    return Reliability(
        sends=len(outcomes),
        share=share,
        auc=float(roc_auc_score(outcomes, after)),
        auc_by_chance=0.5 + _CHANCE * deviation,
        accuracy=_accuracy(after, outcomes),
        majority=max(share, 1 - share),
        calibration=calibration,
        brier=calibrated.brier,
        log_loss=calibrated.log_loss,
        brier_uncalibrated=uncalibrated.brier,
        log_loss_uncalibrated=uncalibrated.log_loss,
        **({} if truth is None else _beside_truth(after, outcomes, truth)),
    )


def bins(probabilities: Floats, outcomes: Floats, count: int = BINS) -> list[tuple[float, int, int]]:
    """Mean probability, outcomes of 1, and sends of ``count`` bins of as many sends each, by probability.

    A bin ends earlier where probabilities jump, as one that lies on both sides of the jump would show what
    nobody said. Bins that say the same are one.
    """
    order = np.argsort(probabilities, kind="stable")
    jumps = np.flatnonzero(np.diff(probabilities[order]) > _JUMP) + 1
    cuts = np.linspace(0, len(order), count + 1)[1:-1].astype(np.int64)
    found: list[tuple[float, int, int]] = []
    for rows in np.split(order, np.union1d(jumps, cuts)):
        if not len(rows):
            continue
        mean, ones, sends = float(probabilities[rows].mean()), int(outcomes[rows].sum()), len(rows)
        if found and mean - found[-1][0] < _SAME:
            before, more, others = found.pop()
            mean = (before * others + mean * sends) / (others + sends)
            ones, sends = ones + more, sends + others
        found.append((mean, ones, sends))
    return found


def draw(
    said: Mapping[str, tuple[Floats, Floats, Floats]], judgements: Mapping[str, Reliability], file: Path
) -> None:
    """Write a reliability diagram, a panel a target: on the diagonal, what is said comes true.

    Args:
        said: by target, probabilities before and after calibration and outcomes, [n] each.
        judgements: of the same.
        file: PNG.
    """
    figure = Figure(figsize=(3.9 * len(said), 4.4), layout="constrained")
    panels: Sequence[Axes] = figure.subplots(1, len(said), squeeze=False, sharey=True)[0]
    for axes, (target, (before, after, outcomes)) in zip(panels, said.items(), strict=True):
        found = judgements[target]
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        _points(
            axes, before, outcomes, "C1",
            f"as learned: Brier {found.brier_uncalibrated:.4f}, log loss {found.log_loss_uncalibrated:.4f}",
        )  # fmt: skip
        if found.calibration != "none":
            _points(
                axes, after, outcomes, "C0",
                f"{found.calibration}: Brier {found.brier:.4f}, log loss {found.log_loss:.4f}",
            )  # fmt: skip
        axes.set(title=target, xlabel="probability that was said", xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.grid(alpha=0.2)
        axes.legend(loc="upper left", frameon=False, fontsize=8)
    panels[0].set_ylabel("share that came true")
    figure.suptitle("Held-out sends, in bins by what was said (areas), with 95 % intervals", fontsize=10)
    figure.savefig(file, dpi=110)


def _points(axes: Axes, probabilities: Floats, outcomes: Floats, colour: str, label: str) -> None:
    """A point a bin; its area says how many sends it holds."""
    means, ones, sends = (np.array(column) for column in zip(*bins(probabilities, outcomes), strict=True))
    shares = ones / sends
    low, high = np.array([wilson_interval(*pair) for pair in zip(ones, sends, strict=True)]).T
    axes.errorbar(
        means, shares, np.abs([shares - low, high - shares]), color=colour, linestyle="none", elinewidth=1,
        capsize=2, alpha=0.5,
    )  # fmt: skip
    axes.scatter(means, shares, 4 + 400 * sends / sends.sum(), color=colour, alpha=0.7, linewidth=0)
    axes.scatter([], [], 30, color=colour, label=label)


def _accuracy(probabilities: Floats, outcomes: Floats) -> float:
    return float(((probabilities >= 0.5) == outcomes).mean())


def _beside_truth(said: Floats, outcomes: Floats, truth: Floats) -> dict[str, float | None]:
    likely = np.isclose(truth, LIKELY)
    return {
        "ceiling": _accuracy(truth, outcomes),
        "brier_of_truth": Score.of(truth, outcomes).brier,
        "said_of_likely": float(said[likely].mean()) if likely.any() else None,
        "said_of_unlikely": float(said[~likely].mean()) if not likely.all() else None,
    }
