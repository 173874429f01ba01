"""While Triton or the door comes and goes: who waits, is told or is blamed, and that no call is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from adlens import errors
from adlens.contract import Reason
from adlens.transport import Connection, Endpoint, infer_request
from server.door import guard, quarantine
from server.launcher import Server
from tests.server.callers import Callers
from tests.server.doors import (
    ONE,
    WORK,
    WORK_CONFIGURATION,
    Enter,
    add_models,
    busy,
    connect,
    port_of,
    status,
    stub,
    work,
)
from tests.server.launched import wait_until


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
