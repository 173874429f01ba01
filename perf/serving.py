"""A server that a benchmark starts for itself, as users start it, and stops again."""

from __future__ import annotations

import queue
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import click

CHECKOUT: Final = Path(__file__).parent.parent
TOKEN: Final = "bench"  # noqa: S105 - of a server on loopback that lives as long as one benchmark
"""Its admin token: statistics are asked for."""
READY_TIMEOUT_S: Final = 150.0
STOP_TIMEOUT_S: Final = 60.0
_READY: Final = re.compile(r"adlens server ready at (\S+) after ([\d.]+) s")


@contextmanager
def served(
    *models: str, repositories: Sequence[Path] = (), profile: str | None = None, options: Sequence[str] = ()
) -> Iterator[str]:
    """HOST:PORT of a server of ``models`` and their steps; of all where none is named.

    Args:
        models: to serve.
        repositories: of models; empty for those of the checkout.
        profile: name of the configurations to take, where a model has it.
        options: further ones of ``python -m server``.

    Raises:
        ClickException: it does not start; with what it said.
    """
    command = [sys.executable, "-m", "server", "--grpc-port", "0", "--metrics-port", "0"]
    command += ["--admin-token", TOKEN, *(["--profile", profile] if profile else []), *options]
    command += [f"--model-repository={path.resolve()}" for path in repositories]
    command += [f"--model={model}" for model in models]
    process = subprocess.Popen(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield _address(process)
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()  # Triton ends with whoever started it
            process.wait()


def _address(process: subprocess.Popen[str]) -> str:
    lines: queue.Queue[str | None] = queue.Queue()
    if process.stdout is None:
        raise click.ClickException("the server's output cannot be read")
    # Read to the end, or a server that says much would wait for its reader.
    threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    said: list[str] = []
    try:
        while (line := lines.get(timeout=READY_TIMEOUT_S)) is not None:
            if found := _READY.match(line):
                return found[1]
            said.append(line)
    except queue.Empty:
        pass
    raise click.ClickException(f"the server does not start: {''.join(said)[-1500:] or 'it says nothing'}")


def _read(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)
