"""Every method x token x encryption, through a door in front of a real Triton; and round the door."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from tritonclient.grpc import service_pb2

from adlens.contract import REASON_HEADER, Reason
from adlens.errors import Unavailable
from adlens.transport import Connection, Endpoint, Tls, infer_request
from server.door import Door, DoorOptions, DoorTls
from server.door.guard import ADMIN_HEADER
from server.door.triton import SERVICE
from server.launcher import Server
from tests.server.certificates import Authority

TOKEN = "open sesame"  # noqa: S105 - opens doors of these tests only
OPEN = {
    "ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer",
    "ModelStreamInfer",
}  # fmt: skip
METHODS = {method.name: method for method in SERVICE.methods}
REQUESTS = {
    "ModelInfer": infer_request("echo", {"X": np.ones((1, 2), np.float32)}),
    "ModelStreamInfer": infer_request("echo", {"X": np.ones((1, 2), np.float32)}),
    "ModelReady": service_pb2.ModelReadyRequest(name="echo"),
    "ModelMetadata": service_pb2.ModelMetadataRequest(name="echo"),
    "ModelConfig": service_pb2.ModelConfigRequest(name="echo"),
    "ModelStatistics": service_pb2.ModelStatisticsRequest(name="echo"),
}
"""Of other methods, the empty request: Triton's refusal of it comes from behind the door, too."""


@dataclass(frozen=True)
class Lock:
    """How a door is encrypted, and how a caller comes to it."""

    door: str
    caller: str
    lets_in: bool

    def __str__(self) -> str:
        return f"{self.caller} caller at {self.door} door"


LOCKS = [
    Lock("plain", "plain", True),
    Lock("plain", "tls", False),
    Lock("tls", "plain", False),
    Lock("tls", "tls", True),
    Lock("tls", "stranger", False),
    Lock("mutual", "plain", False),
    Lock("mutual", "tls", False),
    Lock("mutual", "foreign", False),
    Lock("mutual", "mutual", True),
]


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory, add_onnx: Callable[..., Path], serve: Any) -> Server:
    """A real Triton that lets in only who has its token."""
    folder = tmp_path_factory.mktemp("matrix")
    add_onnx(
        folder,
        "echo",
        "(float[n, 2] X) => (float[n, 2] Y) { Y = Identity (X) }",
        'backend: "onnxruntime" max_batch_size: 4 '
        'input { name: "X" data_type: TYPE_FP32 dims: [ 2 ] } '
        'output { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] } '
        "instance_group { count: 1 kind: KIND_CPU }",
    )
    server: Server = serve(folder, private=True)
    return server


@pytest.fixture(scope="module")
def callers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tls | None]:
    """How callers come: what they trust, and what they show."""
    ours, others = (Authority(tmp_path_factory.mktemp(name)) for name in ("ours", "others"))
    return {
        "plain": None,
        "tls": Tls(ours.certificate),
        "stranger": Tls(others.certificate),
        "mutual": Tls(ours.certificate, *ours.sign("caller")),
        "foreign": Tls(ours.certificate, *others.sign("caller")),
        "server": Tls(ours.certificate, *ours.sign("server")),
    }


@pytest.fixture(scope="module")
def doors(triton: Server, callers: dict[str, Tls | None]) -> Iterator[dict[tuple[str, bool], Door]]:
    """By encryption, and by whether there is a token that opens the closed methods."""
    pem = callers["server"]
    assert pem is not None
    assert pem.certificate is not None
    assert pem.key is not None
    locks = {
        "plain": None,
        "tls": DoorTls(pem.certificate, pem.key),
        "mutual": DoorTls(pem.certificate, pem.key, pem.authorities),
    }
    doors = {
        (name, has_token): Door(
            DoorOptions(port=0, tls=tls, admin_token=TOKEN if has_token else None, model_control=has_token)
        )
        for name, tls in locks.items()
        for has_token in (True, False)
    }
    for door in doors.values():
        door.start()
        door.open_to(triton.url)
        door.set_serving(True)
    yield doors
    for door in doors.values():
        door.stop()


def channel(url: str, tls: Tls | None) -> grpc.Channel:
    return grpc.secure_channel(url, tls.credentials()) if tls else grpc.insecure_channel(url)


