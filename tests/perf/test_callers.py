"""Callers in this process: what counts, and that an error leaves no figure."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from perf.callers import HttpCaller, closed


def test_answers_are_counted_after_the_warm_up_alone() -> None:
    started = time.perf_counter()
    seen: list[float] = []

    def call(wait_s: float) -> None:
        time.sleep(wait_s)
        seen.append(time.perf_counter() - started)

    found = closed([call, call], [0.02], seconds=0.4, warm_up_s=0.2)
    assert found.requests == sum(0.2 <= moment < 0.6 for moment in seen) < len(seen)
    assert found.rate == pytest.approx(found.requests / 0.4, rel=0.3)
    assert 20 <= found.p50_ms <= found.p99_ms


def test_the_warm_up_lasts_until_all_callers_have_had_their_turn() -> None:
    """One that serves them in the order in which they came: the first wait for less than all others do."""
    with ThreadPoolExecutor(1) as server:
        found = closed(
            [lambda wait_s: server.submit(time.sleep, wait_s).result()] * 8, [0.02], seconds=0.4, warm_up_s=0
        )
    assert found.rate == pytest.approx(1 / 0.02, rel=0.2)
    assert found.mean_ms == pytest.approx(8 * 20, rel=0.2)


def test_work_is_shared_out_in_turn() -> None:
    done: list[int] = []

    def call(work: int) -> None:
        time.sleep(0.01)
        done.append(work)

    closed([call] * 2, range(4), seconds=0.2, warm_up_s=0)
    assert set(done) == set(range(4))


def test_an_error_leaves_no_figure() -> None:
    def call(work: int) -> None:
        time.sleep(0.01)
        raise RuntimeError("refused")

    with pytest.raises(RuntimeError, match="refused"):
        closed([call], [0], seconds=0.1, warm_up_s=0)


def test_a_caller_that_fails_while_others_warm_up_ends_the_run() -> None:
    def fail(work: int) -> None:
        raise RuntimeError("refused")

    with pytest.raises(RuntimeError, match="refused"):
        closed([lambda _: time.sleep(0.01), fail], [0], seconds=60, warm_up_s=0)


def test_slow_answers_are_counted_for_longer() -> None:
    found = closed([lambda _: time.sleep(0.1)], [0], seconds=0.01, warm_up_s=0)
    assert found.requests >= 2
    assert found.rate == pytest.approx(10, rel=0.2)


def test_what_comes_to_a_halt_is_told() -> None:
    waits = iter([0.01, 0.01, 0.3])
    with pytest.raises(ValueError, match="0 answers within"):
        closed([lambda _: time.sleep(next(waits))], [0], seconds=0.01, warm_up_s=0)


class Echo(BaseHTTPRequestHandler):
    """Answers with the body that came, or with an error to an empty one."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200 if body else 422)
        answer = body or b"empty"
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_an_http_caller_keeps_its_connection_and_refuses_errors() -> None:
    with HTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        caller = HttpCaller(f"127.0.0.1:{server.server_port}", "/infer", "image/jpeg")
        try:
            assert [caller(b"one"), caller(b"two")] == [b"one", b"two"]
            with pytest.raises(ValueError, match="/infer answers 422: b'empty'"):
                caller(b"")
        finally:
            caller.close()
            server.shutdown()
            thread.join()
