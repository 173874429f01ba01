"""How well an uplift model ranks customers: Qini and uplift curves, and how they compare to random.

The curves and their areas are scikit-uplift's (Qini: N. Radcliffe, "Using control groups to target on
predicted lift", Direct Marketing Analytics Journal, 2007; uplift: P. Rzepakowski and S. Jaroszewicz,
"Decision trees for uplift modeling with single and multiple treatments", KAIS 32, 2012).
Areas are over random's, as a share of what perfect hindsight would reach: 0 is random. Hindsight knows
who happened to buy, so even the planted truth reaches 0.15 to 0.21 of it on generated data.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from sklift import metrics

from export.uplift.records import Campaign

Floats = NDArray[np.float32]
_AXES: Final[Mapping[str, str]] = {"qini": "more sales (Qini)", "uplift": "cumulative uplift"}
_RANDOM_RANKINGS: Final = 200
_SEED: Final = 20
_GUESSED: Final = 0.55
"""Area up to which guessing who was given an offer does no harm that matters."""


@dataclass(frozen=True)
class Judgement:
    """Of one offer on held-out customers.

    Attributes:
        learner: name.
        qini: Qini coefficient; 0 is random, 1 hindsight.
        qini_by_chance: what 95 % of random rankings of the same customers stay below.
        auuc: the same of the uplift curve.
        effect: bought with the offer less bought without, over all.
        effect_of_first_tenth: the same over the tenth with the highest predicted uplift.
        effect_of_last_tenth: over the tenth with the lowest.
        customers: with the offer or with none.
        assignment_auc: how well features tell who was given the offer; 0.5 where chance decided.
        warnings: what stands against trusting the figures.
        spearman: rank correlation with the planted truth, where it is known.
        qini_of_truth: Qini coefficient of the planted truth.
    """

    learner: str
    qini: float
    qini_by_chance: float
    auuc: float
    effect: float
    effect_of_first_tenth: float
    effect_of_last_tenth: float
    customers: int
    assignment_auc: float
    warnings: tuple[str, ...] = ()
    spearman: float | None = None
    qini_of_truth: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, figures to four digits."""
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def judge(learner: str, uplift: Floats, guess: Floats, trial: Campaign) -> Judgement:
    """Judge predictions.

    Args:
        learner: name.
        uplift: float32 [n], predicted.
        guess: float32 [n], who was given the offer (``learners.guess_assignment``).
        trial: the ``n`` held-out customers of one offer (``Campaign.trial``).
    """
    truth = None if trial.true_uplift is None else trial.true_uplift[:, 0]
    order = np.argsort(-uplift, kind="stable")
    tenth = max(1, len(order) // 10)
    found, by_chance = qini(uplift, trial), _qini_by_chance(trial)
    assignment = float(roc_auc_score(trial.given, guess))
    return Judgement(
        learner=learner,
        qini=found,
        qini_by_chance=by_chance,
        auuc=_quietly(metrics.uplift_auc_score, uplift, trial),
        effect=_effect(trial),
        effect_of_first_tenth=_effect(trial.subset(order[:tenth])),
        effect_of_last_tenth=_effect(trial.subset(order[-tenth:])),
        customers=len(trial),
        assignment_auc=assignment,
        warnings=(*_warnings(found > by_chance, assignment, trial),),
        spearman=None if truth is None else float(spearmanr(uplift, truth).statistic),
        qini_of_truth=None if truth is None else qini(truth, trial),
    )


def qini(uplift: Floats, trial: Campaign) -> float:
    """Qini coefficient of predictions [n] for a trial of ``n``."""
    return float(_quietly(metrics.qini_auc_score, uplift, trial))


def draw_curves(
    predictions: Sequence[Floats], trials: Sequence[Campaign], judgements: Sequence[Judgement], folder: Path
) -> None:
    """Write ``qini.png`` and ``uplift.png``, a panel an offer, beside random and, where known, the truth.

    Args:
        predictions: float32 [n], one an offer.
        trials: the held-out customers, one an offer.
        judgements: of the same.
        folder: where to.
    """
    for kind, curve in (("qini", metrics.qini_curve), ("uplift", metrics.uplift_curve)):
        figure = Figure(figsize=(4.4 * len(trials), 4.2), layout="constrained")
        panels = figure.subplots(1, len(trials), squeeze=False)[0]
        for axes, uplift, trial, judgement in zip(panels, predictions, trials, judgements, strict=True):
            customers, gain = _quietly(curve, uplift, trial)
            axes.plot([0, customers[-1]], [0, gain[-1]], color="0.7", linewidth=1, label="random")
            if trial.true_uplift is not None:
                axes.plot(*_quietly(curve, trial.true_uplift[:, 0], trial), color="C2", label="planted truth")
            area = judgement.qini if kind == "qini" else judgement.auuc
            axes.plot(customers, gain, linewidth=2, label=f"{judgement.learner}  {area:.3f}")
            axes.set(title=trial.offers[0], xlabel="customers, by predicted uplift", ylabel=_AXES[kind])
            axes.grid(alpha=0.2)
            axes.legend(loc="lower right", frameon=False)
        figure.savefig(folder / f"{kind}.png", dpi=110)


def policy_values(uplift: Floats, customers: Campaign) -> dict[str, Any]:
    """Share of buyers had everybody got no offer, one and the same, or what ``uplift`` says.

    Estimated from those who, at random, got just that (weighted by how rare it is: D. Horvitz and D.
    Thompson, JASA 47, 1952, normalised); None where nobody did.

    Args:
        uplift: float32 [n, offers]; the highest above 0 is given, else none.
        customers: held out, with all offers.
    """
    none, *each = (
        customers.bought[customers.given == arm].mean() for arm in range(len(customers.offers) + 1)
    )
    best = np.where(uplift.max(axis=1) > 0, uplift.argmax(axis=1) + 1, 0)
    followed = customers.given == best
    rarity = 1 / np.bincount(customers.given)[customers.given[followed]]
    share = np.average(customers.bought[followed], weights=rarity) if followed.any() else None
    return {
        "no_offer": round(float(none), 4),
        "one_for_all": {
            offer: round(float(bought), 4) for offer, bought in zip(customers.offers, each, strict=True)
        },
        "by_uplift": None if share is None else round(float(share), 4),
    }


def _qini_by_chance(trial: Campaign) -> float:
    random = np.random.default_rng(_SEED)
    rankings = (random.random(len(trial), np.float32) for _ in range(_RANDOM_RANKINGS))
    return float(np.quantile([qini(ranking, trial) for ranking in rankings], 0.95))


def _warnings(proven: bool, assignment: float, trial: Campaign) -> Iterator[str]:
    if not proven:
        yield "held-out customers were ranked no better than chance may do"
    arms = [int((trial.given == arm).sum()) for arm in (0, 1)]
    # Of the area where chance decides (H. Mann and D. Whitney, 1947).
    deviation = math.sqrt((sum(arms) + 1) / (12 * math.prod(arms)))
    if assignment > max(_GUESSED, 0.5 + 3 * deviation):
        yield (
            f"features tell who was given the offer (area under the ROC curve {assignment:.2f}, 0.5 by "
            "chance), so it was not given at random, and the uplift may be an artefact of who got it"
        )


def _effect(trial: Campaign) -> float:
    """Share of buyers with the offer less that without; 0 where one of both is empty."""
    with_offer, without = (trial.bought[trial.given == arm] for arm in (1, 0))
    return float(with_offer.mean() - without.mean()) if len(with_offer) and len(without) else 0.0


def _quietly(measure: Callable[..., Any], uplift: Floats, trial: Campaign) -> Any:  # noqa: ANN401
    """Of scikit-uplift 0.5.1, which calls what scikit-learn 1.10 drops and 1.9 warns of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*stable_cumsum", FutureWarning)
        return measure(trial.bought, uplift, trial.given)