def outcome(
    channel: grpc.Channel, name: str, headers: dict[str, str]
) -> tuple[grpc.StatusCode, str, str | None]:
    """Status, details and reason of a call of the method."""
    method = METHODS[name]
    request = REQUESTS.get(name) or getattr(service_pb2, method.input_type.name)()
    path = f"/{SERVICE.full_name}/{name}"
    metadata = tuple(headers.items())
    try:
        if method.server_streaming:
            list(
                channel.stream_stream(path)(
                    iter([request.SerializeToString()]), timeout=10, metadata=metadata
                )
            )
        else:
            channel.unary_unary(path)(request.SerializeToString(), timeout=10, metadata=metadata)
    except grpc.RpcError as error:
        return error.code(), error.details(), dict(error.trailing_metadata() or ()).get(REASON_HEADER)
    return grpc.StatusCode.OK, "", None


@pytest.mark.parametrize("shown", [None, "wrong", TOKEN], ids=["no token", "wrong token", "right token"])
@pytest.mark.parametrize("name", METHODS)
def test_a_closed_method_opens_to_the_token_alone(
    triton: Server,
    doors: dict[tuple[str, bool], Door],
    callers: dict[str, Tls | None],
    name: str,
    shown: str | None,
) -> None:
    headers = {} if shown is None else {ADMIN_HEADER: shown}
    with channel(triton.url, None) as direct:
        tritons = outcome(direct, name, {})
    for (lock, has_token), door in doors.items():
        caller = callers["mutual"] if lock == "mutual" else callers[lock]
        open_to_them = name in OPEN or (has_token and shown == TOKEN)
        with channel(door.url, caller) as behind:
            code, details, reason = outcome(behind, name, headers)
        if open_to_them:
            assert (code, details, reason) == tritons, (lock, has_token)
        else:
            assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, Reason.DENIED), (lock, has_token)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("lock", [lock for lock in LOCKS if not lock.lets_in], ids=str)
def test_nothing_passes_a_lock_without_its_key(
    doors: dict[tuple[str, bool], Door], callers: dict[str, Tls | None], lock: Lock, name: str
) -> None:
    with channel(doors[lock.door, True].url, callers[lock.caller]) as behind:
        assert outcome(behind, name, {ADMIN_HEADER: TOKEN})[0] is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("lock", LOCKS, ids=str)
def test_the_clients_own_connection_comes_through_or_says_why(
    doors: dict[tuple[str, bool], Door], callers: dict[str, Tls | None], lock: Lock
) -> None:
    endpoint = Endpoint(doors[lock.door, True].url, retries=0, tls=callers[lock.caller])
    with Connection(endpoint) as connection:
        if lock.lets_in:
            assert connection.infer("echo", {"X": np.ones((1, 2), np.float32)}).outputs
        else:
            with pytest.raises(Unavailable):
                connection.server_version()


def test_nobody_walks_round_the_door(triton: Server) -> None:
    """Triton listens where other users of the machine have no access, and for metrics."""
    kind, path, _ = triton.url.split(":")
    assert kind == "unix"
    assert Path(path).parent.stat().st_mode & 0o077 == 0
    listening = {
        connection.laddr.port
        for connection in psutil.net_connections("tcp")
        if connection.pid == triton.pid and connection.status == psutil.CONN_LISTEN
    }
    assert listening == {triton.options.metrics_port}


def test_one_who_is_denied_is_told_what_is_missing(doors: dict[tuple[str, bool], Door]) -> None:
    with grpc.insecure_channel(doors["plain", True].url) as closed:
        call = closed.unary_unary(f"/{SERVICE.full_name}/RepositoryIndex")
        with pytest.raises(
            grpc.RpcError, match=f"needs the server's admin token in the header {ADMIN_HEADER}"
        ):
            call(b"")
    with grpc.insecure_channel(doors["plain", False].url) as shut:
        call = shut.unary_unary(f"/{SERVICE.full_name}/RepositoryIndex")
        with pytest.raises(grpc.RpcError, match="start the server with an admin token"):
            call(b"", metadata=((ADMIN_HEADER, ""),))
