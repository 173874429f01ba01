"""How well influencers are ranked for brands: AUC, cAUC, R@10, R@50 and MedR, with intervals over brands.

Those of the published method (Gan et al., "Seeking Micro-influencers for Brand Promotion", ACM Multimedia
2019), on each brand first and then over brands. A positive is an influencer that promoted the brand; all
other candidates are negatives. Brands without a positive are left out, as are, in AUC, those without a
negative.

Ties: a tied pair counts half in AUC and cAUC. In ranks, a positive stands behind all negatives with its
score: a ranker that cannot tell candidates apart finds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Array = NDArray[Any]
AUC: Final = "AUC"
CAUC: Final = "cAUC"
RECALLS: Final = {"R@10": 10, "R@50": 50}
MEDR: Final = "MedR"
METRICS: Final = (AUC, CAUC, *RECALLS, MEDR)
HIGHER_IS_BETTER: Final = frozenset(METRICS) - {MEDR}
RESAMPLES: Final = 2000
SEED: Final = 20
NO_CATEGORY: Final = "the file has no brand_category, so no brand's own category is known"
NO_NEGATIVE: Final = "no brand has a positive and a negative in its own category"


@dataclass(frozen=True)
class Evaluation:
    """How well a ranker does.

    Attributes:
        brands: that have a positive.
        influencers: candidates, the same for all brands.
        positives: pairs.
        by_brand: each metric of each brand, float64 [brands], NaN where it is not defined; ``MedR`` has the
            rank of the best positive.
        cauc_missing: why there is no cAUC, or "".
    """

    brands: int
    influencers: int
    positives: int
    by_brand: Mapping[str, Array]
    cauc_missing: str

    @property
    def values(self) -> dict[str, float]:
        """Over brands: means, and for ``MedR`` the median; NaN where no brand has one."""
        return {name: _over(name)(_known(values)) for name, values in self.by_brand.items()}

    def intervals(self, resamples: int = RESAMPLES, seed: int = SEED) -> dict[str, tuple[float, float]]:
        """Of each metric that is defined: 2.5th and 97.5th percentile of resampled brands (bootstrap)."""
        found = {}
        for name, values in self.by_brand.items():
            if len(known := _known(values)):
                random = np.random.default_rng(seed)
                drawn = known[random.integers(0, len(known), (resamples, len(known)))]
                spread = (np.median if name == MEDR else np.mean)(drawn, axis=1)
                low, high = np.percentile(spread, (2.5, 97.5))
                found[name] = (float(low), float(high))
        return found

    def to_json(self) -> dict[str, Any]:
        """The five metrics, None where undefined; then intervals, counts, and why there is no cAUC."""
        said: dict[str, Any] = {
            name: None if np.isnan(value) else round(value, 6) for name, value in self.values.items()
        }
        said["intervals"] = {
            name: [round(low, 6), round(high, 6)] for name, (low, high) in self.intervals().items()
        }
        said |= {"brands": self.brands, "influencers": self.influencers, "positives": self.positives}
        return said | ({"cAUC_missing": self.cauc_missing} if self.cauc_missing else {})


def evaluate(
    scores: Array,
    positive: NDArray[np.bool_],
    brand_category: Array | None = None,
    influencer_category: Array | None = None,
) -> Evaluation:
    """Judge scores.

    Args:
        scores: [brands, influencers], larger is better.
        positive: bool [brands, influencers].
        brand_category: [brands]; an empty one is not known, and None is none known: cAUC is not defined then.
        influencer_category: [influencers]. None takes the categories of the brands that an influencer
            promoted in ``positive``: then one that promoted several categories belongs to each of them.

    Raises:
        ValueError: shapes differ, a score is NaN, or no brand has a positive.
    """
    scores = np.asarray(scores, np.float64)
    if scores.shape != positive.shape:
        raise ValueError(f"scores {scores.shape} and labels {positive.shape} differ in shape")
    if np.isnan(scores).any():
        raise ValueError("a score is NaN")
    having = np.flatnonzero(positive.any(1))
    if not len(having):
        raise ValueError("no brand has a positive, so there is nothing to judge")
    by_brand = {name: np.full(len(having), np.nan) for name in METRICS}
    own = _own_category(positive, brand_category, influencer_category)
    for row, brand in enumerate(having):
        truth, score = positive[brand], scores[brand]
        by_brand[AUC][row] = auc(score[truth], score[~truth])
        if own is not None:
            by_brand[CAUC][row] = auc(score[truth], score[~truth & own[brand]])
        ranks = ranks_of_positives(score, truth)
        for name, depth in RECALLS.items():
            by_brand[name][row] = np.mean(ranks <= depth)
        by_brand[MEDR][row] = ranks[0]
    missing = NO_CATEGORY if own is None else "" if len(_known(by_brand[CAUC])) else NO_NEGATIVE
    return Evaluation(len(having), positive.shape[1], int(positive.sum()), by_brand, missing)


def auc(positives: Array, negatives: Array) -> float:
    """Share of the pairs of a positive and a negative in which the positive scores more; a tie counts half.

    Returns:
        0 to 1; NaN where there is no pair.
    """
    wins = len(positives) * len(negatives)
    if not wins:
        return float("nan")
    ranks = rankdata(np.concatenate([positives, negatives]))[: len(positives)]
    return float((ranks.sum() - len(positives) * (len(positives) + 1) / 2) / wins)


def ranks_of_positives(scores: Array, positive: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Ranks of a brand's positives among all candidates, from 1, ascending; tied negatives stand before."""
    order = np.lexsort((positive, -scores))
    return np.flatnonzero(positive[order]) + 1


def _own_category(
    positive: NDArray[np.bool_], brands: Array | None, influencers: Array | None
) -> Array | None:
    """Bool [brands, influencers]: whether the influencer is of the brand's category; None: not known."""
    if brands is None or not (told := brands.astype(np.str_) != "").any():
        return None
    if influencers is not None:
        return np.asarray((brands[:, None] == influencers[None]) & told[:, None])
    kinds, which = np.unique(brands, return_inverse=True)
    of_kind = np.array([positive[which == kind].any(0) for kind in range(len(kinds))])
    return np.asarray(of_kind[which] & told[:, None])


def _known(values: Array) -> Array:
    return np.asarray(values[~np.isnan(values)])


def _over(name: str) -> Callable[[Array], float]:
    centre = np.median if name == MEDR else np.mean
    return lambda values: float(centre(values)) if len(values) else float("nan")
