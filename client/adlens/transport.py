"""Triton over gRPC: numpy arrays in, numpy arrays out, one error tree.

``Connection`` and ``AsyncConnection`` have the same methods. Both use a gRPC channel with
tritonclient's generated stubs, as a channel may be shared by threads and tritonclient's own client
object may not. Retries are gRPC's own (service config, gRFC A6), within the deadline of the call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, cast

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

from adlens import errors
from adlens.contract import MAX_REQUEST_BYTES, QUEUE_FULL_WORDS, REASON_HEADER, Reason

DEFAULT_URL: Final = "127.0.0.1:8001"
DEFAULT_TIMEOUT_S: Final = 120.0
"""Long enough for a batch of crowds: ``MAX_BATCH`` pictures of ``MAX_FACES`` faces take 40 s on two cores."""

DEFAULT_RETRIES: Final = 3
MAX_RETRIES: Final = 4
"""gRPC makes at most five attempts, whatever a service config asks for (gRFC A6)."""

_SERVICE: Final = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
_BAD_IMAGE: Final = re.compile(f"\\b({errors.BadImage.__name__}|{errors.TooLarge.__name__}): ")
"""In INVALID_ARGUMENT by the gate before the server's decoder."""

_KEEPALIVE_MS: Final = 60_000
"""Only during calls, and at most two pings without data: no more than Triton's default strikes allow."""

_HOST_PORT: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):\d{1,5}")
_RESOLVERS: Final = ("dns:", "ipv4:", "ipv6:", "unix:", "xds:")
"""Target schemes of gRPC's own that may stand for HOST:PORT."""


@dataclass(frozen=True)
class Tls:
    """Encrypt the connection; PEM files.

    ``authorities`` are trusted instead of the system's roots; ``certificate`` and ``key`` show who
    calls, where the server wants to know (Triton's ``--grpc-use-ssl-mutual``).
    """

    authorities: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files.

        Raises:
            InvalidConfiguration: one cannot be read.
        """
        try:
            roots, key, chain = (
                path.read_bytes() if path else None for path in (self.authorities, self.key, self.certificate)
            )
        except OSError as error:
            raise errors.InvalidConfiguration(
                f"TLS file {error.filename} cannot be read ({error.strerror}); check the path"
            ) from error
        return grpc.ssl_channel_credentials(roots, key, chain)


@dataclass(frozen=True)
class InferResponse:
    """An answer of one model; ``outputs`` are read-only views into the message received."""

    model_name: str
    model_version: str
    outputs: Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Endpoint:
    """Where the server is and how to speak to it.

    Attributes:
        url: ``HOST:PORT`` of Triton's gRPC service, or a gRPC target such as ``dns:///host:port``;
            calls go round robin over all addresses that it stands for.
        timeout_s: deadline of a call, retries included, unless the call gives its own.
        retries: further attempts, 0 to ``MAX_RETRIES``, where the server answers UNAVAILABLE.
        tls: encrypt; plain text by default.
        headers: sent with every call, such as ``triton-grpc-protocol-admin``.

    Raises:
        InvalidConfiguration: a value is out of its range.
    """

    url: str = DEFAULT_URL
    timeout_s: float = DEFAULT_TIMEOUT_S
    retries: int = DEFAULT_RETRIES
    tls: Tls | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.url.startswith(_RESOLVERS) and not _HOST_PORT.fullmatch(self.url):
            raise errors.InvalidConfiguration(
                f"url {self.url!r}; give HOST:PORT of the gRPC service, such as {DEFAULT_URL}"
            )
        if not self.timeout_s > 0:
            raise errors.InvalidConfiguration(f"timeout_s {self.timeout_s}; give a number of seconds above 0")
        if not 0 <= self.retries <= MAX_RETRIES:
            raise errors.InvalidConfiguration(
                f"retries {self.retries}; give a number from 0 to {MAX_RETRIES}"
            )

    def channel_options(self) -> list[tuple[str, int | str]]:
        """Arguments of the gRPC channel."""
        return [
            ("grpc.service_config", json.dumps(self._service_config())),
            ("grpc.enable_retries", 1),
            # gRPC retries only what fits its buffer; its default of 256 KiB would leave most photos out.
            ("grpc.per_rpc_retry_buffer_size", MAX_REQUEST_BYTES),
            ("grpc.max_send_message_length", MAX_REQUEST_BYTES),
            ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
            ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
            ("grpc.keepalive_permit_without_calls", 0),
            # Reconnect sooner than the default of 1 s and more, or a retry would find no connection.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 1000),
            ("grpc.max_reconnect_backoff_ms", 2000),
        ]

    def _service_config(self) -> dict[str, object]:
        method: dict[str, object] = {
            "name": [{"service": _SERVICE}],
            "waitForReady": False,
        }
        if self.retries:
            method["retryPolicy"] = {
                "maxAttempts": self.retries + 1,
                "initialBackoff": "0.2s",
                "backoffMultiplier": 3,
                "maxBackoff": "2s",
                "retryableStatusCodes": ["UNAVAILABLE"],
            }
        config: dict[str, object] = {
            "loadBalancingConfig": [{"round_robin": {}}],
            "methodConfig": [method],
            # Retries must not feed an overload: none from 100 failures more than successes on (gRFC A6).
            "retryThrottling": {"maxTokens": 200, "tokenRatio": 1},
        }
        if self.url.startswith(_RESOLVERS):
            # Of several servers, one that is about to stop says so here, and gets no new calls. (Not for
            # HOST:PORT: where the server is a bare Triton, gRPC logs an error that it does not say so.)
            config["healthCheckConfig"] = {"serviceName": _SERVICE}
        return config

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """``headers`` as gRPC takes them."""
        return tuple((name.lower(), value) for name, value in self.headers.items())


class Connection:
    """One server, to be shared by any number of threads.

    Nothing is sent before the first call. Every call raises ``errors.ServerError`` where the server
    is at fault, ``errors.BadRequest`` or ``errors.UnknownModel`` where the call is, and
    ``errors.Closed`` after ``close``.
    """

    def __init__(self, endpoint: Endpoint | None = None) -> None:
        """Prepare a connection to ``endpoint``, by default on this machine."""
        self.endpoint = endpoint or Endpoint()
        options = self.endpoint.channel_options()
        if self.endpoint.tls:
            self._channel = grpc.secure_channel(self.endpoint.url, self.endpoint.tls.credentials(), options)
        else:
            self._channel = grpc.insecure_channel(self.endpoint.url, options)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._closed = False

    def infer(
        self,
        model: str,
        inputs: Mapping[str, npt.NDArray[Any]],
        timeout_s: float | None = None,
        *,
        outputs: Sequence[str] = (),
    ) -> InferResponse:
        """Run ``model`` on ``inputs``, name to array, batch dimension included.

        ``outputs`` come back, by default all; steps of an ensemble that none of them needs do not run.
        """
        request = infer_request(model, inputs, outputs)
        return read_response(self._call(self._stub.ModelInfer, request, model, timeout_s))

    def is_ready(self, model: str) -> bool:
        """Say whether the server would take a request for ``model``; only ``infer`` shows that it answers."""
        request = service_pb2.ModelReadyRequest(name=model)
        try:
            return bool(self._call(self._stub.ModelReady, request, model, None).ready)
        except (errors.UnknownModel, errors.Draining):
            return False

    def server_version(self) -> str:
        """Name and version of the server, such as ``triton 2.51.0``."""
        reply = self._call(self._stub.ServerMetadata, service_pb2.ServerMetadataRequest(), "", None)
        return f"{reply.name} {reply.version}"

    def close(self) -> None:
        """Cancel the calls under way and close the channel; may be called again."""
        self._closed = True
        self._channel.close()

    def _call(self, method: Callable[..., Any], request: object, model: str, timeout_s: float | None) -> Any:  # noqa: ANN401
        timeout_s = timeout_s or self.endpoint.timeout_s
        if self._closed:
            raise _closed(self.endpoint.url)
        try:
            return method(request, timeout=timeout_s, metadata=self.endpoint.metadata)
        except grpc.RpcError as error:
            raise translate(error, self.endpoint.url, model, timeout_s) from error
        except ValueError as error:  # what grpc raises when another thread closes the channel meanwhile
            if not self._closed:
                raise
            raise _closed(self.endpoint.url) from error

    def __enter__(self) -> Self:
        """Give the connection itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


