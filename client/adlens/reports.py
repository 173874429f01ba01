"""How the command line shows answers: text to read, one JSON object a line, or CSV.

In JSON a picture's object has "path", one of a user "user", and one of a failure "path" and "error".
"""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

from adlens import contract
from adlens.ads import AdAnswer
from adlens.answers import Failure, JudgedFace, PictureAnswer, UserAnswer, percent
from adlens.creatives import Alternate, CreativeAnswer
from adlens.engagement import EngagementAnswer, EngagementRanking

_Answer = TypeVar("_Answer", contravariant=True)
_ProductAnswer = PictureAnswer | UserAnswer | Failure


class Report(ABC, Generic[_Answer]):
    """Turns answers into lines."""

    header: str | None = None
    """Printed before all answers."""

    @abstractmethod
    def line(self, answer: _Answer, drawing: Path | None) -> str | None:
        """Write ``answer``, whose ``drawing`` lies there; None where this form shows nothing."""


class Text(Report[_ProductAnswer]):
    """For people. Failures are left to standard error."""

    def line(self, answer: _ProductAnswer, drawing: Path | None) -> str | None:
        """See ``Report``."""
        if isinstance(answer, Failure):
            return None
        if isinstance(answer, UserAnswer):
            name, evidence = f"{answer.user} (user)", _evidence_of_user(answer)
        else:
            name, evidence = answer.path, _evidence_of_picture(answer)
        return _text(name, answer.title, evidence, (), answer.warnings, drawing)


class AdText(Report[AdAnswer | Failure]):
    """For people, likewise."""

    def line(self, answer: AdAnswer | Failure, drawing: Path | None) -> str | None:
        """See ``Report``."""
        if isinstance(answer, Failure):
            return None
        offer = answer.offer
        said = [offer.title, *([str(offer.loyalty)] if offer.loyalty else [])] if offer else []
        return _text(answer.path, answer.title, answer.evidence, said, answer.warnings, drawing)


@dataclass(frozen=True)
class Creative:
    """An answer, and the files of the variants that were written, by label."""

    answer: CreativeAnswer
    files: Mapping[str, Path] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        written = {"files": {label: str(path) for label, path in self.files.items()}} if self.files else {}
        return self.answer.to_json() | written


class CreativeText(Report[Creative | Failure]):
    """For people, likewise."""

    def line(self, answer: Creative | Failure, drawing: Path | None) -> str | None:
        """See ``Report``."""
        if isinstance(answer, Failure):
            return None
        found = answer.answer
        said = [", ".join(f"{each.label} {percent(each.probability)}" for each in found.versions)]
        if found.best_alternate:
            best, *others = map(_alternate, found.alternates)
            said.append("; then ".join(filter(None, (f"best alternate: {best}", ", ".join(others[:2])))))
        said += [f"written to {path}" for path in answer.files.values()]
        return _text(found.path, found.title, "", said, found.warnings, drawing)


@dataclass(frozen=True)
class Ranked:
    """An answer, and its place in a ranking, from 1."""

    answer: EngagementAnswer
    rank: int

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"rank": self.rank, **self.answer.to_json()}


Engagement = EngagementAnswer | EngagementRanking


class EngagementText(Report[Engagement | Failure]):
    """For people, likewise; what holds for all pictures of a ranking is said once."""

    def line(self, answer: Engagement | Failure, drawing: Path | None) -> str | None:
        """See ``Report``."""
        if isinstance(answer, Failure):
            return None
        if isinstance(answer, EngagementAnswer):
            said = [*([] if answer.signal else [_probabilities(answer)]), *answer.notes]
            return _text(answer.path, answer.title, "", said, answer.warnings, drawing)
        notes, warnings = set(answer.notes), set(answer.warnings)
        said = []
        for rank, each in enumerate(answer.ranked, 1):
            said.append(f"{rank}. {each.path}: {_probabilities(each)}")
            said += [f"   {note}" for note in each.notes if note not in notes]
            said += [f"   warning: {warning}" for warning in each.warnings if warning not in warnings]
        return _text("", answer.title, "", [*said, *answer.notes], answer.warnings, drawing)


