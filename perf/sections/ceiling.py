"""``recommend_products`` beside its own stages in one process without any server, in turns.

The ceiling is the better of two thread settings: a picture on each core, and one picture on all.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict

import numpy as np

from adlens import contract
from adlens.transport import Connection, Endpoint
from perf.callers import Answered, closed
from perf.findings import Findings
from perf.serving import served
from perf.setting import Setting
from perf.throughput import InProcess, Jpeg

MODEL = contract.RECOMMEND_PRODUCTS


def measure(setting: Setting, findings: Findings) -> None:
    """Served by callers in this process, by perf_analyzer where it is there, and the ceiling."""
    pictures = setting.pictures
    apart, together = InProcess(), InProcess(setting.cores)

    def run(callers: list[Callable[[Jpeg], object]]) -> Answered:
        return closed(callers, pictures, setting.seconds, setting.warm_up_s)

    with ExitStack() as stack:
        url = stack.enter_context(served(MODEL))
        connection = stack.enter_context(Connection(Endpoint(url)))

        def serve(jpeg: Jpeg) -> object:
            return connection.infer(MODEL, {contract.IMAGE: jpeg[np.newaxis]})

        ways: dict[str, Callable[[], dict[str, float]]] = {
            "served": lambda: asdict(run([serve] * setting.in_flight)),
            "in_process_apart": lambda: asdict(run([apart.run] * setting.cores)),
            "in_process_together": lambda: asdict(run([together.run])),
        }
        if setting.binary.exists():
            rows = [{contract.IMAGE: jpeg} for jpeg in pictures]
            analyzer = stack.enter_context(setting.analyzer(url, rows))
            ways["served_analyzer"] = lambda: asdict(
                analyzer.closed(MODEL, setting.in_flight, setting.window_s)
            )
        found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for _ in range(setting.rounds):
            for way, take in ways.items():
                found[way].append(take())
            findings.put("rounds", found)
    rates = {way: np.array([each["rate"] for each in rounds]) for way, rounds in found.items()}
    ceiling = np.maximum(rates["in_process_apart"], rates["in_process_together"])
    for way in ("served", "served_analyzer"):
        if way in rates:
            findings.ratio(f"{way}_to_in_process", (rates[way] / ceiling).tolist())
