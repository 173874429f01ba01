"""How the ranker learns, all in closed form but a few weights.

1. Blocks that both sides have are whitened by their scatter within brands: of a brand and its influencers
   around their mean. Values in which those that went together differ count little (cf. within-class
   covariance normalisation, Hatch et al., Interspeech 2006). Blocks of one side are reduced to their main
   components.
2. The profile is a Kronecker ridge: a Gaussian kernel between brands, linear in the influencers' features.
3. The weights of blocks are the most likely ones under the listwise softmax. Those of profile and crowding
   are the best of a few by AUC + R@10 + R@50. Both on brands *and* influencers that steps 1 and 2 have not
   seen (folds inside the training part).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.utils.extmath import randomized_svd

from export.datasets import DatasetError
from export.influencers.baselines import finite, known_mean, solve_kronecker, targets, unit
from export.influencers.blocks import Blocks, Pairs
from export.influencers.metrics import AUC, RECALLS, evaluate
from export.influencers.ranker import BRAND_SIDE, INFLUENCER_SIDE, SHARPNESS, BlockMap, Ranker

Array = NDArray[np.float64]
MAX_DIMENSION: Final = 512
"""Of a vector, that of `adlens.contract`."""
MIN_BRANDS: Final = 10
"""With a positive; with fewer there is nothing to learn."""
MOST_UNSEEN: Final = 0.5
"""Share of the influencers that a fold holds out at most."""
_FLOOR: Final = 0.01
"""Of the scatter's mean eigenvalue, added to all: what hardly varies is not blown up."""
_ONE_SIDED: Final = 32
"""Components of a block that one side alone has."""
_SVD_ROWS: Final = 4000
"""Accounts from which the main components of wide blocks are taken."""
_WHOLE: Final = 1e-3
"""Rows whose sums differ by less, relatively, are distributions."""


