"""The door in front of a real Triton with tiny models: what it passes on and says, and how it opens."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as tritonclient
from tritonclient.grpc import service_pb2
from tritonclient.utils import shared_memory

from adlens.transport import infer_request, read_response
from server.door import Door, DoorOptions, DoorTls
from server.door.guard import ADMIN_HEADER
from server.errors import AddressError, CertificateError
from server.launcher import Server
from tests.server.doors import ONE, TOKEN, Enter, Upstream, port_of, status, stub


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
