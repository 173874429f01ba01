"""The published network, for any set of blocks: low-rank bilinear pooling of accounts, then their product.

After Gan et al., "Seeking Micro-influencers for Brand Promotion", ACM Multimedia 2019, and the authors'
code, with weights of its own for either side: a picture goes through local response normalisation (radius 2,
bias .1, alpha 1, beta 1), a layer of 4096, LeakyReLU .01 and a layer of 512 without bias; a text
through a layer of 300, LeakyReLU .01 and a layer of 512. An account is the product, element by element, of
its blocks' embeddings; the score is the mean of brand * influencer over the 512. Dropout is .5.

Blocks of at least ``PICTURE`` values are taken for pictures, all others as text. The latter are standardised
first: those of the paper are all of one scale, any other block may have any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

PICTURE: Final = 4096
"""Values of a block from which on it is a picture's map of features."""
CHANNELS: Final = 512
"""Of that map, channels last; local response normalisation goes over neighbouring ones."""
WIDTH: Final = 512
HIDDEN: Final = 4096
TEXT_HIDDEN: Final = 300
RADIUS: Final = 2
SLOPE: Final = 0.01
DROPOUT: Final = 0.5


@dataclass(frozen=True)
class NetworkShape:
    """Values of each block by side, and how blocks become one: ``product`` or ``concatenation``."""

    brand: Mapping[str, int]
    influencer: Mapping[str, int]
    fusion: str = "product"

    def to_json(self) -> dict[str, Any]:
        """As ``from_json`` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> NetworkShape:
        """What ``to_json`` gave."""
        return cls(dict(raw["brand"]), dict(raw["influencer"]), str(raw["fusion"]))


class BlockEmbedding(nn.Module):
    """A block -> [N, 512]; neutral where it is not known, which is for the fusion to say."""

    def __init__(self, values: int) -> None:
        super().__init__()
        self.centre: Tensor
        self.scale: Tensor
        self.register_buffer("centre", torch.zeros(values))
        self.register_buffer("scale", torch.ones(1))
        self.picture = values >= PICTURE
        layers: list[nn.Module] = []
        if self.picture:
            layers = [nn.Linear(values, HIDDEN), nn.LeakyReLU(SLOPE), nn.Dropout(DROPOUT)]
            layers.append(nn.Linear(HIDDEN, WIDTH, bias=False))
        else:
            layers = [nn.Linear(values, TEXT_HIDDEN), nn.LeakyReLU(SLOPE), nn.Dropout(DROPOUT)]
            layers.append(nn.Linear(TEXT_HIDDEN, WIDTH))
        self.layers = nn.Sequential(*layers)

    def forward(self, values: Tensor) -> Tensor:
        """Embeddings float32 [N, 512] of rows that are all finite."""
        found = normalise_responses(values) if self.picture else (values - self.centre) / self.scale
        embedded: Tensor = self.layers(found)
        return embedded


def normalise_responses(values: Tensor) -> Tensor:
    """TensorFlow's local response normalisation: ``x / (.1 + sum of x^2 of channels at most 2 apart)``.

    Args:
        values: float32 [N, values]; channels last, where 512 divides their number, else one row of channels.
    """
    channels = CHANNELS if values.shape[1] % CHANNELS == 0 else values.shape[1]
    rows = values.reshape(-1, 1, channels)
    window = torch.ones(1, 1, 2 * RADIUS + 1, dtype=values.dtype)
    squares = nn.functional.conv1d(rows * rows, window, padding=RADIUS)
    return (rows / (0.1 + squares)).reshape(values.shape)


class _Side(nn.Module):
    """Blocks of an account -> [N, 512]."""

    def __init__(self, blocks: Mapping[str, int], fusion: str) -> None:
        super().__init__()
        self.blocks = tuple(blocks)
        self.embeddings = nn.ModuleDict({name: BlockEmbedding(values) for name, values in blocks.items()})
        self.joined = nn.Linear(WIDTH * len(blocks), WIDTH) if fusion == "concatenation" else None

    def forward(self, blocks: Mapping[str, Tensor]) -> Tensor:
        parts = []
        for name in self.blocks:
            neutral = 0.0 if self.joined is not None else 1.0
            if name in blocks:
                known = torch.isfinite(blocks[name]).all(1, keepdim=True)
                embedded = self.embeddings[name](torch.where(known, blocks[name], torch.zeros(())))
                parts.append(torch.where(known, embedded, torch.full((), neutral)))
            else:
                count = len(next(iter(blocks.values())))
                parts.append(torch.full((count, WIDTH), neutral))
        if self.joined is not None:
            wide: Tensor = self.joined(torch.cat(parts, dim=1))
            return wide
        product = parts[0]
        for part in parts[1:]:
            product = product * part
        return product


class BilinearNetwork(nn.Module):
    """Both sides. A block that is not known counts as ones in a product, and as zeros side by side."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        self.brand = _Side(shape.brand, shape.fusion)
        self.influencer = _Side(shape.influencer, shape.fusion)

    def forward(self, brands: Mapping[str, Tensor], influencers: Mapping[str, Tensor]) -> Tensor:
        """Scores of all pairs, [brands, influencers]: the mean over 512 of the product of both sides."""
        left: Tensor = self.brand(brands)
        right: Tensor = self.influencer(influencers)
        return left @ right.T / WIDTH
