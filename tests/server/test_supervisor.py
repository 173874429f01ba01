"""Faults that Triton never notices are healed, and callers lose nothing: a real server with tiny models.

Callers are the client's own connections, which try again where the door tells them to.
"""

from __future__ import annotations

import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton

from adlens.transport import Connection, Endpoint
from server.supervisor import QUIET_S
from server.vitals import STALL_S
from tests.server.callers import Callers
from tests.server.launched import Launched, add_python, wait_until

HEALED_WITHIN_S = 10
LOOP = """(float[n, 2] X) => (float[n, 2] Y) <int64 times = {100000}, bool on = {1}> {
  Y = Loop (times, on, X) <body = step (int64 i, bool given, float[n, 2] x) => (bool more, float[n, 2] y) {
    more = Identity (given)
    y = Neg (x)
  }>
}"""
"""A tenth of a second or more of one core, to give back what came in."""
CONFIGURATION = """backend: "onnxruntime" max_batch_size: 4
input { name: "X" data_type: TYPE_FP32 dims: [ 2 ] } output { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] }
instance_group { count: 2 kind: KIND_CPU }"""
TOKEN = "open sesame"  # noqa: S105 - opens a server of these tests only
Launch = Callable[..., Launched]


@pytest.fixture
def repository(tmp_path: Path, add_onnx: Callable[..., Path]) -> Path:
    add_onnx(tmp_path, "slow", LOOP, CONFIGURATION)
    return tmp_path


@pytest.fixture
def launch(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launch]:
    """Starts servers of the slow model."""
    running: list[Launched] = []
    monkeypatch.setenv("ADLENS_SERVER_ADMIN_TOKEN", TOKEN)

    def start(*arguments: str) -> Launched:
        running.append(Launched("--model-repository", str(repository), *arguments))
        return running[-1]

    yield start
    for launched in running:
        launched.kill()


@contextmanager
def calling(url: str, count: int = 3) -> Iterator[Callers]:
    """Callers of the slow model, each with 30 seconds for a call."""
    row = np.array([[1, 2]], np.float32)
    with Connection(Endpoint(url, timeout_s=30)) as connection:

        def call() -> None:
            np.testing.assert_array_equal(connection.infer("slow", {"X": row}).outputs["Y"], row)

        with Callers(call, count) as callers:
            yield callers


FAULTS: dict[str, tuple[Callable[[Launched], None], str]] = {
    "a killed model process": (lambda server: a_model_process(server).kill(), r"model process \d+ ended"),
    "a stopped model process": (lambda server: a_model_process(server).suspend(), "is stopped"),
    "a killed tritonserver": (lambda server: server.triton.kill(), r"ended \(signal SIGKILL\)"),
    "a stopped tritonserver": (lambda server: server.triton.suspend(), "has done nothing for 3 s"),
}


def a_model_process(server: Launched) -> psutil.Process:
    return server.model_processes()[-1]


@pytest.mark.alone
@pytest.mark.parametrize("fault", FAULTS)
def test_is_healed_under_load_and_callers_lose_nothing(launch: Launch, fault: str) -> None:
    inflict, reason = FAULTS[fault]
    server = launch()
    with calling(server.until_ready()) as callers:
        broken = time.monotonic()
        inflict(server)
        assert wait_until(lambda: "serving again" in server.said), server.said
        assert callers.wait_for_answers()
    assert callers.failures == []
    assert callers.longest_gap_s(broken) < HEALED_WITHIN_S
    assert re.search(reason, server.said)


@pytest.mark.alone
@pytest.mark.parametrize("fault", FAULTS)
def test_is_healed_at_rest(launch: Launch, fault: str) -> None:
    inflict, reason = FAULTS[fault]
    server = launch()
    url = server.until_ready()
    inflict(server)
    assert wait_until(lambda: "serving again" in server.said, HEALED_WITHIN_S), server.said
    assert re.search(reason, server.said)
    with calling(url) as callers:
        assert callers.wait_for_answers()
    assert callers.failures == []


