"""What a caller gets back who asks for an ad: frozen results, each with its JSON form.

Similarities are cosines of face embeddings, -1 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from adlens.answers import Face, Json, Match, rounded
from adlens.customers import OfferAnswer


class AdOutcome(StrEnum):
    """How the search for a campaign photo ended."""

    MATCHED = "matched"
    NO_SIMILAR_FACE = "no similar face"
    NO_FACE = "no face detected"
    NONE_PASSES = "no photo passes the filter"
    EMPTY_GALLERY = "empty gallery"

    @property
    def wording(self) -> str:
        """As the title of a picture that gets no campaign photo."""
        return self.value.capitalize()


@dataclass(frozen=True)
class MatchedFace(Face):
    """A face, and the campaign photos most similar to it, the best first; below the threshold, too."""

    matches: tuple[Match, ...] = ()

    def _found(self) -> Json:
        return {"matches": [match.to_json() for match in self.matches]}


@dataclass(frozen=True)
class AdAnswer:
    """The ad for the person in one picture.

    Attributes:
        path: the picture's name.
        outcome: how it ended.
        nearest: the photo most similar to the main face, similar enough or not; None without any.
        threshold: two faces are taken for similar from this similarity on.
        face: index into ``faces`` of the main face, the large and central one, which decides.
        offer: to the customer, whatever the outcome; None where no customer was given.
        title: the ad, or the outcome, in words to be shown.
        height: of the upright picture, in pixels.
        width: the same.
        faces: every face found, the largest first.
        photos: in the gallery; None where it is not the server's.
        passing: of those, the ones that pass the filter.
        warnings: what stands against trusting the answer.
        model_versions: weights that answered, by leaf model.
        starter: leaf models that run on starter weights.
    """

    path: str
    outcome: AdOutcome
    nearest: Match | None
    threshold: float
    face: int | None
    offer: OfferAnswer | None
    title: str
    height: int
    width: int
    faces: tuple[MatchedFace, ...] = ()
    photos: int | None = None
    passing: int | None = None
    warnings: tuple[str, ...] = ()
    model_versions: Mapping[str, str] = field(default_factory=dict)
    starter: tuple[str, ...] = ()

    @property
    def photo(self) -> str | None:
        """Id of the campaign photo to show; None unless the outcome is ``MATCHED``."""
        return self.nearest.id if self.nearest and self.outcome is AdOutcome.MATCHED else None

    @property
    def similarity(self) -> float | None:
        """Of ``nearest``."""
        return self.nearest.score if self.nearest else None

    @property
    def evidence(self) -> str:
        """What the campaign photo rests on, in words to be shown; empty without any."""
        said = [f"face {self.face + 1} of {len(self.faces)}"] if self.face is not None else []
        if self.nearest:
            named = "" if self.photo else f"nearest {self.nearest.id}, "
            said = [f"{named}similarity {self.nearest.score:.3f}, {self.threshold:.3f} needed", *said]
        return ", ".join(said)

    def to_json(self) -> Json:
        """As a JSON object."""
        return {
            "path": self.path,
            "photo": self.photo,
            "similarity": rounded(self.similarity),
            "threshold": rounded(self.threshold),
            "offer": self.offer.to_json() if self.offer else None,
            "faces": [face.to_json() for face in self.faces],
            "warnings": list(self.warnings),
            "outcome": self.outcome.value,
            "nearest": self.nearest.to_json() if self.nearest else None,
            "title": self.title,
            "face": self.face,
            "photos": self.photos,
            "passing": self.passing,
            "height": self.height,
            "width": self.width,
            "model_versions": dict(self.model_versions),
            "starter": list(self.starter),
        }
