"""The rate of a closed loop hardly depends on where its window begins and ends."""

from __future__ import annotations

import numpy as np
import pytest

from perf.rates import rate


@pytest.mark.parametrize("begin", [1.0, 1.01, 1.3, 1.99])
@pytest.mark.parametrize("length", [2.0, 2.37, 2.5, 3.0, 3.5, 3.99])
def test_answers_that_come_together_are_counted_alike_by_any_window(begin: float, length: float) -> None:
    together = np.repeat(np.arange(10.0), 8)
    assert rate(together, begin, begin + length) == pytest.approx(8, rel=0.06)


def test_answers_outside_the_window_do_not_count() -> None:
    inside = np.random.default_rng(0).uniform(5, 15, 10_000)
    assert rate(inside, 5, 15) == pytest.approx(1000, rel=0.03)
    assert rate(np.concatenate([inside, np.full(1000, 4.9), np.full(1000, 15.1)]), 5, 15) == rate(
        inside, 5, 15
    )
    assert rate([], 0, 1) == 0
