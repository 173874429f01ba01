"""Whether a graph in integers is as good as its original: limits that were fixed beforehand.

Held-out pictures go through both. Of each label the area under the ROC curve may fall by MAX_AUC_LOSS, and
what the trunk says of each picture, its embedding, must point the same way, to MIN_COSINE.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from export.graph import open_session
from export.heads import judge
from export.quantisation.integers import Feed, shown

MAX_AUC_LOSS: Final = 0.005
MIN_COSINE: Final = 0.99
"""Of the picture whose embedding has turned the most."""
_DIGITS: Final = 5


@dataclass(frozen=True)
class Exam:
    """Held-out pictures, and what is read of a graph's answers to them.

    Attributes:
        feeds: a picture each.
        embedding: tensor whose rows are held against the original's, an output or one inside.
        scores: output whose last axis holds a number a label; None where nothing is labelled.
        names: of the labels.
        truth: float32 [rows of scores over all pictures, labels] of 0, 1, NaN.
    """

    feeds: Sequence[Feed]
    embedding: str
    scores: str | None
    names: tuple[str, ...]
    truth: NDArray[np.float32]

    def take(self, graph: bytes, feeds: Sequence[Feed] | None = None) -> Answers:
        """Run a serialised graph over all pictures, or over ``feeds``, with one thread."""
        session = open_session(shown(graph, self.embedding), threads=1)
        wanted = [self.embedding, *([self.scores] if self.scores else [])]
        embeddings, scores = list[NDArray[Any]](), list[NDArray[Any]]()
        for feed in self.feeds if feeds is None else feeds:
            embedding, *rest = session.run(wanted, dict(feed))
            embeddings.append(embedding.reshape(len(embedding), -1))
            # A row a label that is asked for: the slots of other faces and variants are empty.
            scores += [each.reshape(-1, each.shape[-1])[:, : len(self.names)] for each in rest]
        rows = len(self.truth) // max(1, len(self.feeds))
        kept = [each[:rows] for each in scores] or [np.zeros((0, len(self.names)), np.float32)]
        return Answers(np.concatenate(embeddings), np.concatenate(kept))


@dataclass(frozen=True)
class Answers:
    """Of a graph to an exam: ``embeddings`` float32 [rows, length], ``scores`` float32 [rows, labels]."""

    embeddings: NDArray[np.float32]
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class Verdict:
    """How far integers are from floats: areas by label as (float, integer), cosines over all embeddings."""

    areas: dict[str, tuple[float, float]]
    lowest_cosine: float
    mean_cosine: float

    @property
    def holds(self) -> bool:
        """Whether all limits are kept."""
        return self.lowest_cosine >= MIN_COSINE and self.largest_loss <= MAX_AUC_LOSS

    @property
    def largest_loss(self) -> float:
        """Of area under the curve, over all labels; 0 where none is judged."""
        losses = (round(before - after, _DIGITS) for before, after in self.areas.values())
        return max(losses, default=0.0)

    def to_json(self) -> dict[str, Any]:
        """Figures by name."""
        return {
            "auc": {name: {"float": before, "int8": after} for name, (before, after) in self.areas.items()},
            "lowest_cosine": self.lowest_cosine,
            "mean_cosine": self.mean_cosine,
        }


def compare(exam: Exam, original: Answers, other: Answers) -> Verdict:
    """Hold the answers of a graph in integers against those of its original."""
    areas = {}
    if exam.scores:
        pairs = zip(judge(original.scores, exam.truth), judge(other.scores, exam.truth), strict=True)
        for name, (before, after) in zip(exam.names, pairs, strict=True):
            if not math.isnan(before.auc):
                areas[name] = (round(before.auc, _DIGITS), round(after.auc, _DIGITS))
    cosines = cosine(original.embeddings, other.embeddings)
    return Verdict(areas, *(round(float(each), _DIGITS) for each in (cosines.min(), cosines.mean())))


def cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of each row with its counterpart; 1 where both are 0."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    both_nothing = (np.abs(a).sum(1) + np.abs(b).sum(1)) == 0
    found: NDArray[np.float64] = np.where(both_nothing, 1.0, (a * b).sum(1) / np.maximum(lengths, 1e-30))
    return found


def distance(original: Answers, other: Answers) -> float:
    """How far answers are from the original's, as a share of these, embeddings and scores alike."""
    pairs = ((original.embeddings, other.embeddings), (original.scores, other.scores))
    shares = [
        float(np.linalg.norm(a.astype(np.float64) - b) / max(float(np.linalg.norm(a)), 1e-30))
        for a, b in pairs
        if a.size
    ]
    return sum(shares)
