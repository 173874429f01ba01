"""Callers that never stop, and whom a fault of the server must not reach."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Self

from adlens.errors import AdlensError
from tests.server.launched import wait_until


class Callers:
    """Some threads that call without end, and what became of the calls.

    Attributes:
        answered_at: ``time.monotonic()`` of each answer.
        failures: what other calls raised.
    """

    def __init__(self, call: Callable[[], object], count: int = 3) -> None:
        self._call = call
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]
        self.answered_at: list[float] = []
        self.failures: list[AdlensError] = []

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._call()
            except AdlensError as error:
                self.failures.append(error)
                self._stopping.wait(0.1)
            else:
                self.answered_at.append(time.monotonic())

    def wait_for_answers(self, count: int = 6) -> bool:
        """Whether so many more come in time."""
        more = len(self.answered_at) + count
        return wait_until(lambda: len(self.answered_at) >= more)

    def longest_gap_s(self, since: float) -> float:
        """The longest time without an answer since a moment before which there were some."""
        moments = [since, *(at for at in self.answered_at if at > since)]
        return max(after - before for before, after in itertools.pairwise(moments))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        assert self.wait_for_answers(), self.failures
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
