"""Answers a second of a closed loop, from when they came.

Their number over the length of a window would depend on where the window's ends fall: of 16 callers that get
7 answers a second, and some of these together, two more or fewer are 5 %. So the middle of the window weighs
most, and its ends nothing (Hann's window: F. J. Harris, Proceedings of the IEEE 66(1), 1978): answers that
all come together every second are counted exactly in two seconds, and within 6 % in any longer time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

TURNS: Final = 2
"""Answers that each caller has had when a window begins: then what is in flight is as it stays."""
LONGEST: Final = 3
"""Times the longest answer that a window lasts at least: two would do, were all as long."""


def rate(answers: Sequence[float] | NDArray[np.float64], begin: float, end: float) -> float:
    """Answers a second between two moments.

    Args:
        answers: when they came, seconds, in any order; those outside do not count.
        begin: of the window, seconds.
        end: of the window, seconds.
    """
    moments = np.asarray(answers, np.float64)
    inside = moments[(begin <= moments) & (moments < end)]
    weights = 2 * np.sin(np.pi * (inside - begin) / (end - begin)) ** 2
    return float(weights.sum() / (end - begin))