class _HasJson(Protocol):
    def to_json(self) -> dict[str, Any]: ...


class Json(Report[_HasJson]):
    """One object a line."""

    def line(self, answer: _HasJson, drawing: Path | None) -> str:
        """See ``Report``."""
        row = answer.to_json()
        if drawing:
            row["drawing"] = str(drawing)
        return json.dumps(row, ensure_ascii=False)


class Csv(Report[_ProductAnswer]):
    """One row an answer, flat: of the faces, the one that decides."""

    columns: Final = (
        *("type", "path", "user", "product", "label", "score", "outcome", "title"),
        *("share", "pictures", "pictures_with_face", "failed"),
        *("faces", "face", "box", "attributes", "warnings", "drawing", "error_kind", "error"),
    )

    def __init__(self) -> None:
        """Prepare the header."""
        self.header = _csv_row(list(self.columns))

    def line(self, answer: _ProductAnswer, drawing: Path | None) -> str:
        """See ``Report``."""
        row = self._failure(answer) if isinstance(answer, Failure) else self._answer(answer)
        row["drawing"] = drawing
        return _csv_row([row.get(column) for column in self.columns])

    @staticmethod
    def _failure(failure: Failure) -> dict[str, Any]:
        return {
            "type": "failure",
            "path": failure.path,
            "error_kind": failure.kind,
            "error": failure.message,
        }

    @staticmethod
    def _answer(answer: PictureAnswer | UserAnswer) -> dict[str, Any]:
        row = answer.to_json()
        user = isinstance(answer, UserAnswer)
        shown = answer.shown if isinstance(answer, UserAnswer) else answer
        face = shown.faces[answer.face] if shown and answer.face is not None else None
        return row | {
            "type": "user" if user else "picture",
            "path": shown.path if shown else None,
            "faces": len(shown.faces) if shown else None,
            "box": " ".join(map(str, face.box.to_json())) if face else None,
            "attributes": _attributes(face) if face else None,
            "warnings": "; ".join(answer.warnings),
        }


def _text(
    name: str, title: str, evidence: str, more: Sequence[str], warnings: Sequence[str], drawing: Path | None
) -> str:
    lines = [f"{name}{': ' if name else ''}{title}{f' ({evidence})' if evidence else ''}"]
    lines += [f"  {line}" for line in more]
    lines += [f"  warning: {warning}" for warning in warnings]
    if drawing:
        lines.append(f"  drawn to {drawing}")
    return "\n".join(lines)


def _csv_row(cells: list[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


def _attributes(face: JudgedFace) -> str:
    return " ".join(f"{label}={score:.4f}" for label, score in face.attributes.items())


def _evidence_of_picture(answer: PictureAnswer) -> str:
    if answer.score is None or answer.face is None:
        return _counted(len(answer.faces), "face") if answer.faces else ""
    return f"{answer.label} {answer.score:.2f}, face {answer.face + 1} of {len(answer.faces)}"


def _evidence_of_user(answer: UserAnswer) -> str:
    pictures = f"{_counted(answer.pictures, 'picture')}, {answer.pictures_with_face} with a face to judge"
    if answer.share is None:
        return pictures
    positive = round(answer.share * answer.pictures_with_face)
    return f"{pictures}, {answer.label} in {positive} of these; best seen in {answer.picture}"


def _probabilities(answer: EngagementAnswer) -> str:
    """Of each class, high first."""
    classes = reversed(contract.ENGAGEMENT_CLASSES)
    return ", ".join(f"{label} {percent(answer.probabilities[label])}" for label in classes)


def _alternate(found: Alternate) -> str:
    return f"{found.id} {percent(found.probability)} (similarity {found.similarity:.3f})"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
