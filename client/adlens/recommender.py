"""The front door: ``Recommender``, and ``AsyncRecommender`` with the same methods for asyncio.

Both send many pictures at once with a bounded number in flight and in memory (``adlens.runs``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Self, cast

from PIL import Image

from adlens import contract, pictures
from adlens.ads import AdAnswer
from adlens.answers import Failure, Health, PictureAnswer, UserAnswer
from adlens.async_recommender import AsyncRecommender as AsyncRecommender
from adlens.creatives import CreativeAnswer
from adlens.customers import OfferAnswer
from adlens.described import DescribedAccount
from adlens.engagement import EngagementAnswer, EngagementRanking
from adlens.filters import Filter
from adlens.front import (
    DEFAULT_TARGET,
    Customer,
    Front,
    OnAnswer,
    OnEngagement,
    pictures_of,
    probe_picture,
    refusals,
)
from adlens.front import DEFAULT_WORKERS as DEFAULT_WORKERS
from adlens.influencers import InfluencerAnswer
from adlens.jobs import creatives, engagement, faces, influencers, offers, personal_ads, products
from adlens.jobs.conversation import Answer, Conversation
from adlens.jobs.engagement import Candidate, Contexts
from adlens.jobs.users import UserTally
from adlens.pictures import ImageLike
from adlens.posts import Context
from adlens.runs import ask_each, ask_many
from adlens.towers import Blocks
from adlens.transport import Connection


class Recommender(Front):
    """Recommends products and ads. A context manager; to be shared by any number of threads."""

    def _open(self) -> None:
        self._connection = Connection(self.endpoint)

    def recommend_products(self, image: ImageLike, *, fast: bool = False) -> PictureAnswer:
        """Recommend a product from one picture.

        Args:
            image: a path, the bytes of a picture file, an array (HWC uint8 RGB or HW uint8 grey) or
                a PIL image.
            fast: have faces judged by one network alone, ``contract.FAST_BACKBONE``.

        Raises:
            BadImage: the picture cannot be read, or is over a limit (``TooLarge``).
            ServerError: no answer from the server, after retries.
            UnknownModel: the server does not serve ``recommend_products``, or the fast one.
        """
        picture = pictures.load(image)
        with refusals(picture):
            response = self._connection.infer(products.model(fast), faces.request(picture))
        return self._read(response, picture)

    def recommend_many(
        self, images: Iterable[ImageLike], *, workers: int = DEFAULT_WORKERS, fast: bool = False
    ) -> Iterator[PictureAnswer | Failure]:
        """Recommend from any number of pictures, ``workers`` at a time; answers come in input order.

        ``images`` is read as answers are taken. A picture that an overloaded server refuses is sent again,
        later and later, for as long as a picture may take. Once the server is gone, each picture that is
        left becomes a ``Failure`` of kind ``NotSent``.

        Raises:
            InvalidConfiguration: ``workers`` is below 1.
        """
        ask = partial(self.recommend_products, fast=fast)
        return ask_many(ask, images, workers, self.endpoint.timeout_s)

    def recommend_for_user(
        self,
        folder: str | os.PathLike[str],
        *,
        workers: int = DEFAULT_WORKERS,
        on_answer: OnAnswer | None = None,
        fast: bool = False,
    ) -> UserAnswer:
        """Recommend a product from the pictures that lie in one user's folder, however many.

        Args:
            folder: its picture files are read, those of folders below are not.
            workers: pictures in flight.
            on_answer: called with the answer or failure of each picture, by name, as they come in.
            fast: see ``recommend_products``.

        Raises:
            NoPictures: the folder cannot be listed, or holds no picture file.
            InvalidConfiguration: ``workers`` is below 1.
        """
        tally = UserTally(os.fspath(folder), self.catalogue)
        for answer in self.recommend_many(pictures_of(folder), workers=workers, fast=fast):
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
        answer, self._schema = self._converse(offers.ask(customer, self._schema))
        return answer

    def optimise_creative(
        self,
        photo: ImageLike,
        target: str = DEFAULT_TARGET,
        *,
        campaign_type: str,
        industry: str,
        type: str,  # noqa: A002 - the field's terms
        filter: Filter | None = None,  # noqa: A002
        alternates: bool = True,
    ) -> CreativeAnswer:
        """Find the version of a picture that converts best, and other pictures that would.

        Args:
            photo: see ``recommend_products``.
            target: one of ``contract.TARGETS``; of those in LOWER_IS_BETTER the lowest is best.
            campaign_type: of the campaign; which are known, the model that answers decides.
            industry: the same.
            type: the kind of product, such as the wearer of a shoe; alternates are of the same one.
            filter: which pictures of the catalogue may be alternates: ``{"brand": ["nike", "puma"]}``.
            alternates: whether any are wanted.

        Raises:
            BadImage: the picture cannot be read, or is over a limit (``TooLarge``).
            BadContext: no such target, or a campaign that the model does not know; the known are listed.
            BadFilter: the catalogue cannot be filtered like this.
            WrongEmbedder: the catalogue was made by other weights than those that judge the picture.
            ServerError: no answer from the server, after retries.
            UnknownModel: the server does not serve what is needed.
        """
        question = creatives.Question(target, campaign_type, industry, type, filter, alternates)
        return self._optimise(photo, question)

    def optimise_creatives(
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
    ) -> Iterator[CreativeAnswer | Failure]:
        """``optimise_creative`` for any number of photos of one campaign; see ``recommend_many``.

        Raises:
            AdlensError: the campaign cannot be judged, before any picture is sent.
            InvalidConfiguration: ``workers`` is below 1.
        """
        question = creatives.Question(target, campaign_type, industry, type, filter, alternates)
        self._known = self._converse(creatives.learn(question, self._known))
        ask = partial(self._optimise, question=question)
        return ask_many(ask, photos, workers, self.endpoint.timeout_s)

    def render_creative(self, photo: ImageLike) -> dict[str, Image.Image]:
        """Have the server make the variants of a picture to look at: RGB, by label, the original among them.

        Their longer side is at most ``contract.CANVAS`` pixels. What ``optimise_creative`` judges needs none
        of them.

        Raises:
            BadImage: the picture cannot be read, or is over a limit (``TooLarge``).
            ServerError: no answer from the server, after retries.
            UnknownModel: the server does not serve ``render_creative``.
        """
        picture = pictures.load(photo)
        with refusals(picture):
            response = self._connection.infer(contract.RENDER_CREATIVE, creatives.rendering(picture))
        return creatives.read_rendered(response)

    def predict_engagement(self, image: ImageLike, context: Context | None = None) -> EngagementAnswer:
        """Predict how popular a post with the picture ``image`` will be: low, neutral or high.

        Args:
            image: see ``recommend_products``.
            context: what is known of the post (``adlens.posts``), such as ``{"caption": "New in! #sneakers",
                "timestamp": "2026-11-20T18:30:00+01:00", "followers": 52_000}``; whatever is not known is
                left out, and the answer says so.

        Raises:
            BadImage: the picture cannot be read, or is over a limit (``TooLarge``).
            BadPost: the context has an unknown name, or a value that cannot be.
            ServerError: no answer from the server, after retries.
            UnknownModel: the server does not serve ``predict_engagement``.
        """
        return self._predict(Candidate(image, context))

    def predict_engagements(
        self, images: Iterable[ImageLike], context: Contexts = None, *, workers: int = DEFAULT_WORKERS
    ) -> Iterator[EngagementAnswer | Failure]:
        """``predict_engagement`` for any number of pictures; see ``recommend_many``.

        Args:
            images: the pictures, read as answers are taken.
            context: of all of them; or one for each in its turn, None where nothing is known, of which a
                wrong one harms no other picture.
            workers: pictures in flight.

        Raises:
            BadPost: the one context of all cannot be, before any picture is sent.
            InvalidConfiguration: ``workers`` is below 1, or contexts and pictures differ in number.
        """
        asked = engagement.candidates(images, context)
        return ask_each(self._predict, asked, engagement.name, workers, self.endpoint.timeout_s)

    def rank_engagement(
        self,
        images: Iterable[ImageLike],
        context: Contexts = None,
        *,
        workers: int = DEFAULT_WORKERS,
        on_answer: OnEngagement | None = None,
    ) -> EngagementRanking:
        """Rank candidate pictures of one account by the engagement to be expected, the best first.

        Args:
            images: the candidates.
            context: see ``predict_engagements``.
            workers: pictures in flight.
            on_answer: called with the answer or failure of each candidate, as they come in.

        Raises:
            As ``predict_engagements``; a picture that cannot be judged is among the ranking's failures.
        """
        answers = []
        for answer in self.predict_engagements(images, context, workers=workers):
            answers.append(answer)
            if on_answer:
                on_answer(answer)
        return EngagementRanking.of(answers)

    def rank_influencers(
        self,
        brand: Blocks | DescribedAccount,
        *,
        name: str | None = None,
        filter: Filter | None = None,  # noqa: A002
        followers: influencers.Range = influencers.MICRO,
        engagement: influencers.Range = influencers.OPEN,
        count: int = influencers.DEFAULT_COUNT,
    ) -> InfluencerAnswer:
        """Find the influencers that fit a brand best, among those that the server holds.

        Args:
            brand: a described account, or blocks of features by name: float32 [length] each, as the ranker
                was trained on. A block that is not known is left out.
            name: of the brand, in messages and in the answer; by default the account's id.
            filter: which influencers may be found: ``{"category": ["shoes", "fashion"], "language": "en"}``.
            followers: lowest and highest, None where open; by default those of a micro-influencer. Who has no
                known number passes only where both are open: if too few are found, a warning tells of them.
            engagement: of likes and comments of a post over followers, likewise.
            count: of influencers at most, 1 to ``contract.RANKED``.

        Raises:
            BadAccount: the blocks are not those of the ranker.
            BadFilter: the influencers cannot be chosen like this.
            BadRequest: ``count`` is not within these.
            WrongEmbedder: the influencers' vectors were made by another ranker, or the brand was described by
                something else than what the ranker has learned from.
            ServerError: no answer from the server, after retries.
            UnknownModel: the server does not serve ``rank_influencers``.
        """
        wanted = influencers.Wanted(filter, followers, engagement, count)
        answer, self._tower = self._converse(influencers.ask(brand, name, wanted, self._tower))
        return answer

    def _predict(self, candidate: Candidate) -> EngagementAnswer:
        picture = pictures.load(candidate.image)
        inputs = engagement.request(picture, candidate.context)
        with refusals(picture):
            response = self._connection.infer(contract.PREDICT_ENGAGEMENT, inputs)
        return engagement.interpret(response, picture.source, candidate.context)

    def _optimise(self, photo: ImageLike, question: creatives.Question) -> CreativeAnswer:
        picture = pictures.load(photo)
        with refusals(picture):
            answer, self._known = self._converse(creatives.ask(picture, question, self._known))
        return answer

    def _converse(self, steps: Conversation[Answer]) -> Answer:
        """Send what a job wants sent until it has its answer."""
        try:
            model, inputs = next(steps)
            while True:
                model, inputs = steps.send(self._connection.infer(model, inputs))
        except StopIteration as end:
            return cast(Answer, end.value)

    def _personalise(
        self,
        photo: ImageLike,
        offer: OfferAnswer | None,
        filter: Filter | None,  # noqa: A002
    ) -> AdAnswer:
        picture = pictures.load(photo)
        with refusals(picture):
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
        return self._health(server, self.recommend_products(probe_picture()), began)

    def close(self) -> None:
        """Cancel the calls under way and close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        """Give the recommender itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()
