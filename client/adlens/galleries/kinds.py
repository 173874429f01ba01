"""What galleries hold, and how their models are asked: faces, pictures as they are, or influencers.

All are searched by one graph (``graph.py``). Faces and pictures are found by the cosine of vectors of length
1, influencers by the product of vectors of any length, within ranges of numbers that they bring along;
pictures bring logits, which what converts best is judged by. Who made the vectors says which kind a gallery
is of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from adlens import contract


class Payload(NamedTuple):
    """Numbers that a record holds besides its vector, and that an answer brings along.

    Attributes:
        output: float32 [..., width].
        width: how many.
        name: of the graph's initializer, and of its file.
        none: in an answer, where there is no record.
    """

    output: str
    width: int
    name: str
    none: float


@dataclass(frozen=True)
class Kind:
    """Names on the wire, as in ``adlens.contract``.

    Attributes:
        model: that searches.
        embedding: its input, float32 [N, slots, D], or [N, D] without slots.
        scores: its outputs, with what ``embedding`` has before D: the similarities,
        ids: the ids,
        payload: and what else travels with a record; None where that is nothing.
        passing: output of the number of records that pass the filter, and the ranges.
        count: input of the number of filled slots; None without slots.
        slots: vectors in a request for one picture; None where there is just one, without an axis.
        ranges: input of the lowest and highest of each number of ``payload``; None where none are asked for.
        vectors: output of the vectors found; None where they do not travel.
        is_unit: whether the vectors have length 1, and what is none is no query.
        found: records in an answer.
        no_score: in ``scores`` where there is no record.
    """

    model: str
    embedding: str
    scores: str
    ids: str
    passing: str
    payload: Payload | None = None
    count: str | None = None
    slots: int | None = None
    ranges: str | None = None
    vectors: str | None = None
    is_unit: bool = True
    found: int = contract.MATCHES
    no_score: float = contract.NO_MATCH

    @property
    def width(self) -> int:
        """Numbers that a record holds besides its vector."""
        return self.payload.width if self.payload else 0

    @property
    def axes(self) -> tuple[int, ...]:
        """Sizes between the batch and what is found, or asked for."""
        return () if self.slots is None else (self.slots,)


_ALTERNATES: Final = Kind(
    contract.ALTERNATES,
    contract.CREATIVE_EMBEDDING,
    contract.ALTERNATE_SCORES,
    contract.ALTERNATE_IDS,
    contract.ALTERNATE_COUNT,
    payload=Payload(contract.ALTERNATE_LOGITS, contract.MAX_VARIANTS, "logits", 0.0),
)
_INFLUENCERS: Final = Kind(
    contract.INFLUENCERS,
    contract.ACCOUNT_VECTOR,
    contract.INFLUENCER_SCORES,
    contract.INFLUENCER_IDS,
    contract.INFLUENCER_COUNT,
    payload=Payload(contract.INFLUENCER_NUMBERS, len(contract.ACCOUNT_NUMBERS), "numbers", float("nan")),
    ranges=contract.RANGES,
    vectors=contract.INFLUENCER_VECTORS,
    is_unit=False,
    found=contract.RANKED,
    no_score=contract.NO_SCORE,
)


def kind_of(embedder: str) -> Kind:
    """The kind of a gallery whose vectors ``embedder`` made."""
    if embedder == contract.VARY_CREATIVE:
        return _ALTERNATES
    if embedder == contract.INFLUENCER_TOWER:
        return _INFLUENCERS
    return Kind(
        contract.gallery_model(embedder),
        contract.FACE_EMBEDDING,
        contract.MATCH_SCORES,
        contract.MATCH_IDS,
        contract.MATCH_COUNT,
        count=contract.FACE_COUNT,
        slots=contract.MAX_FACES,
    )


GALLERIES: Final = {
    kind_of(embedder).model: (embedder, dimension)
    for embedder, dimension in (
        (contract.EMBEDDER, contract.EMBEDDERS[contract.EMBEDDER]),
        (contract.VARY_CREATIVE, contract.CREATIVE_DIMENSION),
        (contract.INFLUENCER_TOWER, contract.ACCOUNT_DIMENSION),
    )
}
"""Those that are always there, by model: what makes their vectors, and how many numbers these have."""
