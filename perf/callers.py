"""A closed loop of callers in this process: what is measured alike of adlens, of its peers and of bare code.

Each caller has a thread and a way to call of its own, and sends its next picture when it has its answer. Only
answers between the end of the warm-up and the end of the run count. An error of any caller is raised: with
errors there is no figure.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

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
    """Let ``callers`` call with ``work`` in turn for ``warm_up_s`` and then ``seconds``.

    Raises:
        ValueError: fewer than two answers came in that time.
    """
    counted = time.perf_counter() + warm_up_s
    ends = counted + seconds

    def run(number: int) -> list[tuple[float, float]]:
        """When it got its answers, and how long they took."""
        call, answers, turn = callers[number], [], number
        while (began := time.perf_counter()) < ends:
            call(work[turn % len(work)])
            ended = time.perf_counter()
            if counted <= ended < ends:
                answers.append((ended, ended - began))
            turn += len(callers)
        return answers

    with ThreadPoolExecutor(len(callers)) as pool:
        answers = [each for found in pool.map(run, range(len(callers))) for each in found]
    if len(answers) < 2:
        raise ValueError(f"{len(answers)} answers within {seconds} s; measure for longer")
    moments, taken_ms = np.array(answers).T * [[1], [1e3]]
    p50, p99 = np.percentile(taken_ms, [50, 99])
    return Answered(
        # From the first answer to the last, or one more or fewer within the time would be chance.
        rate=round((len(answers) - 1) / float(np.ptp(moments)), 3),
        p50_ms=round(float(p50), 3),
        p99_ms=round(float(p99), 3),
        mean_ms=round(float(taken_ms.mean()), 3),
        requests=len(taken_ms),
    )


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
