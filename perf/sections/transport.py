"""Tensors in memory that caller and server share beside tensors in messages, in turns, on this machine.

The leaf takes a whole canvas of 1.2 MB: what crosses the wire weighs most where a picture is decoded already.
"""

from __future__ import annotations

from dataclasses import asdict

from adlens import contract
from adlens.transport import Connection, Endpoint
from perf import subjects
from perf.findings import Findings
from perf.serving import served
from perf.setting import Setting

MODEL = contract.DETECT_FACES
IN_FLIGHT = 4


def measure(setting: Setting, findings: Findings) -> None:
    """``detect_faces`` both ways."""
    with served(MODEL, contract.DECODE) as url, Connection(Endpoint(url)) as connection:
        rows = subjects.rows(connection, url, MODEL, setting.pictures)
        ratios = []
        with setting.analyzer(url, rows) as analyzer:
            for _ in range(setting.rounds):
                message = analyzer.closed(MODEL, IN_FLIGHT, setting.window_s)
                shared = analyzer.closed(MODEL, IN_FLIGHT, setting.window_s, shared_memory=True)
                ratios.append(shared.rate / message.rate)
                findings.put("message", asdict(message))
                findings.put("shared_memory", asdict(shared))
    findings.ratio(f"shared_memory_to_message/{MODEL}", ratios)
