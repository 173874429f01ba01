"""Job 1, a folder of one user's pictures: which product to recommend to that user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from adlens import contract
from adlens.answers import Failure, Outcome, PictureAnswer, UserAnswer
from adlens.catalogue import Catalogue
from adlens.jobs.products import best_faces

KEPT_FAILURES: Final = 100
"""A folder may hold any number of pictures; what is kept of them must not grow with it."""


@dataclass
class _Label:
    """What the pictures so far say of one label: how many are positive, and the best of them."""

    positive: int = 0
    score: float = 0.0
    shown: PictureAnswer | None = None
    face: int = 0


class UserTally:
    """Counts the pictures of one user, one after the other, in constant memory.

    The label with the highest share of positive pictures, among those with a face large enough to be
    judged, wins; ties go to the higher score. (The IMG2RECOMMENDER project counted faces over pictures.)
    """

    def __init__(self, user: str, catalogue: Catalogue) -> None:
        """Begin to count for ``user``, the folder's name."""
        self._user = user
        self._catalogue = catalogue
        self._labels = {label: _Label() for label in catalogue.products}
        self._pictures = 0
        self._with_face = 0
        self._with_small_face = 0
        self._failed = 0
        self._failures: list[Failure] = []
        self._judged: PictureAnswer | None = None

    def add(self, answer: PictureAnswer | Failure) -> None:
        """Count one picture."""
        self._pictures += 1
        if isinstance(answer, Failure):
            self._failed += 1
            if len(self._failures) < KEPT_FAILURES:
                self._failures.append(answer)
            return
        best = best_faces(answer.faces)
        self._with_face += bool(best)
        self._with_small_face += bool(answer.faces) and not best
        if best and self._judged is None:
            self._judged = answer
        for label, face in best.items():
            if label in self._labels:
                self._count(self._labels[label], answer, face, answer.faces[face].attributes[label])

    @staticmethod
    def _count(label: _Label, answer: PictureAnswer, face: int, score: float) -> None:
        if score < contract.POSITIVE:
            return
        label.positive += 1
        if label.shown is None or score > label.score:
            label.score, label.shown, label.face = score, answer, face

    def answer(self) -> UserAnswer:
        """The recommendation from the pictures counted so far."""
        name, label = max(self._labels.items(), key=lambda item: (item[1].positive, item[1].score))
        recommended = label.shown is not None
        outcome = Outcome.RECOMMENDED if recommended else self._outcome_without_product()
        product = self._catalogue[name]
        return UserAnswer(
            user=self._user,
            outcome=outcome,
            product=product.product if recommended else None,
            label=name if recommended else None,
            score=label.score if recommended else None,
            share=label.positive / self._with_face if recommended else None,
            shown=label.shown,
            face=label.face if recommended else None,
            title=product.title if recommended else outcome.wording,
            shares={key: seen.positive / max(self._with_face, 1) for key, seen in self._labels.items()},
            pictures=self._pictures,
            pictures_with_face=self._with_face,
            failed=self._failed,
            failures=tuple(self._failures),
            warnings=self._warnings(label.shown or self._judged),
        )

    def _outcome_without_product(self) -> Outcome:
        if self._with_face:
            return Outcome.NO_ITEMS
        if self._with_small_face:
            return Outcome.FACES_TOO_SMALL
        return Outcome.NO_FACE if self._pictures > self._failed else Outcome.NOT_ANSWERED

    def _warnings(self, evidence: PictureAnswer | None) -> tuple[str, ...]:
        """What failed, and what the picture on which the answer rests was warned of."""
        warnings = [f"{evidence.path}: {warning}" for warning in evidence.warnings] if evidence else []
        if self._failed:
            counts = f"{self._failed} of {self._pictures} pictures were not answered"
            warnings.insert(0, f"{counts}; the first: {self._failures[0]}")
        return tuple(warnings)
