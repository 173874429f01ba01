"""What a caller gets back who asks which version of a picture converts best: frozen results, with JSON forms.

Probabilities lie in [0, 1] and are calibrated; similarities are cosines, -1 to 1. For the targets in
LOWER_IS_BETTER the lowest probability is the best, and comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from adlens import contract
from adlens.answers import Json, percent, rounded, told_apart

WORDS: Final = {
    "open_rate": "open it",
    "click_through": "click through",
    "abandoned_cart": "abandon the cart",
    "unsubscribed": "unsubscribe",
}
"""What people do, by target, as in a title."""
_SENT: Final = {
    "brighter": "brighter",
    "darker": "darker",
    "rotate": "turned by 90 degrees",
    "sketch": "as a sketch",
    "swivel": "swivelled",
    "background": "on another background",
    "recolour": "in another colour",
}
"""How a variant is sent, in words; any other by its label."""
_LOWER: Final = " (lower is better)"


@dataclass(frozen=True)
class Version:
    """A variant of the picture.

    Attributes:
        label: as the network's card has it.
        probability: of the target that was asked for.
        conversions: of each target.
    """

    label: str
    probability: float
    conversions: Mapping[str, float]

    def to_json(self) -> Json:
        """As a JSON object."""
        return {"label": self.label, **_probabilities(self)}


@dataclass(frozen=True)
class Alternate:
    """Another picture, out of the catalogue.

    Attributes:
        id: by which the catalogue knows it.
        similarity: to the picture that was given.
        probability: as it is, of the target that was asked for.
        conversions: of each target.
    """

    id: str
    similarity: float
    probability: float
    conversions: Mapping[str, float]

    def to_json(self) -> Json:
        """As a JSON object."""
        return {"id": self.id, "similarity": rounded(self.similarity), **_probabilities(self)}


@dataclass(frozen=True)
class CreativeAnswer:
    """How well a picture converts, its variants, and others like it.

    Attributes:
        path: the picture's name.
        target: what the probabilities are of, and what decides which is best.
        context: of the campaign, by name.
        original: the picture as it is.
        variants: the others, the best first.
        alternates: other pictures of the same type, the best first; none where none were asked for.
        height: of the upright picture, in pixels.
        width: the same.
        warnings: what stands against trusting the answer.
        model_versions: weights that answered, by leaf model.
        starter: leaf models that run on starter weights.
    """

    path: str
    target: str
    context: Mapping[str, str]
    original: Version
    variants: tuple[Version, ...]
    alternates: tuple[Alternate, ...]
    height: int
    width: int
    warnings: tuple[str, ...] = ()
    model_versions: Mapping[str, str] = field(default_factory=dict)
    starter: tuple[str, ...] = ()

    @property
    def lower_is_better(self) -> bool:
        """Whether the best is the lowest, as it is of what nobody wants to happen."""
        return self.target in contract.LOWER_IS_BETTER

    @property
    def probability(self) -> float:
        """Of the picture as it is."""
        return self.original.probability

    @property
    def best(self) -> Version | None:
        """The best variant, better than the picture as it is or not; None where no other is served."""
        return next(iter(self.variants), None)

    @property
    def best_alternate(self) -> Alternate | None:
        """None without any."""
        return next(iter(self.alternates), None)

    @property
    def versions(self) -> tuple[Version, ...]:
        """The picture as it is among its variants, the best first; of equals, the picture as it is."""
        return ranked((self.original, *self.variants), self.target)

    @property
    def recommended(self) -> Version:
        """The version to send: the best variant where it is better than the picture as it is."""
        return self.versions[0]

    @property
    def title(self) -> str:
        """What to do, in words to be shown."""
        best, does = self.best, WORDS.get(self.target, self.target)
        lower = _LOWER if self.lower_is_better else ""
        if best is None:
            return f"Keep the picture as it is: {percent(self.probability)} {does}{lower}"
        high, low = told_apart(self.recommended.probability, self._other(best).probability)
        if self.recommended is self.original:
            other = "and no variant does better" if high == low else f"{spoken(best.label)} {low}"
            return f"Keep the picture as it is: {high} {does}{lower}, {other}"
        return f"Send it {spoken(best.label)}: {high} {does}{lower}, the picture as it is {low}"

    def _other(self, best: Version) -> Version:
        """What the recommended version is held against."""
        return best if self.recommended is self.original else self.original

    def to_json(self) -> Json:
        """As a JSON object."""
        best, alternate = self.best, self.best_alternate
        return {
            "path": self.path,
            "target": self.target,
            "lower_is_better": self.lower_is_better,
            "context": dict(self.context),
            "probability": rounded(self.probability),
            "variants": [version.to_json() for version in self.variants],
            "best": best.to_json() if best else None,
            "alternates": [each.to_json() for each in self.alternates],
            "best_alternate": alternate.to_json() if alternate else None,
            "recommended": self.recommended.label,
            "title": self.title,
            "warnings": list(self.warnings),
            "original": self.original.to_json(),
            "height": self.height,
            "width": self.width,
            "model_versions": dict(self.model_versions),
            "starter": list(self.starter),
        }


Ranked = tuple[Version, ...]


def ranked(versions: Ranked, target: str) -> Ranked:
    """The best first; where figures are equal to the digits that are shown, in the order given."""
    return tuple(sorted(versions, key=lambda version: goodness(version.probability, target)))


def goodness(probability: float, target: str) -> float:
    """By which to sort, the best first; differences below the four digits of JSON count for nothing."""
    return round(probability, 4) * (1 if target in contract.LOWER_IS_BETTER else -1)


def spoken(label: str) -> str:
    """How the variant ``label`` is sent, in words to be shown."""
    return _SENT.get(label, f"as its variant '{label}'")


def _probabilities(what: Version | Alternate) -> Json:
    return {
        "probability": rounded(what.probability),
        "conversions": {target: round(value, 4) for target, value in what.conversions.items()},
    }
