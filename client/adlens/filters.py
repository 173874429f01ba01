"""Which photos of a gallery may be found: attribute to value, or to values of which any will do.

Of several attributes each must fit: ``{"campaign": ["spring", "summer"], "hair": "red"}``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from adlens import contract
from adlens.errors import BadFilter

Filter: TypeAlias = Mapping[str, str | Sequence[str]]


def parse(pairs: Iterable[str]) -> dict[str, list[str]]:
    """Read ``attribute=value`` texts; of one attribute that comes again any value will do.

    Raises:
        BadFilter: one is not of that form.
    """
    found: dict[str, list[str]] = {}
    for pair in pairs:
        attribute, equals, value = pair.partition("=")
        if not (attribute and equals):
            raise BadFilter(f"filter {pair!r}; write ATTRIBUTE=VALUE, such as campaign=summer")
        found.setdefault(attribute, []).append(value)
    return found


def alternatives(filter: Filter | None) -> dict[str, tuple[str, ...]]:  # noqa: A002 - the field's term
    """The values of each attribute, each once."""
    listed = {
        name: [values] if isinstance(values, str) else values for name, values in (filter or {}).items()
    }
    return {name: tuple(dict.fromkeys(values)) for name, values in listed.items()}


def encode(filter: Filter | None) -> npt.NDArray[np.int64]:  # noqa: A002
    """FILTER for one picture, int64 [1, MAX_CLAUSES, MAX_ALTERNATIVES]; of zeros where all may be found.

    Raises:
        BadFilter: more attributes, or values of one, than travel; none at all for one; or no text.
    """
    clauses = alternatives(filter)
    if len(clauses) > contract.MAX_CLAUSES:
        raise BadFilter(f"filter on {len(clauses)} attributes; at most {contract.MAX_CLAUSES} travel")
    codes = np.zeros((1, contract.MAX_CLAUSES, contract.MAX_ALTERNATIVES), np.int64)
    for clause, (attribute, values) in enumerate(clauses.items()):
        if not 0 < len(values) <= contract.MAX_ALTERNATIVES:
            raise BadFilter(
                f"filter on {attribute}: {len(values)} values; give 1 to {contract.MAX_ALTERNATIVES}"
            )
        try:
            codes[0, clause, : len(values)] = [contract.filter_code(attribute, value) for value in values]
        except UnicodeEncodeError as error:
            raise BadFilter(
                f"filter on {attribute!r}, {list(values)}: that is no UTF-8; correct it"
            ) from error
    return codes


def check(filter: Filter | None, attributes: Sequence[str]) -> None:  # noqa: A002
    """Refuse attributes that a gallery, which has ``attributes``, cannot choose by.

    Raises:
        BadFilter: there is one.
    """
    unknown = [name for name in filter or {} if name not in attributes]
    if unknown:
        known = f"it has {', '.join(attributes)}" if attributes else "it has none"
        raise BadFilter(f"the gallery has no attribute {', '.join(unknown)} to filter by; {known}")
