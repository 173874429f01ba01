"""How siamese towers are learned: by the listwise softmax over all influencers, in a few steps.

Against learning by heart, as brands are few: dropout; weights that decay; *stand-ins*, where half of the time
some of a brand's influencers are mixed into the brand, and the others are to be found; and of all steps'
weights a running mean is kept. The constants are the best of a few on folds of ``train_influencers`` with
another seed (101) than those it is judged on.
"""

from __future__ import annotations

import copy
from typing import Final

import numpy as np
import torch
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

from export.influencers.blocks import Blocks, Pairs
from export.influencers.losses import listwise_cross_entropy
from export.influencers.rows import rooted
from export.influencers.siamese import BRAND, INFLUENCER, Reduction, SiameseTowers

REDUCED: Final = 64
"""Main components of a block that are learned from, at most."""
STEPS: Final = 60
_LENGTH: Final = 3.0
"""Root mean square of the lengths of what is learned from."""
_RATE: Final = 1e-3
_DECAY: Final = 0.1
_MEMORY: Final = 0.97
"""Of the running mean of weights, once there are many; early ones are forgotten sooner."""
_STAND_IN: Final = 0.3
"""Probability of an influencer to be mixed into its brand, where some are."""
_NEVER: Final = -1e4
"""Score of a stand-in, which is neither to be found nor to be left."""
_SVD_ROWS: Final = 4000
"""Accounts from which the main components of wide blocks are taken."""
_TINY: Final = 1e-6


def learn_towers(
    pairs: Pairs, distributions: dict[str, bool], members: int, member_width: int, seed: int
) -> SiameseTowers:
    """Learn from all of ``pairs``.

    Args:
        pairs: to learn from; brands without an influencer are left out.
        distributions: blocks that both sides have, and whether they hold shares.
        members: how many.
        member_width: values of a block's vector in one.
        seed: of weights, dropout and stand-ins.

    Returns:
        Towers in evaluation mode, with weight 1.
    """
    pairs = pairs.subset(pairs.positive.any(1), np.arange(pairs.labels.shape[1]))
    blocks = {}
    for name, distribution in distributions.items():
        values = pairs.influencers[name]
        width = min(REDUCED, values.shape[1], len(values))
        blocks[name] = {"values": values.shape[1], "width": width, "distribution": distribution}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        towers = SiameseTowers(blocks, members, member_width)
        _fill_reductions(towers, pairs)
        for member in range(members):
            _train(towers, member, pairs)
    return towers.eval().requires_grad_(False)


def _fill_reductions(towers: SiameseTowers, pairs: Pairs) -> None:
    with torch.no_grad():
        for name, shape in towers.blocks.items():
            reduction = towers.reductions[name]
            if not isinstance(reduction, Reduction):
                raise TypeError(f"block {name!r} has no reduction")
            for side, blocks in ((BRAND, pairs.brands), (INFLUENCER, pairs.influencers)):
                rows, known = rooted(torch.from_numpy(blocks[name]), reduction.distribution)
                reduction.centre[side] = (rows * known).sum(0) / known.sum().clamp(min=1)
            rows, known = reduction.centred(torch.from_numpy(pairs.influencers[name]), INFLUENCER)
            rows = rows[known[:, 0] > 0][:_SVD_ROWS]
            width = min(shape["width"], len(rows))
            if not width:
                continue
            axes = randomized_svd(rows.numpy(), width, random_state=0)[2]
            basis = torch.from_numpy(np.ascontiguousarray(axes.T))
            length = (rows @ basis).square().sum(1).mean().sqrt().clamp(min=_TINY)
            reduction.matrix[:, :width] = basis * (_LENGTH / length)


def _train(towers: SiameseTowers, member: int, pairs: Pairs) -> None:
    """One member, whose weights become the running mean of those of all steps."""
    brands, influencers = (
        _reduced(towers, pairs.brands, BRAND),
        _reduced(towers, pairs.influencers, INFLUENCER),
    )
    positive = torch.from_numpy(pairs.positive.astype(np.float32))
    learner = towers.members[member]
    mean = copy.deepcopy(learner)
    optimiser = torch.optim.AdamW(learner.parameters(), _RATE, weight_decay=_DECAY)
    towers.train()
    for step in range(STEPS):
        chosen = stand_ins(positive)
        share = torch.rand(len(positive), 1) * (chosen.sum(1, keepdim=True) > 0)
        weights = chosen / chosen.sum(1, keepdim=True).clamp(min=1)
        scores = chosen * _NEVER
        for name, (values, known) in brands.items():
            others, there = influencers[name]
            # Stand-ins take the brand's place in part; where the brand is not known it stays so.
            mixed = values * (1 - share) + (weights @ others) * share
            left, _ = towers.embed(member, name, mixed, BRAND)
            right, appeal = towers.embed(member, name, others, INFLUENCER)
            scores = scores + (left * known) @ (right * there).T + (appeal * there).T
        wanted = positive - chosen
        loss = listwise_cross_entropy(scores, wanted / wanted.sum(1, keepdim=True))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        keep = min(_MEMORY, (step + 1) / (step + 10))
        with torch.no_grad():
            for slow, now in zip(mean.parameters(), learner.parameters(), strict=True):
                slow.lerp_(now, 1 - keep)
    learner.load_state_dict(mean.state_dict())


def _reduced(towers: SiameseTowers, blocks: Blocks, side: int) -> dict[str, tuple[Tensor, Tensor]]:
    with torch.no_grad():
        return {name: towers.reduce(name, torch.from_numpy(blocks[name]), side) for name in towers.blocks}


def stand_ins(positive: Tensor) -> Tensor:
    """0 or 1, [brands, influencers]: some of a brand's influencers, none of half of the brands, never all."""
    chosen = positive * (torch.rand_like(positive) < _STAND_IN)
    used = (torch.rand(len(positive), 1) < 0.5) & (
        chosen.sum(1, keepdim=True) < positive.sum(1, keepdim=True)
    )
    return chosen * used
