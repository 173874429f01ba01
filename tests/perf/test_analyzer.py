"""The load of perf_analyzer: what it measures, and what is told where it cannot."""

from __future__ import annotations

import re
from pathlib import Path

import click
import numpy as np
import pytest

from adlens import contract
from perf.analyzer import Analyzer
from perf.engagement import CONTEXT
from server.canary import generated_picture
from server.launcher import ServerOptions
from tests.conftest import Serve

BINARY = Path(__file__).parents[2] / "out" / "tools" / "bin" / "perf_analyzer"


def rows() -> list[dict[str, np.ndarray]]:
    jpeg = np.frombuffer(generated_picture(), np.uint8)
    return [{contract.IMAGE: jpeg, contract.POST: CONTEXT[0]}]


@pytest.mark.skipif(not BINARY.exists(), reason="perf_analyzer is not there; `make analyzer` fetches it")
def test_it_calls_a_real_server_with_real_pictures(serve: Serve, tmp_path: Path) -> None:
    server = serve(*ServerOptions().repositories, models=(contract.PREDICT_ENGAGEMENT,))
    analyzer = Analyzer(BINARY, server.url, "none", rows(), tmp_path)
    assert 0 < analyzer.rate(contract.PREDICT_ENGAGEMENT, 8, 2) < 1000
    with pytest.raises(click.ClickException, match="nobody"):
        analyzer.rate("nobody", 8, 2)


def test_what_it_says_when_it_fails_is_told(tmp_path: Path) -> None:
    binary = tmp_path / "bin" / "perf_analyzer"
    binary.parent.mkdir()
    binary.write_text('#!/bin/sh\necho "error: $*" >&2\nexit 99\n')
    binary.chmod(0o755)
    with pytest.raises(click.ClickException, match="perf_analyzer failed: error: ") as told:
        Analyzer(binary, "127.0.0.1:1", "token", rows(), tmp_path).rate("model", 8, 2)
    assert re.search("-m model .*-H triton-grpc-protocol-admin:token .*--request-count 8", told.value.message)
