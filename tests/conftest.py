"""Fixtures that all tests share: test data, free ports, tiny models, and real servers."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import pytest
import tritonclient.grpc as triton
from xdist.scheduler import LoadScopeScheduling

from server.errors import MissingModelError
from server.launcher import Server, ServerOptions

CHECKOUT = Path(__file__).resolve().parent.parent
WHOLE_SERVER = ("tests/e2e/", "tests/test_readme.py")
"""Tests of the server with all models, which is started once."""
ALONE = (
    "tests/hostile/",
    "tests/perf/",
)
"""Folders of tests that measure time or memory, which others beside them would change: ``alone``, too."""
Serve = Callable[..., Server]
Add = Callable[..., Path]


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(ALONE):
            item.add_marker(pytest.mark.alone)


class Scopes(LoadScopeScheduling):
    """Where tests run side by side, those of a file stay together, and so do all that use one server."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "whole server" if file.startswith(WHOLE_SERVER) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scopes:
    return Scopes(config, log)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of pictures, labels and weights that only tests use."""
    folder = Path(os.environ.get("ADLENS_TEST_DATA", CHECKOUT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no test data in {folder}; set ADLENS_TEST_DATA")
    return folder


@pytest.fixture
def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def add_onnx() -> Add:
    """Writes a model into a repository: its graph in ONNX's text form, and its configuration if any."""

    def add(
        repository: Path,
        name: str,
        graph: str,
        configuration: str | None,
        file: str = "1/model.onnx",
        **options: Any,
    ) -> Path:
        model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": 18]> {name} {graph}')
        onnx.checker.check_model(model)
        path = repository / name / file
        path.parent.mkdir(parents=True)
        onnx.save(model, path, **options)
        if configuration is not None:
            (repository / name / "config.pbtxt").write_text(configuration)
        return path

    return add


@pytest.fixture
def batches_run() -> Callable[[Server, str, int], int]:
    """Tells how many batches a model has run, once that stays and differs from a number seen before."""

    def count(server: Server, model: str, before: int = -1) -> int:
        with triton.InferenceServerClient(server.url) as client:
            deadline, last = time.monotonic() + 5, -1
            while True:
                # Triton counts a batch only after it has sent the answers.
                ran = int(client.get_inference_statistics(model).model_stats[0].execution_count)
                if (ran == last and ran != before) or time.monotonic() > deadline:
                    return ran
                last = ran
                time.sleep(0.1)

    return count


@contextmanager
def serving() -> Iterator[Serve]:
    """What starts a real server over the given repositories; all stop at the end."""
    running: list[Server] = []

    def start(*repositories: Path, **options: Any) -> Server:
        chosen = {"grpc_port": 0, "metrics_port": 0, **options}
        server = Server(ServerOptions(repositories=repositories, **chosen))
        server.start()
        running.append(server)
        return server

    try:
        yield start
    finally:
        with ThreadPoolExecutor() as pool:
            list(pool.map(partial(Server.stop, at_once=True), running))


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """Starts a real server, which stops when the tests of the file end."""
    with serving() as start:
        yield start


@pytest.fixture(scope="session")
def serve_all() -> Iterator[Serve]:
    """Starts a real server for several files; it stops when all tests end."""
    with serving() as start:
        yield start


@pytest.fixture(scope="session")
def whole_server(serve_all: Serve) -> Server:
    """The real server with all models of the checkout, started once; use ``server``."""
    try:
        return serve_all(*ServerOptions().repositories)
    except MissingModelError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.fixture
def server(whole_server: Server) -> Iterator[Server]:
    """The real server with all models of the checkout; a test that kills a part of it fails."""
    whole_server.check()
    yield whole_server
    whole_server.check()
