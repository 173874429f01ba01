"""Either side of a ranker as a served graph: ACCOUNT -> ACCOUNT_VECTOR.

ACCOUNT holds the side's blocks one behind the other, in the ranker's order; the schema says where. A block
that is not known is NaN there, and is to the graph what a missing one is to the ranker. A vector shorter than
ACCOUNT_DIMENSION is filled up with zeros, which add nothing to a product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from adlens import contract
from adlens.towers import AccountSchema, Block, Segment, made_by_of
from export.datasets import DatasetError
from export.graph import Manifest, Signature, Weights, write_model
from export.influencers import networks, starter
from export.influencers.networks import WIDTH, BilinearNetwork
from export.influencers.ranker import BRAND_SIDE, INFLUENCER_SIDE, BlockMap, Ranker
from export.networks.attributes import digest
from export.networks.card import Carded

SIGNATURE: Final = Signature((contract.ACCOUNT,), (contract.ACCOUNT_VECTOR, contract.SCHEMA, contract.CARD))
TOLERANCE: Final = 1e-4
"""Largest absolute difference between torch and ONNX Runtime, on the numbers of a vector."""
SIDES: Final = {contract.BRAND_TOWER: BRAND_SIDE, contract.INFLUENCER_TOWER: INFLUENCER_SIDE}
"""By model."""
FIT: Final = "fit"
"""Label of the one thing that a ranker knows."""
_SEED: Final = 5
AnyRanker: TypeAlias = Ranker | BilinearNetwork


class Tower(nn.Module):
    """One side of a ranker: float32 [N, MAX_ACCOUNT] -> float32 [N, ACCOUNT_DIMENSION], and its schema."""

    said: Tensor

    def __init__(self, ranker: AnyRanker, side: str, made_by: Mapping[str, str] | None = None) -> None:
        """Of ``ranker``, in evaluation mode; ``made_by`` as in ``account_schema``.

        Raises:
            DatasetError: its blocks or its vector are longer than what travels.
        """
        super().__init__()
        self.ranker = ranker
        self.schema = account_schema(ranker, side, made_by)
        # The published network's score is the mean of the products, ours their sum.
        mean = isinstance(ranker, BilinearNetwork)
        self.scale = 1.0 / WIDTH if mean and side == BRAND_SIDE else 1.0
        self.filling = contract.ACCOUNT_DIMENSION - (
            ranker.dimension if isinstance(ranker, Ranker) else WIDTH
        )
        try:
            said = self.schema.to_bytes()
        except ValueError as error:
            raise DatasetError(
                f"{side} tower: {error}; at most {contract.MAX_ACCOUNT} numbers of an account and "
                f"{contract.ACCOUNT_DIMENSION} of a vector travel"
            ) from error
        self.register_buffer("said", torch.frombuffer(bytearray(said), dtype=torch.uint8))

    def forward(self, account: Tensor) -> tuple[Tensor, Tensor]:
        """ACCOUNT_VECTOR, and SCHEMA uint8 [N, SCHEMA_BYTES]."""
        blocks = {
            block.name: account[:, block.start : block.start + block.length] for block in self.schema.blocks
        }
        side: Callable[..., Tensor] = (
            self.ranker.brand if self.schema.side == BRAND_SIDE else self.ranker.influencer
        )
        vector = nn.functional.pad(side(blocks) * self.scale, (0, self.filling))
        return vector, self.said.expand(account.shape[0], -1)


def build(model: str, folder: Path) -> Manifest:
    """Export ``brand_tower`` or ``influencer_tower`` to ``folder``, of the ranker of ``starter.load``.

    Raises:
        DatasetError: the ranker is too large to travel.
        ParityError: the graph differs from torch.
        WeightsError: a file is missing, or does not fit.
    """
    ranker, story = starter.load()
    found = digest(ranker)
    card = contract.ModelCard(model, found[:16], story.starter, (FIT,), (story.skill,))
    source = "generated accounts" if story.starter else "own training run"
    origin = Weights(source, "Apache-2.0" if story.starter else "that of the data", "", story.starter)
    manifest = Manifest(model, origin, found, story.trained_on, story.held_out)
    return write_tower(ranker, model, card, manifest, folder, story.made_by)


def sources() -> list[Path]:
    """Files on which what ``build`` gives depends."""
    return [Path(__file__), Path(networks.__file__), *starter.sources()]


def account_schema(ranker: AnyRanker, side: str, made_by: Mapping[str, str] | None = None) -> AccountSchema:
    """What a side of ``ranker`` reads, and which parts of its vector are whose.

    Args:
        ranker: of both sides.
        side: which.
        made_by: what made the blocks that it has learned from, as ``blocks.Pairs`` says.
    """
    blocks, start = [], 0
    for name, length in _lengths(ranker, side).items():
        blocks.append(Block(name, start, length, made_by_of(made_by or {}, name)))
        start += length
    segments = ranker.segments if isinstance(ranker, Ranker) else ()  # a product of blocks has no parts
    parts = tuple(Segment(each.block, each.start, each.stop) for each in segments)
    return AccountSchema(side, tuple(blocks), parts, digest(ranker)[:16])


def _lengths(ranker: AnyRanker, side: str) -> Mapping[str, int]:
    """Values of each block of a side."""
    if isinstance(ranker, BilinearNetwork):
        return ranker.shape.brand if side == BRAND_SIDE else ranker.shape.influencer
    maps = ranker.brand_maps if side == BRAND_SIDE else ranker.influencer_maps
    return {name: len(each.centre) for name, each in maps.items() if isinstance(each, BlockMap)}


def write_tower(
    ranker: AnyRanker,
    model: str,
    card: contract.ModelCard,
    manifest: Manifest,
    folder: Path,
    made_by: Mapping[str, str] | None = None,
) -> Manifest:
    """Write ``brand_tower`` or ``influencer_tower`` to ``folder``, judged on accounts drawn at random.

    Args:
        ranker: of both.
        model: which.
        card: answers beside the vectors; its weights are those of the schema's ranker.
        manifest: as for ``export.graph.write_model``.
        folder: version folder.
        made_by: as in ``account_schema``.

    Raises:
        DatasetError: the ranker is too large to travel.
        ParityError: the graph differs from torch.
    """
    tower = Tower(ranker, SIDES[model], made_by).eval()
    accounts = _accounts(tower.schema)
    return write_model(
        Carded(tower, card), SIGNATURE, [(accounts[:1],), (accounts,)], manifest, folder, TOLERANCE
    )


def _accounts(schema: AccountSchema) -> Tensor:
    """A full batch of accounts of any numbers, of which some blocks are not known."""
    random = np.random.default_rng(_SEED)
    rows = np.zeros((contract.MAX_BATCH, contract.MAX_ACCOUNT), np.float32)
    for place, block in enumerate(schema.blocks):
        columns = slice(block.start, block.start + block.length)
        rows[:, columns] = random.random((len(rows), block.length))
        rows[place + 1 :: len(schema.blocks) + 1, columns] = np.nan
    return torch.from_numpy(rows)
