"""What the door refuses: requests over the limit on bytes, and more at once than the server may have."""

from __future__ import annotations

import gzip
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from adlens import errors
from adlens.contract import Reason
from adlens.transport import infer_request
from server.door import guard
from server.launcher import Server
from tests.server.doors import ONE, Enter, Upstream, busy, connect, status, stub, work
from tests.server.launched import wait_until


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


class TestOverload:
    """What is over the limit is refused at once; what asks for the server's health is not."""

    @pytest.mark.alone
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
