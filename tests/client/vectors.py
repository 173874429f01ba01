"""Vectors of people who do not exist, for tests of galleries."""

from __future__ import annotations

import numpy as np

from adlens import contract
from adlens.galleries.records import Record, Vectors

DIMENSION = contract.EMBEDDERS["dlib"]
HAIR = ("black", "brown", "grey", "red")
SEASONS = ("spring", "summer", "autumn")


def unit(count: int, seed: int = 0) -> Vectors:
    """Random directions, float32 [count, DIMENSION], always the same for the same seed."""
    vectors = np.random.default_rng(seed).standard_normal((count, DIMENSION), np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def people(count: int, seed: int = 0) -> list[Record]:
    """Records with attributes: hair by turns of four, season by turns of three."""
    return [
        Record(
            f"person-{number}",
            vector,
            {"hair": HAIR[number % 4], "season": SEASONS[number % 3]},
            f"/photos/{number}.jpg",
        )
        for number, vector in enumerate(unit(count, seed))
    ]
