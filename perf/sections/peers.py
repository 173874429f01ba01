"""What a user would pick instead, in turns: throughput, median and 99 % of each, and how adlens compares."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

import click

from adlens.errors import AdlensError
from perf.findings import Findings
from perf.peers.names import ADLENS, ADLENS_FAST, ADLENS_INT8, IN_PROCESS, SEED, SERVERS
from perf.peers.ways import WAYS, Figures
from perf.repository import ENSEMBLES, has_profile
from perf.setting import Setting
from perf.subjects import FAST

FAILURES = (click.ClickException, AdlensError, ValueError, OSError, subprocess.TimeoutExpired)


def measure(setting: Setting, findings: Findings) -> None:
    """All ways that can be had; one that fails once has no further turn."""
    found: dict[str, list[Figures]] = {way: [] for way in WAYS}
    left = dict(WAYS)
    if not (ENSEMBLES / FAST).exists():
        findings.fail(ADLENS_FAST, f"{FAST} is not in this repository")
        del left[ADLENS_FAST]
    if not has_profile(setting.int8_profile):
        findings.fail(ADLENS_INT8, f"no model has a configuration {setting.int8_profile!r}")
        del left[ADLENS_INT8]
    for _ in range(setting.rounds):
        for way, take in list(left.items()):
            try:
                found[way].append(take(setting))
            except FAILURES as error:
                findings.fail(way, error)
                del left[way]
            findings.put("rounds", {way: rounds for way, rounds in found.items() if rounds})
    compare(found, setting.in_flight, findings)


def compare(found: Mapping[str, Sequence[Figures]], in_flight: int, findings: Findings) -> None:
    """Ratios within each round, and what the same graphs reach in one process with no server."""

    def ratio(name: str, way: str, other: str, figure: str) -> None:
        pairs = zip(found[way], found[other], strict=False)
        if rounds := [a[figure] / b[figure] for a, b in pairs]:
            findings.ratio(name, rounds)

    ratio("adlens_to_seed", ADLENS, SEED, "rate")
    ratio("in_integers_to_seed", ADLENS_INT8, SEED, "rate")
    ratio("fast_to_seed", ADLENS_FAST, SEED, "rate")
    ratio("in_process_to_seed", IN_PROCESS, SEED, "rate")
    for peer in SERVERS:
        ratio(f"in_process_to_{peer}", IN_PROCESS, peer, "rate")
        ratio(f"adlens_to_{peer}", ADLENS, peer, "rate")
        ratio(f"p99_to_{peer}", ADLENS, peer, "p99_ms")
        # Mean time in a system: what is in it over what leaves it (Little, Operations Research 9(3), 1961).
        # The p99 is not below the mean.
        pairs = zip(found[IN_PROCESS], found[peer], strict=False)
        if rounds := [1e3 * in_flight / a["rate"] / b["p99_ms"] for a, b in pairs]:
            findings.ratio(f"least_p99_to_{peer}", rounds)