class AsyncConnection:
    """The same for asyncio, to be used within one event loop."""

    def __init__(self, endpoint: Endpoint | None = None) -> None:
        """Prepare a connection to ``endpoint``, by default on this machine."""
        self.endpoint = endpoint or Endpoint()
        self._credentials = self.endpoint.tls.credentials() if self.endpoint.tls else None
        self._channel: Any = None
        self._stub: Any = None
        self._closed = False

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, npt.NDArray[Any]],
        timeout_s: float | None = None,
        *,
        outputs: Sequence[str] = (),
    ) -> InferResponse:
        """See ``Connection.infer``."""
        request = infer_request(model, inputs, outputs)
        return read_response(await self._call("ModelInfer", request, model, timeout_s))

    async def is_ready(self, model: str) -> bool:
        """See ``Connection.is_ready``."""
        request = service_pb2.ModelReadyRequest(name=model)
        try:
            return bool((await self._call("ModelReady", request, model, None)).ready)
        except (errors.UnknownModel, errors.Draining):
            return False

    async def server_version(self) -> str:
        """See ``Connection.server_version``."""
        reply = await self._call("ServerMetadata", service_pb2.ServerMetadataRequest(), "", None)
        return f"{reply.name} {reply.version}"

    async def close(self) -> None:
        """See ``Connection.close``."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    async def _call(self, method: str, request: object, model: str, timeout_s: float | None) -> Any:  # noqa: ANN401
        timeout_s = timeout_s or self.endpoint.timeout_s
        if self._closed:
            raise _closed(self.endpoint.url)
        if self._channel is None:
            self._open()
        try:
            return await getattr(self._stub, method)(
                request, timeout=timeout_s, metadata=self.endpoint.metadata
            )
        except grpc.RpcError as error:
            raise translate(error, self.endpoint.url, model, timeout_s) from error

    def _open(self) -> None:
        """Make the channel on first use: grpc binds it to the event loop that runs at that moment."""
        options = self.endpoint.channel_options()
        if self._credentials:
            self._channel = grpc.aio.secure_channel(self.endpoint.url, self._credentials, options)
        else:
            self._channel = grpc.aio.insecure_channel(self.endpoint.url, options)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        """Give the connection itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()


