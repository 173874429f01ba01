"""Which photos of a gallery may be found: a filter by their attributes, and its form on the wire."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from adlens import contract
from adlens.errors import BadRequest, UnknownAttribute

Filter: TypeAlias = Mapping[str, str | Collection[str]]
"""Attributes, each with the value that a photo must have, or several of which any will do."""


def clauses(where: Filter | None) -> dict[str, tuple[str, ...]]:
    """``where`` with all values as tuples."""
    return {
        name: (values,) if isinstance(values, str) else tuple(values)
        for name, values in (where or {}).items()
    }


def encode(where: Filter | None, attributes: Collection[str]) -> npt.NDArray[np.int64]:
    """FILTER for one picture, int64 [1, MAX_CLAUSES, MAX_ALTERNATIVES].

    Args:
        where: the filter; None or empty: every photo.
        attributes: what the gallery's photos have.

    Raises:
        UnknownAttribute: it chooses by another attribute.
        BadRequest: it has more attributes or values than travel, or an attribute without any value.
    """
    found = clauses(where)
    if unknown := sorted(found.keys() - set(attributes)):
        have = ", ".join(attributes) or "none"
        raise UnknownAttribute(f"filter by '{unknown[0]}', which the gallery lacks; its attributes: {have}")
    if len(found) > contract.MAX_CLAUSES:
        raise BadRequest(f"a filter by {len(found)} attributes; at most {contract.MAX_CLAUSES} travel")
    codes = np.zeros((1, contract.MAX_CLAUSES, contract.MAX_ALTERNATIVES), np.int64)
    for row, (name, values) in zip(codes[0], found.items(), strict=False):
        if not 0 < len(values) <= contract.MAX_ALTERNATIVES:
            raise BadRequest(
                f"filter by {len(values)} values of '{name}'; give 1 to {contract.MAX_ALTERNATIVES}"
            )
        row[: len(values)] = [contract.filter_code(name, value) for value in values]
    return codes
