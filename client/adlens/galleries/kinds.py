"""What galleries hold, and how their models are asked: faces of campaign photos, or pictures as they are.

Both are searched by one graph (``graph.py``). Pictures bring logits along, which what converts best is
judged by. Who made the vectors says which kind a gallery is of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from adlens import contract


@dataclass(frozen=True)
class Kind:
    """Names on the wire, as in ``adlens.contract``.

    Attributes:
        model: that searches.
        embedding: its input, float32 [N, slots, D], or [N, D] without slots.
        scores: its outputs, with what ``embedding`` has before D: the similarities,
        ids: the ids,
        logits: and what else travels with a record, float32 [..., width]; None where that is nothing.
        passing: output of the number of records that pass the filter.
        count: input of the number of filled slots; None without slots.
        slots: vectors in a request for one picture; None where there is just one, without an axis.
    """

    model: str
    embedding: str
    scores: str
    ids: str
    passing: str
    logits: str | None = None
    count: str | None = None
    slots: int | None = None

    @property
    def width(self) -> int:
        """Numbers that a record holds besides its vector."""
        return contract.MAX_VARIANTS if self.logits else 0

    @property
    def axes(self) -> tuple[int, ...]:
        """Sizes between the batch and what is found, or asked for."""
        return () if self.slots is None else (self.slots,)


def kind_of(embedder: str) -> Kind:
    """The kind of a gallery whose vectors ``embedder`` made."""
    if embedder == contract.VARY_CREATIVE:
        return Kind(
            contract.ALTERNATES,
            contract.CREATIVE_EMBEDDING,
            contract.ALTERNATE_SCORES,
            contract.ALTERNATE_IDS,
            contract.ALTERNATE_COUNT,
            logits=contract.ALTERNATE_LOGITS,
        )
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
    )
}
"""Those that are always there, by model: what makes their vectors, and how many numbers these have."""