def infer_request(
    model: str, inputs: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str] = ()
) -> service_pb2.ModelInferRequest:
    """Write a request of the KServe v2 protocol for ``outputs``, by default all; tensors are raw bytes.

    Raises:
        BadRequest: an array's dtype has no counterpart at Triton.
    """
    request = service_pb2.ModelInferRequest(model_name=model)
    for name in outputs:
        request.outputs.add(name=name)
    for name, array in inputs.items():
        datatype = np_to_triton_dtype(array.dtype)
        if datatype is None or datatype == "BYTES":
            raise errors.BadRequest(f"input {name} is an array of {array.dtype}; give numbers or bools")
        request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    return request


def read_response(response: service_pb2.ModelInferResponse) -> InferResponse:
    """Read an answer of the KServe v2 protocol.

    Raises:
        ServerFault: the bytes of an output do not fit its shape and dtype.
    """
    outputs: dict[str, npt.NDArray[Any]] = {}
    try:
        for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True):
            dtype = np.dtype(triton_to_np_dtype(tensor.datatype))
            outputs[tensor.name] = np.frombuffer(raw, dtype).reshape(tuple(tensor.shape))
    except (TypeError, ValueError) as error:
        names = ", ".join(
            f"{tensor.name} {tensor.datatype} {list(tensor.shape)}" for tensor in response.outputs
        )
        raise errors.ServerFault(
            f"{response.model_name}: the answer's bytes do not fit its tensors ({names}): {error}"
        ) from error
    return InferResponse(response.model_name, response.model_version, outputs)


def translate(error: grpc.RpcError, url: str, model: str, timeout_s: float) -> errors.AdlensError:
    """Find our error for one of gRPC.

    By the reason that adlens' own server gives, else by the status and, where Triton's tells too little, by
    its message.
    """
    code, details = error.code(), error.details() or "no details"
    reason, text = dict(error.trailing_metadata() or ()).get(REASON_HEADER), details.lower()
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return errors.Timeout(
            f"{url}: no answer from {model or 'the server'} within {timeout_s:g} s; "
            "give it more time, or see its log"
        )
    if code is grpc.StatusCode.UNAVAILABLE:
        return _unavailable(reason, text, details, url)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        if reason == Reason.OVERLOADED:
            return _overloaded(details, url)
        if "larger than max" in text:
            return errors.RequestTooLarge(f"{url}: {details}; send fewer pictures in one request")
    if code is grpc.StatusCode.NOT_FOUND:
        if "no available versions" in text:
            return errors.Draining(
                f"{url}: shutting down, or {model} was unloaded ({details}); call again later"
            )
        return errors.UnknownModel(f"{url}: {details}; have the server serve it, or ask another one")
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        kind = _BAD_IMAGE.search(details)
        refused = getattr(errors, kind[1]) if kind else errors.BadRequest
        return cast(errors.AdlensError, refused(f"{url}: request refused: {details}"))
    if code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED):
        return errors.Denied(f"{url}: access denied: {details}; check the headers and the TLS certificate")
    if code is grpc.StatusCode.CANCELLED:
        # As we end no calls but by closing the channel, the server did: its time to shut down was up.
        return _closed(url) if "channel closed" in text else _draining(details, url)
    return errors.ServerFault(
        f"{url}: {model or 'the server'} failed ({code.name}: {details}); see the server's log"
    )


def _unavailable(reason: str | bytes | None, text: str, details: str, url: str) -> errors.ServerError:
    """Tell apart what Triton 24.10 reports as UNAVAILABLE, too."""
    if reason == Reason.OVERLOADED or any(words in text for words in QUEUE_FULL_WORDS):
        return _overloaded(details, url)
    if reason == Reason.DRAINING:
        return _draining(details, url)
    if reason == Reason.RESTARTING:
        return errors.Unavailable(f"{url}: being started anew ({details}); call again later")
    if "restricted" in text:
        return errors.Denied(f"{url}: {details}; send the header that the message asks for")
    return errors.Unavailable(
        f"{url}: no server answers ({details}); start it with `make serve`, or check the URL: "
        "HOST:PORT of its gRPC service"
    )


def _overloaded(details: str, url: str) -> errors.Overloaded:
    return errors.Overloaded(f"{url}: overloaded: {details}; send fewer at a time, or call again later")


def _draining(details: str, url: str) -> errors.Draining:
    return errors.Draining(f"{url}: shutting down ({details}); call again later, or another server")


def _closed(url: str) -> errors.Closed:
    return errors.Closed(f"{url}: the connection was closed; make a new one")
