"""What a caller gets back: frozen results, each with its JSON form.

Boxes and landmarks are in pixels of the upright picture (EXIF orientation applied), x to the right
and y down from its top left corner. Probabilities and scores lie in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from adlens import contract
from adlens.errors import AdlensError, ServerError

Json = dict[str, Any]


class Outcome(StrEnum):
    """How the question for a product ended."""

    RECOMMENDED = "recommended"
    NO_ITEMS = "no items detected"
    NO_FACE = "no face detected"
    FACES_TOO_SMALL = "faces too small"
    NOT_ANSWERED = "not answered"

    @property
    def wording(self) -> str:
        """As the title of a picture that gets no recommendation."""
        return self.value.capitalize()


class Box(NamedTuple):
    """A rectangle in picture pixels: left, top, right, bottom."""

    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def height(self) -> float:
        """In pixels."""
        return self.y2 - self.y1

    def to_json(self) -> list[float]:
        """``[x1, y1, x2, y2]``, to a tenth of a pixel."""
        return [round(side, 1) for side in self]


@dataclass(frozen=True)
class Face:
    """One face of a picture.

    Attributes:
        box: where it is.
        score: probability that it is a face.
        landmarks: x, y of each, in the order of ``contract.LANDMARK_NAMES``.
    """

    box: Box
    score: float
    landmarks: tuple[tuple[float, float], ...]

    def to_json(self) -> Json:
        """As a JSON object."""
        return {
            "box": self.box.to_json(),
            "score": rounded(self.score),
            **self._found(),
            "landmarks": {
                name: [round(x, 1), round(y, 1)]
                for name, (x, y) in zip(contract.LANDMARK_NAMES, self.landmarks, strict=True)
            },
        }

    def _found(self) -> Json:
        """What a job found out about it."""
        return {}


@dataclass(frozen=True)
class JudgedFace(Face):
    """A face, and what it shows.

    Attributes:
        attributes: combined probability by label.
        backbones: the evidence: probability by backbone and label.
        too_small: its crop is below ``contract.MIN_CROP``, so it decides nothing.
    """

    attributes: Mapping[str, float]
    backbones: Mapping[str, Mapping[str, float]]
    too_small: bool = False

    def _found(self) -> Json:
        return {
            "attributes": _rounded_values(self.attributes),
            "backbones": {name: _rounded_values(labels) for name, labels in self.backbones.items()},
            "too_small": self.too_small,
        }


@dataclass(frozen=True)
class Match:
    """A photo of a gallery that was found for a face, and its cosine similarity, -1 to 1."""

    id: str
    score: float

    def to_json(self) -> Json:
        """As a JSON object."""
        return {"id": self.id, "similarity": rounded(self.score)}


@dataclass(frozen=True)
class PictureAnswer:
    """The recommendation for one picture, with its evidence.

    Attributes:
        path: the picture's name.
        outcome: how it ended; the next four and ``face`` are None unless it is ``RECOMMENDED``.
        product: what to recommend.
        label: the label that the product is for.
        score: the highest probability of the label over the faces that count.
        face: index into ``faces`` of the face with that score.
        title: the recommendation, or the outcome, in words to be shown.
        height: of the upright picture, in pixels.
        width: the same.
        faces: every face found, the largest first.
        warnings: what stands against trusting the answer.
        model_versions: weights that answered, by leaf model.
        starter: leaf models that run on starter weights. One that weighs nothing in the scores, as
            it has no proven skill, is listed here and causes no warning.
    """

    path: str
    outcome: Outcome
    product: str | None
    label: str | None
    score: float | None
    face: int | None
    title: str
    height: int
    width: int
    faces: tuple[JudgedFace, ...] = ()
    warnings: tuple[str, ...] = ()
    model_versions: Mapping[str, str] = field(default_factory=dict)
    starter: tuple[str, ...] = ()

    def to_json(self) -> Json:
        """As a JSON object."""
        return {
            "path": self.path,
            "product": self.product,
            "score": rounded(self.score),
            "faces": [face.to_json() for face in self.faces],
            "warnings": list(self.warnings),
            "outcome": self.outcome.value,
            "label": self.label,
            "title": self.title,
            "face": self.face,
            "height": self.height,
            "width": self.width,
            "model_versions": dict(self.model_versions),
            "starter": list(self.starter),
        }


@dataclass(frozen=True)
class Failure:
    """A picture that got no answer."""

    path: str
    kind: str
    message: str
    server: bool
    """Whether the server or the way to it is at fault; otherwise the picture is."""
    ends_run: bool
    """Whether no other picture could have fared better."""

    @classmethod
    def of(cls, path: str, error: AdlensError) -> Failure:
        """The failure of ``path`` with ``error``."""
        return cls(
            path, error.kind, str(error), isinstance(error, ServerError) or error.ends_run, error.ends_run
        )

    def to_json(self) -> Json:
        """As a JSON object."""
        return {"path": self.path, "error": {"kind": self.kind, "message": self.message}}

    def __str__(self) -> str:
        """The message, with the path in front unless it names it already."""
        return self.message if self.message.startswith(self.path) else f"{self.path}: {self.message}"


@dataclass(frozen=True)
class UserAnswer:
    """The recommendation for a user, from a folder of pictures.

    Attributes:
        user: the folder.
        outcome: how it ended; ``product``, ``label``, ``score``, ``share``, ``shown`` and ``face``
            are None unless it is ``RECOMMENDED``.
        product: what to recommend.
        label: the label that the product is for.
        score: the label's probability in the picture shown.
        share: pictures that are positive for the label over ``pictures_with_face``.
        shown: the picture with the highest score for the label.
        face: index into ``shown.faces`` of the face that shows it.
        title: the recommendation, or the outcome, in words to be shown.
        shares: share of every label that is sold.
        pictures: picture files in the folder.
        pictures_with_face: those of them in which a face was large enough to be judged.
        failed: those of them that got no answer.
        failures: the first of these.
        warnings: what stands against trusting the answer.
    """

    user: str
    outcome: Outcome
    product: str | None
    label: str | None
    score: float | None
    share: float | None
    shown: PictureAnswer | None
    face: int | None
    title: str
    shares: Mapping[str, float]
    pictures: int
    pictures_with_face: int
    failed: int
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def picture(self) -> str | None:
        """Name of the picture shown."""
        return self.shown.path if self.shown else None

    def to_json(self) -> Json:
        """As a JSON object."""
        return {
            "user": self.user,
            "product": self.product,
            "score": rounded(self.score),
            "share": rounded(self.share),
            "picture": self.picture,
            "face": self.face,
            "pictures": self.pictures,
            "pictures_with_face": self.pictures_with_face,
            "failed": self.failed,
            "failures": [failure.to_json() for failure in self.failures],
            "warnings": list(self.warnings),
            "outcome": self.outcome.value,
            "label": self.label,
            "title": self.title,
            "shares": _rounded_values(self.shares),
        }


@dataclass(frozen=True)
class Health:
    """What a server showed by answering a real request: weights by leaf model, and the time taken."""

    url: str
    server: str
    model: str
    latency_ms: float
    model_versions: Mapping[str, str]
    starter: tuple[str, ...]

    def to_json(self) -> Json:
        """As a JSON object."""
        return {
            "url": self.url,
            "server": self.server,
            "model": self.model,
            "latency_ms": round(self.latency_ms, 1),
            "model_versions": dict(self.model_versions),
            "starter": list(self.starter),
        }


def rounded(value: float | None) -> float | None:
    """To four digits, as all figures in JSON."""
    return None if value is None else round(value, 4)


def percent(probability: float, digits: int = 0) -> str:
    """In words to be shown."""
    return f"{probability * 100:.{digits}f} %"


def told_apart(one: float, other: float) -> tuple[str, str]:
    """Both in words, with as many digits as it takes to see that they differ, two at most."""
    for digits in range(3):
        words = percent(one, digits), percent(other, digits)
        if words[0] != words[1]:
            break
    else:
        return percent(one), percent(other)
    return words


def _rounded_values(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}
