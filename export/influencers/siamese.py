"""Towers that a ranker learns by descent: both sides of a block go through the same layers.

A block becomes a vector of a fixed length in which brands and their influencers are near each other; the
sides differ by shifts alone, so that alike finds alike even where few brands teach it. Beside it stands an
*appeal*: what a block of an influencer says for every brand. Blocks are not mixed, so that what each adds to
a score can be told. Several members, learned alike from other seeds, stand side by side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from export.influencers.rows import rooted, unit

BRAND: Final = 0
INFLUENCER: Final = 1
HIDDEN: Final = 192
DROPPED: Final = (0.2, 0.5)
"""Shares in training, of what goes in and of the hidden layer."""
_SCALE: Final = 9.0
"""Of a block's products at the start."""


class Reduction(nn.Module):
    """A block -> [N, r], its main components of both sides, and [N, 1]: whether it is known.

    Distributions are taken by the roots of their shares; other blocks are brought to length 1 around the
    mean of their side.
    """

    def __init__(self, values: int, width: int, distribution: bool) -> None:
        super().__init__()
        self.distribution = distribution
        self.centre: Tensor
        self.matrix: Tensor
        self.register_buffer("centre", torch.zeros(2, values))
        self.register_buffer("matrix", torch.zeros(values, width))

    def forward(self, values: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Of float32 [N, values], not known where any is not finite."""
        found, known = self.centred(values, side)
        return found @ self.matrix * known, known

    def centred(self, values: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """What ``forward`` reduces, [N, values]."""
        found, known = rooted(values, self.distribution)
        found = found - self.centre[side]
        return found if self.distribution else unit(found), known


class BlockTower(nn.Module):
    """[N, r] -> a vector [N, width] of one length, and an appeal [N, 1]."""

    def __init__(self, values: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(values, HIDDEN)
        self.out = nn.Linear(HIDDEN, width, bias=False)
        self.straight = nn.Linear(values, width, bias=False)
        self.appeal = nn.Linear(HIDDEN, 1, bias=False)
        self.hidden_shift = nn.Parameter(torch.zeros(2, HIDDEN))
        self.shift = nn.Parameter(torch.zeros(2, width))
        self.log_scale = nn.Parameter(torch.tensor(math.log(_SCALE)))
        nn.init.zeros_(self.appeal.weight)

    def forward(self, values: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Of ``BRAND`` or ``INFLUENCER``."""
        into, within = DROPPED if self.training else (0.0, 0.0)
        values = nn.functional.dropout(values, into)
        hidden = torch.relu(self.hidden(values) + self.hidden_shift[side])
        hidden = nn.functional.dropout(hidden, within)
        found = unit(self.straight(values) + self.out(hidden) + self.shift[side])
        appeal: Tensor = self.appeal(hidden)
        return found * (self.log_scale / 2).exp(), appeal


class SiameseTowers(nn.Module):
    """Members side by side, averaged, and how much they count.

    Attributes:
        width: of a block's vector, of all members together.
    """

    def __init__(self, blocks: Mapping[str, Mapping[str, Any]], members: int, member_width: int) -> None:
        """To be filled.

        Args:
            blocks: arguments of ``Reduction`` by name.
            members: how many.
            member_width: values of a block's vector in one.
        """
        super().__init__()
        self.weight: Tensor
        self.register_buffer("weight", torch.ones(1))
        self.blocks = {name: dict(each) for name, each in blocks.items()}
        self.width = members * member_width
        self.member_width = member_width
        self.reductions = nn.ModuleDict({name: Reduction(**each) for name, each in blocks.items()})
        self.members = nn.ModuleList(
            nn.ModuleDict({name: BlockTower(each["width"], member_width) for name, each in blocks.items()})
            for _ in range(members)
        )

    def forward(self, blocks: Mapping[str, Tensor], side: int) -> tuple[dict[str, Tensor], Tensor]:
        """Vectors by block, float32 [N, width], and appeals [N, 1], which the brands' side has none of.

        What is not known is 0. Products of both sides' vectors, and appeals, are weighted and averaged.
        """
        count = next(iter(blocks.values())).shape[0]  # not len(), which an export takes for a constant
        share = self.weight / max(1, len(self.members))
        total, found = self.weight.new_zeros(count, 1), {}
        for name in self.blocks:
            if name not in blocks:
                found[name] = self.weight.new_zeros(count, self.width)
                continue
            values, known = self.reduce(name, blocks[name], side)
            parts = [self.embed(member, name, values, side) for member in range(len(self.members))]
            found[name] = torch.cat([vector for vector, _ in parts], dim=1) * known
            if side == BRAND:
                found[name] = found[name] * share
            else:
                for _, appeal in parts:
                    total = total + appeal * known * share
        return found, total

    def reduce(self, name: str, values: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """As ``Reduction`` of a block."""
        reduction = self.reductions[name]
        found: tuple[Tensor, Tensor] = reduction(values, side)
        return found

    def embed(self, member: int, name: str, values: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """As a member's ``BlockTower`` of a block, of what ``reduce`` gave."""
        towers = self.members[member]
        found: tuple[Tensor, Tensor] = towers[name](values, side)  # type: ignore[index]
        return found
