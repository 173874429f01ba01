"""How much a ranker's parts count: chosen on brands and influencers that the parts have not seen."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp
from torch import Tensor

from export.influencers.metrics import AUC, RECALLS, evaluate
from export.influencers.ranker import BRAND_SIDE, INFLUENCER_SIDE, SHARPNESS, Ranker
from export.influencers.siamese import BRAND, INFLUENCER

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Fold:
    """What a ranker with all weights 1 says of brands and influencers that it has not seen.

    Attributes:
        likeness: of each shared block, float64 [blocks, brands, influencers].
        anchors: the same of the brands that were learned from, [blocks, anchors, influencers].
        profile: float64 [brands, influencers].
        towers: the same of the siamese towers; zeros where there are none.
        positive: bool [brands, influencers].
    """

    likeness: Array
    anchors: Array
    profile: Array
    towers: Array
    positive: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        ranker: Ranker,
        brands: Mapping[str, Tensor],
        influencers: Mapping[str, Tensor],
        positive: NDArray[np.bool_],
    ) -> Fold:
        """What ``ranker`` says of blocks of brands and of influencers."""
        with torch.no_grad():
            left, known = ranker.describe(BRAND_SIDE, brands)
            right, _ = ranker.describe(INFLUENCER_SIDE, influencers)
            shared = [(name, right[name].T) for name in ranker.shared]
            profile = ranker.similarity(torch.cat(list(left.values()), 1), known) @ ranker.coefficients
            count = (len(shared), -1, positive.shape[1])
            likeness = _stacked([left[name] @ each for name, each in shared], count)
            anchors = _stacked([ranker.anchors_of(name) @ each for name, each in shared], count)
            said = (profile @ torch.cat(list(right.values()), 1).T).numpy().astype(np.float64)
            first, _ = ranker.siamese(brands, BRAND)
            second, appeal = ranker.siamese(influencers, INFLUENCER)
            towers = appeal.T.expand(len(positive), -1)
            for name, vectors in first.items():
                towers = towers + vectors @ second[name].T
        return cls(likeness, anchors, said, towers.numpy().astype(np.float64), positive)


def _stacked(parts: list[Tensor], shape: tuple[int, ...]) -> Array:
    return (
        np.array([part.numpy() for part in parts], np.float64).reshape(shape)
        if parts
        else np.zeros((0, 1, 1))
    )


def likeliest(folds: list[Fold]) -> Array:
    """Weights of the shared blocks, none below 0, that make the listwise softmax cross-entropy least.

    It is convex in them.
    """
    kinds = len(folds[0].likeness)
    if not kinds:
        return np.zeros(0)

    def loss(weights: Array) -> tuple[float, Array]:
        total, slope, brands = 0.0, np.zeros(kinds), 0
        for fold in folds:
            said = np.tensordot(weights, fold.likeness, axes=1)
            logs = said - logsumexp(said, axis=1, keepdims=True)
            wanted = fold.positive / fold.positive.sum(1, keepdims=True)
            total -= float((wanted * logs).sum())
            slope += ((np.exp(logs) - wanted)[None] * fold.likeness).sum(axis=(1, 2))
            brands += len(fold.positive)
        return total / brands, slope / brands

    found = minimize(loss, np.ones(kinds), jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * kinds)
    return np.asarray(found.x)


def best(
    folds: list[Fold], weights: Array, profiles: tuple[float, ...], crowdings: tuple[float, ...]
) -> tuple[float, float]:
    """Weights of profile and crowding with the highest mean of AUC + R@10 + R@50 over the folds."""
    own = [np.tensordot(weights, fold.likeness, axes=1) for fold in folds]
    crowds = [crowd(np.tensordot(weights, fold.anchors, axes=1)) for fold in folds]
    spread = float(np.mean([each.std() for each in own])) or 1.0
    scale = spread / max(float(np.mean([fold.profile.std() for fold in folds])), 1e-12)
    best, chosen = -np.inf, (0.0, 0.0)
    for profile, crowding in itertools.product(profiles, crowdings):
        reached = 0.0
        for fold, likeness, crowded in zip(folds, own, crowds, strict=True):
            reached += _reached(likeness + profile * scale * fold.profile - crowding * crowded, fold)
        if reached > best:
            best, chosen = reached, (profile * scale, crowding)
    return chosen


def best_towers(
    folds: list[Fold], weights: Array, profile: float, crowding: float, choices: tuple[float, ...]
) -> float:
    """Weight of the siamese towers with the highest AUC: what they add hardly shows in recall."""
    if not any(fold.towers.any() for fold in folds):
        return 0.0
    rest = [
        np.tensordot(weights, fold.likeness, axes=1)
        + profile * fold.profile
        - crowding * crowd(np.tensordot(weights, fold.anchors, axes=1))
        for fold in folds
    ]
    spread = float(np.mean([each.std() for each in rest])) or 1.0
    scale = spread / max(float(np.mean([fold.towers.std() for fold in folds])), 1e-12)
    reached = [
        sum(
            evaluate(own + scale * weight * fold.towers, fold.positive).values[AUC]
            for own, fold in zip(rest, folds, strict=True)
        )
        for weight in choices
    ]
    return scale * choices[int(np.nanargmax(reached))]


def _reached(said: Array, fold: Fold) -> float:
    """AUC + R@10 + R@50."""
    values = evaluate(said, fold.positive).values
    return sum(values[name] for name in (AUC, *RECALLS) if np.isfinite(values[name]))


def crowd(likeness: Array) -> Array:
    """How much influencers resemble brands at large, as in ``Ranker``: [influencers]."""
    return np.asarray(logsumexp(SHARPNESS * likeness, axis=0) / SHARPNESS)
