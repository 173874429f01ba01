"""Job 4: how popular a post will be, by its picture and what is known of it.

Builds the request for ``predict_engagement`` and reads its response. The card that comes with it says what
counts as which class, what the model reads, and whether it knows anything at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from adlens import contract, pictures, posts, responses
from adlens.contract import EngagementCard
from adlens.engagement import CONTEXT, IMAGE, EngagementAnswer, no_signal
from adlens.errors import InvalidConfiguration, ServerFault
from adlens.jobs import faces as people
from adlens.pictures import ImageLike, Picture
from adlens.posts import Context
from adlens.responses import output
from adlens.transport import InferResponse

Contexts: TypeAlias = Context | Iterable[Context | None] | None
"""What is known of many posts: the same of all, or of each in its turn, None where nothing is."""
_SUM: Final = 1e-3
"""By how much three probabilities may miss 1, as they travel in 32 bits."""


class Candidate(NamedTuple):
    """A picture to be posted, and what is known of the post."""

    image: ImageLike
    context: Context | None


def candidates(images: Iterable[ImageLike], contexts: Contexts) -> Iterator[Candidate]:
    """Each picture with what is known of it; both are read as candidates are taken.

    Raises:
        BadPost: what is the same of all cannot be; at once.
        InvalidConfiguration: there are more pictures than contexts, or the other way round; on the way.
    """
    if contexts is None or isinstance(contexts, Mapping):
        posts.encode(contexts)
        return (Candidate(image, contexts) for image in images)
    return _paired(images, contexts)


def name(candidate: Candidate) -> str:
    """Of its picture, in messages."""
    return pictures.describe(candidate.image)


def request(picture: Picture, context: Context | None) -> dict[str, npt.NDArray[Any]]:
    """A request for ``predict_engagement``, batch 1.

    Raises:
        BadPost: what is known of the post cannot be.
    """
    return people.request(picture) | {contract.POST: posts.encode(context)[None]}


def interpret(response: InferResponse, path: str, context: Context | None) -> EngagementAnswer:
    """Read the response for one picture.

    Args:
        response: of ``predict_engagement``, batch 1.
        path: the picture's name in the answer.
        context: as it was sent.

    Raises:
        ServerFault: the response breaks ``adlens.contract``.
    """
    card = _card(response)
    row = output(response, contract.ENGAGEMENT, contract.TENSORS[contract.ENGAGEMENT].shape)
    if row.min() < 0 or abs(float(row.sum()) - 1) > _SUM:
        raise ServerFault(f"{response.model_name}: {contract.ENGAGEMENT} {row.tolist()} does not sum to 1")
    height, width = (int(side) for side in output(response, contract.PICTURE_SIZE, (2,)))
    known = posts.known(posts.encode(context))
    alone = CONTEXT in card.reads and not known
    signal, accuracy = card.signal, card.accuracy
    if alone:
        signal, accuracy = card.picture_signal, card.picture_accuracy
    return EngagementAnswer(
        path=path,
        probabilities=dict(zip(card.labels, row.tolist(), strict=True)),
        known=known,
        reads=card.reads,
        signal=signal,
        accuracy=accuracy,
        majority=card.majority,
        picture_signal=card.picture_signal,
        picture_accuracy=card.picture_accuracy,
        boundaries=card.boundaries,
        height=height,
        width=width,
        warnings=tuple(_trust_warnings(card, int(np.argmax(row)), alone)),
        model_versions={card.model: card.weights},
        starter=(card.model,) if card.starter else (),
    )


def _paired(images: Iterable[ImageLike], contexts: Iterable[Context | None]) -> Iterator[Candidate]:
    nothing = object()
    for number, (image, context) in enumerate(zip_longest(images, contexts, fillvalue=nothing)):
        if image is nothing or context is nothing:
            few, many = ("pictures", "contexts") if image is nothing else ("contexts", "pictures")
            raise InvalidConfiguration(
                f"{number} {few}, and more {many}; give one context a picture, or None"
            )
        yield Candidate(image, context)  # type: ignore[arg-type]


def _card(response: InferResponse) -> EngagementCard:
    card = responses.card(response, contract.card_output(contract.ENGAGEMENT_MODEL), EngagementCard)
    if card.labels != contract.ENGAGEMENT_CLASSES:
        known = ", ".join(contract.ENGAGEMENT_CLASSES)
        raise ServerFault(f"card of {card.model}: labels {', '.join(card.labels) or 'none'}, not {known}")
    if not set(card.reads) <= {IMAGE, CONTEXT} or not card.reads:
        raise ServerFault(f"card of {card.model}: it reads {', '.join(card.reads) or 'nothing'}")
    bounds = card.boundaries
    if bounds and (len(bounds) != len(card.labels) - 1 or not 0 <= bounds[0] <= bounds[1] < float("inf")):
        raise ServerFault(f"card of {card.model}: boundaries {list(bounds)}; two are needed, or none")
    shares = {"accuracy": card.accuracy, "picture_accuracy": card.picture_accuracy, "majority": card.majority}
    if not all(0 <= share <= 1 for share in shares.values()):
        figures = ", ".join(f"{name} {share:g}" for name, share in shares.items())
        raise ServerFault(f"card of {card.model}: {figures}; each is a share, 0 to 1")
    return card


def _trust_warnings(card: EngagementCard, place: int, alone: bool) -> Iterator[str]:
    signal = card.picture_signal if alone else card.signal
    if not signal:
        yield no_signal(card.picture_accuracy if alone else card.accuracy, card.majority, alone)
    if card.starter:
        yield (
            "the probabilities were learned from generated posts, not yours; train on past posts by "
            "`python -m export.train_engagement --data FILE.csv`, then `make models`"
        )
    elif signal and not card.skill[place]:
        label = card.labels[place]
        yield f"{label}: told from the other classes no better than by chance on posts it had not seen"
