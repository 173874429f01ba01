"""The door in front of a real Triton with tiny models: what it lets in, has wait, refuses and passes on."""

from __future__ import annotations

import gzip
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
import tritonclient.grpc as tritonclient
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import shared_memory

from adlens import errors
from adlens.contract import REASON_HEADER, Reason
from adlens.transport import Connection, Endpoint, infer_request, read_response
from server.door import Door, DoorOptions, DoorTls, guard, quarantine
from server.door.guard import ADMIN_HEADER
from server.errors import AddressError, CertificateError
from server.launcher import Server
from tests.server.callers import Callers
from tests.server.launched import wait_until

ECHO = "(float[n, 2] X) => (float[n, 2] Y) { Y = Identity (X) }"
ECHO_CONFIGURATION = """backend: "onnxruntime" max_batch_size: 4
input { name: "X" data_type: TYPE_FP32 dims: [ 2 ] } output { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] }
instance_group { count: 1 kind: KIND_CPU }"""
WORK = """(int64[1] TIMES) => (float[1] Y) <bool on = {1}, float[1] x = {1.0}> {
  times = Squeeze (TIMES)
  Y = Loop (times, on, x) <body = step (int64 i, bool given, float[1] a) => (bool more, float[1] b) {
    more = Identity (given)
    b = Neg (a)
  }>
}"""
WORK_CONFIGURATION = """backend: "onnxruntime" max_batch_size: 0
input { name: "TIMES" data_type: TYPE_INT64 dims: [ 1 ] }
output { name: "Y" data_type: TYPE_FP32 dims: [ 1 ] }
instance_group { count: 2 kind: KIND_CPU }"""
TIMES_A_SECOND = 700_000
"""Turns of WORK's loop that keep a core for about a second."""
ONE = {"X": np.array([[1, 2]], np.float32)}
TOKEN = "open sesame"  # noqa: S105 - opens doors of these tests only
Enter = Callable[..., Door]


def work(seconds: float) -> dict[str, np.ndarray[Any, Any]]:
    """Inputs of the model ``work`` that take about so long."""
    return {"TIMES": np.array([int(seconds * TIMES_A_SECOND)])}


def add_models(folder: Path, add_onnx: Callable[..., Path]) -> Path:
    add_onnx(folder, "echo", ECHO, ECHO_CONFIGURATION)
    add_onnx(folder, "work", WORK, WORK_CONFIGURATION)
    return folder


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory, add_onnx: Callable[..., Path], serve: Any) -> Server:
    """A real Triton with ``echo`` and ``work``."""
    server: Server = serve(add_models(tmp_path_factory.mktemp("door"), add_onnx))
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


def port_of(door: Door) -> int:
    return int(door.url.rpartition(":")[2])


def connect(door: Door, retries: int = 0, timeout_s: float = 30) -> Connection:
    return Connection(Endpoint(door.url, timeout_s, retries))


