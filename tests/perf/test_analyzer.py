"""The load of perf_analyzer: what it measures, and what is told where it cannot."""

from __future__ import annotations

import re
from pathlib import Path

import click
import numpy as np
import pytest

from adlens import contract
from perf.analyzer import Analyzer, Measured
from perf.engagement import CONTEXT
from perf.repository import NULL as NULL_REPOSITORY
from perf.subjects import NULL
from server.canary import generated_picture
from tests.conftest import Serve

BINARY = Path(__file__).parents[2] / "out" / "tools" / "bin" / "perf_analyzer"
SAID = """  Pass [1] throughput: 40 infer/sec. Avg latency: 2792 usec (std 1193 usec).
  Pass [2] throughput: 50 infer/sec. Avg latency: 2510 usec (std 332 usec).
  Pass [3] throughput: 45 infer/sec. Avg latency: 2536 usec (std 370 usec).
  Client:
    Request count: 137
    Avg client overhead: 4.00%
    [WARNING] Perf Analyzer was not able to keep up. 2.79% of the requests were delayed.
"""
"""Lines of a real run, with round rates."""


def rows() -> list[dict[str, np.ndarray]]:
    jpeg = np.frombuffer(generated_picture(), np.uint8)
    return [{contract.IMAGE: jpeg, contract.POST: CONTEXT[0]}]


@pytest.mark.skipif(not BINARY.exists(), reason="perf_analyzer is not there; `make analyzer` fetches it")
def test_it_measures_a_real_server_in_windows(serve: Serve, tmp_path: Path) -> None:
    server = serve(NULL_REPOSITORY)
    pictures = [{contract.IMAGE: rows()[0][contract.IMAGE]}]
    analyzer = Analyzer(BINARY, server.url, "none", pictures, tmp_path)
    closed = analyzer.closed(NULL, 2, 0.3)
    assert closed.asked == 2
    # Of three windows, which are longer where few answers come.
    assert 3 * 0.3 * 0.5 < closed.requests / closed.rate < 3 * 4 * 0.3 * 2
    assert 0 < closed.p50_ms <= closed.p90_ms <= closed.p99_ms
    # What is in the server and what is around it make up what the caller sees.
    parts = closed.queue_ms + closed.compute_ms + closed.wire_ms
    assert closed.compute_ms > 0
    assert parts == pytest.approx(closed.mean_ms, rel=0.1)
    opened = analyzer.opened(NULL, 40, 0.3)
    assert opened.asked == 40
    assert 0 < opened.rate < 120
    assert analyzer.rate(NULL, 9, 2) > 0
    with pytest.raises(click.ClickException, match="nobody"):
        analyzer.closed("nobody", 2, 0.3)


def test_what_it_says_when_it_fails_is_told(tmp_path: Path) -> None:
    binary = tmp_path / "bin" / "perf_analyzer"
    binary.parent.mkdir()
    binary.write_text('#!/bin/sh\necho "error: $*" >&2\nexit 99\n')
    binary.chmod(0o755)
    with pytest.raises(click.ClickException, match="perf_analyzer failed: error: ") as told:
        Analyzer(binary, "127.0.0.1:1", "token", rows(), tmp_path).closed("model", 2, 1)
    assert re.search("-m model .*-H triton-grpc-protocol-admin:token .*--request-count 2", told.value.message)


ROW = {
    "Inferences/Second": "45.5", "p50 latency": "2000", "p90 latency": "3000", "p99 latency": "4000",
    "Avg latency": "2100", "Server Queue": "33", "Server Compute Input": "43",
    "Server Compute Infer": "293", "Server Compute Output": "184", "Client Send": "27",
    "Network+Server Send/Recv": "2000", "Client Recv": "2",
}  # fmt: skip


def test_windows_that_are_apart_and_requests_that_left_late_are_told() -> None:
    found = Measured.read(50, SAID, ROW, is_closed=False)
    assert (found.rate, found.requests) == (45.5, 137)
    assert (found.spread, found.delayed) == (0.25, 0.0279)
    assert (found.queue_ms, found.compute_ms, found.wire_ms) == (0.033, 0.52, 2.029)


def test_the_rate_of_a_closed_loop_is_told_by_latencies_after_its_start() -> None:
    found = Measured.read(2, SAID, ROW, is_closed=True)
    assert found.rate == pytest.approx(0.96 / 2.510e-3 + 0.96 / 2.536e-3, abs=0.001)
    assert found.spread == round(2536 / 2510 - 1, 3)


def test_windows_that_it_did_not_take_are_told() -> None:
    with pytest.raises(click.ClickException, match="took 2 windows, not 3"):
        Measured.read(2, SAID.replace("Pass [3]", "Passing"), ROW, is_closed=True)
