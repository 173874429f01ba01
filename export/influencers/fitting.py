"""How the ranker learns: in closed form, but for siamese towers (``descent``) and a few weights.

1. Blocks that both sides have are whitened by their scatter within brands: of a brand and its influencers
   around their mean. Values in which those that went together differ count little (cf. within-class
   covariance normalisation, Hatch et al., Interspeech 2006). Blocks of one side are reduced to their main
   components.
2. The profile is a Kronecker ridge: a Gaussian kernel between brands, linear in the influencers' features.
3. The weights of blocks are the most likely ones under the listwise softmax. Those of profile and crowding
   are the best of a few by AUC + R@10 + R@50; then that of the towers is by AUC. All on brands *and*
   influencers that what is weighted has not seen (folds inside the training part).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.extmath import randomized_svd

from export.datasets import DatasetError
from export.influencers.baselines import finite, known_mean, solve_kronecker, targets, unit
from export.influencers.blocks import Blocks, Pairs
from export.influencers.descent import learn_towers
from export.influencers.ranker import BRAND_SIDE, INFLUENCER_SIDE, BlockMap, Ranker
from export.influencers.weighing import Fold, best, best_towers, likeliest

Array = NDArray[np.float64]
MAX_DIMENSION: Final = 512
"""Of a vector, that of `adlens.contract`."""
MIN_BRANDS: Final = 10
"""With a positive; with fewer there is nothing to learn."""
MOST_UNSEEN: Final = 0.5
"""Share of the influencers that a fold holds out at most."""
_MEMBER_WIDTH: Final = 32
"""Values of a block's vector in a member of the siamese towers, at most."""
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
        towers: weights of the siamese towers to choose from, in standard deviations of all else.
        members: of these towers; 0 is none.
        folds: inside the training part, for the weights.
        seed: of the folds.
    """

    bandwidth: float = 2.0
    penalty: float = 100.0
    profiles: tuple[float, ...] = (0.0, 0.5, 1.0)
    crowdings: tuple[float, ...] = (0.0, 0.5, 0.75, 1.0)
    towers: tuple[float, ...] = (0.0, 0.3)
    members: int = 3
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
        for name, values in (
            ("profiles", self.profiles),
            ("crowdings", self.crowdings),
            ("towers", self.towers),
        ):
            if not values or min(values) < 0:
                raise DatasetError(f"ranker: {name} is {values}; it must be weights of at least 0")
        if self.members < 0:
            raise DatasetError(f"ranker: members is {self.members}; it must be at least 0")
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
    few = min(1, options.members)  # of the towers, enough to tell how much they should count
    folds = []
    for fitting, held_out in unseen_folds(pairs, options.folds, options.seed):
        folds.append(_fold(_learn(fitting, options, few), held_out))
    weights = likeliest(folds)
    profile, crowding = best(folds, weights, options.profiles, options.crowdings)
    towers = best_towers(folds, weights, profile, crowding, options.towers)
    ranker = _learn(pairs, options, options.members if towers else 0)
    ranker.crowding = crowding
    ranker.siamese.weight.fill_(towers)
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


def _learn(pairs: Pairs, options: FitOptions, members: int) -> Ranker:
    """Maps and profile, with all weights 1."""
    names, shared = pairs.block_names, pairs.shared
    room = (MAX_DIMENSION - 1) // max(1, sum(name in pairs.influencers for name in names))
    width = min(_MEMBER_WIDTH, room // 2 // max(1, options.members))
    cap = min(256, room - width * options.members)
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
    alike = {
        name: is_distribution(pairs.brands[name]) and is_distribution(pairs.influencers[name])
        for name in shared
    }
    learned = members and width and shared
    siamese = learn_towers(pairs, alike, members, width, options.seed) if learned else None
    ranker = Ranker(brand_maps, influencer_maps, shared, count, options.bandwidth, siamese=siamese)
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


def _fold(ranker: Ranker, held_out: Pairs) -> Fold:
    return Fold.of(ranker, tensors(held_out.brands), tensors(held_out.influencers), held_out.positive)


def _centre_crowding(ranker: Ranker, pairs: Pairs) -> None:
    """Crowding is told against its mean over the influencers that were learned from."""
    with torch.no_grad():
        features, _ = ranker.describe(INFLUENCER_SIDE, tensors(pairs.influencers))
        ranker.usual_crowding.copy_(ranker.crowd(features).mean())


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
