"""What a server says of brands and influencers, made by hand from the contract: a ranker of two blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from adlens import contract
from adlens.contract import GalleryCard, ModelCard
from adlens.towers import AccountSchema, Block, Segment

RANKER = "5" * 16
SCHEMA = AccountSchema(
    "brand",
    (Block("topics", 0, 3), Block("hashtags", 3, 2)),
    (Segment("topics", 0, 3), Segment("hashtags", 3, 5)),
    RANKER,
)
TOWER = ModelCard(contract.BRAND_TOWER, RANKER, False)
GALLERY = GalleryCard(
    contract.INFLUENCERS, "6" * 16, False, embedder=contract.INFLUENCER_TOWER, embedder_weights=RANKER,
    photos=3, attributes=("category", "language"),
)  # fmt: skip
BRAND = {"topics": [1.0, 0.0, 2.0], "hashtags": [0.5, 1.0]}
Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass
class Said:
    """A server's ranker, whose towers give an account's numbers as its vector, 0 where they are not known.

    ``influencers`` are vectors by id, the best first as long as the test wants it so; ``asked`` notes what
    came to ``rank_influencers``, and ``probed`` how often the schema was asked for. Ranges choose where
    ``within_ranges`` says so.
    """

    influencers: dict[str, Sequence[float]]
    numbers: dict[str, tuple[float, float]] = field(default_factory=dict)
    schema: AccountSchema = SCHEMA
    tower: ModelCard = TOWER
    gallery: GalleryCard = GALLERY
    passing: int | None = None
    within_ranges: bool = False
    changes: Arrays = field(default_factory=dict)
    asked: list[Arrays] = field(default_factory=list)
    probed: int = 0

    def ranked(self, inputs: Arrays) -> Arrays:
        """Outputs of ``rank_influencers``."""
        self.asked.append(inputs)
        count, dimension = contract.RANKED, contract.ACCOUNT_DIMENSION
        brand = np.nan_to_num(inputs[contract.ACCOUNT][0, :dimension])
        scores = np.full(count, contract.NO_SCORE, np.float32)
        ids = np.zeros((count, contract.ID_BYTES), np.uint8)
        numbers = np.full((count, 2), np.nan, np.float32)
        vectors = np.zeros((count, dimension), np.float32)
        ranges = inputs.get(contract.RANGES)
        found = {id_: vector for id_, vector in self.influencers.items() if self._passes(id_, ranges)}
        for place, (id_, vector) in enumerate(found.items()):
            vectors[place, : len(vector)] = vector
            scores[place] = vectors[place] @ brand
            ids[place, : len(id_.encode())] = list(id_.encode())
            numbers[place] = self.numbers.get(id_, (np.nan, np.nan))
        passing = len(found) if self.passing is None else self.passing
        return {
            contract.ACCOUNT_VECTOR: brand[np.newaxis],
            contract.INFLUENCER_SCORES: scores[np.newaxis],
            contract.INFLUENCER_IDS: ids[np.newaxis],
            contract.INFLUENCER_NUMBERS: numbers[np.newaxis],
            contract.INFLUENCER_VECTORS: vectors[np.newaxis],
            contract.INFLUENCER_COUNT: np.array([[passing]], np.int32),
            contract.SCHEMA: np.frombuffer(self.schema.to_bytes(), np.uint8)[np.newaxis],
            contract.card_output(contract.BRAND_TOWER): bytes_of(self.tower),
            contract.card_output(contract.INFLUENCERS): bytes_of(self.gallery),
            **self.changes,
        }

    def _passes(self, id_: str, ranges: np.ndarray[Any, Any] | None) -> bool:
        """What is not known is within an open range alone."""
        if ranges is None or not self.within_ranges:
            return True
        return all(
            low <= number <= high or (low, high) == (-np.inf, np.inf)
            for number, (low, high) in zip(self.numbers.get(id_, (np.nan, np.nan)), ranges[0], strict=True)
        )

    def towered(self, inputs: Arrays) -> Arrays:
        """Outputs of ``brand_tower``."""
        self.probed += 1
        return {
            contract.ACCOUNT_VECTOR: np.nan_to_num(inputs[contract.ACCOUNT][:, : contract.ACCOUNT_DIMENSION]),
            contract.SCHEMA: np.frombuffer(self.schema.to_bytes(), np.uint8)[np.newaxis],
            contract.CARD: bytes_of(self.tower),
        }

    @property
    def models(self) -> dict[str, Any]:
        """By name, for a fake Triton."""
        return {contract.BRAND_TOWER: self.towered, contract.RANK_INFLUENCERS: self.ranked}


def bytes_of(card: ModelCard) -> np.ndarray[Any, Any]:
    """CARD, batch 1."""
    return np.frombuffer(card.to_bytes(), np.uint8)[np.newaxis]