@contextmanager
def stub(url: str, *options: tuple[str, int | str]) -> Iterator[Any]:
    """Triton's own stub, which neither retries nor translates."""
    with grpc.insecure_channel(url, options=[("grpc.enable_retries", 0), *options]) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def status(call: Callable[[], object]) -> tuple[grpc.StatusCode, str, str | None]:
    """Status, details and reason of a call that fails."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    return error.code(), error.details(), dict(error.trailing_metadata() or ()).get(REASON_HEADER)


def busy(door: Door, count: int) -> bool:
    return wait_until(lambda: door.in_flight == count, 5)


class Upstream(grpc.GenericRpcHandler):  # type: ignore[misc]
    """A gRPC server in Triton's place that notes what comes, answers with metadata, and can take its time."""

    def __init__(self) -> None:
        self.metadata: dict[str, str] = {}
        self.time_remaining_s: float | None = None
        self.ended = threading.Event()
        self.delay_s = 0.0
        self.failure: tuple[grpc.StatusCode, str] | None = None
        self._server = grpc.server(ThreadPoolExecutor(4), handlers=[self], options=[("grpc.so_reuseport", 0)])
        self.url = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def service(self, details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.metadata = dict(context.invocation_metadata())
        self.time_remaining_s = context.time_remaining()
        context.add_callback(self.ended.set)
        context.send_initial_metadata((("first", "1"),))
        context.set_trailing_metadata((("last", "2"), ("last-bin", b"\x00\xff")))
        self.ended.wait(self.delay_s)
        if self.failure:
            context.abort(*self.failure)
        return request

    def stop(self) -> None:
        self._server.stop(None).wait()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A gRPC server in Triton's place."""
    server = Upstream()
    yield server
    server.stop()


class TestPassingOn:
    """A caller cannot tell the door from Triton."""

    @pytest.mark.parametrize(
        ("method", "request_"),
        [
            ("ModelInfer", infer_request("echo", ONE)),
            ("ModelMetadata", service_pb2.ModelMetadataRequest(name="echo")),
            ("ServerMetadata", service_pb2.ServerMetadataRequest()),
            ("ModelReady", service_pb2.ModelReadyRequest(name="echo")),
            ("ModelReady", service_pb2.ModelReadyRequest(name="none")),
        ],
    )
    def test_answers_are_tritons(self, triton: Server, enter: Enter, method: str, request_: Any) -> None:
        with stub(enter(triton).url) as behind, stub(triton.url) as direct:
            assert getattr(behind, method)(request_) == getattr(direct, method)(request_)

    @pytest.mark.parametrize(
        "request_",
        [
            infer_request("none", ONE),
            infer_request("echo", {"Z": ONE["X"]}),
            infer_request("echo", {"X": np.zeros((9, 2), np.float32)}),
            service_pb2.ModelInferRequest(),
        ],
        ids=["unknown model", "unknown input", "batch too large", "nothing"],
    )
    def test_failures_are_tritons(self, triton: Server, enter: Enter, request_: Any) -> None:
        with stub(enter(triton).url) as behind, stub(triton.url) as direct:
            failure = status(lambda: direct.ModelInfer(request_))
            assert status(lambda: behind.ModelInfer(request_)) == failure
            assert failure[2] is None

    def test_metadata_passes_both_ways(self, enter: Enter, upstream: Upstream) -> None:
        door = enter()
        door.open_to(upstream.url)
        with grpc.insecure_channel(door.url) as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            answer, context = call.with_call(b"body", metadata=(("mine", "5"),), timeout=7)
            assert answer == b"body"
            assert dict(context.initial_metadata())["first"] == "1"
            assert dict(context.trailing_metadata()) == {"last": "2", "last-bin": b"\x00\xff"}
            assert upstream.metadata["mine"] == "5"
            assert upstream.time_remaining_s == pytest.approx(7, abs=1)
            upstream.failure = (grpc.StatusCode.DATA_LOSS, "gone")
            with pytest.raises(grpc.RpcError) as caught:
                call(b"body")
            assert caught.value.trailing_metadata() == context.trailing_metadata()
            assert status(lambda: call(b"body")) == (grpc.StatusCode.DATA_LOSS, "gone", None)

    def test_streams_pass_both_ways(self, triton: Server, enter: Enter) -> None:
        def requests() -> Iterator[Any]:
            for number in range(5):
                yield infer_request("echo" if number != 3 else "none", {"X": np.full((1, 2), number, "f4")})

        with stub(enter(triton).url) as behind:
            answers = list(behind.ModelStreamInfer(requests()))
        assert len(answers) == 5
        given = [
            float(read_response(a.infer_response).outputs["Y"][0, 0]) for a in answers if not a.error_message
        ]
        assert sorted(given) == [0, 1, 2, 4]

    def test_shared_memory_passes(self, triton: Server, enter: Enter) -> None:
        door = enter(triton, admin_token=TOKEN)
        headers = {ADMIN_HEADER: TOKEN}
        region = shared_memory.create_shared_memory_region("door", "/adlens-test-door", 8)
        try:
            shared_memory.set_shared_memory_region(region, [ONE["X"]])
            with tritonclient.InferenceServerClient(door.url) as client:
                client.register_system_shared_memory("door", "/adlens-test-door", 8, headers=headers)
                tensor = tritonclient.InferInput("X", [1, 2], "FP32")
                tensor.set_shared_memory("door", 8)
                np.testing.assert_array_equal(client.infer("echo", [tensor]).as_numpy("Y"), ONE["X"])
                client.unregister_system_shared_memory("door", headers=headers)
        finally:
            shared_memory.destroy_shared_memory_region(region)

    def test_a_method_that_triton_lacks_is_unknown(self, triton: Server, enter: Enter) -> None:
        with grpc.insecure_channel(enter(triton).url) as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/Nonsense")
            assert status(lambda: call(b""))[0] is grpc.StatusCode.UNIMPLEMENTED


class TestSize:
    """A request over the limit is refused."""

    def test_one_over_the_limit_is_refused_and_one_below_passes(self, triton: Server, enter: Enter) -> None:
        door = enter(triton, max_request_bytes=1_000_000)
        with connect(door) as connection:
            with pytest.raises(errors.RequestTooLarge, match=r"larger than max \(\d+ vs. 1000000\)"):
                connection.infer("echo", {"X": np.zeros((125_000, 2), np.float32)})
            with pytest.raises(errors.BadRequest, match="batch-size must be <= 4"):
                connection.infer("echo", {"X": np.zeros((124_000, 2), np.float32)})
            connection.infer("echo", ONE)
        assert door.in_flight == 0

    def test_compression_does_not_lead_round_the_limit(self, triton: Server, enter: Enter) -> None:
        door = enter(triton, max_request_bytes=1_000_000)
        request = infer_request("echo", {"X": np.zeros((1_000_000, 2), np.float32)})
        assert len(gzip.compress(request.SerializeToString())) < 20_000
        with stub(door.url) as behind:
            failure = status(lambda: behind.ModelInfer(request, compression=grpc.Compression.Gzip))
        assert failure[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max" in failure[1]


class TestFlaws:
    """Requests that Triton must not see."""

    @pytest.mark.parametrize("rows", [0, 2**32, -(2**63)])
    def test_rows_that_harm_others_are_refused(self, triton: Server, enter: Enter, rows: int) -> None:
        request = infer_request("echo", {"X": np.ones((1, 2), np.float32)})
        request.inputs[0].shape[0] = rows
        with stub(enter(triton).url) as behind:
            code, details, _ = status(lambda: behind.ModelInfer(request))
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert details == f"input 'X' has shape [{rows}, 2]; send at least one row"
            answers = behind.ModelStreamInfer(iter([request]))
            assert status(lambda: list(answers))[0] is grpc.StatusCode.INVALID_ARGUMENT


class TestOverload:
    """What is over the limit is refused at once; what asks for the server's health is not."""

    def test_it_is_refused_at_once_with_a_reason(self, triton: Server, enter: Enter) -> None:
        door = enter(triton, max_in_flight=2)
        picture = infer_request("echo", {"X": np.zeros((25_000, 2), np.float32)})
        with stub(door.url) as behind, connect(door) as connection, ThreadPoolExecutor(2) as pool:
            running = [pool.submit(connection.infer, "work", work(2)) for _ in range(2)]
            assert busy(door, 2)
            took_s = []
            for _ in range(100):
                began = time.monotonic()
                failure = status(lambda: behind.ModelInfer(picture))
                took_s.append(time.monotonic() - began)
                assert failure == (
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    "2 requests are running; send fewer at a time",
                    Reason.OVERLOADED,
                )
            with pytest.raises(errors.Overloaded, match="send fewer"):
                connection.infer("echo", ONE)
            assert not any(call.done() for call in running), "both cores were to be busy all the time"
            assert door.oldest_s > sum(took_s)
            assert connection.server_version()
            assert connection.is_ready("echo")
            for call in running:
                call.result()
            connection.infer("echo", ONE)
        assert statistics.median(took_s) < 0.02
        assert time.monotonic() - door.last_success < 5

    def test_one_who_gives_up_frees_the_place_and_triton(self, enter: Enter, upstream: Upstream) -> None:
        door = enter(max_in_flight=1)
        door.open_to(upstream.url)
        upstream.delay_s = 20.0
        with stub(door.url) as behind:
            call = behind.ModelInfer.future(infer_request("echo", ONE))
            assert wait_until(lambda: upstream.metadata)
            assert door.in_flight == 1
            call.cancel()
            assert upstream.ended.wait(1)
            assert busy(door, 0)
            upstream.ended.clear()
            call = behind.ModelInfer.future(infer_request("echo", ONE), timeout=1)
            assert call.exception().code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert upstream.ended.wait(1)
            assert busy(door, 0)

    def test_a_body_that_does_not_come_holds_no_place_for_ever(
        self, triton: Server, enter: Enter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(guard, "READ_S", 0.3)
        door = enter(triton, max_in_flight=1)
        with grpc.insecure_channel(door.url) as channel, connect(door) as connection:
            silent = channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")
            never = threading.Event()
            call = silent.future(iter(lambda: never.wait() and None, None))
            time.sleep(0.1)
            with pytest.raises(errors.Overloaded):
                connection.infer("echo", ONE)
            assert call.exception(timeout=3).code() is grpc.StatusCode.DEADLINE_EXCEEDED
            never.set()
            connection.infer("echo", ONE)

    def test_tritons_full_queue_is_named_and_not_retried(self, enter: Enter, upstream: Upstream) -> None:
        door = enter()
        door.open_to(upstream.url)
        upstream.failure = (grpc.StatusCode.UNAVAILABLE, "[request id: 1] Exceeds maximum queue size")
        began = time.monotonic()
        with connect(door, retries=3) as connection, pytest.raises(errors.Overloaded):
            connection.infer("echo", ONE)
        assert time.monotonic() - began < 0.15, "retries begin after 0.16 s"


class TestRestart:
    """While Triton comes and goes, callers wait."""

    def test_calls_wait_until_triton_is_there(self, triton: Server, enter: Enter) -> None:
        door = enter(max_in_flight=2)
        with connect(door) as connection, ThreadPoolExecutor(8) as pool:
            waiting = [pool.submit(connection.infer, "echo", ONE) for _ in range(8)]
            time.sleep(0.3)
            assert door.in_flight == 0
            assert not any(call.done() for call in waiting)
            door.open_to(triton.url)
            for call in waiting:
                assert call.result(5).outputs["Y"].shape == (1, 2)

    def test_they_wait_within_their_own_time(self, enter: Enter, monkeypatch: pytest.MonkeyPatch) -> None:
        door = enter()
        with connect(door) as connection:
            with pytest.raises(errors.Timeout):
                connection.infer("echo", ONE, timeout_s=0.2)
            monkeypatch.setattr(guard, "HOLD_S", 0.2)
            with pytest.raises(errors.Unavailable, match="still being started anew"):
                connection.infer("echo", ONE)
            monkeypatch.setattr(guard, "MAX_HELD", 0)
            with pytest.raises(errors.Overloaded):
                connection.infer("echo", ONE)

    def test_while_it_is_held_who_runs_goes_on(self, triton: Server, enter: Enter) -> None:
        door = enter(triton)
        with connect(door) as connection, ThreadPoolExecutor(2) as pool:
            running = pool.submit(connection.infer, "work", work(0.5))
            assert busy(door, 1)
            door.hold()
            waiting = pool.submit(connection.infer, "echo", ONE)
            running.result(10)
            assert not waiting.done()
            door.open_to(triton.url)
            waiting.result(5)

    def test_who_was_running_at_a_death_is_told_and_a_retry_waits_for_the_next_triton(
        self, triton: Server, enter: Enter, tmp_path: Path, add_onnx: Callable[..., Path], serve: Any
    ) -> None:
        mortal: Server = serve(add_models(tmp_path, add_onnx))
        door = enter(mortal)
        with stub(door.url) as behind, connect(door, retries=3) as connection, ThreadPoolExecutor(3) as pool:
            plain = pool.submit(status, lambda: behind.ModelInfer(infer_request("work", work(5))))
            retrying = pool.submit(connection.infer, "work", work(1))
            assert busy(door, 2)
            mortal.abort()
            code, _, reason = plain.result(3)
            assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, Reason.RESTARTING)
            # Before anyone has told the door, too, new calls wait.
            waiting = pool.submit(connection.infer, "echo", ONE)
            time.sleep(0.3)
            assert not waiting.done()
            door.hold(died=True)
            door.open_to(triton.url)
            waiting.result(5)
            retrying.result(15)
        mortal.stop(at_once=True)

    def test_the_death_of_a_model_process_counts_as_a_restart(
        self, enter: Enter, tmp_path: Path, add_onnx: Callable[..., Path], serve: Any
    ) -> None:
        add_onnx(tmp_path, "work", WORK, WORK_CONFIGURATION)
        mortal: Server = serve(tmp_path)
        door = enter(mortal)
        with stub(door.url) as behind, ThreadPoolExecutor(1) as pool:
            running = pool.submit(status, lambda: behind.ModelInfer(infer_request("work", work(5))))
            assert busy(door, 1)
            for process in psutil.Process(mortal.pid).children(recursive=True):
                process.kill()
            code, details, reason = running.result(10)
        mortal.stop(at_once=True)
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, Reason.RESTARTING), details


class TestPoison:
    """A request that was running at two deaths is refused; what ran beside it is not."""

    def test_only_the_one_that_ran_at_both_is_refused(self, triton: Server, enter: Enter) -> None:
        door = enter(triton)
        deadly, innocent = work(1.5), work(1.2)
        with connect(door) as connection, ThreadPoolExecutor(8) as pool:
            for death in range(2):
                first = [pool.submit(connection.infer, "work", deadly)]
                # At the second death both are suspects, and take turns.
                assert busy(door, 1)
                second = [pool.submit(connection.infer, "work", innocent)]
                assert busy(door, 2 - death)
                door.hold(died=True)
                door.open_to(triton.url)
                with pytest.raises(errors.Unavailable):
                    first[0].result(5)
                if death == 0:
                    with pytest.raises(errors.Unavailable):
                        second[0].result(5)
            with pytest.raises(errors.BadRequest, match=r"died twice .* refused for 10 minutes"):
                connection.infer("work", deadly)
            second[0].result(30)
            connection.infer("echo", ONE)
            with stub(door.url) as behind:
                request = infer_request("work", deadly)
                failure = status(lambda: behind.ModelInfer(request))
                assert failure[::2] == (grpc.StatusCode.INVALID_ARGUMENT, Reason.POISON)
                assert status(lambda: list(behind.ModelStreamInfer(iter([request])))) == failure

    def test_an_answer_acquits(self, triton: Server, enter: Enter) -> None:
        door = enter(triton)
        with connect(door) as connection, ThreadPoolExecutor(1) as pool:
            for _ in range(2):
                running = pool.submit(connection.infer, "work", work(0.7))
                assert busy(door, 1)
                door.hold(died=True)
                door.open_to(triton.url)
                with pytest.raises(errors.Unavailable):
                    running.result(5)
                connection.infer("work", work(0.7))

    def test_a_restart_in_order_blames_nobody(self, triton: Server, enter: Enter) -> None:
        door = enter(triton)
        with connect(door) as connection, ThreadPoolExecutor(1) as pool:
            for _ in range(2):
                running = pool.submit(connection.infer, "work", work(0.7))
                assert busy(door, 1)
                door.hold()
                door.open_to(triton.url)
                with pytest.raises(errors.Unavailable):
                    running.result(5)
            connection.infer("work", work(0.7))

    async def test_it_is_forgiven_after_a_while_and_the_list_is_bounded(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(quarantine, "MAX_SUSPECTS", 3)
        suspects = quarantine.Quarantine()
        for number in range(5):
            suspects.accuse(b"%d" % number, death=1)
            suspects.accuse(b"%d" % number, death=1)
        assert [suspects.suspects(b"%d" % number) for number in range(5)] == [False, False, True, True, True]
        monkeypatch.setattr(quarantine, "MEMORY_S", 0)
        assert not suspects.suspects(b"4")


class TestHealth:
    """What callers hear of the server's health is the supervisor's word."""

    def test_it_is_the_verdict_and_not_tritons(self, triton: Server, enter: Enter) -> None:
        door = enter(triton)
        with stub(door.url) as behind, grpc.insecure_channel(door.url) as channel:
            check = channel.unary_unary("/grpc.health.v1.Health/Check")
            watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
            for serving in (True, False, True):
                door.set_serving(serving)
                assert behind.ServerReady(service_pb2.ServerReadyRequest()).ready is serving
                assert behind.ServerLive(service_pb2.ServerLiveRequest()).live is serving
                assert behind.ModelReady(service_pb2.ModelReadyRequest(name="echo")).ready is serving
                assert check(b"") == next(watch) == (b"\x08\x01" if serving else b"\x08\x02")
            watch.cancel()

    def test_it_is_not_ready_before_anyone_says_so(self, enter: Enter) -> None:
        with stub(enter().url) as behind:
            assert not behind.ServerReady(service_pb2.ServerReadyRequest()).ready


class TestDrain:
    """A door that closes loses no call."""

    def test_what_runs_ends_and_what_waits_is_sent_elsewhere(self, triton: Server, enter: Enter) -> None:
        door = enter(triton)
        with connect(door) as connection, ThreadPoolExecutor(1) as pool:
            running = pool.submit(connection.infer, "work", work(0.7))
            assert busy(door, 1)
            door.drain(10)
            running.result(1)
            with pytest.raises(errors.Unavailable, match="no server answers"):
                connection.infer("echo", ONE)

        held = enter()
        with connect(held) as connection, ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(connection.infer, "echo", ONE)
            time.sleep(0.3)
            assert not waiting.done()
            held.drain(10)
            with pytest.raises(errors.Draining):
                waiting.result(1)

    def test_what_takes_too_long_is_cancelled(self, triton: Server, enter: Enter) -> None:
        door = enter(triton)
        with connect(door) as connection, ThreadPoolExecutor(1) as pool:
            running = pool.submit(connection.infer, "work", work(3))
            assert busy(door, 1)
            began = time.monotonic()
            door.drain(0.3)
            assert time.monotonic() - began < 1.5
            with pytest.raises(errors.ServerError):
                running.result(1)

    def test_a_drain_that_takes_too_long_is_cut_short(self, triton: Server, enter: Enter) -> None:
        door = enter(triton)
        with connect(door) as connection, ThreadPoolExecutor(2) as pool:
            running = pool.submit(connection.infer, "work", work(5))
            assert busy(door, 1)
            draining = pool.submit(door.drain, 30)
            time.sleep(0.3)
            door.abort()
            draining.result(2)
            with pytest.raises(errors.ServerError):
                running.result(1)

    def test_of_two_servers_one_after_the_other_is_replaced_and_no_call_fails(
        self, triton: Server, enter: Enter
    ) -> None:
        doors = [enter(triton), enter(triton)]
        both = Endpoint("ipv4:" + ",".join(door.url for door in doors), timeout_s=10, retries=0)
        with Connection(both) as connection, Callers(lambda: connection.infer("echo", ONE)) as callers:
            for door in doors:
                door.drain(5)
                door.stop()
                successor = enter(triton, port=port_of(door))
                # The client notices it when it next tries to connect, after 2 s at most.
                assert wait_until(lambda door=successor: door.last_success > 0, 10)
        assert callers.failures == []


class TestStart:
    """A door that cannot open says why."""

    def test_a_port_in_use_is_named(self, enter: Enter) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(AddressError, match=f"127.0.0.1:{port} cannot be had"):
                Door(DoorOptions(port=port)).start()
        used = enter()
        with pytest.raises(AddressError):
            Door(DoorOptions(port=port_of(used))).start()

    def test_a_file_that_is_no_certificate_is_named(self, tmp_path: Path) -> None:
        paper = tmp_path / "paper.pem"
        with pytest.raises(CertificateError, match=r"paper\.pem cannot be used"):
            Door(DoorOptions(port=0, tls=DoorTls(paper, paper))).start()
        paper.write_text("no certificate")
        with pytest.raises(CertificateError, match=r"paper\.pem cannot be used"):
            Door(DoorOptions(port=0, tls=DoorTls(paper, paper))).start()

    def test_it_may_be_stopped_at_any_time(self) -> None:
        door = Door(DoorOptions(port=0))
        door.stop()
        door.start()
        door.stop()
        door.stop()
        with pytest.raises(RuntimeError, match="call start"):
            door.hold()
