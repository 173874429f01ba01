"""The ranker: a vector of a brand, a vector of an influencer, and their product.

Either vector is made of that account's own blocks alone. Both have the same segments, so that the product
over a segment is what a block adds to the score, exactly::

    influencer   [ block, ... | block, ... | crowding ]
    brand        [ block, ... | block, ... | 1        ]

* A block of the influencer is what ``BlockMap`` makes of it, and beside that what ``SiameseTowers`` do, where
  both sides have the block.
* That of the brand is its own, times the block's weight, where both sides have the block (alike finds
  alike), plus its *profile*: what influencers look like that similar brands had, a kernel ridge regression
  over the brands that the ranker has learned from; and beside that what the towers make of its own.
* *Crowding* is how much the influencer resembles brands at large, which counts against it: whoever is near
  to all brands is near to none in particular (cf. cross-domain similarity local scaling, arXiv:1710.04087).
  The towers' appeals stand there too: all that is said of an influencer alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from export.influencers.rows import rooted, unit
from export.influencers.siamese import BRAND, INFLUENCER, SiameseTowers

BRAND_SIDE: Final = "brand"
INFLUENCER_SIDE: Final = "influencer"
CROWDING: Final = "crowding"
"""Name of the last segment."""
SHARPNESS: Final = 2.0
"""Of crowding: the larger, the more the nearest brands count among all."""


@dataclass(frozen=True)
class Segment:
    """Part of a vector that belongs to one block: from ``start`` to before ``stop``."""

    block: str
    start: int
    stop: int


class BlockMap(nn.Module):
    """A block of one side -> [N, r] of length 1, or 0 where the block is not known.

    Distributions, such as topics, are taken by the roots of their shares (Hellinger), other blocks as they
    are. Then: less the mean, to length 1, through a matrix, to length 1.
    """

    def __init__(self, values: int, width: int, distribution: bool) -> None:
        super().__init__()
        self.distribution = distribution
        self.centre: Tensor
        self.matrix: Tensor
        self.register_buffer("centre", torch.zeros(values))
        self.register_buffer("matrix", torch.zeros(values, width))

    @property
    def width(self) -> int:
        """Of what comes out."""
        return self.matrix.shape[1]

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Features float32 [N, width], and 1 or 0, [N, 1]: whether the block is known.

        Args:
            values: float32 [N, values]; any that is not finite says that the row is not known.
        """
        found, known = rooted(values, self.distribution)
        return unit(unit(found - self.centre) @ self.matrix) * known, known


