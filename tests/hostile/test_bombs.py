"""Bombs are refused within milliseconds, end to end through gRPC, and memory does not grow.

The way of the bytes through gRPC and Triton is shown beside them, by as many bytes that the gate
refuses at their first one, A B A B; what remains is what the bomb itself costs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from tritonclient.grpc import service_pb2

from adlens import jpeg
from adlens.errors import BadImage
from tests.hostile.bombs import bombs, harmless
from tests.hostile.requests import Caller, ask

MOST_MS = 5.0
MOST_FLOOD_MS = 40.0
"""Of what is nothing but markers, or has none, up to the largest size taken: read to its end."""
FLOODS = ("fill bytes", "restart markers", "no end")
SMALL_BYTES = 1_000_000
"""Above this most of the time is the way of the bytes."""
MOST_ANSWER_MS = 100.0
ROUNDS = 7
BUSY = 3
"""Allowed for machines that others use at the same time."""
MOST_GROWTH = 0.05


def milliseconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - began)


@pytest.fixture(scope="module")
def figures(report: dict[str, Any]) -> dict[str, Any]:
    """The report's part on bombs."""
    return report.setdefault("bombs", {})


@pytest.mark.parametrize("name", bombs())
def test_a_bomb_is_refused_in_no_time(caller: Caller, figures: dict[str, Any], name: str) -> None:
    bomb = bombs()[name]
    refused, compared = ask("single", bomb), ask("single", b"\0" * len(bomb))
    took, way, gate = [], [], []
    for _ in range(ROUNDS):
        took.append(milliseconds(lambda: _refused(caller, refused)))
        way.append(milliseconds(lambda: _refused(caller, compared)))
        gate.append(milliseconds(lambda: _bad(bomb)))
    figures[name] = {
        "bytes": len(bomb),
        "end to end ms": round(min(took), 2),
        "as many bytes of nothing ms": round(min(way), 2),
        "gate ms": round(min(gate), 2),
    }
    assert min(gate) < (MOST_FLOOD_MS if name in FLOODS else MOST_MS)
    if len(bomb) < SMALL_BYTES:
        assert min(took) < MOST_MS * BUSY


def _refused(caller: Caller, request: service_pb2.ModelInferRequest) -> None:
    assert caller.send(request).status == "INVALID_ARGUMENT"


def _bad(data: bytes) -> None:
    with pytest.raises(BadImage):
        jpeg.inspect(data)


@pytest.mark.parametrize("name", harmless())
def test_what_only_looks_dangerous_is_answered_at_once(
    caller: Caller, figures: dict[str, Any], name: str
) -> None:
    request = ask("single", harmless()[name])
    took = [milliseconds(lambda: caller.send(request).outputs) for _ in range(ROUNDS)]
    figures[name] = {"bytes": len(harmless()[name]), "end to end ms": round(min(took), 2)}
    assert min(took) < MOST_ANSWER_MS


def test_bombs_leave_memory_as_it_was(
    caller: Caller, figures: dict[str, Any], memory_mb: Callable[[], float]
) -> None:
    requests = [ask("single", bomb) for bomb in bombs().values()]

    def send_all() -> None:
        for outcome in caller.send_all(requests, in_flight=2):
            assert outcome.status == "INVALID_ARGUMENT"

    def lowest() -> float:
        """Over a few rounds, as now and then a message's buffer is kept until the next one."""
        found = []
        for _ in range(5):
            send_all()
            found.append(memory_mb())
        return min(found)

    # Triton's own heap grows to its size over some hundred messages of 20 MiB.
    for _ in range(40):
        send_all()
    before = lowest()
    for _ in range(10):
        send_all()
    after = lowest()
    figures["memory"] = {"before MB": round(before), "after 10 rounds MB": round(after)}
    assert after < before * (1 + MOST_GROWTH)
