"""Pictures become embeddings for a gallery: of the main face of each, or of the picture as it is.

The server embeds. A picture that cannot be read, or has no face where one is looked for, fails alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from adlens import contract, filters, pictures
from adlens.answers import Failure
from adlens.contract import EmbedderCard, ModelCard
from adlens.errors import NoFace, ServerFault, WrongEmbedder
from adlens.galleries.records import Embedding
from adlens.jobs import faces, personal_ads
from adlens.photos import Photo
from adlens.pictures import Picture
from adlens.responses import card, output
from adlens.runs import ask_many
from adlens.transport import Connection

_CREATIVE_OUTPUTS: Final = (
    contract.PICTURE_SIZE,
    contract.VARIANT_LOGITS,
    contract.CREATIVE_EMBEDDING,
    contract.card_output(contract.VARY_CREATIVE),
)
"""All of ``decode``'s and of ``vary_creative``'s: Triton then runs these steps alone (server#7482)."""
_UNIT: Final = 1e-2
"""How far from 1 the length of an embedding may be."""


@dataclass(frozen=True)
class Embedded:
    """What the server says of a picture.

    Attributes:
        embedding: of its main face, or of itself.
        faces: how many it has; None where it is embedded as a whole.
    """

    embedding: Embedding
    faces: int | None = None


class Embedder(Protocol):
    """Embeds pictures by one set of weights, whatever the server does meanwhile."""

    @property
    def name(self) -> str:
        """As in galleries of its vectors."""

    @property
    def card(self) -> ModelCard:
        """Of the weights."""

    @property
    def dimension(self) -> int:
        """Of its vectors."""

    @property
    def timeout_s(self) -> float:
        """Seconds for one picture."""

    def embed(self, picture: Picture) -> Embedded:
        """Have the server embed ``picture``.

        Raises:
            NoFace: there is nothing to embed.
            WrongEmbedder: the server runs other weights by now.
            AdlensError: as ``Connection.infer``.
        """


class FaceEmbedder:
    """The main face of each picture, by one of the embedders of faces."""

    def __init__(self, connection: Connection, name: str = contract.EMBEDDER) -> None:
        """Ask the server for the embedder's card.

        Raises:
            ServerError: no answer.
            UnknownModel: the server does not serve this embedder.
        """
        self._connection = connection
        self.card = embedder_card(connection, name)
        self.name = name
        self.dimension = self.card.dimension
        self.timeout_s = connection.endpoint.timeout_s

    def embed(self, picture: Picture) -> Embedded:
        """See ``Embedder``."""
        model = contract.match_faces_model(self.name)
        outputs = personal_ads.embedding_outputs(self.name)
        answer = self._connection.infer(model, personal_ads.request(picture), outputs=outputs)
        found = faces.read(answer)
        if not found.faces:
            raise NoFace(
                f"{picture.source}: no face found; give a photo with a face, large enough and upright"
            )
        name = contract.card_output(contract.embed_model(self.name))
        _check_weights(self.card, card(answer, name, EmbedderCard))
        boxes = [(face.box.x1, face.box.y1, face.box.x2, face.box.y2) for face in found.faces]
        main = faces.main_face(boxes, found.height, found.width)
        return Embedded(Embedding(personal_ads.embeddings(answer, self.name)[main]), found.found)


class CreativeEmbedder:
    """Each picture as it is, with what ``vary_creative`` says of it."""

    name = contract.VARY_CREATIVE
    dimension = contract.CREATIVE_DIMENSION

    def __init__(self, connection: Connection) -> None:
        """Ask the server for the card of ``vary_creative``.

        Raises:
            ServerError: no answer.
            UnknownModel: the server does not serve it.
            ServerFault: it cannot tell a picture as it is.
        """
        self._connection = connection
        self.timeout_s = connection.endpoint.timeout_s
        nothing: dict[str, npt.NDArray[Any]] = {
            contract.PIXELS: np.zeros((1, contract.CANVAS, contract.CANVAS, 3), np.uint8),
            contract.PICTURE_SIZE: np.full((1, 2), contract.CANVAS, np.int32),
            contract.WANTED: np.zeros((1, contract.MAX_VARIANTS), np.uint8),
        }
        answer = connection.infer(contract.VARY_CREATIVE, nothing, outputs=(contract.CARD,))
        self.card = card(answer, contract.CARD, ModelCard)
        if contract.ORIGINAL not in self.card.labels[: contract.MAX_VARIANTS]:
            raise ServerFault(
                f"card of {self.card.model}: its labels are {', '.join(self.card.labels)}; "
                f"without '{contract.ORIGINAL}' there are no alternates"
            )
        self._original = self.card.labels.index(contract.ORIGINAL)

    def embed(self, picture: Picture) -> Embedded:
        """See ``Embedder``."""
        wanted = np.zeros((1, contract.MAX_VARIANTS), np.uint8)
        wanted[0, self._original] = 1
        request: dict[str, npt.NDArray[Any]] = {
            **faces.request(picture),
            contract.WANTED: wanted,
            contract.FILTER: filters.encode(None),
            contract.CONTEXT: np.zeros((1, len(contract.CONTEXT_NAMES)), np.int32),
        }
        answer = self._connection.infer(contract.OPTIMISE_CREATIVE, request, outputs=_CREATIVE_OUTPUTS)
        _check_weights(self.card, card(answer, contract.card_output(contract.VARY_CREATIVE), ModelCard))
        vector = output(answer, contract.CREATIVE_EMBEDDING, (contract.CREATIVE_DIMENSION,))
        if not abs(length := float(np.linalg.norm(vector)) - 1) <= _UNIT:
            raise ServerFault(
                f"{picture.source}: its {contract.CREATIVE_EMBEDDING} has length {length + 1:.3g}"
            )
        logits = output(answer, contract.VARIANT_LOGITS, (contract.MAX_VARIANTS,) * 2)[self._original]
        return Embedded(Embedding(vector, logits))


def embedder_card(connection: Connection, embedder: str) -> EmbedderCard:
    """What the server's embedder of faces says of itself.

    Raises:
        ServerError: no answer.
        UnknownModel: the server does not serve this embedder.
    """
    nobody: dict[str, npt.NDArray[Any]] = {
        contract.PIXELS: np.zeros((1, contract.CANVAS, contract.CANVAS, 3), np.uint8),
        contract.LANDMARKS: np.zeros((1, contract.MAX_FACES, len(contract.LANDMARK_NAMES), 2), np.float32),
        contract.FACE_COUNT: np.zeros((1, 1), np.int32),
    }
    answer = connection.infer(contract.embed_model(embedder), nobody, outputs=(contract.CARD,))
    return card(answer, contract.CARD, EmbedderCard)


def embed_many(embedder: Embedder, photos: Iterable[Photo], workers: int) -> Iterator[Embedded | Failure]:
    """Have each photo embedded, ``workers`` at a time, answers in order.

    Args:
        embedder: whose weights end the run when the server changes them meanwhile.
        photos: any number; read as answers are taken.
        workers: photos in flight.
    """
    return ask_many(
        lambda image: embedder.embed(pictures.load(image)),
        (photo.path for photo in photos),
        workers,
        embedder.timeout_s,
    )


def _check_weights(first: ModelCard, now: ModelCard) -> None:
    if now.weights != first.weights:
        raise WrongEmbedder(
            f"the server's {first.model} was replaced meanwhile, weights {first.weights} by {now.weights}; "
            "build the gallery anew"
        )
