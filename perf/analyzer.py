"""Load from ``perf_analyzer``, NVIDIA's generator in C++: callers that take little of the server's processor.

``perf`` calls by Python, whose share of two cores a user's callers, on machines of their own, would not have.
The binary comes out of the last wheel of tritonclient that held it (``make analyzer``).

Every measurement warms up first, and then takes WINDOWS windows, one after the other. The first holds the
start of all callers at once, and a window's own count depends on where its ends fall (``perf.rates``): so the
rate of a closed loop is what its latencies in later windows tell, callers in flight over mean latency
(Little's law: Operations Research 9(3), 1961). How far windows are apart tells whether the figure is a steady
one. perf_analyzer ends at the first request that fails: with errors there is no figure. Moments of open loops
come out of a generator that perf_analyzer seeds with a constant.
"""

from __future__ import annotations

import base64
import csv
import json
import os
import re
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import click
from numpy.typing import NDArray

from perf.rates import TURNS

Row = Mapping[str, NDArray[Any]]
"""Inputs of one request by name, without the batch dimension."""

LIBRARIES: Final = ("nvidia/cuda_runtime/lib", "usr/lib/*")
"""Below the folder that ``bin/perf_analyzer`` lies in: what it needs and few systems have."""
ADMIN_HEADER: Final = "triton-grpc-protocol-admin"
"""Carries the server's admin token: it asks for the model's configuration and statistics."""
TIMEOUT_S: Final = 300.0
WINDOWS: Final = 3
"""That perf_analyzer takes before it looks whether they agree; it has no setting for fewer or more."""
ENOUGH: Final = 16
"""Answers in a window: one more or fewer is chance."""
LONGEST: Final = 3
"""Times as long as asked for that a window may last to hold ENOUGH."""
_EVER: Final = "1000000"
"""Per cent that windows may be apart for perf_analyzer: this file judges that, and keeps the figure."""
_PASS: Final = re.compile(r"Pass \[\d+\] throughput: ([\d.e+]+) infer/sec. Avg latency: ([\d.e+]+) usec")
_OVERHEAD: Final = re.compile(r"Avg client overhead: ([\d.e+-]+)%")
_LONGEST_LATENCY: Final = re.compile(r"\n    p99 latency: ([\d.e+]+) usec")
_COUNT: Final = re.compile(r"\n    Request count: (\d+)")
_DELAYED: Final = re.compile(r"([\d.e+-]+)% of the requests were delayed")
_RATE: Final = "Inferences/Second"
_QUEUE: Final = "Server Queue"
_COMPUTE: Final = ("Server Compute Input", "Server Compute Infer", "Server Compute Output")
_WIRE: Final = ("Client Send", "Network+Server Send/Recv", "Client Recv")


@dataclass(frozen=True)
class Measured:
    """Of one load.

    Attributes:
        asked: requests in flight, or, of an open loop, requests a second.
        rate: answers a second.
        p50_ms: median latency, as the caller sees it; ``p90_ms``, ``p99_ms`` and ``mean_ms`` likewise.
        queue_ms: mean time in the model's queue, by Triton's count; of an ensemble, not that of its steps
            (``perf.steps`` has those).
        compute_ms: mean time in the models, with the way of tensors to them and back.
        wire_ms: what is left: the caller, gRPC, the door, and Triton's own way with the message; of an
            ensemble, the queues of its steps, too.
        requests: counted in all windows.
        spread: highest rate of a window that counts over the lowest, minus 1.
        delayed: share of an open loop's requests that left late, as the generator did not keep up.
    """

    asked: float
    rate: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    queue_ms: float
    compute_ms: float
    wire_ms: float
    requests: int
    spread: float
    delayed: float

    @classmethod
    def read(cls, asked: float, said: str, row: Mapping[str, str], *, is_closed: bool) -> Self:
        """From what perf_analyzer ``said`` and the ``row`` of its report.

        Raises:
            ClickException: it did not say how its windows went.
        """
        rates, rate = _closed(asked, said) if is_closed else _opened(said, row)
        counted, delayed = _COUNT.search(said), _DELAYED.search(said)

        def milliseconds(*columns: str) -> float:
            return round(sum(float(row.get(column) or 0) for column in columns) / 1e3, 3)

        mean_ms = milliseconds("Avg latency")
        return cls(
            asked=asked,
            rate=round(rate, 3),
            p50_ms=milliseconds("p50 latency"),
            p90_ms=milliseconds("p90 latency"),
            p99_ms=milliseconds("p99 latency"),
            mean_ms=mean_ms,
            queue_ms=milliseconds(_QUEUE),
            compute_ms=milliseconds(*_COMPUTE),
            # A difference without sign: below 0 where steps of an ensemble run side by side.
            wire_ms=wire_ms if (wire_ms := milliseconds(*_WIRE)) <= mean_ms else 0.0,
            requests=int(counted[1]) if counted else 0,
            spread=round(max(rates) / min(rates) - 1, 3) if min(rates) else 0.0,
            delayed=round(float(delayed[1]) / 100, 4) if delayed else 0.0,
        )


def _closed(in_flight: float, said: str) -> tuple[list[float], float]:
    """The rates of all windows but the first, and of these together."""
    overhead = _OVERHEAD.search(said)
    waiting = in_flight * (1 - float(overhead[1]) / 100 if overhead else 1)
    rates = [1e6 * waiting / float(microseconds) for _, microseconds in _passes(said)][1:]
    return rates, statistics.mean(rates)


