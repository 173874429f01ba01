"""A closed loop of callers in this process: what is measured alike of adlens, of its peers and of bare code.

Each caller has a thread and a way to call of its own, and sends its next picture when it has its answer. Only
answers between the end of the warm-up and the end of the run count (``perf.rates``). An error of any caller
is raised: with errors there is no figure.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from perf.rates import LONGEST, TURNS, rate

Work = TypeVar("Work")
HTTP_TIMEOUT_S: Final = 120.0
OK: Final = 200


@dataclass(frozen=True)
class Answered:
    """Answers a second, their latencies as callers see them, and how many were counted."""

    rate: float
    p50_ms: float
    p99_ms: float
    mean_ms: float
    requests: int


def closed(
    callers: Sequence[Callable[[Work], object]], work: Sequence[Work], seconds: float, warm_up_s: float
) -> Answered:
    """Let ``callers`` call with ``work`` in turn, and count for ``seconds``.

    The warm-up ends after ``warm_up_s``, and not before each caller has had TURNS answers; what is counted
    lasts for ``seconds``, and not less than LONGEST times the longest answer by then (``perf.rates``).

    Raises:
        ValueError: fewer than two answers came in that time.
    """
    window = _Window(len(callers), seconds, warm_up_s)

    def run(number: int) -> list[tuple[float, float]]:
        """When its requests began and ended."""
        call, requests, turn = callers[number], [], number
        with window:
            while not window.is_over():
                began = time.perf_counter()
                call(work[turn % len(work)])
                ended = time.perf_counter()
                requests.append((began, ended))
                window.answered(number, ended - began)
                turn += len(callers)
        return requests

    with ThreadPoolExecutor(len(callers)) as pool:
        requests = [each for found in pool.map(run, range(len(callers))) for each in found]
    begins, ends = window.begins, window.begins + window.seconds
    taken_ms = [1e3 * (ended - began) for began, ended in requests if begins <= ended < ends]
    if len(taken_ms) < 2:
        raise ValueError(f"{len(taken_ms)} answers within {window.seconds:.3g} s; measure for longer")
    p50, p99 = np.percentile(taken_ms, [50, 99])
    return Answered(
        rate=round(rate([ended for _, ended in requests], begins, ends), 3),
        p50_ms=round(float(p50), 3),
        p99_ms=round(float(p99), 3),
        mean_ms=round(float(np.mean(taken_ms)), 3),
        requests=len(taken_ms),
    )


class _Window:
    """The time that counts; within its context a caller that fails ends it for all."""

    def __init__(self, callers: int, seconds: float, warm_up_s: float) -> None:
        self.begins = time.perf_counter() + warm_up_s
        self.seconds = seconds
        self._longest = 0.0
        self._left = [TURNS] * callers
        self._lock = threading.Lock()
        self._is_open = self._has_failed = False

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._has_failed |= kind is not None

    def answered(self, number: int, taken_s: float) -> None:
        """The caller has had one more answer, after ``taken_s``."""
        with self._lock:
            if self._is_open:
                return
            self._left[number] -= 1
            self._longest = max(self._longest, taken_s)
            if max(self._left) <= 0:
                self.begins = max(self.begins, time.perf_counter())
                self.seconds = max(self.seconds, LONGEST * self._longest)
                self._is_open = True  # last: others read without the lock

    def is_over(self) -> bool:
        """Whether no more requests are to begin."""
        return self._has_failed or (self._is_open and time.perf_counter() >= self.begins + self.seconds)


class HttpCaller:
    """One caller of an HTTP server, over one connection."""

    def __init__(self, address: str, path: str, content_type: str) -> None:
        """Prepare.

        Args:
            address: HOST:PORT.
            path: that takes the bodies by POST.
            content_type: of the bodies.
        """
        self._connection = http.client.HTTPConnection(address, timeout=HTTP_TIMEOUT_S)
        self._path, self._headers = path, {"Content-Type": content_type}

    def __call__(self, body: bytes) -> bytes:
        """The answer.

        Raises:
            ValueError: it is an error; with its text.
        """
        self._connection.request("POST", self._path, body, self._headers)
        answer = self._connection.getresponse()
        found = answer.read()
        if answer.status != OK:
            raise ValueError(f"{self._path} answers {answer.status}: {found[:300]!r}")
        return found

    def close(self) -> None:
        """End the connection."""
        self._connection.close()
