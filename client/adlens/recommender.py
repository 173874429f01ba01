"""The front door: ``Recommender``, and ``AsyncRecommender`` with the same methods for asyncio.

Both send many pictures at once with a bounded number in flight and in memory (``adlens.runs``).
"""

from __future__ import annotations

import asyncio
import os
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from adlens import contract, pictures
from adlens.answers import Failure, Health, PictureAnswer, UserAnswer
from adlens.catalogue import Catalogue
from adlens.errors import BadImage, BadRequest, NoPictures
from adlens.jobs import faces, products
from adlens.jobs.users import UserTally
from adlens.pictures import ImageLike, Picture
from adlens.runs import ask_many, ask_many_async
from adlens.transport import (
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT_S,
    DEFAULT_URL,
    AsyncConnection,
    Connection,
    Endpoint,
    InferResponse,
    Tls,
)

DEFAULT_WORKERS: Final = 8
"""Requests in flight; two full batches of the server's would be ``2 * contract.MAX_BATCH``."""

OnAnswer = Callable[[PictureAnswer | Failure], object]


class _Settings(ABC):
    """What both front doors are told, and what they do before and after a call."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retries: int = DEFAULT_RETRIES,
        catalogue: Catalogue | str | os.PathLike[str] | None = None,
        tls: Tls | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare to call a server; nothing is sent yet.

        Args:
            url: HOST:PORT of the server's gRPC service.
            timeout_s: deadline of one picture, retries included.
            retries: further attempts, 0 to 4, where the server is not available.
            catalogue: what is sold: a catalogue or its file; by default the one of adlens.
            tls: encrypt the connection.
            headers: sent with every call.

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
        self._open()

    @abstractmethod
    def _open(self) -> None:
        """Prepare the connection."""

    def _read(self, response: InferResponse, picture: Picture) -> PictureAnswer:
        return products.interpret(response, picture.source, self.catalogue)

    def _health(self, server: str, probe: PictureAnswer, began: float) -> Health:
        latency_ms = (time.perf_counter() - began) * 1000
        model = contract.RECOMMEND_PRODUCTS
        return Health(self.endpoint.url, server, model, latency_ms, probe.model_versions, probe.starter)


class Recommender(_Settings):
    """Recommends products. A context manager; to be shared by any number of threads."""

    def _open(self) -> None:
        self._connection = Connection(self.endpoint)

    def recommend_products(self, image: ImageLike) -> PictureAnswer:
        """Recommend a product from one picture.

        Args:
            image: a path, the bytes of a picture file, an array (HWC uint8 RGB or HW uint8 grey) or
                a PIL image.

        Raises:
            BadImage: the picture cannot be read, or is over a limit (``TooLarge``).
            ServerError: no answer from the server, after retries.
            UnknownModel: the server does not serve ``recommend_products``.
        """
        picture = pictures.load(image)
        try:
            response = self._connection.infer(contract.RECOMMEND_PRODUCTS, faces.request(picture))
        except BadRequest as error:
            raise _refused(picture, error) from error
        return self._read(response, picture)

    def recommend_many(
        self, images: Iterable[ImageLike], *, workers: int = DEFAULT_WORKERS
    ) -> Iterator[PictureAnswer | Failure]:
        """Recommend from any number of pictures, ``workers`` at a time; answers come in input order.

        ``images`` is read as answers are taken. A picture that an overloaded server refuses is sent again,
        later and later, for as long as a picture may take. Once the server is gone, each picture that is
        left becomes a ``Failure`` of kind ``NotSent``.

        Raises:
            InvalidConfiguration: ``workers`` is below 1.
        """
        return ask_many(self.recommend_products, images, workers, self.endpoint.timeout_s)

    def recommend_for_user(
        self,
        folder: str | os.PathLike[str],
        *,
        workers: int = DEFAULT_WORKERS,
        on_answer: OnAnswer | None = None,
    ) -> UserAnswer:
        """Recommend a product from the pictures that lie in one user's folder, however many.

        Args:
            folder: its picture files are read, those of folders below are not.
            workers: pictures in flight.
            on_answer: called with the answer or failure of each picture, by name, as they come in.

        Raises:
            NoPictures: the folder cannot be listed, or holds no picture file.
            InvalidConfiguration: ``workers`` is below 1.
        """
        tally = UserTally(os.fspath(folder), self.catalogue)
        for answer in self.recommend_many(_pictures_of(folder), workers=workers):
            tally.add(answer)
            if on_answer:
                on_answer(answer)
        return tally.answer()

    def health(self) -> Health:
        """Have the server answer a real request, as its own health checks do not notice a dead model.

        Raises:
            ServerError: it does not answer.
            UnknownModel: it does not serve ``recommend_products``.
        """
        server = self._connection.server_version()
        began = time.perf_counter()
        return self._health(server, self.recommend_products(_probe()), began)

    def close(self) -> None:
        """Cancel the calls under way and close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        """Give the recommender itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


class AsyncRecommender(_Settings):
    """``Recommender`` for asyncio, to be used within one event loop. An async context manager."""

    def _open(self) -> None:
        self._connection = AsyncConnection(self.endpoint)

    async def recommend_products(self, image: ImageLike) -> PictureAnswer:
        """See ``Recommender.recommend_products``. The picture is read on a thread."""
        picture = await asyncio.to_thread(pictures.load, image)
        try:
            response = await self._connection.infer(contract.RECOMMEND_PRODUCTS, faces.request(picture))
        except BadRequest as error:
            raise _refused(picture, error) from error
        return self._read(response, picture)

    def recommend_many(
        self, images: Iterable[ImageLike], *, workers: int = DEFAULT_WORKERS
    ) -> AsyncIterator[PictureAnswer | Failure]:
        """See ``Recommender.recommend_many``."""
        return ask_many_async(self.recommend_products, images, workers, self.endpoint.timeout_s)

    async def recommend_for_user(
        self,
        folder: str | os.PathLike[str],
        *,
        workers: int = DEFAULT_WORKERS,
        on_answer: OnAnswer | None = None,
    ) -> UserAnswer:
        """See ``Recommender.recommend_for_user``."""
        tally = UserTally(os.fspath(folder), self.catalogue)
        files = await asyncio.to_thread(_pictures_of, folder)
        async for answer in self.recommend_many(files, workers=workers):
            tally.add(answer)
            if on_answer:
                on_answer(answer)
        return tally.answer()

    async def health(self) -> Health:
        """See ``Recommender.health``."""
        server = await self._connection.server_version()
        began = time.perf_counter()
        return self._health(server, await self.recommend_products(_probe()), began)

    async def close(self) -> None:
        """See ``Recommender.close``."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        """Give the recommender itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()


def _refused(picture: Picture, error: BadRequest) -> BadImage:
    """The server takes what the JPEG gate lets through, so what it refuses is damaged further inside."""
    return BadImage(f"{picture.source}: refused by the server as damaged; save it again as JPEG ({error})")


def _pictures_of(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """The picture files of ``folder``, at least one."""
    files = pictures.find_pictures(folder)
    first = next(files, None)
    if first is None:
        known = " ".join(sorted(pictures.SUFFIXES))
        raise NoPictures(f"{os.fspath(folder)}: no picture files in this folder ({known}); check the path")
    return chain([first], files)


def _probe() -> npt.NDArray[np.uint8]:
    """A small grey picture, on which nobody is."""
    return np.full((64, 64, 3), 128, np.uint8)
