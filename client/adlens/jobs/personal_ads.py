"""Job 2: the campaign photo with the face most similar to a user's, and the offer to show it with.

Builds the request for ``match_faces`` and reads its response. The main face decides, by the threshold
of the embedder's card: "no similar face" is an answer. A gallery elsewhere is searched between the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adlens import contract, filters, responses
from adlens.ads import AdAnswer, AdOutcome, MatchedFace
from adlens.answers import Match
from adlens.contract import EmbedderCard, GalleryCard
from adlens.customers import OfferAnswer
from adlens.errors import WrongEmbedder
from adlens.filters import Filter
from adlens.jobs import faces as people
from adlens.pictures import Picture
from adlens.responses import card, output
from adlens.transport import InferResponse

Matches = Sequence[Match]
"""Of one face, the most similar first."""

_MATCHES: Final = (contract.MATCH_SCORES, contract.MATCH_IDS, contract.MATCH_COUNT)


def request(picture: Picture, filter: Filter | None = None) -> dict[str, npt.NDArray[Any]]:  # noqa: A002
    """Inputs of ``match_faces`` for one picture: IMAGE and FILTER.

    Raises:
        BadFilter: ``filter`` does not fit into FILTER.
    """
    return people.request(picture) | {contract.FILTER: filters.encode(filter)}


def outputs(embedder: str) -> tuple[str, ...]:
    """What to request for an answer from the server's gallery."""
    cards = map(contract.card_output, (contract.embed_model(embedder), contract.gallery_model(embedder)))
    return (*people.OUTPUTS, *_MATCHES, *cards)


def embedding_outputs(embedder: str) -> tuple[str, ...]:
    """What to request to search a gallery elsewhere; the server's is then left alone."""
    return (*people.OUTPUTS, contract.FACE_EMBEDDING, contract.card_output(contract.embed_model(embedder)))


def embeddings(response: InferResponse, embedder: str) -> npt.NDArray[np.float32]:
    """Of the faces found, the largest first: float32 [faces, D], of length 1, to search elsewhere.

    Raises:
        ServerFault: the response breaks ``adlens.contract``.
    """
    shape = (contract.MAX_FACES, _embedder(response, embedder).dimension)
    rows: npt.NDArray[np.float32] = output(response, contract.FACE_EMBEDDING, shape)
    return rows[: len(people.read(response).faces)]


def interpret(
    response: InferResponse,
    path: str,
    embedder: str,
    filter: Filter | None = None,  # noqa: A002 - the field's term
    offer: OfferAnswer | None = None,
    elsewhere: Sequence[Matches] | None = None,
) -> AdAnswer:
    """Read the response for one picture and decide.

    Args:
        response: of ``match_faces``, batch 1.
        path: the picture's name in the answer.
        embedder: the one that was asked.
        filter: as it was sent.
        offer: to the customer.
        elsewhere: what another gallery than the server's found for each of the faces.

    Raises:
        BadFilter: the server's gallery has not the attributes of ``filter``.
        WrongEmbedder: the vectors of the server's gallery are of another embedder, or of other weights.
        ServerFault: the response breaks ``adlens.contract``.
    """
    found, judge = people.read(response), _embedder(response, embedder)
    photos, passing, matches = None, None, elsewhere
    if matches is None:
        photos, passing, matches = _search(response, embedder, judge, filter)
    faces = tuple(
        MatchedFace(face.box, face.score, face.landmarks, tuple(best))
        for face, best in zip(found.faces, matches[: len(found.faces)], strict=True)
    )
    main = people.main_face([face.box for face in faces], found.height, found.width) if faces else None
    nearest = next(iter(faces[main].matches), None) if main is not None else None
    outcome = _outcome(main, nearest, judge.threshold, photos, passing, filter)
    cards = tuple(responses.cards(response).values())
    models = {card.model: card.weights for card in cards} | dict(offer.model_versions if offer else {})
    starter = [card.model for card in cards if card.starter]
    return AdAnswer(
        path=path,
        outcome=outcome,
        nearest=nearest,
        threshold=judge.threshold,
        face=main,
        offer=offer,
        title=f"Campaign photo {nearest.id}" if nearest and outcome is AdOutcome.MATCHED else outcome.wording,
        height=found.height,
        width=found.width,
        faces=faces,
        photos=photos,
        passing=passing,
        warnings=(*people.warnings(found, cards), *_warnings(judge), *(offer.warnings if offer else ())),
        model_versions=models,
        starter=(*starter, *(offer.starter if offer else ())),
    )


def _embedder(response: InferResponse, embedder: str) -> EmbedderCard:
    return card(response, contract.card_output(contract.embed_model(embedder)), EmbedderCard)


def _search(
    response: InferResponse,
    embedder: str,
    judge: EmbedderCard,
    filter: Filter | None,  # noqa: A002
) -> tuple[int, int, list[Matches]]:
    """What the server's gallery found: its photos, those that pass the filter, matches by face slot."""
    gallery = card(response, contract.card_output(contract.gallery_model(embedder)), GalleryCard)
    if gallery.photos:
        if gallery.embedder_weights != judge.weights:
            raise WrongEmbedder(
                f"{gallery.model} holds vectors of {gallery.embedder} with weights "
                f"{gallery.embedder_weights}, but {judge.model} runs weights {judge.weights}; "
                "build the gallery anew (`adlens gallery build`)"
            )
        filters.check(filter, gallery.attributes)
    slots, most = contract.MAX_FACES, contract.MATCHES
    scores = output(response, contract.MATCH_SCORES, (slots, most))
    ids = output(response, contract.MATCH_IDS, (slots, most, contract.ID_BYTES))
    passing = int(output(response, contract.MATCH_COUNT, (1,))[0])
    return gallery.photos, passing, [responses.matches(*slot) for slot in zip(scores, ids, strict=True)]


def _outcome(
    main: int | None,
    nearest: Match | None,
    threshold: float,
    photos: int | None,
    passing: int | None,
    filter: Filter | None,  # noqa: A002
) -> AdOutcome:
    if main is None:
        return AdOutcome.NO_FACE
    if nearest is None and not passing:
        return AdOutcome.NONE_PASSES if filter and photos != 0 else AdOutcome.EMPTY_GALLERY
    if nearest is None or nearest.score < threshold:
        return AdOutcome.NO_SIMILAR_FACE
    return AdOutcome.MATCHED


def _warnings(judge: EmbedderCard) -> Iterator[str]:
    if judge.starter:
        yield f"{judge.model} runs on starter weights: similarities mean nothing; run `make models`"