class Ranker(nn.Module):
    """Blocks of accounts -> vectors of brands and of influencers, whose products are scores."""

    def __init__(
        self,
        brand_maps: Mapping[str, BlockMap],
        influencer_maps: Mapping[str, BlockMap],
        shared: tuple[str, ...],
        anchors: int,
        bandwidth: float,
        crowding: float = 0.0,
        siamese: SiameseTowers | None = None,
    ) -> None:
        """With buffers that are to be filled.

        Args:
            brand_maps: by block.
            influencer_maps: by block, in the order of the segments.
            shared: blocks that are compared as they are, in the order of ``weights``.
            anchors: brands that it has learned from.
            bandwidth: of the kernel between brands.
            crowding: how much that counts; 0 is not at all.
            siamese: towers of shared blocks; None is none.
        """
        super().__init__()
        self.brand_maps = nn.ModuleDict(brand_maps)
        self.influencer_maps = nn.ModuleDict(influencer_maps)
        self.shared = shared
        self.bandwidth = bandwidth
        self.crowding = crowding
        self.siamese = siamese or SiameseTowers({}, 0, 0)
        wide = sum(each.width for each in brand_maps.values())
        self.weights: Tensor
        self.anchors: Tensor
        self.anchors_known: Tensor
        self.coefficients: Tensor
        self.usual_crowding: Tensor
        self.register_buffer("weights", torch.zeros(len(shared)))
        self.register_buffer("anchors", torch.zeros(anchors, wide))
        self.register_buffer("anchors_known", torch.zeros(anchors, len(brand_maps)))
        self.register_buffer(
            "coefficients", torch.zeros(anchors, sum(each.width for each in influencer_maps.values()))
        )
        self.register_buffer("usual_crowding", torch.zeros(1))

    @property
    def dimension(self) -> int:
        """Of a vector."""
        return self.segments[-1].stop

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Of a vector, in their order; the last is ``crowding``."""
        found, start = [], 0
        for block, each in self.influencer_maps.items():
            learned = self.siamese.width if block in self.siamese.blocks else 0
            found.append(Segment(block, start, start + _width(each) + learned))
            start = found[-1].stop
        return (*found, Segment(CROWDING, start, start + 1))

    def brand(self, blocks: Mapping[str, Tensor]) -> Tensor:
        """Vectors of brands, float32 [N, dimension].

        Args:
            blocks: float32 [N, values] by name; those left out are not known, others have no meaning.
        """
        features, known = self.describe(BRAND_SIDE, blocks)
        learned, _ = self.siamese(blocks, BRAND)
        similar = self.similarity(torch.cat(list(features.values()), dim=1), known)
        widths = [_width(each) for each in self.influencer_maps.values()]
        profile = torch.split(similar @ self.coefficients, widths, dim=1)
        parts = []
        for block, own in zip(self.influencer_maps, profile, strict=True):
            if block in self.shared:
                own = own + features[block] * self.weights[self.shared.index(block)]
            parts += [own, learned[block]] if block in learned else [own]
        return torch.cat((*parts, torch.ones_like(known[:, :1])), dim=1)

    def influencer(self, blocks: Mapping[str, Tensor]) -> Tensor:
        """Vectors of influencers, as ``brand`` gives those of brands."""
        features, _ = self.describe(INFLUENCER_SIDE, blocks)
        learned, appeal = self.siamese(blocks, INFLUENCER)
        last = appeal - self.crowding * (self.crowd(features) - self.usual_crowding)
        parts = []
        for block, own in features.items():
            parts += [own, learned[block]] if block in learned else [own]
        return torch.cat((*parts, last), dim=1)

    def crowd(self, features: Mapping[str, Tensor]) -> Tensor:
        """How much influencers of these features resemble the anchors at large, [N, 1]."""
        likeness = self.anchors.new_zeros(next(iter(features.values())).shape[0], 1)
        for place, block in enumerate(self.shared):
            likeness = likeness + self.weights[place] * (features[block] @ self.anchors_of(block).T)
        return torch.logsumexp(SHARPNESS * likeness, dim=1, keepdim=True) / SHARPNESS

    def describe(self, side: str, blocks: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Features of each block of a side, float32 [N, width], and which are known, [N, blocks]."""
        maps = self.brand_maps if side == BRAND_SIDE else self.influencer_maps
        count = next(iter(blocks.values())).shape[0]  # not len(), which an export takes for a constant
        features, known = {}, []
        for name, each in maps.items():
            if name in blocks:
                features[name], present = each(blocks[name])
            else:
                features[name] = self.anchors.new_zeros(count, _width(each))
                present = self.anchors.new_zeros(count, 1)
            known.append(present)
        return features, torch.cat(known, dim=1)

    def similarity(self, features: Tensor, known: Tensor) -> Tensor:
        """Of brands with the anchors, 0 to 1, [N, anchors]: a Gaussian of the mean distance over blocks.

        Blocks that one of both does not have are left out; without a common one brands are not similar.
        """
        total, common = known.new_zeros(1), known.new_zeros(1)
        start = 0
        for place, each in enumerate(self.brand_maps.values()):
            stop = start + _width(each)
            both = known[:, place : place + 1] * self.anchors_known[:, place][None]
            total = total + both * (2.0 - 2.0 * features[:, start:stop] @ self.anchors[:, start:stop].T)
            common = common + both
            start = stop
        mean = total / common.clamp(min=1.0)
        return torch.exp(-self.bandwidth * mean) * common.clamp(max=1.0)

    def anchors_of(self, block: str) -> Tensor:
        """Features [anchors, width] of a block of the brands."""
        start = 0
        for name, each in self.brand_maps.items():
            if name == block:
                return self.anchors[:, start : start + _width(each)]
            start += _width(each)
        raise KeyError(f"{block!r} is no block of brands; there are {', '.join(self.brand_maps)}")


def _width(each: nn.Module) -> int:
    matrix = each.matrix
    return int(matrix.shape[1]) if isinstance(matrix, Tensor) else 0
