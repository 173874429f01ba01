"""Fixtures of the end-to-end tests: front doors to the real server with the real models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.grpc as triton

from adlens import Recommender
from export import generated
from server.launcher import Server
from tests.e2e.pictures import TIMEOUT_S


@pytest.fixture
def recommender(server: Server) -> Iterator[Recommender]:
    """The front door of the client."""
    with Recommender(server.url, timeout_s=TIMEOUT_S) as front:
        yield front


@pytest.fixture
def client(server: Server) -> Iterator[triton.InferenceServerClient]:
    """A client that knows nothing of adlens."""
    with triton.InferenceServerClient(server.url) as front:
        yield front


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pictures of the demo by what they show: ``astronaut``, ``painted-hat`` and so on."""
    return {path.stem: path for path in generated.write_demo(tmp_path_factory.mktemp("demo"))}
