"""The head of the judge: multinomial logistic regression on what the frozen trunk says of each variant.

It has one optimum, is found in minutes, and streams its features from disk, so that the number of
pictures is no matter of memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from export.creative.features import FeatureStore
from export.creative.network import Statistics

PENALTIES = (1e-2, 1e-3, 1e-4, 1e-5)
"""L2 weights to choose from, the strongest first."""
ITERATIONS = 300
"""Of L-BFGS at most; after 60, if a penalty is weak, the loss on unseen pictures is half as large again."""
STATISTICS_WEIGHT = 10.0
"""They are few, and would drown among thousands of others under one penalty: they count so much more."""
_FLOOR = 1e-3
"""Of a feature's deviation, in parts of the mean one: what hardly ever varies must not be blown up."""


@dataclass(frozen=True)
class Head:
    """A linear head for features as they are."""

    weight: Tensor
    """float32 [labels, wide]."""
    bias: Tensor
    """float32 [labels]."""
    penalty: float

    def logits(self, store: FeatureStore, chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
        """float32 [pictures, labels, labels] of the chosen pictures of a store."""
        found = [functional.linear(chunk, self.weight, self.bias) for chunk in store.chunks(chosen)]
        return torch.cat(found).numpy()


def fit(
    store: FeatureStore,
    fitting: NDArray[np.bool_],
    validation: NDArray[np.bool_],
    penalties: Sequence[float] = PENALTIES,
) -> Head:
    """Learn which variant is which.

    Args:
        store: features of all pictures.
        fitting: [len(store)], pictures to learn from.
        validation: [len(store)], pictures by whose cross-entropy the penalty is chosen; where that needs no
            choice there may be none.
        penalties: to try.

    Returns:
        The best head, learned from both at last.
    """
    least, best, last = math.inf, None, None
    for penalty in tqdm(penalties, desc="head", unit="penalty", disable=None):
        last = _logistic(store, fitting, penalty, last)
        loss = cross_entropy(last.logits(store, validation))
        if best is None or loss < least:
            least, best = loss, last
    if best is None:
        raise ValueError("no penalty to choose from; give one at least")
    return _logistic(store, fitting | validation, best.penalty, best)


def cross_entropy(logits: NDArray[np.float32]) -> float:
    """Mean over all variants of pictures, [pictures, labels, labels], in nats."""
    truth = torch.arange(logits.shape[1]).repeat(len(logits))
    return float(functional.cross_entropy(torch.from_numpy(logits).flatten(0, 1), truth))


def _logistic(store: FeatureStore, rows: NDArray[np.bool_], penalty: float, start: Head | None) -> Head:
    """Minimise mean cross-entropy and ``penalty`` times the squared coefficients of standardised features.

    One optimum, from wherever it starts: another penalty's is near.
    """
    mean, deviation = _moments(store, rows)
    deviation[: Statistics.length] /= STATISTICS_WEIGHT
    kinds = int(next(iter(store.chunks(rows))).shape[1])
    total = int(rows.sum()) * kinds
    coefficients = nn.Parameter(torch.zeros(kinds, len(mean)) if start is None else start.weight * deviation)
    offset = nn.Parameter(torch.zeros(kinds) if start is None else start.bias + start.weight @ mean)
    optimiser = torch.optim.LBFGS(
        [coefficients, offset], max_iter=ITERATIONS, history_size=10, line_search_fn="strong_wolfe"
    )

    def folded() -> tuple[Tensor, Tensor]:
        weight = coefficients / deviation
        return weight, offset - weight @ mean

    def closure() -> Tensor:
        optimiser.zero_grad()
        cost = penalty * (coefficients**2).sum()
        cost.backward()  # type: ignore[no-untyped-call]
        for chunk in store.chunks(rows):
            truth = torch.arange(kinds).repeat(len(chunk))
            weight, bias = folded()
            logits = functional.linear(chunk.flatten(0, 1), weight, bias)
            loss = functional.cross_entropy(logits, truth, reduction="sum") / total
            loss.backward()  # type: ignore[no-untyped-call]
            cost = cost.detach() + loss.detach()
        return cost

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        weight, bias = folded()
    return Head(weight.detach(), bias.detach(), penalty)


def _moments(store: FeatureStore, rows: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature, float32 [wide]; the latter has a floor."""
    count, total, squares = 0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for chunk in store.chunks(rows):
        flat = chunk.flatten(0, 1)
        count += len(flat)
        total = total + flat.sum(0, dtype=torch.float64)
        squares = squares + (flat**2).sum(0, dtype=torch.float64)
    mean = total / count
    deviation = (squares / count - mean**2).clamp(min=0).sqrt()
    return mean.float(), (deviation + _FLOOR * deviation.mean()).clamp(min=1e-8).float()
