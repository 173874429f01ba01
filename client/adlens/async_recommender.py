"""``AsyncRecommender``: the front door for asyncio."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from functools import partial
from typing import Self, cast

from PIL import Image

from adlens import contract, pictures
from adlens.ads import AdAnswer
from adlens.answers import Failure, Health, PictureAnswer, UserAnswer
from adlens.creatives import CreativeAnswer
from adlens.customers import OfferAnswer
from adlens.described import DescribedAccount
from adlens.engagement import EngagementAnswer, EngagementRanking
from adlens.filters import Filter
from adlens.front import (
    DEFAULT_TARGET,
    DEFAULT_WORKERS,
    Customer,
    Front,
    OnAnswer,
    OnEngagement,
    pictures_of,
    probe_picture,
    refusals,
)
from adlens.influencers import InfluencerAnswer
from adlens.jobs import creatives, engagement, faces, influencers, offers, personal_ads, products
from adlens.jobs.conversation import Answer, Conversation
from adlens.jobs.engagement import Candidate, Contexts
from adlens.jobs.users import UserTally
from adlens.pictures import ImageLike
from adlens.posts import Context
from adlens.runs import ask_each_async, ask_many_async
from adlens.towers import Blocks
from adlens.transport import AsyncConnection


class AsyncRecommender(Front):
    """``Recommender`` for asyncio, to be used within one event loop. An async context manager."""

    def _open(self) -> None:
        self._connection = AsyncConnection(self.endpoint)

    async def recommend_products(self, image: ImageLike, *, fast: bool = False) -> PictureAnswer:
        """See ``Recommender.recommend_products``. The picture is read on a thread."""
        picture = await asyncio.to_thread(pictures.load, image)
        with refusals(picture):
            response = await self._connection.infer(products.model(fast), faces.request(picture))
        return self._read(response, picture)

    def recommend_many(
        self, images: Iterable[ImageLike], *, workers: int = DEFAULT_WORKERS, fast: bool = False
    ) -> AsyncIterator[PictureAnswer | Failure]:
        """See ``Recommender.recommend_many``."""
        ask = partial(self.recommend_products, fast=fast)
        return ask_many_async(ask, images, workers, self.endpoint.timeout_s)

    async def recommend_for_user(
        self,
        folder: str | os.PathLike[str],
        *,
        workers: int = DEFAULT_WORKERS,
        on_answer: OnAnswer | None = None,
        fast: bool = False,
    ) -> UserAnswer:
        """See ``Recommender.recommend_for_user``."""
        tally = UserTally(os.fspath(folder), self.catalogue)
        files = await asyncio.to_thread(pictures_of, folder)
        async for answer in self.recommend_many(files, workers=workers, fast=fast):
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
        answer, self._schema = await self._converse(offers.ask(customer, self._schema))
        return answer

    async def optimise_creative(
        self,
        photo: ImageLike,
        target: str = DEFAULT_TARGET,
        *,
        campaign_type: str,
        industry: str,
        type: str,  # noqa: A002
        filter: Filter | None = None,  # noqa: A002
        alternates: bool = True,
    ) -> CreativeAnswer:
        """See ``Recommender.optimise_creative``. The picture is read on a thread."""
        question = creatives.Question(target, campaign_type, industry, type, filter, alternates)
        return await self._optimise(photo, question)

    async def optimise_creatives(
        self,
        photos: Iterable[ImageLike],
        target: str = DEFAULT_TARGET,
        *,
        campaign_type: str,
        industry: str,
        type: str,  # noqa: A002
        filter: Filter | None = None,  # noqa: A002
        alternates: bool = True,
        workers: int = DEFAULT_WORKERS,
    ) -> AsyncIterator[CreativeAnswer | Failure]:
        """See ``Recommender.optimise_creatives``."""
        question = creatives.Question(target, campaign_type, industry, type, filter, alternates)
        self._known = await self._converse(creatives.learn(question, self._known))
        ask = partial(self._optimise, question=question)
        async with aclosing(ask_many_async(ask, photos, workers, self.endpoint.timeout_s)) as answers:
            async for answer in answers:
                yield answer

    async def render_creative(self, photo: ImageLike) -> dict[str, Image.Image]:
        """See ``Recommender.render_creative``."""
        picture = await asyncio.to_thread(pictures.load, photo)
        with refusals(picture):
            response = await self._connection.infer(contract.RENDER_CREATIVE, creatives.rendering(picture))
        return creatives.read_rendered(response)

    async def predict_engagement(self, image: ImageLike, context: Context | None = None) -> EngagementAnswer:
        """See ``Recommender.predict_engagement``. The picture is read on a thread."""
        return await self._predict(Candidate(image, context))

    def predict_engagements(
        self, images: Iterable[ImageLike], context: Contexts = None, *, workers: int = DEFAULT_WORKERS
    ) -> AsyncIterator[EngagementAnswer | Failure]:
        """See ``Recommender.predict_engagements``."""
        asked = engagement.candidates(images, context)
        return ask_each_async(self._predict, asked, engagement.name, workers, self.endpoint.timeout_s)

    async def rank_engagement(
        self,
        images: Iterable[ImageLike],
        context: Contexts = None,
        *,
        workers: int = DEFAULT_WORKERS,
        on_answer: OnEngagement | None = None,
    ) -> EngagementRanking:
        """See ``Recommender.rank_engagement``."""
        answers = []
        async for answer in self.predict_engagements(images, context, workers=workers):
            answers.append(answer)
            if on_answer:
                on_answer(answer)
        return EngagementRanking.of(answers)

    async def rank_influencers(
        self,
        brand: Blocks | DescribedAccount,
        *,
        name: str | None = None,
        filter: Filter | None = None,  # noqa: A002
        followers: influencers.Range = influencers.MICRO,
        engagement: influencers.Range = influencers.OPEN,
        count: int = influencers.DEFAULT_COUNT,
    ) -> InfluencerAnswer:
        """See ``Recommender.rank_influencers``."""
        wanted = influencers.Wanted(filter, followers, engagement, count)
        answer, self._tower = await self._converse(influencers.ask(brand, name, wanted, self._tower))
        return answer

    async def _predict(self, candidate: Candidate) -> EngagementAnswer:
        picture = await asyncio.to_thread(pictures.load, candidate.image)
        inputs = engagement.request(picture, candidate.context)
        with refusals(picture):
            response = await self._connection.infer(contract.PREDICT_ENGAGEMENT, inputs)
        return engagement.interpret(response, picture.source, candidate.context)

    async def _optimise(self, photo: ImageLike, question: creatives.Question) -> CreativeAnswer:
        picture = await asyncio.to_thread(pictures.load, photo)
        with refusals(picture):
            answer, self._known = await self._converse(creatives.ask(picture, question, self._known))
        return answer

    async def _converse(self, steps: Conversation[Answer]) -> Answer:
        """Send what a job wants sent until it has its answer."""
        try:
            model, inputs = next(steps)
            while True:
                model, inputs = steps.send(await self._connection.infer(model, inputs))
        except StopIteration as end:
            return cast(Answer, end.value)

    async def _personalise(
        self,
        photo: ImageLike,
        offer: OfferAnswer | None,
        filter: Filter | None,  # noqa: A002
    ) -> AdAnswer:
        picture = await asyncio.to_thread(pictures.load, photo)
        with refusals(picture):
            response = await self._connection.infer(
                self._match_faces, personal_ads.request(picture, filter), outputs=self._outputs
            )
        elsewhere = await asyncio.to_thread(self._search, response, filter)
        return personal_ads.interpret(response, picture.source, self.embedder, filter, offer, elsewhere)

    async def health(self) -> Health:
        """See ``Recommender.health``."""
        server = await self._connection.server_version()
        began = time.perf_counter()
        return self._health(server, await self.recommend_products(probe_picture()), began)

    async def close(self) -> None:
        """See ``Recommender.close``."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        """Give the recommender itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()
