"""Job 3: which version of a picture converts best, and which other pictures would.

Builds the requests for ``optimise_creative`` and ``render_creative`` and reads their responses. The
conversion model says by its vocabulary which campaigns it knows, so a caller that has none yet asks with
``probe`` first. Where a model or the catalogue has been replaced meanwhile in a way that would change the
request, it is asked again, by what the answer said (``ask``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from adlens import contract, filters, responses
from adlens.contract import GalleryCard, ModelCard
from adlens.creatives import Alternate, CreativeAnswer, Version, goodness, ranked
from adlens.errors import BadContext, ServerFault, WrongEmbedder
from adlens.features import guess
from adlens.filters import Filter
from adlens.jobs import faces as people
from adlens.jobs.conversation import Conversation
from adlens.pictures import Picture
from adlens.responses import output
from adlens.transport import InferResponse
from adlens.vocabulary import Vocabulary

TYPE: Final = contract.CONTEXT_NAMES[-1]
"""Attribute of the catalogue's pictures by which alternates are chosen, and part of a campaign's context."""
_SAME: Final = 0.9999
"""From this similarity on, a picture of the catalogue is the one that was given."""


@dataclass(frozen=True)
class Question:
    """What is asked of a picture.

    Attributes:
        target: one of ``contract.TARGETS``.
        campaign_type: of the campaign, as the other two in the words of the model's vocabulary.
        industry: the same.
        type: the kind of product; alternates are of the same one, unless ``filter`` says of which.
        filter: which pictures of the catalogue may be alternates.
        alternates: whether any are wanted.

    Raises:
        BadContext: ``target`` is none.
    """

    target: str
    campaign_type: str
    industry: str
    type: str
    filter: Filter | None = None
    alternates: bool = True

    def __post_init__(self) -> None:
        if self.target not in contract.TARGETS:
            known = ", ".join(contract.TARGETS)
            raise BadContext(
                f"target {self.target!r}{guess(str(self.target), contract.TARGETS)}; give one of {known}"
            )

    @property
    def context(self) -> dict[str, str]:
        """By the names of the contract."""
        return {"campaign_type": self.campaign_type, "industry": self.industry, "type": self.type}


@dataclass(frozen=True)
class Known:
    """What has to be known of the server's models to ask them.

    Attributes:
        vocabulary: of its conversion model.
        typed: whether the pictures of its catalogue have the attribute TYPE.
    """

    vocabulary: Vocabulary
    typed: bool = True


def probe() -> dict[str, npt.NDArray[Any]]:
    """A request for ``conversion`` that asks for its vocabulary alone."""
    names = (contract.VARIANT_LOGITS, contract.ALTERNATE_LOGITS)
    logits = {name: np.zeros((1, *contract.TENSORS[name].shape), np.float32) for name in names}
    return {**logits, contract.CONTEXT: np.zeros((1, len(contract.CONTEXT_NAMES)), np.int32)}


def request(picture: Picture, question: Question, known: Known) -> dict[str, npt.NDArray[Any]]:
    """A request for ``optimise_creative``, batch 1: all variants are to be judged.

    Raises:
        BadContext: the campaign is none that the model knows.
        BadFilter: the filter does not fit into FILTER.
    """
    wanted = np.zeros((1, contract.MAX_VARIANTS), np.uint8)
    wanted[:, : len(known.vocabulary.variants)] = 1
    return people.request(picture) | {
        contract.WANTED: wanted,
        contract.FILTER: filters.encode(_filter(question, known)),
        contract.CONTEXT: known.vocabulary.encode(**question.context)[None],
    }


def learn(question: Question, known: Known | None) -> Conversation[Known]:
    """What has to be known to ask ``question``: yields a request where ``known`` does not do.

    Raises:
        BadContext: the campaign is none that the server's model knows.
        ServerFault: the response breaks ``adlens.contract``.
    """
    if known is not None:
        try:
            known.vocabulary.encode(**question.context)
        except BadContext:
            pass  # the model may have been replaced by one that knows it
        else:
            return known
    fresh = Known(_read_vocabulary((yield contract.CONVERSION, probe())), known.typed if known else True)
    fresh.vocabulary.encode(**question.context)
    return fresh


def ask(
    picture: Picture, question: Question, known: Known | None
) -> Conversation[tuple[CreativeAnswer, Known]]:
    """The whole conversation: yields requests, is sent their responses; returns the answer and what is known.

    Args:
        picture: to be judged.
        question: what is asked of it.
        known: of the server that answered last; None where none has.

    Raises:
        BadContext: the campaign is none that the server's model knows.
        BadFilter: the filter does not fit into FILTER, or the catalogue has not its attributes.
        WrongEmbedder: the catalogue's pictures were embedded by other weights than this one.
        ServerFault: a response breaks ``adlens.contract``, or its models do not belong together.
    """
    known = yield from learn(question, known)
    while True:
        response = yield contract.OPTIMISE_CREATIVE, request(picture, question, known)
        said = _learned(response, known)
        if said.vocabulary == known.vocabulary and _filter(question, said) == _filter(question, known):
            return interpret(response, picture.source, question, said), said
        known = said


def interpret(response: InferResponse, path: str, question: Question, known: Known) -> CreativeAnswer:
    """Read the response for one picture and rank.

    Args:
        response: of ``optimise_creative``, batch 1.
        path: the picture's name in the answer.
        question: as it was asked.
        known: by which it was asked.

    Raises:
        BadFilter: the catalogue has not the attributes of the filter.
        WrongEmbedder: the catalogue's pictures were embedded by other weights than this one.
        ServerFault: the response breaks ``adlens.contract``, or its models do not belong together.
    """
    judge, conversion = _cards(response, known.vocabulary)
    catalogue = responses.card(response, contract.card_output(contract.ALTERNATES), GalleryCard)
    height, width = (int(side) for side in output(response, contract.PICTURE_SIZE, (2,)))
    rows = _probabilities(response, contract.VARIANT_CONVERSION)[: len(judge.labels)]
    versions = [
        Version(label, row[question.target], row) for label, row in zip(judge.labels, rows, strict=True)
    ]
    original = judge.labels.index(contract.ORIGINAL)
    others = (*versions[:original], *versions[original + 1 :])
    alternates, doubts = _alternates(response, judge, catalogue, question, known)
    cards = (judge, conversion, *((catalogue,) if question.alternates else ()))
    return CreativeAnswer(
        path=path,
        target=question.target,
        context=question.context,
        original=versions[original],
        variants=ranked(others, question.target),
        alternates=alternates,
        height=height,
        width=width,
        warnings=(*_trust_warnings(judge, conversion, question.target), *doubts),
        model_versions={card.model: card.weights for card in cards},
        starter=tuple(card.model for card in cards if card.starter),
    )


def rendering(picture: Picture) -> dict[str, npt.NDArray[Any]]:
    """A request for ``render_creative``, batch 1: all variants are wanted, whichever there are."""
    wanted = np.ones((1, contract.MAX_VARIANTS), np.uint8)
    return people.request(picture) | {contract.WANTED: wanted}


def read_rendered(response: InferResponse) -> dict[str, Image.Image]:
    """The variants to look at, RGB, by label: of ``render_creative``, batch 1, each less its canvas.

    Raises:
        ServerFault: the response breaks ``adlens.contract``.
    """
    card = responses.card(response, contract.card_output(contract.RENDER_VARIANTS), ModelCard)
    _check_labels(card)
    canvases = output(response, contract.RENDERED, contract.TENSORS[contract.RENDERED].shape)
    boxes = output(response, contract.RENDERED_BOXES, contract.TENSORS[contract.RENDERED_BOXES].shape)
    found = {}
    for label, canvas, box in zip(card.labels, canvases, boxes.tolist(), strict=False):
        left, top, right, bottom = box
        if not (0 <= left < right <= contract.CANVAS and 0 <= top < bottom <= contract.CANVAS):
            raise ServerFault(f"{response.model_name}: {contract.RENDERED_BOXES} of {label} is {box}")
        found[label] = Image.fromarray(np.ascontiguousarray(canvas[top:bottom, left:right]))
    return found


def _filter(question: Question, known: Known) -> dict[str, str | Sequence[str]]:
    """What alternates are chosen by."""
    typed = {TYPE: question.type} if known.typed else {}
    return {**typed, **(question.filter or {})}


def _learned(response: InferResponse, before: Known) -> Known:
    """What an answer says of the models that gave it; an empty catalogue says nothing of its attributes."""
    catalogue = responses.card(response, contract.card_output(contract.ALTERNATES), GalleryCard)
    typed = TYPE in catalogue.attributes if catalogue.photos else before.typed
    return replace(before, vocabulary=_read_vocabulary(response), typed=typed)


def _read_vocabulary(response: InferResponse) -> Vocabulary:
    data = output(response, contract.SCHEMA, (contract.SCHEMA_BYTES,)).tobytes()
    try:
        return _vocabulary(data)
    except ValueError as error:
        raise ServerFault(f"{response.model_name}: {error}") from error


@lru_cache(maxsize=16)
def _vocabulary(data: bytes) -> Vocabulary:
    return Vocabulary.from_bytes(data)


def _cards(response: InferResponse, vocabulary: Vocabulary) -> tuple[ModelCard, ModelCard]:
    """Of the network and of the conversion model, which must have learned from that network."""
    judge = responses.card(response, contract.card_output(contract.VARY_CREATIVE), ModelCard)
    _check_labels(judge)
    if (vocabulary.variants, vocabulary.variants_weights) != (judge.labels, judge.weights):
        raise ServerFault(
            f"{contract.CONVERSION} learned from the variants {', '.join(vocabulary.variants)} by weights "
            f"{vocabulary.variants_weights}, but {judge.model} judges {', '.join(judge.labels)} by "
            f"{judge.weights}; train it again (`python -m export.train_conversion`, then `make models`)"
        )
    conversion = responses.card(response, contract.card_output(contract.CONVERSION), ModelCard)
    if conversion.labels != contract.TARGETS:
        raise ServerFault(f"card of {conversion.model}: labels {conversion.labels}, not {contract.TARGETS}")
    return judge, conversion


def _check_labels(card: ModelCard) -> None:
    labels = card.labels
    fits = len(labels) <= contract.MAX_VARIANTS and len(set(labels)) == len(labels)
    if not fits or contract.ORIGINAL not in labels:
        raise ServerFault(
            f"card of {card.model}: variants {', '.join(labels)}; at most {contract.MAX_VARIANTS} travel, "
            f"each once, and {contract.ORIGINAL!r} is one"
        )


def _probabilities(response: InferResponse, name: str) -> list[dict[str, float]]:
    """By target, of each row of the output ``name``."""
    rows = output(response, name, contract.TENSORS[name].shape)
    if rows.min() < 0 or rows.max() > 1:
        raise ServerFault(
            f"{response.model_name}: {name} lies in {rows.min():g} to {rows.max():g}, not 0 to 1"
        )
    return [dict(zip(contract.TARGETS, row, strict=True)) for row in rows.tolist()]


def _alternates(
    response: InferResponse, judge: ModelCard, catalogue: GalleryCard, question: Question, known: Known
) -> tuple[tuple[Alternate, ...], tuple[str, ...]]:
    """The pictures found, the best first, less the one given; and what is to be said of them."""
    if not question.alternates:
        return (), ()
    if not catalogue.photos:
        return (), ("the catalogue of alternates is empty; fill it (`adlens alternates build`)",)
    if catalogue.embedder_weights != judge.weights:
        raise WrongEmbedder(
            f"{catalogue.model} holds pictures as seen by weights {catalogue.embedder_weights} of "
            f"{catalogue.embedder}, but {judge.model} runs weights {judge.weights}; build the catalogue anew "
            "(`adlens alternates build`)"
        )
    filters.check(question.filter, catalogue.attributes)
    rows = _probabilities(response, contract.ALTERNATE_CONVERSION)
    tensors = (contract.ALTERNATE_SCORES, contract.ALTERNATE_IDS)
    matches = responses.matches(*(output(response, name, contract.TENSORS[name].shape) for name in tensors))
    found = [
        Alternate(match.id, match.score, row[question.target], row)
        for match, row in zip(matches, rows, strict=False)
        if match.score < _SAME
    ]
    found.sort(key=lambda each: goodness(each.probability, question.target))  # of equals, the most similar
    passing = int(output(response, contract.ALTERNATE_COUNT, (1,))[0])
    return tuple(found), tuple(_catalogue_warnings(passing, question, known))


def _catalogue_warnings(passing: int, question: Question, known: Known) -> Iterator[str]:
    chosen = filters.alternatives(_filter(question, known))
    if not known.typed:
        yield f"the catalogue does not say of which {TYPE} its pictures are: alternates may be of any"
    if not passing:
        said = ", ".join(f"{name}={' or '.join(values)}" for name, values in chosen.items())
        yield f"no picture of the catalogue passes {said or 'the filter'}"


def _trust_warnings(judge: ModelCard, conversion: ModelCard, target: str) -> Iterator[str]:
    if judge.starter:
        yield (
            "variants are told apart by starter weights; train on your pictures by "
            "`python -m export.train_variants --images DIR`, then `make models`"
        )
    if conversion.starter:
        yield (
            "the probabilities were learned from generated pictures and outcomes, not yours; train on a past "
            "campaign by `python -m export.train_conversion --images DIR --data FILE.csv`, then `make models`"
        )
    elif not dict(zip(conversion.labels, conversion.skill, strict=True))[target]:
        yield f"{target}: held-out pictures were ranked no better than by chance; its figures mean little"
