"""What a caller gets back who asks how popular a post will be: frozen results, with JSON forms.

Probabilities lie in [0, 1] and are calibrated. The classes are ordered, so pictures are ranked by the class
to be expected, P(neutral) + 2 P(high), 0 to 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Final

from adlens import contract
from adlens.answers import Failure, Json, percent, rounded, told_apart
from adlens.features import listed
from adlens.posts import SPOKEN

NO_SIGNAL: Final = "Not enough signal"
"""How a title begins where answers mean nothing."""
CONTEXT: Final = "context"
IMAGE: Final = "image"
"""What a model may read, as its card says."""


@dataclass(frozen=True)
class EngagementAnswer:
    """How popular a post with one picture will be.

    Attributes:
        path: the picture's name.
        probabilities: of each of ``contract.ENGAGEMENT_CLASSES``, in that order.
        known: what was known of the post, by ``contract.POST_FIELDS``.
        reads: what the model reads: ``image``, ``context``, or both.
        signal: whether the model was significantly more often right, on posts it had not seen, than whoever
            always says the most frequent class; where it was not, its probabilities mean nothing. Measured
            without context where none was known of this post either.
        accuracy: share of those posts of which it was right.
        majority: share of those posts that are of the most frequent class.
        picture_signal: the same by the picture alone: whether pictures of the same context can be ranked.
        picture_accuracy: share of those posts of which it was right by the picture alone.
        boundaries: likes and comments together from which on a post is neutral, and above which it is high;
            none where each account has boundaries of its own.
        height: of the upright picture, in pixels.
        width: the same.
        warnings: what stands against trusting the answer.
        model_versions: weights that answered, by leaf model.
        starter: leaf models that were trained on generated posts, or run on starter weights.
    """

    path: str
    probabilities: Mapping[str, float]
    known: Mapping[str, float]
    reads: tuple[str, ...]
    signal: bool
    accuracy: float
    majority: float
    picture_signal: bool
    picture_accuracy: float
    boundaries: tuple[float, ...]
    height: int
    width: int
    warnings: tuple[str, ...] = ()
    model_versions: Mapping[str, str] = field(default_factory=dict)
    starter: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The most probable class; of equals, the lower one."""
        return max(self.probabilities, key=lambda label: self.probabilities[label])

    @property
    def expected(self) -> float:
        """The class to be expected, 0 (low) to 2 (high)."""
        low_to_high = enumerate(contract.ENGAGEMENT_CLASSES)
        return sum(place * self.probabilities[label] for place, label in low_to_high)

    @property
    def missing(self) -> tuple[str, ...]:
        """Fields of the context that the model reads, and that were not known."""
        wanted = contract.POST_FIELDS if CONTEXT in self.reads else ()
        return tuple(name for name in wanted if name not in self.known)

    @property
    def title(self) -> str:
        """The answer, in words to be shown."""
        if not self.signal:
            return f"{NO_SIGNAL} to say how popular this will be"
        others = sorted(self.probabilities, key=lambda label: -self.probabilities[label])
        rest = ", ".join(f"{label} {percent(self.probabilities[label])}" for label in others[1:])
        return f"{self.label.capitalize()} engagement: {percent(self.probabilities[self.label])} ({rest})"

    @property
    def notes(self) -> tuple[str, ...]:
        """What the answer rests on, and what it means, in words to be shown."""
        return (*self._basis(), self._meaning())

    def _basis(self) -> Iterator[str]:
        image, context = IMAGE in self.reads, CONTEXT in self.reads
        if not context:
            ignored = "; what was said of the post counts for nothing" if self.known else ""
            yield f"judged by the picture alone, as this model reads nothing else{ignored}"
            return
        if not image:
            yield "judged without the picture: this model reads nothing but what is known of the post"
        if not self.missing:
            yield f"all that this model reads of a post was known: {_spoken(contract.POST_FIELDS)}"
        elif self.known:
            yield f"not known of the post: {_spoken(self.missing)}"
        else:
            without = "judged by the picture alone" if image else "the answer is that for any post"
            yield f"nothing was known of the post ({_spoken(self.missing)}): {without}"

    def _meaning(self) -> str:
        if not self.boundaries:
            return "low, neutral and high are meant as each account's own past posts were"
        low, high = self.boundaries
        return f"low: fewer than {low:,.0f} likes and comments together; high: more than {high:,.0f}"

    def to_json(self) -> Json:
        """As a JSON object."""
        return {
            "path": self.path,
            "label": self.label,
            "probabilities": {label: rounded(value) for label, value in self.probabilities.items()},
            "expected": rounded(self.expected),
            "signal": self.signal,
            "accuracy": rounded(self.accuracy),
            "majority": rounded(self.majority),
            "picture_signal": self.picture_signal,
            "picture_accuracy": rounded(self.picture_accuracy),
            "boundaries": list(self.boundaries) or None,
            "known": {name: rounded(value) for name, value in self.known.items()},
            "missing": list(self.missing),
            "reads": list(self.reads),
            "title": self.title,
            "notes": list(self.notes),
            "warnings": list(self.warnings),
            "height": self.height,
            "width": self.width,
            "model_versions": dict(self.model_versions),
            "starter": list(self.starter),
        }


