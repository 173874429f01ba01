"""The sections of the benchmark, in the order in which they run, and how long each may take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from perf.findings import Findings
from perf.sections import (
    cache,
    ceiling,
    harness,
    load,
    memory,
    models,
    peers,
    precision,
    profile,
    scaling,
)
from perf.setting import Setting


@dataclass(frozen=True)
class Section:
    """What it measures, and its limit: what it has found until then stays."""

    measure: Callable[[Setting, Findings], None]
    limit_s: float


FULL: Final[Mapping[str, Section]] = {
    "harness": Section(harness.measure, 90),
    "ceiling": Section(ceiling.measure, 180),
    "peers": Section(peers.measure, 540),
    "load": Section(load.measure, 360),
    "models": Section(models.measure, 480),
    "precision": Section(precision.measure, 180),
    "profile": Section(profile.measure, 120),
    "cache": Section(cache.measure, 90),
    "pictures": Section(scaling.pictures, 120),
    "faces": Section(scaling.faces, 120),
    "galleries": Section(scaling.galleries, 150),
    "memory": Section(memory.measure, 150),
}
"""Of ``make bench``; the limit of ``memory`` is beside the minutes that it watches."""
APART: Final = frozenset({"memory"})
"""Measured where ``--only`` names it: it takes half as long as all others together."""
QUICK: Final[Mapping[str, Section]] = {
    "ceiling": Section(ceiling.measure, 150),
    "leaves": Section(models.measure_quick, 120),
}
"""Of ``make bench-quick``, whose ratios are held against the committed ones."""
