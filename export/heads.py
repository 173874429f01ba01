"""Training of the tails in the two stages of the IMG2RECOMMENDER recipe, and their judgement.

The wide part comes first: balanced logistic regression with an L2 penalty, which has one optimum. Then,
for backbones with a last block, the deep head learns what the wide part leaves (stage 1: block frozen,
Adam), and block and head are fine-tuned together (stage 2: SGD 5e-5, momentum 0.9). Both stages keep the
best epoch on validation pictures and stop early. Labels are independent: each keeps its own best.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from export.features import FeatureStore
from export.networks.backbones import Shared, Tail

_CHUNK: Final = 2048
"""Rows of features in memory at a time."""
_ITERATIONS: Final = 60
"""Of L-BFGS; the penalised loss is flat by then."""


@dataclass(frozen=True)
class Recipe:
    """How heads are trained."""

    epochs: int = 50
    patience: int = 6
    batch: int = 16
    adam_rate: float = 1e-4
    sgd_rate: float = 5e-5
    sgd_momentum: float = 0.9
    penalties: tuple[float, ...] = (3e-1, 1e-1, 3e-2)
    """L2 weights of the wide part to choose from, by validation loss."""
    seed: int = 20


@dataclass(frozen=True)
class Judgement:
    """Held-out figures of one label."""

    auc: float
    standard_error: float
    positives: int
    negatives: int

    @property
    def skill(self) -> float:
        """Weight in the combined answer: 2 AUC - 1, or 0 where chance is within two standard errors."""
        better = self.auc - 1.96 * self.standard_error > 0.5
        return round(2 * self.auc - 1, 4) if better else 0.0

    def to_json(self) -> dict[str, float | None]:
        """Figures by name; None, which JSON has, where a class was missing."""
        figures = {**asdict(self), "skill": self.skill}
        return {name: None if math.isnan(value) else value for name, value in figures.items()}


def train_wide(
    tails: Sequence[Tail],
    store: FeatureStore,
    labels: NDArray[np.float32],
    train: NDArray[np.int64],
    validation: NDArray[np.int64],
    recipe: Recipe,
    *,
    refit: bool = False,
) -> None:
    """Fit the wide part of every tail on all passes of ``train``; penalty chosen on ``validation``.

    Args:
        tails: one a column of ``labels``; changed in place.
        store: features of all pictures.
        labels: float32 [pictures, labels] of 0, 1, NaN.
        train: rows to learn from.
        validation: rows to choose the penalty by.
        recipe: penalties to try.
        refit: fit again on both at the end, where nothing needs ``validation`` any more.
    """
    best = [math.inf] * len(tails)
    chosen = [recipe.penalties[0]] * len(tails)
    for penalty in tqdm(recipe.penalties, desc="wide heads", unit="penalty", disable=None):
        kernel, offset = _logistic(store, train, labels[train], [penalty] * len(tails))
        scores = functional.linear(store.wide(0, validation), kernel, offset)
        losses = _balanced_losses(scores, labels[validation])
        for column, tail in enumerate(tails):
            if losses[column] < best[column]:
                best[column], chosen[column] = losses[column], penalty
                _set_wide(tail, kernel[column], offset[column])
    if refit:
        both = np.concatenate([train, validation])
        kernel, offset = _logistic(store, both, labels[both], chosen)
        for column, tail in enumerate(tails):
            _set_wide(tail, kernel[column], offset[column])


def train_deep(
    tails: Sequence[Tail],
    store: FeatureStore,
    labels: NDArray[np.float32],
    train: NDArray[np.int64],
    validation: NDArray[np.int64],
    recipe: Recipe,
) -> None:
    """Stages 1 and 2 for tails that have a last block; the arguments are those of ``train_wide``."""
    for tail in tails:
        tail.wide.requires_grad_(False)
        if tail.block is not None:
            tail.block.requires_grad_(False)

    def adam(tail: Tail) -> torch.optim.Optimizer:
        return torch.optim.Adam([p for p in tail.parameters() if p.requires_grad], recipe.adam_rate)

    def sgd(tail: Tail) -> torch.optim.Optimizer:
        parameters = [p for p in tail.parameters() if p.requires_grad]
        return torch.optim.SGD(parameters, recipe.sgd_rate, recipe.sgd_momentum)

    _train_stage(tails, store, labels, train, validation, recipe, adam, "stage 1")
    for tail in tails:
        if tail.block is not None:
            tail.block.requires_grad_(True)
    _train_stage(tails, store, labels, train, validation, recipe, sgd, "stage 2")


def predict(tails: Sequence[Tail], store: FeatureStore, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Logits float32 [len(rows), tails] of the plain pictures (pass 0)."""
    found = []
    with torch.no_grad():
        for tail in tails:
            tail.eval()
        for chunk in _chunks(rows, 128):
            shared = store.rows(0, chunk)
            found.append(torch.cat([tail(shared) for tail in tails], dim=1))
    logits: NDArray[np.float32] = torch.cat(found).numpy()
    return logits


def judge(logits: NDArray[np.float32], labels: NDArray[np.float32]) -> list[Judgement]:
    """Area under the ROC curve of each label, and its standard error (Hanley and McNeil, Radiology 1982)."""
    judgements = []
    for column in range(labels.shape[1]):
        known = ~np.isnan(labels[:, column])
        truth = labels[known, column]
        positives, negatives = int(truth.sum()), int((1 - truth).sum())
        if not positives or not negatives:
            judgements.append(Judgement(math.nan, math.nan, positives, negatives))
            continue
        auc = float(roc_auc_score(truth, logits[known, column]))
        q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
        variance = auc * (1 - auc) + (positives - 1) * (q1 - auc**2) + (negatives - 1) * (q2 - auc**2)
        error = math.sqrt(max(variance, 0.0) / (positives * negatives))
        judgements.append(Judgement(auc, error, positives, negatives))
    return judgements


