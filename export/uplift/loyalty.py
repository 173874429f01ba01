"""How many owners of a manufacturer's phone stay with it: shares with Wilson's interval."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Final

from adlens.customers import Loyalty

_Z: Final = 1.959964
"""Standard normal quantile of 97.5 %, for 95 % confidence."""


def loyalty_table(phones: Iterable[tuple[str, str]]) -> tuple[Loyalty, ...]:
    """One row a manufacturer, the one with most owners first.

    Args:
        phones: manufacturer of the present and of the next phone, one pair a customer whose next phone
            is known.
    """
    owners: Counter[str] = Counter()
    stayers: Counter[str] = Counter()
    for present, following in phones:
        owners[present] += 1
        stayers[present] += present == following
    return tuple(
        Loyalty(manufacturer, count, stayers[manufacturer], *wilson_interval(stayers[manufacturer], count))
        for manufacturer, count in owners.most_common()
    )


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Bounds of a share with 95 % confidence (E. B. Wilson, JASA 22, 1927), to four digits."""
    share = successes / trials
    centre = share + _Z**2 / (2 * trials)
    half = _Z * math.sqrt(share * (1 - share) / trials + _Z**2 / (4 * trials**2))
    scale = 1 + _Z**2 / trials
    return round(max(0.0, (centre - half) / scale), 4), round(min(1.0, (centre + half) / scale), 4)
