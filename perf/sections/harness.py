"""What the harness, the wire and the server cost where nothing is computed: the null model."""

from __future__ import annotations

from dataclasses import asdict

from adlens import contract
from perf import inputs
from perf.findings import Findings
from perf.repository import NULL as REPOSITORY
from perf.serving import served
from perf.setting import Setting
from perf.subjects import NULL

SIDES = (128, 1536)
"""Pixels a side of the pictures sent."""


def measure(setting: Setting, findings: Findings) -> None:
    """One request at a time, and as many as elsewhere, for pictures of several sizes."""
    pictures = setting.pictures
    with served(repositories=[REPOSITORY]) as url:
        for side in SIDES:
            jpeg = inputs.sized(pictures[0], side)
            with setting.analyzer(url, [{contract.IMAGE: jpeg}]) as analyzer:
                found = [
                    asdict(analyzer.closed(NULL, in_flight, setting.window_s))
                    for in_flight in (1, setting.in_flight)
                ]
            findings.put(f"{side} pixels", {"bytes": len(jpeg), "loads": found})
