"""The front door: ``Recommender``, and ``AsyncRecommender`` with the same methods for asyncio.

Both send many pictures at once with a bounded number in flight and in memory (``adlens.runs``).
"""

from __future__ import annotations

import asyncio
import os
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final, Self, cast

import numpy as np
import numpy.typing as npt

from adlens import contract, pictures
from adlens.ads import AdAnswer
from adlens.answers import Failure, Health, PictureAnswer, UserAnswer
from adlens.catalogue import Catalogue
from adlens.customers import OfferAnswer, Schema
from adlens.errors import BadImage, BadRequest, NoPictures
from adlens.filters import Filter
from adlens.galleries.records import Gallery
from adlens.jobs import faces, offers, personal_ads, products
from adlens.jobs.personal_ads import Matches
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

Customer = Mapping[str, object]
"""A record, feature to value."""

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


class Recommender(_Settings):
    """Recommends products and ads. A context manager; to be shared by any number of threads."""

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
        with _refusals(picture):
            response = self._connection.infer(contract.RECOMMEND_PRODUCTS, faces.request(picture))
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

    def personalise(
        self,
        photo: ImageLike,
        customer: Customer | None = None,
        *,
        filter: Filter | None = None,  # noqa: A002 - the field's term
    ) -> AdAnswer:
        """Find the campaign photo with the face most similar to the main one of ``photo``, and the offer.

        Args:
            photo: see ``recommend_products``.
            customer: record by feature, as the offer model's schema has it; None for no offer.
            filter: which campaign photos may be found: ``{"campaign": ["spring", "summer"]}``.

        Raises:
            BadImage: the picture cannot be read, or is over a limit (``TooLarge``).
            BadCustomer: the record does not fit the schema.
            BadFilter: the gallery cannot be filtered like this.
            WrongEmbedder: the gallery is not of this embedder's vectors.
            ServerError: no answer from the server, after retries.
            UnknownModel: the server does not serve what is needed.
        """
        offer = None if customer is None else self.offer(customer)
        return self._personalise(photo, offer, filter)

    def personalise_many(
        self,
        photos: Iterable[ImageLike],
        customer: Customer | None = None,
        *,
        filter: Filter | None = None,  # noqa: A002
        workers: int = DEFAULT_WORKERS,
    ) -> Iterator[AdAnswer | Failure]:
        """``personalise`` for any number of photos of one customer; see ``recommend_many``.

        Raises:
            AdlensError: there is no offer to be had, before any picture is sent.
            InvalidConfiguration: ``workers`` is below 1.
        """
        offer = None if customer is None else self.offer(customer)
        ask = partial(self._personalise, offer=offer, filter=filter)
        return ask_many(ask, photos, workers, self.endpoint.timeout_s)

    def offer(self, customer: Customer) -> OfferAnswer:
        """Find the offer that raises the customer's probability to buy the most.

        Raises:
            BadCustomer: the record does not fit the schema.
            ServerError: no answer from the server, after retries.
            UnknownModel: the server does not serve ``uplift_offer``.
        """
        steps = offers.ask(customer, self._schema)
        try:
            inputs = next(steps)
            while True:
                inputs = steps.send(self._connection.infer(contract.UPLIFT_OFFER, inputs))
        except StopIteration as end:
            answer, self._schema = end.value
            return cast(OfferAnswer, answer)

    def _personalise(
        self,
        photo: ImageLike,
        offer: OfferAnswer | None,
        filter: Filter | None,  # noqa: A002
    ) -> AdAnswer:
        picture = pictures.load(photo)
        with _refusals(picture):
            response = self._connection.infer(
                self._match_faces, personal_ads.request(picture, filter), outputs=self._outputs
            )
        elsewhere = self._search(response, filter)
        return personal_ads.interpret(response, picture.source, self.embedder, filter, offer, elsewhere)

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
        with _refusals(picture):
            response = await self._connection.infer(contract.RECOMMEND_PRODUCTS, faces.request(picture))
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

    async def personalise(
        self,
        photo: ImageLike,
        customer: Customer | None = None,
        *,
        filter: Filter | None = None,  # noqa: A002
    ) -> AdAnswer:
        """See ``Recommender.personalise``. The picture is read, and a gallery searched, on a thread."""
        offer = None if customer is None else await self.offer(customer)
        return await self._personalise(photo, offer, filter)

    async def personalise_many(
        self,
        photos: Iterable[ImageLike],
        customer: Customer | None = None,
        *,
        filter: Filter | None = None,  # noqa: A002
        workers: int = DEFAULT_WORKERS,
    ) -> AsyncIterator[AdAnswer | Failure]:
        """See ``Recommender.personalise_many``."""
        offer = None if customer is None else await self.offer(customer)
        ask = partial(self._personalise, offer=offer, filter=filter)
        async with aclosing(ask_many_async(ask, photos, workers, self.endpoint.timeout_s)) as answers:
            async for answer in answers:
                yield answer

    async def offer(self, customer: Customer) -> OfferAnswer:
        """See ``Recommender.offer``."""
        steps = offers.ask(customer, self._schema)
        try:
            inputs = next(steps)
            while True:
                inputs = steps.send(await self._connection.infer(contract.UPLIFT_OFFER, inputs))
        except StopIteration as end:
            answer, self._schema = end.value
            return cast(OfferAnswer, answer)

    async def _personalise(
        self,
        photo: ImageLike,
        offer: OfferAnswer | None,
        filter: Filter | None,  # noqa: A002
    ) -> AdAnswer:
        picture = await asyncio.to_thread(pictures.load, photo)
        with _refusals(picture):
            response = await self._connection.infer(
                self._match_faces, personal_ads.request(picture, filter), outputs=self._outputs
            )
        elsewhere = await asyncio.to_thread(self._search, response, filter)
        return personal_ads.interpret(response, picture.source, self.embedder, filter, offer, elsewhere)

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


@contextmanager
def _refusals(picture: Picture) -> Iterator[None]:
    """The server takes what the JPEG gate lets through, so what it refuses is damaged further inside."""
    try:
        yield
    except BadRequest as error:
        raise BadImage(
            f"{picture.source}: refused by the server as damaged; save it again as JPEG ({error})"
        ) from error


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