@dataclass(frozen=True)
class FitOptions:
    """How the ranker learns.

    Attributes:
        bandwidth: of the Gaussian kernel between brands; larger is narrower.
        penalty: of the profile's ridge.
        profiles: weights of the profile to choose from, in standard deviations of the rest.
        crowdings: weights of crowding to choose from.
        folds: inside the training part, for the weights.
        seed: of the folds.
    """

    bandwidth: float = 2.0
    penalty: float = 100.0
    profiles: tuple[float, ...] = (0.0, 0.5, 1.0)
    crowdings: tuple[float, ...] = (0.0, 0.5, 0.75, 1.0)
    folds: int = 4
    seed: int = 20

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            DatasetError: a value is out of its range.
        """
        for name, value in (("bandwidth", self.bandwidth), ("penalty", self.penalty)):
            if not value > 0:
                raise DatasetError(f"ranker: {name} is {value}; it must be above 0")
        for name, values in (("profiles", self.profiles), ("crowdings", self.crowdings)):
            if not values or min(values) < 0:
                raise DatasetError(f"ranker: {name} is {values}; it must be weights of at least 0")
        if self.folds < 2:
            raise DatasetError(f"ranker: folds is {self.folds}; it must be at least 2")


def fit_ranker(pairs: Pairs, options: FitOptions | None = None) -> Ranker:
    """Learn from all of ``pairs``.

    Raises:
        DatasetError: there are too few brands with a positive.
    """
    options = options or FitOptions()
    having = int(pairs.positive.any(1).sum())
    if having < max(MIN_BRANDS, options.folds):
        raise DatasetError(f"{pairs.name}: {having} brands have an influencer; {MIN_BRANDS} are needed")
    folds = []
    for fitting, held_out in unseen_folds(pairs, options.folds, options.seed):
        folds.append(_Fold.of(_learn(fitting, options), held_out))
    weights = _likeliest(folds)
    profile, crowding = _best(folds, weights, options)
    ranker = _learn(pairs, options)
    ranker.crowding = crowding
    ranker.weights.copy_(torch.from_numpy(weights))
    ranker.coefficients.mul_(profile)
    _centre_crowding(ranker, pairs)
    return ranker.eval()


def unseen_folds(pairs: Pairs, folds: int, seed: int) -> Iterator[tuple[Pairs, Pairs]]:
    """Folds by brand: what is learned from, and what is held out, as far as it has a pair.

    Candidates are the influencers of held-out brands. Nothing is learned of these either, so that ranking
    them tells how well influencers are ranked that have never been seen.
    """
    having = np.flatnonzero(pairs.positive.any(1))
    random = np.random.default_rng(seed)
    order = random.permutation(having)
    for fold in range(folds):
        held_out = np.sort(order[fold::folds])
        candidates = pairs.positive[held_out].any(0)
        if candidates.mean() > MOST_UNSEEN:
            candidates &= random.random(len(candidates)) < MOST_UNSEEN
            held_out = held_out[pairs.positive[held_out][:, candidates].any(1)]
        fitting = pairs.subset(np.setdiff1d(having, held_out), ~candidates)
        if not (len(held_out) and fitting.positive.any()):
            raise DatasetError(
                f"{pairs.name}: too few influencers to hold some out; there are {candidates.size}"
            )
        yield fitting, pairs.subset(held_out, candidates)


def score(ranker: Ranker, brands: Blocks, influencers: Blocks) -> Array:
    """Scores float64 [brands, influencers].

    Raises:
        DatasetError: a block has another number of values than the ranker has learned, or none is known to
        it.
    """
    check_blocks(ranker, BRAND_SIDE, brands)
    check_blocks(ranker, INFLUENCER_SIDE, influencers)
    with torch.no_grad():
        left = ranker.brand(tensors(brands))
        right = ranker.influencer(tensors(influencers))
    return np.asarray(left.numpy().astype(np.float64) @ right.numpy().astype(np.float64).T)


def check_blocks(ranker: Ranker, side: str, blocks: Blocks) -> None:
    """Refuse blocks that the ranker cannot read.

    Raises:
        DatasetError: a block has another number of values than the ranker has learned, or none is known to
        it.
    """
    maps = ranker.brand_maps if side == BRAND_SIDE else ranker.influencer_maps
    if not set(maps) & set(blocks):
        raise DatasetError(f"{side}: none of the blocks {', '.join(maps)} is there, only {', '.join(blocks)}")
    for name, each in maps.items():
        if name in blocks and isinstance(each, BlockMap) and blocks[name].shape[1] != len(each.centre):
            raise DatasetError(
                f"{side} block {name!r} has {blocks[name].shape[1]} values; {len(each.centre)} were learned"
            )


def tensors(blocks: Blocks) -> dict[str, torch.Tensor]:
    """Blocks as float32 tensors."""
    return {name: torch.from_numpy(np.asarray(values, np.float32)) for name, values in blocks.items()}


def _learn(pairs: Pairs, options: FitOptions) -> Ranker:
    """Maps and profile, with all weights 1."""
    names, shared = pairs.block_names, pairs.shared
    cap = min(256, (MAX_DIMENSION - 1) // max(1, sum(name in pairs.influencers for name in names)))
    brand_maps, influencer_maps = {}, {}
    for name in names:
        if name in shared:
            brand_maps[name], influencer_maps[name] = _shared_maps(pairs, name, cap)
            continue
        for blocks, maps in ((pairs.brands, brand_maps), (pairs.influencers, influencer_maps)):
            if name in blocks:
                maps[name] = _own_map(blocks[name], min(cap, _ONE_SIDED))
    if not brand_maps or not influencer_maps:
        raise DatasetError(f"{pairs.name}: a side has no block with a known value")
    count = len(pairs.labels)
    ranker = Ranker(brand_maps, influencer_maps, shared, count, options.bandwidth)
    with torch.no_grad():
        features, known = ranker.describe(BRAND_SIDE, tensors(pairs.brands))
        ranker.weights.fill_(1.0)
        ranker.anchors.copy_(torch.cat(list(features.values()), dim=1))
        ranker.anchors_known.copy_(known)
        right, _ = ranker.describe(INFLUENCER_SIDE, tensors(pairs.influencers))
        kernel = ranker.similarity(ranker.anchors, known).numpy().astype(np.float64)
        y = torch.cat(list(right.values()), dim=1).numpy().astype(np.float64)
        # The dual of the brands' side, the primal of the influencers' side: K W y'y + penalty W = T y.
        found = solve_kronecker(kernel, y.T @ y, targets(pairs.positive) @ y, options.penalty)
        ranker.coefficients.copy_(torch.from_numpy(found))
    return ranker


@dataclass(frozen=True)
class _Fold:
    """What a ranker with all weights 1 says of brands and influencers that it has not seen.

    Attributes:
        likeness: of each shared block, float64 [blocks, brands, influencers].
        anchors: the same of the brands that were learned from, [blocks, anchors, influencers].
        profile: float64 [brands, influencers].
        positive: bool [brands, influencers].
    """

    likeness: Array
    anchors: Array
    profile: Array
    positive: NDArray[np.bool_]

    @classmethod
    def of(cls, ranker: Ranker, pairs: Pairs) -> _Fold:
        with torch.no_grad():
            left, known = ranker.describe(BRAND_SIDE, tensors(pairs.brands))
            right, _ = ranker.describe(INFLUENCER_SIDE, tensors(pairs.influencers))
            shared = [(name, right[name].T) for name in ranker.shared]
            profile = ranker.similarity(torch.cat(list(left.values()), 1), known) @ ranker.coefficients
            count = (len(shared), -1, len(pairs.labels[0]))
            likeness = _stacked([left[name] @ influencers for name, influencers in shared], count)
            anchors = _stacked([ranker.anchors_of(name) @ influencers for name, influencers in shared], count)
            said = (profile @ torch.cat(list(right.values()), 1).T).numpy().astype(np.float64)
        return cls(likeness, anchors, said, pairs.positive)


def _stacked(parts: list[torch.Tensor], shape: tuple[int, ...]) -> Array:
    return (
        np.array([part.numpy() for part in parts], np.float64).reshape(shape)
        if parts
        else np.zeros((0, 1, 1))
    )


def _likeliest(folds: list[_Fold]) -> Array:
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


def _best(folds: list[_Fold], weights: Array, options: FitOptions) -> tuple[float, float]:
    """Weights of profile and crowding with the highest mean of AUC + R@10 + R@50 over the folds."""
    own = [np.tensordot(weights, fold.likeness, axes=1) for fold in folds]
    crowds = [crowd(np.tensordot(weights, fold.anchors, axes=1)) for fold in folds]
    spread = float(np.mean([each.std() for each in own])) or 1.0
    scale = spread / max(float(np.mean([fold.profile.std() for fold in folds])), 1e-12)
    best, chosen = -np.inf, (0.0, 0.0)
    for profile, crowding in itertools.product(options.profiles, options.crowdings):
        reached = 0.0
        for fold, likeness, crowded in zip(folds, own, crowds, strict=True):
            said = likeness + profile * scale * fold.profile - crowding * crowded
            values = evaluate(said, fold.positive).values
            reached += sum(values[name] for name in (AUC, *RECALLS) if np.isfinite(values[name]))
        if reached > best:
            best, chosen = reached, (profile * scale, crowding)
    return chosen


def crowd(likeness: Array) -> Array:
    """How much influencers resemble brands at large, as in ``Ranker``: [influencers]."""
    return np.asarray(logsumexp(SHARPNESS * likeness, axis=0) / SHARPNESS)


def _centre_crowding(ranker: Ranker, pairs: Pairs) -> None:
    """Crowding is told against its mean over the influencers that were learned from."""
    if ranker.crowding:
        with torch.no_grad():
            last = ranker.influencer(tensors(pairs.influencers))[:, -1]
            ranker.usual_crowding.copy_(-last.mean() / ranker.crowding)


def _shared_maps(pairs: Pairs, name: str, cap: int) -> tuple[BlockMap, BlockMap]:
    brand, influencer = pairs.brands[name], pairs.influencers[name]
    distribution = is_distribution(brand) and is_distribution(influencer)
    left, right = _rooted(brand, distribution), _rooted(influencer, distribution)
    if distribution and left.shape[1] <= cap:
        middle = (np.zeros(left.shape[1]), np.zeros(left.shape[1]))
        matrix = np.eye(left.shape[1])
    else:
        middle = (known_mean(left), known_mean(right))
        matrix = _whitening(
            _centred(left, middle[0]), _centred(right, middle[1]), pairs.positive, min(cap, left.shape[1])
        )
    return _filled(middle[0], matrix, distribution), _filled(middle[1], matrix, distribution)


def _whitening(left: Array, right: Array, positive: NDArray[np.bool_], width: int) -> Array:
    """[values, width] that whitens the scatter of brands and their influencers around their means."""
    basis = np.eye(left.shape[1])
    if width < left.shape[1]:
        rows = np.concatenate([left, right])
        chosen = np.random.default_rng(0).permutation(len(rows))[:_SVD_ROWS]
        basis = randomized_svd(rows[chosen], width, random_state=0)[2].T
        left, right = unit(left @ basis), unit(right @ basis)
    counts = positive.sum(1, keepdims=True)
    means = (positive @ right + left) / (counts + 1)
    brands, influencers = np.nonzero(positive)
    # The brand stands for as much as a pair of its influencers: it is what will be compared with them.
    apart = np.concatenate([right[influencers] - means[brands], left - means, left - means])
    values, vectors = np.linalg.eigh(apart.T @ apart / len(apart))
    floor = max(_FLOOR * float(values.mean()), 1e-12)
    return np.asarray(basis @ (vectors / np.sqrt(values.clip(0) + floor)))


def _own_map(values: NDArray[np.float32], width: int) -> BlockMap:
    """Of a block that one side alone has: its main components, each less the more the larger it is."""
    distribution = is_distribution(values)
    rows = _rooted(values, distribution)
    middle = known_mean(rows)
    spread = _centred(rows, middle)
    chosen = np.random.default_rng(0).permutation(len(spread))[:_SVD_ROWS]
    width = min(width, *spread[chosen].shape)
    _, sizes, axes = randomized_svd(spread[chosen], width, random_state=0)
    return _filled(middle, axes.T / np.sqrt(sizes.clip(1e-6)), distribution)


def is_distribution(values: NDArray[np.float32]) -> bool:
    """Whether all known rows hold shares: none below 0, and all with one sum above 0."""
    known = values[np.isfinite(values).all(1)]
    sums = known.sum(1, dtype=np.float64)
    return bool(len(sums) and (known >= 0).all() and sums.min() > 0 and np.ptp(sums) <= _WHOLE * sums.mean())


def _rooted(values: NDArray[np.float32], distribution: bool) -> Array:
    """As ``BlockMap`` takes them; rows that are not known are NaN."""
    found = finite(values)
    return np.sqrt(found / found.sum(1, keepdims=True)) if distribution else found


def _centred(values: Array, middle: Array) -> Array:
    return unit(np.nan_to_num(values - middle))


def _filled(middle: Array, matrix: Array, distribution: bool) -> BlockMap:
    found = BlockMap(matrix.shape[0], matrix.shape[1], distribution)
    found.centre.copy_(torch.from_numpy(middle))
    found.matrix.copy_(torch.from_numpy(matrix))
    return found
