"""A gallery in Qdrant, for more photos than one machine searches: the same three calls.

Needs the extra ``adlens[qdrant]``. A client of Qdrant's own says where: ``QdrantClient(url=...)`` is a
server, ``QdrantClient(path=...)`` a folder, ``QdrantClient(":memory:")`` neither. Search is exact there
too, not by Qdrant's index of near neighbours.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final

from adlens import contract, filters
from adlens.answers import Match
from adlens.errors import BadFilter, DuplicateId, InvalidConfiguration, WrongEmbedder
from adlens.filters import Filter
from adlens.galleries.records import Record, Vectors, by_id

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client import models as qdrant

_NAMES: Final = uuid.UUID("5c0c6c4e-54a8-5c62-8f0a-0d6f6e0f5b1a")
"""Of our ids among all that are made into UUIDs, which are what Qdrant takes (RFC 9562, version 5)."""
_BATCH: Final = 256
"""Points in one message."""


class QdrantGallery:
    """A ``Gallery`` in a collection of Qdrant's."""

    def __init__(self, client: QdrantClient, embedder: str, embedder_weights: str, dimension: int) -> None:
        """Make the collection where there is none; each embedder's weights have one of their own.

        Args:
            client: of Qdrant.
            embedder: that makes the vectors.
            embedder_weights: ``weights`` of its card.
            dimension: of its vectors.

        Raises:
            InvalidConfiguration: the package ``qdrant-client`` is missing.
            WrongEmbedder: the collection is of vectors of another dimension.
        """
        try:
            from qdrant_client import models
        except ImportError as error:
            raise InvalidConfiguration(
                "a gallery in Qdrant needs the package qdrant-client; run: pip install 'adlens[qdrant]'"
            ) from error
        self._qdrant = models
        self._client = client
        self._dimension = dimension
        self._name = f"{contract.gallery_model(embedder)}-{embedder_weights}"
        if not client.collection_exists(self._name):
            vectors = models.VectorParams(size=dimension, distance=models.Distance.COSINE)
            client.create_collection(self._name, vectors_config=vectors)
        found = client.get_collection(self._name).config.params.vectors
        if not isinstance(found, models.VectorParams) or found.size != dimension:
            raise WrongEmbedder(f"collection {self._name} is of other vectors than {embedder}'s {dimension}")

    def add(self, records: Iterable[Record], *, replace: bool = False) -> None:
        """See ``Gallery.add``."""
        new = by_id(records)
        for record in new.values():
            if len(record.vector) != self._dimension:
                raise WrongEmbedder(
                    f"photo '{record.id}': its vector has {len(record.vector)} numbers, not {self._dimension}"
                )
        if not replace and (known := self._known(new.keys())):
            raise DuplicateId(
                f"id '{known[0]}' is in the gallery; to put the new photo in its place, replace it"
            )
        self._client.upload_points(self._name, map(self._point, new.values()), batch_size=_BATCH, wait=True)

    def search(
        self,
        vectors: Vectors,
        k: int = contract.MATCHES,
        filter: Filter | None = None,  # noqa: A002 - the field's term
    ) -> list[list[Match]]:
        """See ``Gallery.search``."""
        models = self._qdrant
        if unknown := [name for name in filter or {} if not self._has(name)]:
            raise BadFilter(f"no photo of the gallery has the attribute {', '.join(unknown)} to filter by")
        conditions: list[qdrant.Condition] = [
            models.FieldCondition(key=_key(name), match=models.MatchAny(any=list(values)))
            for name, values in filters.alternatives(filter).items()
        ]
        requests = [
            models.QueryRequest(
                query=vector.tolist(), limit=k, with_payload=["id"], filter=models.Filter(must=conditions),
                params=models.SearchParams(exact=True),
            )
            for vector in vectors
        ]  # fmt: skip
        answers = self._client.query_batch_points(self._name, requests)
        return [
            [Match((point.payload or {})["id"], point.score) for point in answer.points] for answer in answers
        ]

    def forget(self, ids: Collection[str]) -> int:
        """See ``Gallery.forget``."""
        known = self._known(ids)
        if known:
            points = self._qdrant.PointIdsList(points=[_point_id(id_) for id_ in known])
            self._client.delete(self._name, points, wait=True)
        return len(known)

    def _known(self, ids: Collection[str]) -> list[str]:
        """Those of ``ids`` that are in the gallery."""
        found = self._client.retrieve(self._name, [_point_id(id_) for id_ in ids], with_payload=["id"])
        return [(point.payload or {})["id"] for point in found]

    def _has(self, attribute: str) -> bool:
        """Whether any photo has it."""
        models = self._qdrant
        lacks = models.IsEmptyCondition(is_empty=models.PayloadField(key=_key(attribute)))
        return self._client.count(self._name, models.Filter(must_not=[lacks])).count > 0

    def _point(self, record: Record) -> qdrant.PointStruct:
        payload = {"id": record.id, "path": record.path, "attributes": dict(record.attributes)}
        return self._qdrant.PointStruct(
            id=_point_id(record.id), vector=record.vector.tolist(), payload=payload
        )


def _point_id(id_: str) -> str:
    return str(uuid.uuid5(_NAMES, id_))


def _key(attribute: str) -> str:
    """Path of an attribute in a point's payload, quoted, as a dot would lead further down."""
    return f'attributes."{attribute}"'
