"""A run of a command over pictures: prints answers as they come, and remembers what failed.

Answers go to standard output while the rest is still running, failures to standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from adlens.answers import Failure
from adlens.commands import SERVER_FAILED, SOME_FAILED
from adlens.errors import AdlensError, NotSent
from adlens.reports import Report

Answer = TypeVar("Answer")
Made = TypeVar("Made")


def progress() -> tqdm[Any]:
    """A bar on standard error, where that is a terminal."""
    return tqdm(unit=" pictures", disable=None, total=0, leave=False)


class Run(Generic[Answer]):
    """Its exit code is ``code``; once the server is ``gone``, nothing more can be had of it."""

    def __init__(self, report: Report[Answer | Failure], bar: tqdm[Any]) -> None:
        """Print the report's header."""
        self._report = report
        self._bar = bar
        self._not_sent = 0
        self._done = 0
        self.code = 0
        self.gone = False
        if report.header:
            _print(report.header)

    def expect(self, number: int) -> None:
        """Add pictures to those that are to come."""
        self._bar.total = (self._bar.total or 0) + number
        self._bar.refresh()

    def done(self) -> None:
        """Count one picture."""
        self._done += 1
        self._bar.update()

    def show(self, answer: Answer | Failure, drawing: Path | None = None) -> None:
        """Print ``answer``, whose ``drawing`` lies there."""
        line = self._report.line(answer, drawing)
        if line is not None:
            _print(line)

    def failed(self, failure: Failure) -> None:
        """Print ``failure``, and note whose fault it is."""
        self.code = max(self.code, SERVER_FAILED if failure.server else SOME_FAILED)
        self.gone = self.gone or failure.ends_run
        self.show(failure)
        if failure.kind == NotSent.__name__:  # one line for all of them, at the end
            self._not_sent += 1
        else:
            _complain(str(failure))

    def draw(self, draw: Callable[[], Made]) -> Made | None:
        """What ``draw`` made; None where it fails: the answer stands, and the run has a failure."""
        try:
            return draw()
        except (AdlensError, OSError) as error:
            self.code = max(self.code, SOME_FAILED)
            _complain(f"a picture could not be drawn: {error}")
            return None

    def ended(self) -> int:
        """Say how many pictures were not sent; the exit code."""
        if self._not_sent:
            _complain(f"{self._not_sent} more were not sent, as the server failed before")
        return self.code

    def interrupted(self) -> None:
        """Say how far the run came."""
        _complain(f"interrupted after {self._done} picture{'' if self._done == 1 else 's'}")


def _print(line: str) -> None:
    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()


def _complain(message: str) -> None:
    tqdm.write(f"error: {message}", file=sys.stderr)
