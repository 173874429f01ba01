"""All photos of a gallery in memory, and how they change: what is added and removed gives new contents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Self
from uuid import uuid4

import numpy as np

from adlens.contract import GalleryCard
from adlens.errors import BadRecord, DuplicateId, WrongEmbedder
from adlens.galleries.kinds import kind_of
from adlens.galleries.records import PhotoLike, Record, Vectors, by_id, check_attributes


@dataclass(frozen=True)
class Contents:
    """The photos in the order in which they came.

    Attributes:
        embedder: that made the vectors.
        embedder_weights: ``weights`` of its card; empty as long as there are no photos.
        vectors: float32 [photos, D].
        payload: what travels with each, float32 [photos, width] as the gallery's ``Kind`` says.
        ids: of the photos.
        paths: of the photos.
        attributes: names.
        values: of each photo, in the order of ``attributes``.
        origin: tells this gallery from all others, also from those that hold the same.
    """

    embedder: str
    embedder_weights: str
    vectors: Vectors
    payload: Vectors
    ids: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    values: tuple[tuple[str, ...], ...] = ()
    origin: str = ""

    @classmethod
    def empty(cls, embedder: str, dimension: int) -> Self:
        """A gallery without photos."""
        width = kind_of(embedder).width
        vectors, payload = np.zeros((0, dimension), np.float32), np.zeros((0, width), np.float32)
        return cls(embedder, "", vectors, payload, origin=uuid4().hex)

    @property
    def digest(self) -> str:
        """SHA-256 over origin, vectors, payload, ids and attributes, in hex."""
        total = hashlib.sha256(np.ascontiguousarray(self.vectors).data)
        total.update(self.payload.tobytes())
        total.update(json.dumps([self.origin, self.ids, self.attributes, self.values]).encode())
        return total.hexdigest()

    @property
    def card(self) -> GalleryCard:
        """What the gallery says of itself."""
        return GalleryCard(
            kind_of(self.embedder).model,
            self.digest[:16],
            starter=False,
            embedder=self.embedder,
            embedder_weights=self.embedder_weights,
            photos=len(self.ids),
            attributes=self.attributes,
        )

    def attributes_of(self, row: int) -> dict[str, str]:
        """The attributes of the photo in ``row``."""
        return dict(zip(self.attributes, self.values[row], strict=True))

    def with_records(self, records: Iterable[Record], embedder_weights: str, *, replace_ids: bool) -> Self:
        """These contents and ``records``, whose vectors an embedder of ``embedder_weights`` made.

        Raises:
            DuplicateId: two have one id, or one's is here and not to be replaced.
            WrongEmbedder: another embedder made the vectors that are here.
            BadRecord: the photos have too many attributes in all, or with too long names.
        """
        new = by_id(records)
        dimension, width = self.vectors.shape[1], self.payload.shape[1]
        for record in new.values():
            if len(record.vector) != dimension:
                raise WrongEmbedder(
                    f"photo '{record.id}': its vector has {len(record.vector)} numbers; those of a gallery "
                    f"of {self.embedder} have {dimension}"
                )
            if len(record.payload) != width:
                raise WrongEmbedder(
                    f"photo '{record.id}': it brings {len(record.payload)} numbers; those of a gallery "
                    f"of {self.embedder} have {width}"
                )
        if not new:
            return self
        self.check(new.values(), embedder_weights, replace_ids=replace_ids)
        return self.without(new.keys())._and(list(new.values()), embedder_weights)

    def check(self, photos: Collection[PhotoLike], embedder_weights: str, *, replace_ids: bool) -> None:
        """Refuse photos that ``with_records`` would refuse whatever their vectors.

        Raises:
            DuplicateId: an id is here and not to be replaced.
            WrongEmbedder: another embedder made the vectors that are here.
            BadRecord: the photos have too many attributes in all, or with too long names.
        """
        paths = {photo.id: photo.path for photo in photos}
        known = [row for row, id_ in enumerate(self.ids) if id_ in paths]
        if known and not replace_ids:
            id_, path = self.ids[known[0]], self.paths[known[0]]
            raise DuplicateId(
                f"id '{id_}' is in the gallery, of {path}; --replace it by {paths[id_]}, or rename"
            )
        if len(known) < len(self.ids) and embedder_weights != self.embedder_weights:
            raise WrongEmbedder(
                f"the gallery's vectors were made by {self.embedder} with weights {self.embedder_weights}, "
                f"and these are made with weights {embedder_weights}; build the gallery anew"
            )
        attributes = self._attributes_with(photos)
        check_attributes(attributes)
        count = len(self.ids) - len(known) + len(paths)
        card = replace(self.card, embedder_weights=embedder_weights, photos=count, attributes=attributes)
        try:
            card.to_bytes()
        except ValueError as error:
            raise BadRecord(
                f"the names of the attributes are too long to travel, rename them: {error}"
            ) from error

    def _and(self, records: list[Record], embedder_weights: str) -> Self:
        names = self._attributes_with(records)
        lacking = ("",) * (len(names) - len(self.attributes))
        return replace(
            self,
            embedder_weights=embedder_weights,
            vectors=_and(self.vectors, [each.vector for each in records]),
            payload=_and(self.payload, [each.payload for each in records]),
            ids=self.ids + tuple(each.id for each in records),
            paths=self.paths + tuple(each.path for each in records),
            attributes=names,
            values=tuple(values + lacking for values in self.values)
            + tuple(tuple(each.attributes.get(name, "") for name in names) for each in records),
        )

    def _attributes_with(self, photos: Collection[PhotoLike]) -> tuple[str, ...]:
        return tuple(
            dict.fromkeys([*self.attributes, *(name for each in photos for name in each.attributes)])
        )

    def without(self, ids: Collection[str]) -> Self:
        """These contents less the photos of ``ids``."""
        kept = [row for row, id_ in enumerate(self.ids) if id_ not in ids]
        if len(kept) == len(self.ids):
            return self
        return replace(
            self,
            vectors=self.vectors[kept],
            payload=self.payload[kept],
            ids=tuple(self.ids[row] for row in kept),
            paths=tuple(self.paths[row] for row in kept),
            values=tuple(self.values[row] for row in kept),
        )


def _and(rows: Vectors, more: list[Vectors]) -> Vectors:
    return np.concatenate([rows, np.stack(more)], dtype=np.float32)
