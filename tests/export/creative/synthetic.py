"""Logits as a network that tells variants apart gives them, of pictures that there are none of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.creative.reading import Catalogue

VARIANTS = ("brighter", "darker", "original", "rotate", "sketch", "swivel")
WEIGHTS = "0123456789abcdef"


def catalogue(pictures: int, products: int = 40) -> Catalogue:
    """Files that need not exist."""
    names = tuple(f"product {number % products}" for number in range(pictures))
    return Catalogue(Path("shop"), tuple(Path(f"{number}.jpg") for number in range(pictures)), names)


def logits(pictures: int, seed: int = 1, gap: float = 9) -> NDArray[np.float32]:
    """float32 [pictures, variants, kinds]; each variant's own kind stands out by ``gap``, of noise of 1.5."""
    random = np.random.default_rng(seed)
    kinds = len(VARIANTS)
    noise = random.normal(0, 1.5, (pictures, kinds, kinds)) + random.normal(0, 2, (pictures, kinds, 1))
    return (noise + gap * np.eye(kinds)).astype(np.float32)
