"""One server for all hostile tests, and the report that they write.

``ADLENS_HOSTILE_COUNT`` sets the number of files and requests (500 by default), and
``ADLENS_HOSTILE_REPORT`` names a JSON file for the figures. ``make test-hostile`` sets both.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from adlens import contract
from server.errors import MissingModelError
from server.launcher import Server, ServerOptions
from tests.conftest import Serve
from tests.hostile import repositories
from tests.hostile.requests import Caller

COUNT = int(os.environ.get("ADLENS_HOSTILE_COUNT", "500"))
REPORT = pytest.StashKey[dict[str, Any]]()


@pytest.fixture(scope="session")
def count() -> int:
    """How many hostile files and requests are sent."""
    return COUNT


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> dict[str, Any]:
    """Figures by name; shown at the end, and written where ``ADLENS_HOSTILE_REPORT`` says."""
    return pytestconfig.stash.setdefault(REPORT, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the figures as a table, less those by kind of damage."""
    figures = config.stash.get(REPORT, {})
    if not figures:
        return
    terminalreporter.section("hostile input")
    for name, figure in figures.items():
        for key, value in figure.items():
            if key != "kinds":
                terminalreporter.write_line(f"{name:16} {key:20} {_short(value)}")
    if path := os.environ.get("ADLENS_HOSTILE_REPORT"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(figures, indent=2) + "\n")


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{key} {each}" for key, each in value.items())
    return str(value)


@pytest.fixture(scope="session")
def attacked(serve_all: Serve, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server of small repositories, and of the served leaf models that need no others.

    ``single`` runs each request alone, ``shared`` waits for batches of eight; see ``repositories``.
    """
    folder = tmp_path_factory.mktemp("attacked")
    repositories.add_decode(folder, "single", "", instances=2, canvas=repositories.SMALL)
    repositories.add_decode(folder, "shared", instances=2, canvas=repositories.SMALL)
    repositories.add_decode(folder, "gated", adlens_isolation="off")
    repositories.add_decode(folder, "isolated", adlens_gate="")
    repositories.add_decode(folder, "native", adlens_gate="", adlens_isolation="off")
    repositories.add_gate(folder)
    repositories.add_chain(folder, "guarded", "gate", "native")
    leaves = ServerOptions().repositories[0]
    for leaf in (contract.DETECT_FACES, contract.attributes_model("dlib")):
        (folder / leaf).symlink_to(leaves / leaf)
    repositories.add_decode(folder, contract.DECODE, repositories.SERVED)
    repositories.add_faces(folder, "faces")
    try:
        return serve_all(folder)
    except MissingModelError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.fixture
def caller(attacked: Server) -> Iterator[Caller]:
    """Calls the attacked server, which must be whole before and after."""
    attacked.check()
    caller = Caller(attacked.url)
    yield caller
    caller.close()
    attacked.check()


@pytest.fixture
def memory_mb(attacked: Server) -> Any:
    """Tells what all processes of the attacked server take; what they share is counted once."""

    def measure() -> float:
        triton = psutil.Process(attacked.pid)
        processes = [triton, *triton.children(recursive=True)]
        return sum(process.memory_full_info().pss for process in processes) / 1e6

    return measure
