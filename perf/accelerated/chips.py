"""What a chip can do at most, as its maker says: dense operations and memory traffic, a second.

Sources: NVIDIA's data sheets of each; tensor cores without sparsity, fp32 outside of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Chip:
    """Peak rates: operations a second by precision, and bytes a second."""

    operations: dict[str, float]
    bytes_per_s: float


def _chip(fp32: float, tf32: float, fp16: float, int8: float, terabytes: float) -> Chip:
    rates = {"fp32": fp32, "tf32": tf32, "fp16": fp16, "int8": int8}
    return Chip({name: 1e12 * rate for name, rate in rates.items()}, 1e12 * terabytes)


CHIPS: Final = {
    "H200": _chip(67, 494, 989, 1979, 4.8),
    "H100 PCIe": _chip(51, 378, 756, 1513, 2.0),
    "H100": _chip(67, 494, 989, 1979, 3.35),
    "A100": _chip(19.5, 156, 312, 624, 2.0),
    "L40S": _chip(91.6, 183, 362, 733, 0.864),
    "L4": _chip(30.3, 60, 121, 242, 0.3),
    "A10": _chip(31.2, 62.5, 125, 250, 0.6),
    "T4": _chip(8.1, 8.1, 65, 130, 0.32),
}
"""By a part of the name that CUDA gives; the first that fits."""


def find(name: str) -> Chip | None:
    """The chip that CUDA calls ``name``, such as ``NVIDIA H200``; None for one that is not listed."""
    words = name.replace("-", " ").split()
    return next((chip for part, chip in CHIPS.items() if set(part.split()) <= set(words)), None)
