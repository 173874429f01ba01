"""Starting, watching and stopping a real server: what is said, and that nothing is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import tritonclient.grpc as triton

from server.errors import AddressError, MissingModelError, ServerError, TritonFailedError
from server.launcher import Server, ServerOptions, free_port
from server.leftovers import SHARED_MEMORY, group_members
from tests.server.launched import CHECKOUT, Launched, wait_until

CPU = 'backend: "onnxruntime" instance_group { count: 1 kind: KIND_CPU } max_batch_size: 4 '
X = 'input { name: "X" data_type: TYPE_FP32 dims: [ 2 ] } '
Y = 'output { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] } '


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, add_onnx: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("tiny_models")
    add_onnx(folder, "tiny", "(float[n, 2] X) => (float[n, 2] Y) { Y = Neg(X) }", CPU + X + Y)
    return folder


@pytest.fixture
def launched(repository: Path) -> Iterator[Launched]:
    launched = Launched("--model-repository", str(repository))
    yield launched
    launched.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_server_leaves_nothing_behind(launched: Launched, number: signal.Signals) -> None:
    with triton.InferenceServerClient(launched.until_ready()) as client:
        assert client.is_model_ready("tiny")
    group = launched.triton.pid
    assert len(launched.left_behind(group)) > 3, "the test does not see what there is while it runs"
    launched.process.send_signal(number)
    status, _ = launched.end()
    assert status == 0
    assert launched.left_behind(group) == []


def test_a_second_ctrl_c_kills_a_server_that_hangs(launched: Launched) -> None:
    launched.until_ready()
    hanging = launched.triton
    hanging.suspend()
    launched.process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        launched.process.wait(1)
    launched.process.send_signal(signal.SIGINT)
    status, _ = launched.end()
    assert status == 0
    assert launched.left_behind(hanging.pid) == []


def test_a_killed_launcher_takes_its_server_along_and_the_next_start_clears_the_rest(
    launched: Launched, repository: Path
) -> None:
    launched.until_ready()
    group = launched.triton.pid
    launched.process.kill()
    launched.process.wait()
    assert wait_until(lambda: not group_members(group)), launched.left_behind(group)
    with Server(ServerOptions(grpc_port=0, metrics_port=0, repositories=(repository,))):
        assert launched.left_behind(group) == []


def test_a_port_in_use_is_named_with_the_flag_that_changes_it(free_port: int, repository: Path) -> None:
    options = ServerOptions(grpc_port=free_port, metrics_port=0, repositories=(repository,))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port))
        taken.listen()
        with pytest.raises(AddressError, match=f"port {free_port} on 127.0.0.1 .* --grpc-port"):
            Server(options).start()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.org"])  # noqa: S104 - refused
def test_only_addresses_of_this_machine_are_served(host: str, repository: Path) -> None:
    with pytest.raises(AddressError, match="not an address of this machine alone"):
        Server(ServerOptions(host=host, repositories=(repository,))).start()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_calls_and_metrics_are_answered_where_the_server_says(host: str, repository: Path) -> None:
    try:
        free_port(host, 0, "--grpc-port")
    except AddressError:
        pytest.skip(f"this machine has no {host}")
    options = ServerOptions(host=host, grpc_port=0, metrics_port=0, repositories=(repository,))
    with Server(options) as server:
        with triton.InferenceServerClient(server.url) as client:
            assert client.is_model_ready("tiny")
        with urllib.request.urlopen(server.metrics_url) as answer:  # noqa: S310 - http
            assert b"nv_inference_count" in answer.read()


def test_weights_that_are_not_built_are_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "detect_faces").mkdir()
    (tmp_path / "detect_faces" / "config.pbtxt").write_text(CPU)
    with pytest.raises(MissingModelError, match=r"not built: detect_faces .* make models"):
        Server(ServerOptions(repositories=(tmp_path,))).start()


def test_a_model_that_does_not_exist_is_named(repository: Path) -> None:
    with pytest.raises(MissingModelError, match="no model 'huge' in the repositories; they hold: tiny"):
        Server(ServerOptions(repositories=(repository,), models=("huge",))).start()


def test_a_model_that_does_not_load_is_told_with_triton_s_reason(
    tmp_path: Path, add_onnx: Callable[..., Path]
) -> None:
    graph = "(float[n, 2] X) => (float[n, 2] Y) { Y = Neg(X) }"
    add_onnx(tmp_path, "wrong", graph, CPU + X.replace("X", "Z") + Y)
    server = Server(ServerOptions(grpc_port=0, metrics_port=0, repositories=(tmp_path,)))
    with pytest.raises(TritonFailedError, match="model 'wrong': unexpected inference input 'Z'"):
        server.start()
    assert list(SHARED_MEMORY.glob(f"{server.name}*")) == []


def test_a_signal_while_the_server_ends_after_its_command_hastens_the_end(repository: Path) -> None:
    launched = Launched("--model-repository", str(repository), "--", "sleep", "2")
    try:
        assert wait_until(lambda: "ready at" in launched.said)
        launcher = psutil.Process(launched.process.pid)
        hanging = next(each for each in launcher.children() if each.name() == "tritonserver")
        hanging.suspend()
        assert wait_until(lambda: launcher.children() == [hanging])
        launched.process.send_signal(signal.SIGINT)
        assert launched.process.wait(5) == 0
        assert launched.left_behind(hanging.pid) == []
    finally:
        launched.kill()


@pytest.mark.parametrize(("command", "status"), [("exit 7", 7), ("kill -KILL $$", 128 + 9)])
def test_a_command_s_status_is_passed_on(repository: Path, command: str, status: int) -> None:
    launched = Launched("--model-repository", str(repository), "--", "sh", "-c", command)
    assert launched.end()[0] == status
    launched.kill()


def test_a_command_that_was_interrupted_has_not_succeeded(repository: Path) -> None:
    launched = Launched("--model-repository", str(repository), "--", "sleep", "60")
    assert wait_until(lambda: "ready at" in launched.said)
    launched.process.send_signal(signal.SIGTERM)
    assert launched.end()[0] == 130
    launched.kill()


def test_a_server_that_nobody_listens_to_heals_all_the_same(repository: Path) -> None:
    unread, stderr = os.pipe()
    os.close(unread)
    command = [sys.executable, "-m", "server", "--grpc-port", "0", "--metrics-port", "0"]
    command += ["--model-repository", str(repository)]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=stderr) as process:
        os.close(stderr)
        assert process.stdout is not None
        assert b"ready" in process.stdout.readline()
        launcher = psutil.Process(process.pid)
        (first,) = launcher.children()
        first.kill()
        assert wait_until(lambda: first not in launcher.children() and launcher.children())
        process.terminate()
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("folder", "message"),
    [("gone", "cannot be started: .*gone.*TMPDIR"), ("long" * 25, "too long; set TMPDIR")],
)
def test_a_bad_temporary_folder_is_named_with_the_remedy(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, message: str
) -> None:
    (tmp_path / ("long" * 25)).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / folder))
    with pytest.raises(ServerError, match=message):
        Server(ServerOptions(metrics_port=0, repositories=(repository,), private=True)).start()
    assert list((tmp_path / ("long" * 25)).iterdir()) == []


@pytest.mark.parametrize(
    ("variable", "value", "status", "message"),
    [
        ("HOST", "192.0.2.1", 3, "error: --host 192.0.2.1 is not an address of this machine alone"),
        ("MODEL_REPOSITORY", "/gone", 3, "/gone"),
        ("GRPC_PORT", "65536", 2, "65536 is not in the range"),
        ("DRAIN", "-1", 2, "-1.0 is not in the range"),
        ("MAX_IN_FLIGHT", "0", 2, "0 is not in the range"),
    ],
)
def test_options_may_be_given_as_environment_variables_and_bad_ones_are_named(
    variable: str, value: str, status: int, message: str
) -> None:
    ports = {"ADLENS_SERVER_GRPC_PORT": "0", "ADLENS_SERVER_METRICS_PORT": "0"}
    ended = subprocess.run(
        [sys.executable, "-m", "server"],
        cwd=CHECKOUT,
        env={**os.environ, **ports, f"ADLENS_SERVER_{variable}": value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == status
    assert message in ended.stderr


def test_a_command_that_does_not_exist_is_named_before_anything_starts(repository: Path) -> None:
    launched = Launched("--model-repository", str(repository), "--", "no-such-program")
    status, said = launched.end()
    launched.kill()
    assert status == 2
    assert "'no-such-program'" in said
    assert "ready" not in said