def balanced_weights(labels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights [rows, labels] under which both classes of a label count alike and each column sums to 1."""
    known = ~np.isnan(labels)
    positive = np.nan_to_num(labels) * known
    negative = known - positive
    share = np.maximum(positive.sum(0), 1), np.maximum(negative.sum(0), 1)
    weights: NDArray[np.float32] = (0.5 * (positive / share[0] + negative / share[1])).astype(np.float32)
    return weights


def _train_stage(
    tails: Sequence[Tail],
    store: FeatureStore,
    labels: NDArray[np.float32],
    train: NDArray[np.int64],
    validation: NDArray[np.int64],
    recipe: Recipe,
    optimiser: Callable[[Tail], torch.optim.Optimizer],
    title: str,
) -> None:
    """Epochs over the passes in turn, for all tails at once; the best epoch of each tail is kept."""
    random = np.random.default_rng(recipe.seed)
    optimisers = [optimiser(tail) for tail in tails]
    best = _balanced_losses(torch.from_numpy(predict(tails, store, validation)), labels[validation])
    kept = [copy.deepcopy(tail.state_dict()) for tail in tails]
    waited = 0
    # Weights average 1, so that learning rates mean what the recipe meant.
    weights = balanced_weights(labels[train]) * len(train)
    for epoch in tqdm(range(recipe.epochs), desc=title, unit="epoch", disable=None):
        order = random.permutation(len(train))
        for tail in tails:
            tail.train()
        for some in _chunks(order, recipe.batch):
            shared = store.rows(epoch % store.passes, train[some])
            _step(tails, optimisers, shared, labels[train[some]], weights[some])
        losses = _balanced_losses(torch.from_numpy(predict(tails, store, validation)), labels[validation])
        waited += 1
        for column, tail in enumerate(tails):
            if losses[column] < best[column]:
                best[column], waited = losses[column], 0
                kept[column] = copy.deepcopy(tail.state_dict())
        if waited >= recipe.patience:
            break
    for tail, state in zip(tails, kept, strict=True):
        tail.load_state_dict(state)
        tail.eval()


def _step(
    tails: Sequence[Tail],
    optimisers: Sequence[torch.optim.Optimizer],
    shared: Shared,
    labels: NDArray[np.float32],
    weights: NDArray[np.float32],
) -> None:
    targets, factors = torch.from_numpy(np.nan_to_num(labels)), torch.from_numpy(weights)
    for column, (tail, optimiser) in enumerate(zip(tails, optimisers, strict=True)):
        logits = tail(shared)[:, 0]
        loss = functional.binary_cross_entropy_with_logits(logits, targets[:, column], factors[:, column])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def _set_wide(tail: Tail, kernel: Tensor, offset: Tensor) -> None:
    with torch.no_grad():
        tail.wide.weight.copy_(kernel.unsqueeze(0))
        tail.wide.bias.copy_(offset)


def _logistic(
    store: FeatureStore, rows: NDArray[np.int64], labels: NDArray[np.float32], penalties: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Balanced logistic regression on standardised features, an L2 penalty for each label.

    Returns:
        Kernel [labels, wide] and offset [labels] for the features as they are: standardisation is folded in,
        so that the graph holds one product.
    """
    mean, std = _moments(store, rows)
    weights = torch.from_numpy(balanced_weights(labels)) / store.passes
    targets = torch.from_numpy(np.nan_to_num(labels))
    # A row a label: products with the features' rows, and their gradients, then run along memory.
    coefficients = nn.Parameter(torch.zeros(targets.shape[1], len(mean)))
    bias = nn.Parameter(torch.zeros(targets.shape[1]))
    optimiser = torch.optim.LBFGS(
        [coefficients, bias], max_iter=_ITERATIONS, history_size=10, line_search_fn="strong_wolfe"
    )

    def folded() -> tuple[Tensor, Tensor]:
        kernel = coefficients / std
        return kernel, bias - kernel @ mean

    def closure() -> Tensor:
        optimiser.zero_grad()
        total = (torch.tensor(penalties) * coefficients.square().sum(1)).sum()
        total.backward()  # type: ignore[no-untyped-call]
        for number in range(store.passes):
            for some in _chunks(np.arange(len(rows)), _CHUNK):
                kernel, offset = folded()
                logits = functional.linear(store.wide(number, rows[some]), kernel, offset)
                loss = functional.binary_cross_entropy_with_logits(
                    logits, targets[some], weights[some], reduction="sum"
                )
                loss.backward()  # type: ignore[no-untyped-call]
                total = total + loss.detach()
        return total.detach()

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    kernel, offset = folded()
    return kernel.detach(), offset.detach()


def _moments(store: FeatureStore, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [wide] over all passes; features that never vary get 1."""
    count, wide = 0, store.wide(0, rows[:1]).shape[1]
    total, squares = np.zeros(wide), np.zeros(wide)
    for number in range(store.passes):
        for some in _chunks(rows, _CHUNK):
            features = store.wide(number, some).numpy().astype(np.float64)
            count += len(features)
            total += features.sum(0)
            squares += np.square(features).sum(0)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    std = np.where(std > 1e-3, std, 1.0)
    return torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(std.astype(np.float32))


def _balanced_losses(logits: Tensor, labels: NDArray[np.float32]) -> list[float]:
    """Balanced cross-entropy of each label; a class that is missing adds nothing."""
    weights = torch.from_numpy(balanced_weights(labels))
    targets = torch.from_numpy(np.nan_to_num(labels))
    losses = functional.binary_cross_entropy_with_logits(logits, targets, weights, reduction="none").sum(0)
    return [float(loss) for loss in losses]


def _chunks(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
