"""Fixtures of the server's tests: doors and what is behind them, and a clean model repository."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server.door import Door, DoorOptions
from server.launcher import Server
from tests.server.doors import Enter, Upstream, add_models
from tests.server.launched import CHECKOUT
from tests.server.samples import CHAIN, LEAF, LOOK, SAY, TELL, TELL_MODEL


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory, add_onnx: Callable[..., Path], serve_all: Any) -> Server:
    """A real Triton with ``echo`` and ``work``."""
    server: Server = serve_all(add_models(tmp_path_factory.mktemp("door"), add_onnx))
    return server


@pytest.fixture
def enter() -> Iterator[Enter]:
    """Starts doors, to the Triton given if any; they stop when the test ends."""
    doors: list[Door] = []

    def start(triton: Server | None = None, **options: Any) -> Door:
        door = Door(DoorOptions(**{"port": 0, **options}))
        doors.append(door)
        door.start()
        if triton is not None:
            door.open_to(triton.url)
            door.set_serving(True)
        return door

    yield start
    for door in doors:
        door.stop()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A gRPC server in Triton's place."""
    server = Upstream()
    yield server
    server.stop()


@pytest.fixture
def sample(tmp_path: Path, add_onnx: Callable[..., Path]) -> Path:
    """A clean sample: a chain of ONNX models, a DALI pipeline, a Python model, and an ensemble over each."""
    models, ensembles = tmp_path / "models", tmp_path / "ensembles"
    for name, given, taken in (("first", "A", "B"), ("second", "B", "C")):
        graph = f"(float[n, 2] {given}) => (float[n, 2] {taken}) {{ {taken} = Neg({given}) }}"
        add_onnx(models, name, graph, LEAF.format(given, taken))
    profiles = shutil.ignore_patterns("configs")
    shutil.copytree(CHECKOUT / "ensembles" / "decode", models / "decode", ignore=profiles)
    (models / "tell" / "1").mkdir(parents=True)
    (models / "tell" / "config.pbtxt").write_text(TELL)
    (models / "tell" / "1" / "model.py").write_text(TELL_MODEL)
    for name, configuration in (("chain", CHAIN), ("say", SAY), ("look", LOOK)):
        (ensembles / name / "1").mkdir(parents=True)
        (ensembles / name / "config.pbtxt").write_text(configuration)
    return tmp_path
