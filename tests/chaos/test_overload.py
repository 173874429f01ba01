"""Asked for four times what it can do, the whole server still does what it can, and says no at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from adlens.errors import Overloaded
from export import generated
from perf.overload import ANSWERED, measure
from tests.chaos.conftest import Record
from tests.chaos.whole import serving

LOADS = (1, 2, 4)
LEAST_GOODPUT = 0.9
"""Of the peak."""
MOST_MS_TO_SAY_NO = 20

pytestmark = pytest.mark.chaos


def test_goodput_stays_and_refusals_are_quick(record: Record, tmp_path: Path) -> None:
    pictures = [np.fromfile(path, np.uint8) for path in generated.write_demo(tmp_path)]
    with serving() as (_, url):
        report = asyncio.run(measure(url, pictures, LOADS, in_flight=16, seconds=20, deadline_s=15))
    for row in report["loads"]:
        record(f"load of {row['load']} times the peak of {report['peak_per_s']} pictures/s", row)
    hardest = report["loads"][-1]
    refused = Overloaded.__name__
    assert set(hardest["outcomes"]) == {ANSWERED, refused}
    assert hardest["goodput_of_peak"] >= LEAST_GOODPUT
    assert hardest["outcomes"][refused]["p99_ms"] < MOST_MS_TO_SAY_NO
