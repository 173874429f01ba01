"""One table: all ways to rank influencers, on brands and influencers that they have not learned from.

Five folds by brand. Candidates are the influencers of the held-out brands; nothing is learned of these
either, as in the published split, whose test influencers are all but a few unknown in training. Of generated
accounts, what is planted is to be found, and mistaken pairs are not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t
from tqdm import tqdm

from export.influencers.baselines import Scorer, fit_cosine, fit_ridge
from export.influencers.blocks import PLAIN, Blocks, Pairs
from export.influencers.config import RankerConfig
from export.influencers.fitting import fit_ranker, score, unseen_folds
from export.influencers.metrics import METRICS, evaluate
from export.influencers.sampler import RANDOM
from export.influencers.training import NetworkOptions, score_network, train_network

FOLDS: Final = 5
PUBLISHED: Final[Mapping[str, tuple[float | None, ...]]] = {
    "random": (0.494, 0.489, 0.005, 0.054, 54),
    "SBR": (0.681, 0.593, 0.091, 0.251, 15),
    "MIR k=2": (0.841, 0.672, 0.103, 0.390, 9),
    "MIR k=3": (0.845, 0.673, 0.130, 0.423, 6),
    "MIR k=4": (0.849, 0.675, 0.135, 0.428, 6),
    "MIR visual only": (0.829, 0.659, 0.095, 0.382, 8),
    "MIR text only": (0.531, 0.517, 0.014, 0.076, 57),
    "MIR concatenation": (0.691, 0.592, 0.034, 0.153, 26),
    "MIR plain pooling": (0.845, 0.674, 0.096, 0.415, 8),
    "MORNING": (0.884, None, None, 0.551, None),
}
"""In the order of ``METRICS``: Gan et al. 2019, tables 2 and 3; on other features and 790 candidates."""


@dataclass(frozen=True)
class Row:
    """One way to rank: each metric by fold, NaN where it is not defined."""

    name: str
    folds: Mapping[str, tuple[float, ...]]

    def mean(self, metric: str) -> float:
        """Over the folds."""
        return float(np.mean(self.folds[metric]))

    def half_width(self, metric: str) -> float:
        """Of the 95 % interval of the mean over folds, by Student's t."""
        values = self.folds[metric]
        return float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))


def ways(pairs: Pairs, config: RankerConfig) -> dict[str, Callable[[Pairs], Scorer]]:
    """What is compared, by name: each learns from pairs and gives scores."""

    def network(options: NetworkOptions) -> Callable[[Pairs], Scorer]:
        def learn(fitting: Pairs) -> Scorer:
            trained = train_network(fitting, options)

            def say(brands: Blocks, influencers: Blocks) -> NDArray[np.float64]:
                return score_network(trained, brands, influencers)

            return say

        return learn

    def ours(fitting: Pairs) -> Scorer:
        ranker = fit_ranker(fitting, config.ours)
        return lambda brands, influencers: score(ranker, brands, influencers)

    seed = replace(config.bilinear, pooling="weighted")
    best = replace(seed, k=4)
    found: dict[str, Callable[[Pairs], Scorer]] = {"cosine": fit_cosine, "ridge": fit_ridge}
    found |= {f"seed k={k}": network(replace(seed, k=k)) for k in (2, 3, 4)}
    found["seed k=4, random negatives"] = network(replace(best, sampling=RANDOM))
    for name in pairs.shared:
        found[f"seed k=4, {name} only"] = network(replace(best, blocks=(name,)))
    found["seed k=4, shared blocks"] = network(replace(best, blocks=pairs.shared))
    found["seed k=4, concatenation"] = network(replace(best, fusion="concatenation"))
    held = {*pairs.brands, *pairs.influencers}
    if all(name + PLAIN in held for name in pairs.shared):
        found["seed k=4, plain pooling"] = network(replace(best, blocks=pairs.shared, pooling="plain"))
    found["ours"] = ours
    return found


def compare(pairs: Pairs, config: RankerConfig, seed: int, folds: int = FOLDS) -> list[Row]:
    """Judge all ways on the same folds.

    Raises:
        DatasetError: there is too little to learn from.
    """
    chosen = pairs.only(config.blocks) if config.blocks else pairs
    parts = list(unseen_folds(chosen, folds, seed))
    rows = []
    for name, learn in tqdm(ways(chosen, config).items(), desc="compared", unit="way", disable=None):
        found: dict[str, list[float]] = {metric: [] for metric in METRICS}
        for fitting, held_out in parts:
            scores = learn(fitting)(held_out.brands, held_out.influencers)
            judged = evaluate(
                scores, held_out.relevant, held_out.brand_category, held_out.influencer_category
            )
            for metric, value in judged.values.items():
                found[metric].append(value)
        rows.append(Row(name, {metric: tuple(values) for metric, values in found.items()}))
    return rows


def to_json(rows: list[Row]) -> dict[str, Any]:
    """Figures by way and metric: mean, half the 95 % interval, and each fold; None where not defined."""

    def number(value: float) -> float | None:
        return None if math.isnan(value) else round(value, 6)

    measured = {
        row.name: {
            metric: {
                "mean": number(row.mean(metric)),
                "plus_minus": number(row.half_width(metric)),
                "folds": [number(value) for value in values],
            }
            for metric, values in row.folds.items()
        }
        for row in rows
    }
    published = {name: dict(zip(METRICS, values, strict=True)) for name, values in PUBLISHED.items()}
    return {"measured": measured, "published": published}


def to_text(rows: list[Row]) -> str:
    """The table, those of the paper below ours."""
    wide = max(len(name) for name in (*(row.name for row in rows), *PUBLISHED))
    lines = [" ".join((" " * wide, *(f"{metric:>13}" for metric in METRICS)))]
    for row in rows:
        cells = [_cell(metric, row.mean(metric), row.half_width(metric)) for metric in METRICS]
        lines.append(" ".join((f"{row.name:<{wide}}", *cells)))
    lines.append("published, on other features and other brands:")
    for name, values in PUBLISHED.items():
        cells = [f"{'-' if value is None else f'{value:g}':>13}" for value in values]
        lines.append(" ".join((f"{name:<{wide}}", *cells)))
    return "\n".join(lines)


def _cell(metric: str, mean: float, half_width: float) -> str:
    if math.isnan(mean):
        return f"{'-':>13}"
    digits = 1 if metric == METRICS[-1] else 3
    return f"{f'{mean:.{digits}f} ±{half_width:.{digits}f}':>13}"
