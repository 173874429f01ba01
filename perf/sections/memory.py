"""How the server's memory grows under load that does not end: MB a minute, after it has warmed up."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import asdict

import click
import numpy as np
import psutil

from adlens import contract
from adlens.transport import Connection, Endpoint
from perf.callers import Answered, closed
from perf.findings import Findings
from perf.serving import served
from perf.setting import Setting
from perf.throughput import Jpeg

EVERY_S = 2.0
WARM_UP = 0.25
"""Share of the time that does not count: pools are filled, and queues as full as they get."""
LEAST_MINUTES = 5
"""By which three periods come after the warm-up, and a little more."""
PERIOD_S = 60.0
"""In which a busy server gives back once what it has freed (``server/backends/heap.py``)."""


def measure(setting: Setting, findings: Findings) -> None:
    """Private memory of all the server's processes, under ``recommend_products`` for ``memory_minutes``.

    Raises:
        ClickException: that is too short for a figure.
        ValueError: a request failed.
    """
    if setting.memory_minutes < LEAST_MINUTES:
        raise click.ClickException(f"{setting.memory_minutes:g} minutes; watch for {LEAST_MINUTES} at least")
    model, seconds = contract.RECOMMEND_PRODUCTS, 60 * setting.memory_minutes
    answered: list[Answered] = []
    with served(model) as url, Connection(Endpoint(url)) as connection:
        own = [process for process in psutil.Process().children() if "server" in process.cmdline()]

        def call(jpeg: Jpeg) -> object:
            return connection.infer(model, {contract.IMAGE: jpeg[np.newaxis]})

        def load() -> None:
            answered.append(closed([call] * setting.in_flight, setting.pictures, seconds, 0))

        began, samples = time.monotonic(), []
        thread = threading.Thread(target=load)
        thread.start()
        while thread.is_alive():
            samples.append((round(time.monotonic() - began, 1), round(private_mb(own), 2)))
            findings.put("samples_s_mb", samples)
            thread.join(EVERY_S)
    if not answered:
        raise ValueError("a request failed under load; without errors alone there is a figure")
    findings.put("minutes", setting.memory_minutes)
    findings.put("load", asdict(answered[0]))
    findings.ratio("memory_mb_per_min", [growth(samples)])


def private_mb(processes: Sequence[psutil.Process]) -> float:
    """Memory in 10^6 bytes that the processes and all below them have for themselves alone."""
    whole = [each for process in processes for each in (process, *process.children(recursive=True))]
    total = 0
    for each in whole:
        try:
            total += each.memory_full_info().uss
        except psutil.Error:
            continue  # it has ended meanwhile
    return total / 1e6


def growth(samples: Sequence[tuple[float, float]]) -> float:
    """MB a minute, from samples of (seconds, MB), after the warm-up.

    That is the slope of the least-squares line through the median of each period, in which processes give
    back what they do not use at moments of their own.

    Raises:
        ValueError: fewer than three whole periods, by which growth would be chance.
    """
    seconds, megabytes = np.array(samples).T
    begin = WARM_UP * seconds[-1]
    periods = int((seconds[-1] - begin) / PERIOD_S)
    if periods < 3:
        raise ValueError(f"{seconds[-1]:.0f} s of samples; watch for at least {LEAST_MINUTES} minutes")
    of = ((seconds - begin) // PERIOD_S).astype(int)
    held = [np.median(megabytes[of == period]) for period in range(periods)]
    return float(np.polyfit(np.arange(periods) * PERIOD_S / 60, held, 1)[0])
