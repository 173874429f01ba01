"""What the HTTP peers answer: the faces of a picture and their probabilities, for JSON."""

from __future__ import annotations

from typing import Any

from adlens import contract
from perf.embedding import Feed

Answer = dict[str, Any]


def answer(found: Feed) -> Answer:
    """Boxes and each backbone's probabilities, of faces alone: empty slots need not travel as text."""
    faces = min(int(found[contract.FACE_COUNT][0, 0]), contract.MAX_FACES)
    return {name: value[0, :faces].tolist() for name, value in found.items() if name != contract.FACE_COUNT}
