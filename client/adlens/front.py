"""What both front doors share: what they are told, and what they do before and after a call."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from adlens import contract, pictures
from adlens.answers import Failure, Health, PictureAnswer
from adlens.catalogue import Catalogue
from adlens.customers import Schema
from adlens.engagement import EngagementAnswer
from adlens.errors import BadImage, BadRequest, NoPictures
from adlens.filters import Filter
from adlens.galleries.records import Gallery
from adlens.jobs import creatives, personal_ads, products
from adlens.jobs.personal_ads import Matches
from adlens.pictures import Picture
from adlens.towers import AccountSchema
from adlens.transport import DEFAULT_RETRIES, DEFAULT_TIMEOUT_S, DEFAULT_URL, Endpoint, InferResponse, Tls

DEFAULT_WORKERS: Final = 8
"""Requests in flight; two full batches of the server's would be ``2 * contract.MAX_BATCH``."""
DEFAULT_TARGET: Final = "click_through"

Customer = Mapping[str, object]
"""A record, feature to value."""

OnAnswer = Callable[[PictureAnswer | Failure], object]
OnEngagement = Callable[[EngagementAnswer | Failure], object]


class Front(ABC):
    """A front door to one server, whose methods the two kinds of it bring."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retries: int = DEFAULT_RETRIES,
        catalogue: Catalogue | str | os.PathLike[str] | None = None,
        tls: Tls | None = None,
        headers: Mapping[str, str] | None = None,
        embedder: str = contract.EMBEDDER,
        gallery: Gallery | None = None,
    ) -> None:
        """Prepare to call a server; nothing is sent yet.

        Args:
            url: HOST:PORT of the server's gRPC service.
            timeout_s: deadline of one picture, retries included.
            retries: further attempts, 0 to 4, where the server is not available.
            catalogue: what is sold: a catalogue or its file; by default the one of adlens.
            tls: encrypt the connection.
            headers: sent with every call.
            embedder: finds similar faces; the server has a gallery of its own for each that it serves.
            gallery: searched instead of that one.

        Raises:
            InvalidConfiguration: a value, or the catalogue file, is wrong.
        """
        self.endpoint = Endpoint(url, timeout_s, retries, tls, headers or {})
        if catalogue is None:
            self.catalogue = Catalogue.default()
        elif isinstance(catalogue, Catalogue):
            self.catalogue = catalogue
        else:
            self.catalogue = Catalogue.load(catalogue)
        self.embedder = embedder
        self.gallery = gallery
        self._match_faces = contract.match_faces_model(embedder)
        outputs = personal_ads.outputs if gallery is None else personal_ads.embedding_outputs
        self._outputs = outputs(embedder)
        self._schema: Schema | None = None
        self._known: creatives.Known | None = None
        self._tower: AccountSchema | None = None
        self._open()

    @abstractmethod
    def _open(self) -> None:
        """Prepare the connection."""

    def _read(self, response: InferResponse, picture: Picture) -> PictureAnswer:
        return products.interpret(response, picture.source, self.catalogue)

    def _search(self, response: InferResponse, filter: Filter | None) -> Sequence[Matches] | None:  # noqa: A002
        """What ``gallery`` holds for the faces; None where the server's answers."""
        if self.gallery is None:
            return None
        vectors = personal_ads.embeddings(response, self.embedder)
        return self.gallery.search(vectors, contract.MATCHES, filter) if len(vectors) else []

    def _health(self, server: str, probe: PictureAnswer, began: float) -> Health:
        latency_ms = (time.perf_counter() - began) * 1000
        model = contract.RECOMMEND_PRODUCTS
        return Health(self.endpoint.url, server, model, latency_ms, probe.model_versions, probe.starter)


@contextmanager
def refusals(picture: Picture) -> Iterator[None]:
    """The server takes what the JPEG gate lets through, so what it refuses is damaged further inside."""
    try:
        yield
    except BadRequest as error:
        raise BadImage(
            f"{picture.source}: refused by the server as damaged; save it again as JPEG ({error})"
        ) from error


def pictures_of(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """The picture files of ``folder``, at least one."""
    files = pictures.find_pictures(folder)
    first = next(files, None)
    if first is None:
        known = " ".join(sorted(pictures.SUFFIXES))
        raise NoPictures(f"{os.fspath(folder)}: no picture files in this folder ({known}); check the path")
    return chain([first], files)


def probe_picture() -> npt.NDArray[np.uint8]:
    """A small grey picture, on which nobody is."""
    return np.full((64, 64, 3), 128, np.uint8)
