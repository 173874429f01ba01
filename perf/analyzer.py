"""Load from ``perf_analyzer``, NVIDIA's generator in C++: callers that take little of the server's processor.

``perf`` calls by Python, whose share of two cores a user's callers, on machines of their own, would not have.
The binary comes out of the last wheel of tritonclient that held it (``make analyzer``).
"""

from __future__ import annotations

import base64
import csv
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
from numpy.typing import NDArray

Row = Mapping[str, NDArray[Any]]
"""Inputs of one request by name, without the batch dimension."""

LIBRARIES: Final = ("nvidia/cuda_runtime/lib", "usr/lib/*")
"""Below the folder that ``bin/perf_analyzer`` lies in: what it needs and few systems have."""
ADMIN_HEADER: Final = "triton-grpc-protocol-admin"
"""Carries the server's admin token: it asks for the model's configuration and statistics."""
TIMEOUT_S: Final = 300.0
_RATE: Final = "Inferences/Second"


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

    def rate(self, model: str, count: int, in_flight: int) -> float:
        """Requests a second over ``count`` of them.

        Raises:
            ClickException: it failed, or a request did; with what it said.
        """
        self._report.unlink(missing_ok=True)
        command = [
            str(self._binary), "-m", model, "-u", self._url, "-i", "grpc", "-f", str(self._report),
            "-H", f"{ADMIN_HEADER}:{self._token}", "--input-data", str(self._data),
            "--concurrency-range", str(in_flight), "--request-count", str(count),
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
        with self._report.open(newline="") as file:
            return float(next(csv.DictReader(file))[_RATE])


def _written(row: Row) -> dict[str, object]:
    return {
        name: {"content": {"b64": base64.b64encode(value.tobytes()).decode()}, "shape": list(value.shape)}
        for name, value in row.items()
    }
