"""What a user would pick instead, in turns: throughput, median and 99 % of each, and how adlens compares."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

import click

from adlens.errors import AdlensError
from perf.findings import Findings
from perf.peers.names import ADLENS, ADLENS_FAST, SEED, SERVERS
from perf.peers.ways import WAYS, Figures
from perf.serving import served
from perf.setting import Setting
from perf.subjects import FAST, is_served

FAILURES = (click.ClickException, AdlensError, ValueError, OSError, subprocess.TimeoutExpired)


def measure(setting: Setting, findings: Findings) -> None:
    """All ways that can be had; one that fails once has no further turn."""
    found: dict[str, list[Figures]] = {way: [] for way in WAYS}
    left = dict(WAYS)
    with served() as url:
        if not is_served(url, FAST):
            findings.fail(ADLENS_FAST, f"{FAST} is not in this repository")
            del left[ADLENS_FAST]
    for _ in range(setting.rounds):
        for way, take in list(left.items()):
            try:
                found[way].append(take(setting))
            except FAILURES as error:
                findings.fail(way, error)
                del left[way]
            findings.put("rounds", {way: rounds for way, rounds in found.items() if rounds})
    compare(found, findings)


def compare(found: Mapping[str, Sequence[Figures]], findings: Findings) -> None:
    """Ratios within each round."""

    def ratio(name: str, way: str, other: str, figure: str) -> None:
        pairs = zip(found[way], found[other], strict=False)
        if rounds := [a[figure] / b[figure] for a, b in pairs]:
            findings.ratio(name, rounds)

    ratio("adlens_to_seed", ADLENS, SEED, "rate")
    ratio("fast_to_seed", ADLENS_FAST, SEED, "rate")
    for peer in SERVERS:
        ratio(f"adlens_to_{peer}", ADLENS, peer, "rate")
        ratio(f"p99_to_{peer}", ADLENS, peer, "p99_ms")
