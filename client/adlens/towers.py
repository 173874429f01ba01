"""What a ranker of influencers reads of an account: named blocks of numbers side by side, as ACCOUNT.

The schema travels with every answer of a tower (SCHEMA), so that an account is laid out for the very ranker
that answers. Both towers of a ranker name it by the same digest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from adlens import contract
from adlens.errors import BadAccount, WrongEmbedder
from adlens.features import guess, listed

SIDES: Final = ("brand", "influencer")
PLAIN: Final = "_plain"
"""Ends the name of a block in which all posts weigh 1, beside the one in which they do not."""
Vector = npt.NDArray[np.float32]
Blocks = Mapping[str, npt.ArrayLike]
"""Of an account, by name; one that is not known is left out, or all NaN."""


@dataclass(frozen=True)
class Block:
    """Columns ``start`` to ``start + length`` of ACCOUNT.

    What ``made_by`` names gave the numbers that the ranker has learned from, such as weights or word vectors:
    of others they mean something else. Empty where it is not known.
    """

    name: str
    start: int
    length: int
    made_by: str = ""


@dataclass(frozen=True)
class Segment:
    """Columns ``start`` to ``stop`` of ACCOUNT_VECTOR, which come from ``block`` alone."""

    block: str
    start: int
    stop: int


@dataclass(frozen=True)
class AccountSchema:
    """Of one tower.

    Attributes:
        side: ``brand`` or ``influencer``.
        blocks: what the tower reads.
        segments: parts of its vector that come from one block each; none where blocks are not told apart.
        ranker: 16 hex digits, the same for both towers that belong together.
    """

    side: str
    blocks: tuple[Block, ...]
    segments: tuple[Segment, ...]
    ranker: str

    def to_bytes(self) -> bytes:
        """UTF-8 JSON, padded with spaces to SCHEMA_BYTES, as carried by the SCHEMA tensor.

        Raises:
            ValueError: it is longer than that, or no schema that ``from_bytes`` would read.
        """
        self._check()
        data = json.dumps(asdict(self), separators=(",", ":"), ensure_ascii=False).encode()
        if len(data) > contract.SCHEMA_BYTES:
            raise ValueError(f"schema of {len(data)} bytes; at most {contract.SCHEMA_BYTES} travel")
        return data.ljust(contract.SCHEMA_BYTES)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a SCHEMA tensor's bytes; unknown keys of newer servers are ignored.

        Raises:
            ValueError: ``data`` is no schema of accounts.
        """
        try:
            raw: dict[str, Any] = json.loads(data)
            schema = cls(
                str(raw["side"]),
                tuple(
                    Block(str(b["name"]), int(b["start"]), int(b["length"]), str(b.get("made_by", "")))
                    for b in raw["blocks"]
                ),
                tuple(Segment(str(s["block"]), int(s["start"]), int(s["stop"])) for s in raw["segments"]),
                str(raw["ranker"]),
            )
        except (KeyError, TypeError, UnicodeDecodeError) as error:
            raise ValueError(f"not a schema of accounts: {data[:80]!r} ({error!r})") from error
        schema._check()
        return schema

    @property
    def names(self) -> tuple[str, ...]:
        """Of the blocks."""
        return tuple(block.name for block in self.blocks)

    @property
    def unknown(self) -> Vector:
        """ACCOUNT of one of whom nothing is known, float32 [MAX_ACCOUNT]."""
        row = np.zeros(contract.MAX_ACCOUNT, np.float32)
        for block in self.blocks:
            row[block.start : block.start + block.length] = np.nan
        return row

    def encode(self, blocks: Blocks, account: str) -> Vector:
        """ACCOUNT of one account, float32 [MAX_ACCOUNT]; NaN where a block is not known.

        Args:
            blocks: of the account; those that the tower does not read are passed over.
            account: its name in messages.

        Raises:
            BadAccount: a block has another number of numbers, or some that are not finite; or none is known.
        """
        row = self.unknown
        found = [self._encode(block, blocks.get(block.name), row, account) for block in self.blocks]
        if not any(found):
            meant = "".join(guess(name, self.names) for name in list(blocks)[:1])
            raise BadAccount(
                f"{account}: its blocks are {listed([*blocks]) or 'none'}{meant}; the ranker reads "
                f"{listed(self.names)}, of which at least one has to be known"
            )
        return row

    @staticmethod
    def _encode(block: Block, given: npt.ArrayLike | None, row: Vector, account: str) -> bool:
        """Write a block into ``row``, where it is NaN so far; whether it is known."""
        if given is None:
            return False
        try:
            values = np.asarray(given, np.float32)
        except (TypeError, ValueError) as error:
            raise BadAccount(f"{account}: block {block.name!r} is no array of numbers ({error})") from error
        if values.shape != (block.length,):
            raise BadAccount(
                f"{account}: block {block.name!r} has shape {list(values.shape)}; the ranker was trained on "
                f"[{block.length}]: describe the account as its training data were"
            )
        unknown = np.isnan(values)
        if unknown.all():
            return False
        if not np.isfinite(values).all():
            raise BadAccount(
                f"{account}: block {block.name!r} has {int((~np.isfinite(values)).sum())} numbers that are "
                "not finite; leave out a block that is not known"
            )
        row[block.start : block.start + block.length] = values
        return True

    def check_made_by(self, blocks: Blocks, made_by: Mapping[str, str], account: str) -> None:
        """Refuse numbers that mean something else than those that the ranker has learned from.

        Args:
            blocks: of an account.
            made_by: what made them, by name; of one that is not named nothing is known, and it is taken.
            account: its name in messages.

        Raises:
            WrongEmbedder: a block that the ranker reads was made by something else.
        """
        for block in self.blocks:
            now = made_by_of(made_by, block.name) if block.name in blocks else ""
            if now and block.made_by and now != block.made_by:
                raise WrongEmbedder(
                    f"{account}: its block {block.name!r} was made by {now}, and those that the ranker has "
                    f"learned from by {block.made_by}: the numbers mean something else. Describe accounts by "
                    "the same (pictures: the server's weights; words: --words) into another folder, or train "
                    "a ranker on accounts that are described like these"
                )

    def known(self, row: Vector) -> tuple[str, ...]:
        """Names of the blocks that ``row``, as ``encode`` gives it, tells."""
        return tuple(block.name for block in self.blocks if not np.isnan(row[block.start]))

    def contributions(self, brand: Vector, influencer: Vector) -> dict[str, float]:
        """What each block adds to the product of two vectors, float32 [ACCOUNT_DIMENSION] each."""
        products = brand.astype(np.float64) * influencer
        found: dict[str, float] = {}
        for segment in self.segments:
            added = float(products[segment.start : segment.stop].sum())
            found[segment.block] = found.get(segment.block, 0.0) + added
        return found

    def _check(self) -> None:
        """Raise ValueError where it contradicts the contract or itself."""
        if faults := "; ".join(self._faults()):
            raise ValueError(f"schema of accounts: {faults}")

    def _faults(self) -> Iterator[str]:
        if self.side not in SIDES:
            yield f"side {self.side!r}, none of {', '.join(SIDES)}"
        if not self.names or len(set(self.names)) < len(self.names):
            yield f"blocks {listed(self.names) or 'none'}; at least one is needed, and each once"
        behind = 0
        for block in self.blocks:
            if block.length < 1 or not behind <= block.start <= contract.MAX_ACCOUNT - block.length:
                yield f"block {block.name!r} of {block.length} from {block.start} on"
            behind = block.start + block.length
        behind = 0
        for segment in self.segments:
            if not behind <= segment.start < segment.stop <= contract.ACCOUNT_DIMENSION:
                yield f"segment {segment.start} to {segment.stop} of {segment.block!r}"
            behind = segment.stop


def made_by_of(made_by: Mapping[str, str], block: str) -> str:
    """What made ``block``, pooled plainly or not; empty where that is not known."""
    return made_by.get(block, made_by.get(block.removesuffix(PLAIN), ""))