@dataclass(frozen=True)
class EngagementRanking:
    """Candidate pictures of one account.

    Attributes:
        ranked: the best first; of those whose figures are equal to the four digits of JSON, the one that was
            given first.
        failures: of candidates that got no answer.
    """

    ranked: tuple[EngagementAnswer, ...]
    failures: tuple[Failure, ...] = ()

    @classmethod
    def of(cls, answers: Iterable[EngagementAnswer | Failure]) -> EngagementRanking:
        """The ranking of ``answers``, in the order in which the candidates were given."""
        given = list(answers)
        found = [answer for answer in given if isinstance(answer, EngagementAnswer)]
        failures = tuple(answer for answer in given if isinstance(answer, Failure))
        return cls(tuple(sorted(found, key=lambda answer: -round(answer.expected, 4))), failures)

    @property
    def best(self) -> EngagementAnswer | None:
        """The first; None without any."""
        return next(iter(self.ranked), None)

    @property
    def signal(self) -> bool:
        """Whether the order means anything; that of pictures of one context rests on what is seen."""
        alike = all(answer.known == self.ranked[0].known for answer in self.ranked)
        return bool(self.ranked) and all(
            answer.signal and (answer.picture_signal or not alike or len(self.ranked) == 1)
            for answer in self.ranked
        )

    @property
    def tied(self) -> tuple[EngagementAnswer, ...]:
        """Those whose figures are equal to the best one's, itself among them."""
        best = self.best
        found = (each for each in self.ranked if best and _same(each, best))
        return tuple(found)

    @property
    def decided(self) -> bool:
        """Whether one is better than the others, and that means something."""
        return self.signal and len(self.tied) == 1

    @property
    def title(self) -> str:
        """What to post, in words to be shown."""
        best, number = self.best, len(self.ranked)
        if best is None:
            return "None of the pictures could be judged"
        if not self.signal:
            return f"{NO_SIGNAL} to say which of {number} pictures is best"
        if number == 1:
            return best.title
        if not self.decided:
            every = "The" if len(self.tied) == number else "The best"
            return f"{every} {len(self.tied)} pictures cannot be told apart: {best.title.lower()}"
        first, second = (each.probabilities["high"] for each in self.ranked[:2])
        high, next_high = told_apart(first, second)
        if first < second or high == next_high:
            return f"Post {self.named(best)}: {best.title.lower()}"
        return f"Post {self.named(best)}: high engagement {high}, the next best {next_high}"

    @property
    def notes(self) -> tuple[str, ...]:
        """Those that hold for all."""
        return _common(answer.notes for answer in self.ranked)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Those that hold for all, and what stands against the order itself."""
        versions = {tuple(sorted(answer.model_versions.items())) for answer in self.ranked}
        mixed = ("the model was replaced meanwhile; rank again",) if len(versions) > 1 else ()
        return (*mixed, *self._unseen(), *_common(answer.warnings for answer in self.ranked))

    def _unseen(self) -> Iterator[str]:
        """What stands against the order alone: the answers' signal comes from what all have in common."""
        if self.ranked and not self.signal and all(answer.signal for answer in self.ranked):
            yield no_signal(self.ranked[0].picture_accuracy, self.ranked[0].majority, alone=True)

    def named(self, answer: EngagementAnswer) -> str:
        """The file of ``answer``, with as many of its folders as tell it from the others'."""
        parts = PurePath(answer.path).parts
        others = [PurePath(each.path).parts for each in self.ranked if each is not answer]
        for number in (1, 2):
            if parts[-number:] not in [other[-number:] for other in others]:
                return "/".join(parts[-number:])
        return answer.path

    def to_json(self) -> Json:
        """As a JSON object."""
        return {
            "best": self.best.path if self.best and self.decided else None,
            "title": self.title,
            "signal": self.signal,
            "ranked": [answer.to_json() for answer in self.ranked],
            "failures": [failure.to_json() for failure in self.failures],
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }


def no_signal(accuracy: float, majority: float, alone: bool) -> str:
    """What stands against a model that is no better than the most frequent class, in words to be shown.

    Args:
        accuracy: of the model.
        majority: of always saying the most frequent class.
        alone: whether the model knew nothing but the picture.
    """
    right, frequent = told_apart(accuracy, majority)
    return (
        f"{NO_SIGNAL.lower()}: on posts it had not seen, this model was right in {right} of cases"
        f"{' by the picture alone' if alone else ''}, and always saying the most frequent class in {frequent}"
    )


def _same(one: EngagementAnswer, other: EngagementAnswer) -> bool:
    return round(one.expected, 4) == round(other.expected, 4)


def _common(texts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """What all say, in the order in which the first says it."""
    first, *others = [*texts] or [()]
    return tuple(text for text in first if all(text in other for other in others))


def _spoken(names: Iterable[str]) -> str:
    spoken = [SPOKEN[name] for name in names]
    return listed(spoken, len(spoken))
