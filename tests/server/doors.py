"""What the tests of the door share: two tiny models, ways to call them, and a server in Triton's place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2_grpc

from adlens.contract import REASON_HEADER
from adlens.transport import Connection, Endpoint
from server.door import Door
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
