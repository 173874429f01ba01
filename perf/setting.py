"""How long and with what a benchmark measures; the same for all of its sections."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import psutil

from perf import inputs
from perf.analyzer import Analyzer, Row
from perf.serving import TOKEN
from perf.throughput import Jpeg


@dataclass(frozen=True)
class Setting:
    """Of one run.

    Attributes:
        out: folder for all that is written.
        binary: perf_analyzer's; sections that need it fail without.
        window_s: of each of perf_analyzer's windows.
        seconds: counted of a closed loop in this process, after ``warm_up_s``.
        warm_up_s: before that.
        rounds: that ways take turns.
        in_flight: requests at a time, where these are not what varies.
        memory_minutes: that memory is watched.
        int8_profile: name of the configurations whose networks are quantised.
        cache_options: of ``python -m server``, by which it keeps answers.
    """

    out: Path
    binary: Path
    window_s: float = 0.7
    seconds: float = 7.0
    warm_up_s: float = 2.0
    rounds: int = 2
    in_flight: int = 16
    memory_minutes: float = 10.0
    int8_profile: str = "int8"
    cache_options: tuple[str, ...] = ("--response-cache-bytes", str(256 * 2**20))

    @property
    def cores(self) -> int:
        """Of this machine."""
        return psutil.cpu_count() or 1

    @property
    def pictures(self) -> list[Jpeg]:
        """The generated pictures, 512x512, of one face each."""
        return inputs.generated(self.picture_folder)

    @property
    def picture_folder(self) -> Path:
        """Where they lie."""
        return self.out / "pictures"

    @contextmanager
    def analyzer(self, url: str, rows: Sequence[Row]) -> Iterator[Analyzer]:
        """perf_analyzer with ``rows``, for the server at ``url``.

        Raises:
            ClickException: the binary is not there.
        """
        if not self.binary.exists():
            raise click.ClickException(f"{self.binary} is not there; `make analyzer` fetches it")
        with tempfile.TemporaryDirectory() as folder:
            yield Analyzer(self.binary, url, TOKEN, rows, Path(folder))
