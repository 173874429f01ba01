"""What a gallery holds and answers, and the three calls by which it is used, whoever keeps it."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from adlens import contract
from adlens.answers import Match
from adlens.errors import BadRecord, DuplicateId
from adlens.filters import Filter

Vectors = npt.NDArray[np.float32]

MAX_ATTRIBUTES: Final = contract.MAX_CLAUSES
"""Attributes of a gallery's photos, so that a filter can use them all."""
COLUMNS: Final = ("id", "path")
"""Columns of a table of photos that are no attributes."""
NO_PAYLOAD: Final = np.zeros(0, np.float32)
"""Of a photo in a gallery of faces."""
_LENGTH_TOLERANCE: Final = 1e-3


class Embedding(NamedTuple):
    """What a network says of a picture: see ``Record``."""

    vector: Vectors
    payload: Vectors = NO_PAYLOAD


@dataclass(frozen=True)
class Record:
    """A photo in a gallery, which keeps no picture.

    Attributes:
        id: unique and opaque; at most ID_BYTES of UTF-8 without control characters.
        vector: the embedding of its face, or of the picture, float32 [D], of length 1.
        attributes: what filters choose by; of one that a photo lacks, the value is empty.
        path: where the photo lies; for people.
        payload: what travels with it in an answer, float32 [width] as its gallery's ``Kind`` says.

    Raises:
        BadRecord: one of them is not so.
    """

    id: str
    vector: npt.NDArray[Any]
    attributes: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    payload: npt.NDArray[Any] = field(default_factory=lambda: NO_PAYLOAD)

    def __post_init__(self) -> None:
        check_id(self.id)
        check_attributes(self.attributes, self.attributes.values())
        self._check_numbers()

    def _check_numbers(self) -> None:
        length = float(np.linalg.norm(self.vector))
        if self.vector.ndim != 1 or not abs(length - 1) <= _LENGTH_TOLERANCE:  # NaN is no number within
            raise BadRecord(
                f"photo '{self.id}': its vector has shape {list(self.vector.shape)} and length {length:.3g}; "
                "give an embedding of length 1"
            )
        if self.payload.ndim != 1 or not np.isfinite(self.payload).all():
            raise BadRecord(f"photo '{self.id}': it brings {self.payload}; give finite numbers in a row")


@dataclass(frozen=True)
class AccountRecord(Record):
    """An influencer in a gallery, which keeps no post.

    Its ``vector`` has any length, and its ``payload`` is float32 [len(ACCOUNT_NUMBERS)], in that order: 0 or
    more, NaN where it is not known. ``path`` is the file that the account was read from.
    """

    def _check_numbers(self) -> None:
        if self.vector.ndim != 1 or not np.isfinite(self.vector).all():
            raise BadRecord(
                f"account '{self.id}': its vector has shape {list(self.vector.shape)}, and "
                f"{int((~np.isfinite(self.vector)).sum())} of its numbers are not finite; compute it anew"
            )
        known = self.payload[~np.isnan(self.payload)]
        if (
            self.payload.shape != (len(contract.ACCOUNT_NUMBERS),)
            or not ((known >= 0) & (known < np.inf)).all()
        ):
            raise BadRecord(
                f"account '{self.id}': {' and '.join(contract.ACCOUNT_NUMBERS)} are {self.payload}; give "
                "finite numbers that are not negative, or NaN"
            )


class PhotoLike(Protocol):
    """What is known of a photo before its face is embedded."""

    @property
    def id(self) -> str:
        """Unique and opaque."""

    @property
    def path(self) -> str | Path:
        """Where it lies; for people."""

    @property
    def attributes(self) -> Mapping[str, str]:
        """What filters choose by."""


_PhotoLike = TypeVar("_PhotoLike", bound=PhotoLike)


class Gallery(Protocol):
    """Photos of faces that can be found by similarity."""

    def add(self, records: Iterable[Record], *, replace: bool = False) -> None:
        """Take in ``records``, all or none.

        Raises:
            DuplicateId: two have one id, or one's is in the gallery and not to be ``replace``d.
            WrongEmbedder: their vectors have another dimension than the gallery's.
        """

    def search(
        self,
        vectors: Vectors,
        k: int = contract.MATCHES,
        filter: Filter | None = None,  # noqa: A002 - the field's term
    ) -> list[list[Match]]:
        """The at most ``k`` photos most similar to each of ``vectors``, float32 [n, D], best first.

        Raises:
            BadFilter: ``filter`` asks for an attribute that the photos do not have.
        """

    def forget(self, ids: Collection[str]) -> int:
        """Remove the photos of these ids for good; the number of those that were there."""


def by_id(photos: Iterable[_PhotoLike]) -> dict[str, _PhotoLike]:
    """Find photos by their ids.

    Raises:
        DuplicateId: two have one.
    """
    found: dict[str, _PhotoLike] = {}
    for photo in photos:
        if photo.id in found:
            raise DuplicateId(
                f"id '{photo.id}' is that of two photos, {found[photo.id].path} and {photo.path}; "
                "give each an id of its own"
            )
        found[photo.id] = photo
    return found


def check_id(text: str) -> None:
    """Refuse what cannot travel as an id.

    Raises:
        BadRecord: it is empty or too long, or has a control character.
    """
    size = len(text.encode(errors="surrogatepass"))
    if not 0 < size <= contract.ID_BYTES:
        raise BadRecord(f"id {text!r} has {size} bytes; give 1 to {contract.ID_BYTES}")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise BadRecord(f"id {text!r} has a character that is no text; remove it")


def check_attributes(names: Collection[str], values: Iterable[str] = ()) -> None:
    """Refuse names and values of attributes that a filter or a table cannot hold.

    Raises:
        BadRecord: there are too many; a name is empty, taken, or has an equals sign; or one is no text.
    """
    for text in (*names, *values):  # the name of a folder, say, need not be UTF-8
        if any(unicodedata.category(character) == "Cs" for character in text):
            raise BadRecord(f"attribute {text!r} has a character that is no text; rename it")
    if len(names) > MAX_ATTRIBUTES:
        raise BadRecord(
            f"{len(names)} attributes ({', '.join(names)}); a gallery has at most {MAX_ATTRIBUTES}"
        )
    for name in names:
        if not name or name in COLUMNS or "=" in name:
            raise BadRecord(
                f"attribute {name!r}; give a name without '=' that is none of {', '.join(COLUMNS)}"
            )
