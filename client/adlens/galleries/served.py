"""A gallery that a server searches: changed in its folder, searched over the wire."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adlens import contract, filters, responses
from adlens.answers import Match
from adlens.contract import GalleryCard
from adlens.errors import AdlensError, BadRequest, CorruptGallery, ServerFault, Timeout
from adlens.filters import Filter
from adlens.galleries.contents import Contents
from adlens.galleries.files import GalleryFolder
from adlens.galleries.journal import Journal
from adlens.galleries.kinds import Kind, kind_of
from adlens.galleries.records import Record, Vectors
from adlens.transport import Connection

SWAP_TIMEOUT_S: Final = 60.0
"""Given to the server to load a new version; on two cores 200,000 photos take a second."""
_POLL_S: Final = 0.05
_CARD_TIMEOUT_S: Final = 5.0
_OPEN: Final = (-np.inf, np.inf)
"""A range within which everything is."""


class ServedGallery:
    """A ``Gallery`` in a folder that a server serves; without a server it can be changed all the same."""

    def __init__(
        self,
        folder: GalleryFolder,
        connection: Connection,
        embedder_weights: str = "",
        swap_timeout_s: float = SWAP_TIMEOUT_S,
    ) -> None:
        """Prepare.

        Args:
            folder: holds a version of the gallery.
            connection: to the server that searches it.
            embedder_weights: ``weights`` of the card of the embedder of the vectors that are added.
            swap_timeout_s: given to the server to load a new version.
        """
        self.folder = folder
        self._connection = connection
        self._weights = embedder_weights
        self._swap_timeout_s = swap_timeout_s

    def add(self, records: Iterable[Record], *, replace: bool = False) -> None:
        """See ``Gallery.add``.

        Raises:
            Timeout: as what ``publish`` gives.
        """
        with self.folder.locked():
            contents = self.folder.read().with_records(records, self._weights, replace_ids=replace)
            self.publish(contents)()

    def forget(self, ids: Collection[str]) -> int:
        """See ``Gallery.forget``. Afterwards their vectors are in no file of the folder.

        Raises:
            Timeout: as what ``publish`` gives.
        """
        with self.folder.locked():
            before = self.folder.read()
            after = before.without(ids)
            Journal(self.folder.folder).forget(ids)
            settle = partial(self._settle, after.digest, False) if after is before else self.publish(after)
            settle()
        return len(before.ids) - len(after.ids)

    def search(
        self,
        vectors: Vectors,
        k: int = contract.MATCHES,
        filter: Filter | None = None,  # noqa: A002 - the field's term
    ) -> list[list[Match]]:
        """See ``Gallery.search``.

        Raises:
            BadRequest: ``k`` is not within 1 to what the server finds.
        """
        kind = kind_of(self.folder.manifest().embedder)
        if not 0 < k <= kind.found:
            raise BadRequest(f"k {k}; the server finds 1 to {kind.found} photos")
        rows = contract.MAX_BATCH * (kind.slots or 1)
        parts = [
            self._search(kind, vectors[row : row + rows], filter) for row in range(0, len(vectors), rows)
        ]
        return [matches[:k] for part in parts for matches in part]

    def _search(
        self,
        kind: Kind,
        vectors: Vectors,
        filter: Filter | None,  # noqa: A002
    ) -> list[list[Match]]:
        count, dimension = vectors.shape
        batch = -(-count // (kind.slots or 1))
        queries = np.zeros((batch, *kind.axes, dimension), np.float32)
        queries.reshape(-1, dimension)[:count] = vectors
        answer = self._infer(kind, queries, np.repeat(filters.encode(filter), batch, axis=0))
        filters.check(filter, _card(answer).attributes)
        scores = answer[kind.scores].reshape(-1, kind.found)[:count]
        ids = answer[kind.ids].reshape(-1, kind.found, contract.ID_BYTES)[:count]
        rows = zip(scores, ids, strict=True)
        return [responses.matches(*row, lowest=kind.no_score) for row in rows]

    def publish(self, contents: Contents) -> Callable[[], None]:
        """Write ``contents`` as the next version; to be called while the folder is locked.

        Returns:
            Waits until the server searches them, and wipes what was before; raises ``Timeout`` where the
            server does not load them, or still uses what was before.

        Raises:
            GalleryError: as ``GalleryFolder.publish``.
        """
        is_loaded = self._serves_folder()
        self.folder.publish(contents)
        return partial(self._settle, contents.digest, is_loaded)

    def _settle(self, digest: str, is_loaded: bool) -> None:
        deadline = time.monotonic() + self._swap_timeout_s
        while is_loaded and not self._serves(digest):
            if time.monotonic() > deadline:
                raise Timeout(
                    f"{self.folder.folder} is changed, but {self._connection.endpoint.url} has not loaded it "
                    f"within {self._swap_timeout_s:g} s; see its log. What it serves is not wiped"
                )
            time.sleep(_POLL_S)
        if left := self.folder.wipe_old(self._swap_timeout_s):
            raise Timeout(
                f"{self.folder.folder} is changed, but a server still uses {', '.join(map(str, left))}, "
                "which is not wiped; have it load the new version, then give the command again"
            )

    def _serves_folder(self) -> bool:
        try:
            return self._serves(self.folder.manifest().digest)
        except CorruptGallery:  # which a new version heals
            return False

    def _serves(self, digest: str) -> bool:
        card = self.card()
        return card is not None and digest.startswith(card.weights)

    def card(self) -> GalleryCard | None:
        """Of the gallery that the server searches; None where it does not answer."""
        manifest = self.folder.manifest()
        kind = kind_of(manifest.embedder)
        try:
            return _card(
                self._infer(
                    kind, np.zeros((1, *kind.axes, manifest.dimension), np.float32), filters.encode(None),
                    outputs=(contract.CARD,), timeout_s=_CARD_TIMEOUT_S,
                )
            )  # fmt: skip
        except AdlensError:
            return None

    def _infer(
        self,
        kind: Kind,
        queries: Vectors,
        filter_: npt.NDArray[np.int64],
        **options: Any,  # noqa: ANN401
    ) -> Mapping[str, npt.NDArray[Any]]:
        """The server's answer for ``queries``, float32 [N, *axes, D], of which zeros are none."""
        inputs: dict[str, npt.NDArray[Any]] = {kind.embedding: queries, contract.FILTER: filter_}
        if kind.count is not None:
            inputs[kind.count] = np.full((len(queries), 1), kind.slots, np.int32)
        if kind.ranges is not None:
            inputs[kind.ranges] = np.tile(np.array(_OPEN, np.float32), (len(queries), kind.width, 1))
        return self._connection.infer(kind.model, inputs, **options).outputs


def _card(answer: Mapping[str, npt.NDArray[Any]]) -> GalleryCard:
    try:
        return GalleryCard.from_bytes(answer[contract.CARD][0].tobytes())
    except (KeyError, ValueError) as error:
        raise ServerFault(f"the gallery's card cannot be read: {error}") from error