def _opened(said: str, row: Mapping[str, str]) -> tuple[list[float], float]:
    """The rates of all windows, and of these together."""
    return [float(rate) for rate, _ in _passes(said)], float(row[_RATE])


def _passes(said: str) -> list[tuple[str, str]]:
    """Of each window its rate, and its mean latency in microseconds."""
    found = _PASS.findall(said)
    if len(found) != WINDOWS:
        raise click.ClickException(f"perf_analyzer took {len(found)} windows, not {WINDOWS}: {said[-1000:]}")
    return found


class Analyzer:
    """One binary, the requests that it sends, and the server that it sends them to."""

    def __init__(self, binary: Path, url: str, token: str, rows: Sequence[Row], folder: Path) -> None:
        """Write the requests down.

        Args:
            binary: ``bin/perf_analyzer`` in the folder that ``make analyzer`` fills.
            url: HOST:PORT of the server.
            token: the server's admin token.
            rows: sent one after the other, again and again.
            folder: for files of its own.
        """
        self._binary, self._url, self._token = binary, url, token
        self._data = folder / "requests.json"
        self._report = folder / "report.csv"
        self._data.write_text(json.dumps({"data": [_written(row) for row in rows]}))

    def closed(self, model: str, in_flight: int, window_s: float, *, shared_memory: bool = False) -> Measured:
        """A closed loop: ``in_flight`` requests at a time, through WINDOWS windows.

        Args:
            model: its name.
            in_flight: requests at a time.
            window_s: of each window; up to LONGEST times as long where fewer than ENOUGH would be answered,
                and long enough for TURNS answers of each caller, as the first window is to hold the start.
            shared_memory: tensors are in memory that the server maps, not in messages.

        Raises:
            ClickException: it failed, or a request did; with what it said.
        """
        turn_s = self._warm_up(model, in_flight)
        load = ["--concurrency-range", str(in_flight), *(["--shared-memory", "system"] * shared_memory)]
        enough_s = min(ENOUGH * turn_s / in_flight, LONGEST * window_s)
        lasting_s = max(window_s, enough_s, TURNS * turn_s)
        return self._measured(model, in_flight, [*load, *_window(lasting_s)], is_closed=True)

    def opened(self, model: str, rate: float, window_s: float) -> Measured:
        """An open loop: ``rate`` requests a second at random moments (Poisson), whatever becomes of them.

        Raises:
            ClickException: it failed, or a request did; with what it said.
        """
        self._warm_up(model, 2)
        # A caller that waits for its answer would not send the next one in time: all are asynchronous.
        load = ["--request-rate-range", f"{rate:.3f}", "--request-distribution", "poisson", "--async"]
        return self._measured(model, rate, [*load, *_window(window_s)], is_closed=False)

    def rate(self, model: str, count: int, in_flight: int) -> float:
        """Requests a second of a closed loop, over at least ``count`` of them after its start.

        Raises:
            ClickException: it failed, or a request did; with what it said.
        """
        self._warm_up(model, in_flight)
        window = str(max(-(-count // (WINDOWS - 1)), TURNS * in_flight))
        load = ["--concurrency-range", str(in_flight), "--measurement-mode", "count_windows"]
        load += ["--measurement-request-count", window]
        return self._measured(model, in_flight, load, is_closed=True).rate

    def _warm_up(self, model: str, in_flight: int) -> float:
        """A request of each caller, in a run of their own; seconds until all are answered."""
        load = ["--concurrency-range", str(in_flight), "--request-count", str(max(2, in_flight))]
        found = _LONGEST_LATENCY.search(self._run(model, load))
        return float(found[1]) / 1e6 if found else 0.0

    def _measured(self, model: str, asked: float, load: Sequence[str], *, is_closed: bool) -> Measured:
        said = self._run(model, ["-v", "-s", _EVER, "-r", str(WINDOWS), "--verbose-csv", *load])
        with self._report.open(newline="") as file:
            return Measured.read(asked, said, next(csv.DictReader(file)), is_closed=is_closed)

    def _run(self, model: str, load: Sequence[str]) -> str:
        self._report.unlink(missing_ok=True)
        command = [
            str(self._binary), "-m", model, "-u", self._url, "-i", "grpc", "-f", str(self._report),
            "-H", f"{ADMIN_HEADER}:{self._token}", "--input-data", str(self._data), *load,
        ]  # fmt: skip
        root = self._binary.parent.parent
        libraries = [str(path) for pattern in LIBRARIES for path in root.glob(pattern)]
        before = os.environ.get("LD_LIBRARY_PATH")
        found = os.pathsep.join([*libraries, *([before] if before else [])])
        done = subprocess.run(
            command,
            env={**os.environ, "LD_LIBRARY_PATH": found},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        if done.returncode or not self._report.exists():
            raise click.ClickException(f"perf_analyzer failed: {(done.stdout + done.stderr)[-1000:]}")
        return done.stdout


def _window(window_s: float) -> list[str]:
    return ["--measurement-interval", str(round(1e3 * window_s))]


def _written(row: Row) -> dict[str, object]:
    return {
        name: {"content": {"b64": base64.b64encode(value.tobytes()).decode()}, "shape": list(value.shape)}
        for name, value in row.items()
    }
