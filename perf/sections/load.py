"""Throughput and latency of job 1 over load: more and more callers, and requests at random moments.

A closed loop finds the peak; an open loop (Poisson) at shares of it shows how long users would wait, whose
requests do not wait for each other.
"""

from __future__ import annotations

from dataclasses import asdict

import click
import numpy as np

from adlens import contract
from perf.findings import Findings
from perf.serving import served
from perf.setting import Setting
from perf.subjects import FAST, is_served

IN_FLIGHT = (1, 2, 4, 16)
SHARES = (0.5, 0.7, 0.9)
"""Of the peak."""
JUDGED = 0.7
"""The share of which 99 % is a target: it is measured for twice as long."""
ARRIVALS, SEED = 1_000_000, 0
"""Of the queue that nobody can be faster than."""
LONGER = 4
"""Times the window of closed loops: at half the load, answers come more rarely."""


def measure(setting: Setting, findings: Findings) -> None:
    """``recommend_products``, and the fast ensemble where there is one."""
    with served() as url:
        for model in (contract.RECOMMEND_PRODUCTS, FAST):
            if not is_served(url, model):
                findings.fail(model, "not in this repository")
                continue
            try:
                _curves(setting, findings, url, model)
            except click.ClickException as error:
                findings.fail(model, error.message)


def _curves(setting: Setting, findings: Findings, url: str, model: str) -> None:
    rows = [{contract.IMAGE: jpeg} for jpeg in setting.pictures]
    with setting.analyzer(url, rows) as analyzer:
        closed = []
        for in_flight in IN_FLIGHT:
            closed.append(analyzer.closed(model, in_flight, setting.window_s))
            findings.put(f"{model} closed", [asdict(each) for each in closed])
        peak, unloaded = max(each.rate for each in closed), closed[0].p50_ms
        opened = []
        for share in SHARES:
            window_s = setting.window_s * LONGER * (2 if share == JUDGED else 1)
            found = analyzer.opened(model, share * peak, window_s)
            opened.append({"share": share, **asdict(found)})
            findings.put(f"{model} open", opened)
            if share == JUDGED:
                findings.ratio(f"p99_at_70_to_unloaded/{model}", [found.p99_ms / unloaded])
                least_ms = 1e3 * least_p99_s(peak, share)
                findings.ratio(f"least_p99_at_70_to_unloaded/{model}", [least_ms / unloaded])


def least_p99_s(peak: float, share: float) -> float:
    """Seconds within which 99 % of requests that come at random moments are answered, at best.

    By one that answers ``peak`` a second, each in the same time and all cores on one request, where
    ``share`` of that is asked for: Lindley's recursion (Proc. Cambridge Phil. Soc. 48(2), 1952).
    """
    gaps = np.random.default_rng(SEED).exponential(1 / (share * peak), ARRIVALS)
    behind = np.cumsum(1 / peak - gaps)
    waits = behind - np.minimum.accumulate(np.minimum(behind, 0.0))
    return float(np.percentile(waits, 99)) + 1 / peak
