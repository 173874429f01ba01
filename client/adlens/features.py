"""What a model knows of the values it takes: numbers in a range, and texts out of a list.

Customers' records (``adlens.customers``) and campaigns (``adlens.vocabulary``) are checked by it before
anything is sent. A message names the value, guesses what was meant, and lists what is known.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

SHOWN: Final = 8
"""Known names listed in a message, and faults of one record told at once."""
_LARGEST: Final = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Number:
    """A feature that is a number; ``low`` to ``high`` were seen in training."""

    name: str
    low: float
    high: float

    def encode(self, value: object) -> float:
        """The number itself.

        Raises:
            ValueError: it is none that fits float32.
        """
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            raise ValueError(f"{brief(value)} is no number; one such as {self.low:g} is needed")
        # A comparison and no conversion first: Python's integers have no largest one. NaN fails it too.
        if not -_LARGEST <= value <= _LARGEST:
            raise ValueError(f"{brief(value)} is not finite, or too large for 32 bits")
        return float(value)

    def to_json(self) -> dict[str, Any]:
        """As in SCHEMA."""
        return {"name": self.name, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Category:
    """A feature that is one of the texts ``values``; on the wire, the place among them."""

    name: str
    values: tuple[str, ...]

    def encode(self, value: object) -> float:
        """Its place.

        Raises:
            ValueError: it is none of the known texts.
        """
        if not isinstance(value, str):
            raise ValueError(f"{brief(value)} is no text; known: {listed(self.values)}")
        if value not in self.values:
            known = f"known: {listed(self.values)}"
            raise ValueError(f"unknown {brief(value)}{guess(value, self.values)}; {known}")
        return float(self.values.index(value))

    def to_json(self) -> dict[str, Any]:
        """As in SCHEMA."""
        return {"name": self.name, "values": list(self.values)}


Feature = Number | Category


def brief(value: object) -> str:
    """``value`` as in a message: of a long one the beginning."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def guess(name: str, known: Sequence[str]) -> str:
    """Which of ``known`` was meant by ``name``, as the end of a message; empty where none is like it."""
    by_case = {each.casefold(): each for each in known}
    found = difflib.get_close_matches(name.casefold(), by_case, n=1)
    return f", did you mean {by_case[found[0]]!r}?" if found else ""


def listed(names: Sequence[str], limit: int = SHOWN) -> str:
    """The first ``limit`` of ``names``, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A record of names and values, as ``json`` reads an object.

    Raises:
        ValueError: a name comes twice.
    """
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} comes twice")
    return record