def test_a_crash_loop_backs_off_says_why_and_ends_when_its_cause_does(
    launch: Launch, repository: Path
) -> None:
    server = launch()
    url = server.until_ready()
    model = repository / "slow" / "1" / "model.onnx"
    content = model.read_bytes()
    model.write_bytes(b"no ONNX")
    server.triton.kill()
    assert wait_until(lambda: "starting again in 2 s" in server.said, 30), server.said
    assert "starting again in 0 s" in server.said
    assert "starting again in 1 s" in server.said
    assert "model 'slow'" in server.said
    with triton.InferenceServerClient(url) as client:
        assert not client.is_server_ready()
    model.write_bytes(content)
    assert wait_until(lambda: "serving again" in server.said, 30), server.said
    with triton.InferenceServerClient(url) as client:
        assert client.is_server_ready()
    with calling(url) as callers:
        assert callers.wait_for_answers()
    assert callers.failures == []


@pytest.mark.alone  # a port that a server has left could be another test's before the next server comes
def test_of_two_servers_one_is_replaced_under_load_and_no_call_fails(launch: Launch) -> None:
    servers = [launch(), launch()]
    urls = [server.until_ready() for server in servers]
    with calling(f"ipv4:{','.join(urls)}", count=4) as callers:
        servers[0].process.send_signal(signal.SIGTERM)
        assert servers[0].end()[0] == 0
        assert callers.wait_for_answers()
        # The last of two flags counts.
        replacement = launch("--grpc-port", urls[0].rpartition(":")[2])
        assert replacement.until_ready() == urls[0]
        assert callers.wait_for_answers()
        servers[1].process.send_signal(signal.SIGTERM)
        assert servers[1].end()[0] == 0
        assert callers.wait_for_answers()
    assert callers.failures == []


def test_a_model_is_reloaded_under_load_and_no_call_fails(launch: Launch, repository: Path) -> None:
    server = launch("--model-control")
    url = server.until_ready()
    admin = {"triton-grpc-protocol-admin": TOKEN}
    with calling(url) as callers, triton.InferenceServerClient(url) as client:
        before = {process.pid for process in server.model_processes()}
        for _ in range(3):
            # Triton loads anew what has changed.
            (repository / "slow" / "1" / "model.onnx").touch()
            client.load_model("slow", headers=admin)
            assert callers.wait_for_answers()
        # What an old version still had to answer, it answers first.
        assert wait_until(lambda: not before & {process.pid for process in server.model_processes()})
    assert callers.failures == []
    assert "failed" not in server.said


def test_a_model_that_is_unloaded_stays_so_and_alarms_nobody(launch: Launch) -> None:
    server = launch("--model-control")
    with triton.InferenceServerClient(server.until_ready()) as client:
        client.unload_model("slow", headers={"triton-grpc-protocol-admin": TOKEN})
        time.sleep(2 * QUIET_S)
        assert not client.is_model_ready("slow")
    assert server.said == ""


def test_a_model_that_waits_without_a_processor_is_not_taken_for_stuck(
    launch: Launch, repository: Path
) -> None:
    shutil.rmtree(repository / "slow")
    add_python(repository, "waits", f"time.sleep({STALL_S + 1})")
    server = launch()
    server.until_ready()
    time.sleep(QUIET_S + STALL_S + 1)
    assert server.said == ""


def test_calls_wait_for_a_server_that_starts(launch: Launch, free_port: int) -> None:
    server = launch("--grpc-port", str(free_port))
    with Connection(Endpoint(f"127.0.0.1:{free_port}", timeout_s=30)) as connection:
        assert wait_until(lambda: _listens(free_port))
        answer = connection.infer("slow", {"X": np.ones((1, 2), np.float32)})
    np.testing.assert_array_equal(answer.outputs["Y"], np.ones((1, 2), np.float32))
    server.until_ready()


def _listens(port: int) -> bool:
    return any(
        connection.laddr.port == port and connection.status == psutil.CONN_LISTEN
        for connection in psutil.net_connections("tcp")
    )
