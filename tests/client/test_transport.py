"""Triton over gRPC, against a real gRPC server: arrays, deadlines, retries and the meaning of errors."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest

from adlens import contract, errors
from adlens.contract import Reason
from adlens.transport import AsyncConnection, Connection, Endpoint, Tls
from tests.client.fake_triton import FakeTriton

ONE = {"X": np.ones((1, 2), np.float32)}
UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE, "Socket closed")


def connect(triton: FakeTriton, timeout_s: float = 10, retries: int = 3) -> Connection:
    return Connection(Endpoint(triton.url, timeout_s, retries))


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int32, np.int64, np.float16, np.float32, np.float64, np.bool_]
)
def test_arrays_go_and_come_back_unchanged(triton: FakeTriton, dtype: type[np.generic]) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    with connect(triton) as connection:
        answer = connection.infer("echo", {"A": array, "B": array[:, ::2]})
    assert (answer.model_name, answer.model_version) == ("echo", "7")
    np.testing.assert_array_equal(answer.outputs["A"], array)
    np.testing.assert_array_equal(answer.outputs["B"], array[:, ::2])
    assert answer.outputs["A"].dtype == dtype


async def test_the_asyncio_connection_does_the_same(triton: FakeTriton) -> None:
    async with AsyncConnection(Endpoint(triton.url)) as connection:
        answer = await connection.infer("echo", ONE)
        np.testing.assert_array_equal(answer.outputs["X"], ONE["X"])
        assert await connection.is_ready(contract.RECOMMEND_PRODUCTS)
        assert not await connection.is_ready("other")
        assert await connection.server_version() == "triton 2.51.0"
        triton.failures.append((grpc.StatusCode.INVALID_ARGUMENT, "bad"))
        with pytest.raises(errors.BadRequest):
            await connection.infer("echo", ONE)
    with pytest.raises(errors.Closed):
        await connection.infer("echo", ONE)


def test_readiness_and_version_are_the_servers(triton: FakeTriton) -> None:
    with connect(triton) as connection:
        assert connection.is_ready(contract.RECOMMEND_PRODUCTS)
        assert not connection.is_ready("other")
        assert connection.server_version() == "triton 2.51.0"


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        ("UNAVAILABLE", "Socket closed", errors.Unavailable),
        ("UNAVAILABLE", "Exceeds maximum queue size", errors.Overloaded),
        ("UNAVAILABLE", "Request timeout expired", errors.Overloaded),
        (
            "UNAVAILABLE",
            "This protocol is restricted, expecting header 'triton-grpc-protocol-admin'",
            errors.Denied,
        ),
        ("NOT_FOUND", "Request for unknown model: 'x' has no available versions", errors.Draining),
        ("NOT_FOUND", "Request for unknown model: 'x' is not found", errors.UnknownModel),
        ("INVALID_ARGUMENT", "unexpected shape for input 'IMAGE'", errors.BadRequest),
        ("INVALID_ARGUMENT", "[request id: 7] BadImage: not a JPEG", errors.BadImage),
        ("INVALID_ARGUMENT", "TooLarge: 400000000 pixels", errors.TooLarge),
        ("PERMISSION_DENIED", "no", errors.Denied),
        ("UNAUTHENTICATED", "who", errors.Denied),
        ("INTERNAL", "onnx runtime error 2", errors.ServerFault),
        ("UNKNOWN", "?", errors.ServerFault),
        ("RESOURCE_EXHAUSTED", "CPU memory", errors.ServerFault),
        (
            "RESOURCE_EXHAUSTED",
            "SERVER: Received message larger than max (9 vs. 8)",
            errors.RequestTooLarge,
        ),
        ("RESOURCE_EXHAUSTED", "Decompressed message larger than max", errors.RequestTooLarge),
        ("CANCELLED", "CANCELLED", errors.Draining),
    ],
)
def test_errors_are_told_apart_by_status_and_message(
    triton: FakeTriton, code: str, details: str, kind: type[errors.AdlensError]
) -> None:
    triton.always = (grpc.StatusCode[code], details)
    with connect(triton, retries=0) as connection, pytest.raises(errors.AdlensError) as caught:
        connection.infer("x", ONE)
    assert type(caught.value) is kind
    assert triton.url in str(caught.value)
    assert details in str(caught.value)


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        ("RESOURCE_EXHAUSTED", Reason.OVERLOADED, errors.Overloaded),
        ("UNAVAILABLE", Reason.OVERLOADED, errors.Overloaded),
        ("UNAVAILABLE", Reason.DRAINING, errors.Draining),
        ("UNAVAILABLE", Reason.RESTARTING, errors.Unavailable),
        ("PERMISSION_DENIED", Reason.DENIED, errors.Denied),
        ("INVALID_ARGUMENT", Reason.POISON, errors.BadRequest),
    ],
)
def test_the_reason_that_a_server_gives_counts_more_than_its_words(
    triton: FakeTriton, code: str, reason: Reason, kind: type[errors.AdlensError]
) -> None:
    triton.always = (grpc.StatusCode[code], "in other words")
    triton.reason = reason
    with connect(triton, retries=0) as connection, pytest.raises(errors.AdlensError) as caught:
        connection.infer("x", ONE)
    assert type(caught.value) is kind
    assert "in other words" in str(caught.value)
    assert "no server answers" not in str(caught.value)


def test_a_request_over_the_limit_is_told_from_a_picture_over_it(triton: FakeTriton) -> None:
    over = np.zeros((1, contract.MAX_REQUEST_BYTES), np.uint8)
    with connect(triton) as connection, pytest.raises(errors.RequestTooLarge, match="fewer pictures"):
        connection.infer("echo", {"X": over})
    assert not issubclass(errors.RequestTooLarge, errors.BadImage)
    assert triton.calls == 0


def test_an_overload_is_not_fed_by_retries(triton: FakeTriton) -> None:
    triton.always = (grpc.StatusCode.RESOURCE_EXHAUSTED, "64 requests are running")
    triton.reason = Reason.OVERLOADED
    with connect(triton) as connection, pytest.raises(errors.Overloaded):
        connection.infer("echo", ONE)
    assert triton.calls == 1


def test_retries_against_a_bare_triton_end_where_most_calls_fail(triton: FakeTriton) -> None:
    triton.always = (grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
    calls = 200

    def call(connection: Connection) -> bool:
        with pytest.raises(errors.Overloaded):
            connection.infer("echo", ONE)
        return True

    with connect(triton, retries=1) as connection, ThreadPoolExecutor(100) as pool:
        assert all(pool.map(call, [connection] * calls))
    # 100 failures use up what a channel has for retries.
    assert calls <= triton.calls <= calls + 100


def test_every_error_has_a_grpc_status() -> None:
    def all_below(kind: type[errors.AdlensError]) -> list[type[errors.AdlensError]]:
        return [kind, *(below for child in kind.__subclasses__() for below in all_below(child))]

    assert len(all_below(errors.AdlensError)) > 15
    for kind in all_below(errors.AdlensError):
        assert isinstance(kind.code, grpc.StatusCode)
        assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("payload", [1, 3_000_000], ids=["small", "larger than gRPC's own retry buffer"])
def test_an_unavailable_server_is_tried_again(triton: FakeTriton, payload: int) -> None:
    triton.failures.extend([UNAVAILABLE, UNAVAILABLE])
    with connect(triton) as connection:
        connection.infer("echo", {"X": np.zeros((1, payload), np.uint8)})
    assert triton.calls == 3


def test_retries_end(triton: FakeTriton) -> None:
    triton.always = UNAVAILABLE
    with connect(triton, retries=1) as connection, pytest.raises(errors.Unavailable, match="make serve"):
        connection.infer("echo", ONE)
    assert triton.calls == 2


def test_the_callers_fault_is_not_tried_again(triton: FakeTriton) -> None:
    triton.always = (grpc.StatusCode.INVALID_ARGUMENT, "no")
    with connect(triton) as connection, pytest.raises(errors.BadRequest):
        connection.infer("echo", ONE)
    assert triton.calls == 1


@pytest.mark.alone
def test_every_call_has_a_deadline(triton: FakeTriton) -> None:
    triton.delay_s = 1.0
    with connect(triton, timeout_s=0.2) as connection:
        began = time.monotonic()
        with pytest.raises(errors.Timeout, match=r"echo within 0.2 s"):
            connection.infer("echo", ONE)
        assert time.monotonic() - began < 0.8
        connection.infer("echo", ONE, timeout_s=5)


def test_nobody_at_the_url_is_said_with_url_and_remedy(free_port: int) -> None:
    url = f"127.0.0.1:{free_port}"
    with (
        Connection(Endpoint(url, retries=1)) as connection,
        pytest.raises(errors.Unavailable, match=rf"{url}: no server answers.*make serve"),
    ):
        connection.infer("echo", ONE)


def test_a_server_that_comes_up_meanwhile_answers_the_retry(free_port: int) -> None:
    with Connection(Endpoint(f"127.0.0.1:{free_port}", retries=4)) as connection:
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(connection.server_version)
            time.sleep(0.3)
            server = grpc.server(ThreadPoolExecutor(1))
            with FakeTriton() as fake:
                handlers = {
                    "ServerMetadata": grpc.unary_unary_rpc_method_handler(
                        fake.ServerMetadata, response_serializer=lambda reply: reply.SerializeToString()
                    )
                }
                service = "inference.GRPCInferenceService"
                server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
                server.add_insecure_port(f"127.0.0.1:{free_port}")
                server.start()
                assert call.result(timeout=10) == "triton 2.51.0"
        server.stop(None).wait()


def test_headers_go_with_every_call(triton: FakeTriton) -> None:
    endpoint = Endpoint(triton.url, headers={"Triton-Grpc-Protocol-Admin": "secret"})
    with Connection(endpoint) as connection:
        connection.infer("echo", ONE)
    assert triton.metadata["triton-grpc-protocol-admin"] == "secret"


def test_one_connection_serves_many_threads(triton: FakeTriton) -> None:
    with connect(triton) as connection, ThreadPoolExecutor(8) as pool:
        arrays = [np.full((1, 4), number, np.int32) for number in range(64)]
        answers = pool.map(lambda array: connection.infer("echo", {"X": array}).outputs["X"], arrays)
        for array, answer in zip(arrays, answers, strict=True):
            np.testing.assert_array_equal(answer, array)


def test_a_closed_connection_says_so(triton: FakeTriton) -> None:
    connection = connect(triton)
    connection.close()
    connection.close()
    with pytest.raises(errors.Closed, match="make a new one"):
        connection.infer("echo", ONE)


def test_closing_cancels_the_calls_of_other_threads(triton: FakeTriton) -> None:
    triton.delay_s = 2.0
    connection = connect(triton)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(connection.infer, "echo", ONE)
        while not triton.calls:
            time.sleep(0.01)
        connection.close()
        with pytest.raises(errors.Closed):
            call.result(timeout=1)


async def test_cancelling_a_task_cancels_its_call(triton: FakeTriton) -> None:
    triton.delay_s = 1.0
    async with AsyncConnection(Endpoint(triton.url)) as connection:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(connection.infer("echo", ONE), 0.1)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"url": "http://127.0.0.1:8001"}, "give HOST:PORT"),
        ({"url": "localhost"}, "give HOST:PORT"),
        ({"timeout_s": 0}, "timeout_s 0"),
        ({"timeout_s": float("nan")}, "timeout_s nan"),
        ({"retries": 5}, "retries 5; give a number from 0 to 4"),
        ({"retries": -1}, "retries -1"),
    ],
)
def test_settings_out_of_range_are_fatal(settings: dict[str, object], reason: str) -> None:
    with pytest.raises(errors.InvalidConfiguration, match=reason):
        Endpoint(**settings)  # type: ignore[arg-type]


def test_urls_may_be_hosts_addresses_and_grpc_targets() -> None:
    for url in ("localhost:8001", "[::1]:8001", "triton.example.com:443", "dns:///triton:8001"):
        assert Endpoint(url).url == url


def test_a_tls_file_that_is_not_there_is_fatal(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidConfiguration, match=r"none\.pem cannot be read"):
        Connection(Endpoint(tls=Tls(authorities=tmp_path / "none.pem")))


def test_text_cannot_be_sent() -> None:
    with Connection() as connection, pytest.raises(errors.BadRequest, match="input X is an array of"):
        connection.infer("echo", {"X": np.array([["a"]])})
