"""Lets calls in, has them wait while Triton is being started anew, and refuses them.

A request's body is read only when the request has been let in: one that is refused costs next to nothing,
and one that waits stays with its caller, held back by HTTP/2's flow control.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
from tritonclient.grpc import service_pb2

from adlens.contract import Reason
from server.door import flaws, refusals
from server.door.cache import Cache
from server.door.options import DoorOptions
from server.door.quarantine import Quarantine
from server.door.refusals import Refusal
from server.door.triton import SERVICE, Context, Triton
from server.errors import AddressError

HOLD_S = 15.0
"""Calls wait at most so long, in seconds, for a Triton that is being started anew."""
MAX_HELD = 1024
"""Inference requests that wait for it at once; they are unread, and cost some 10 KiB each."""
READ_S = 60.0
"""Given to a caller, in seconds, to send the body of a request that has been let in."""
NOTICE_S = 0.5
"""A drained door answers for so long, in seconds, while clients that watch its health turn elsewhere.

gRPC's own shutdown cancels calls that come in before their clients have heard of it."""
ADMIN_HEADER = "triton-grpc-protocol-admin"
"""Carries the token; what Triton's ``--grpc-restricted-protocol=PROTOCOLS:admin=TOKEN`` asks for, too."""
OPEN_METHODS = frozenset(
    {
        "ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer",
        "ModelStreamInfer",
    }
)  # fmt: skip
"""For everyone; all other methods of the service need the token."""
MODEL_CONTROL = frozenset({"RepositoryModelLoad", "RepositoryModelUnload"})
"""Triton itself takes these, as new versions of galleries come by them."""

_HEALTH = {False: b"\x08\x02", True: b"\x08\x01"}
"""``grpc.health.v1.HealthCheckResponse``, whose only field is ``status = 1``: NOT_SERVING 2, SERVING 1."""
_OF_SERVICE = b"\n" + bytes([len(SERVICE.full_name)]) + SERVICE.full_name.encode()
"""``grpc.health.v1.HealthCheckRequest``, whose only field is ``service = 1``, with the service's name."""

_Work = Callable[[Context], Awaitable[bytes | None]]


@dataclass(eq=False)
class Running:
    """An inference that Triton has: since when, by ``time.monotonic()``, and its, or its latest, request."""

    began: float
    body: bytes = b""
    is_stream: bool = False


class Guard:
    """The door, within one event loop.

    Attributes:
        running: the inferences that Triton has.
        last_success: when one last succeeded, by ``time.monotonic()``.
        cache: of answers; what it gives is no success of Triton's.
        ended: set when nobody needs the event loop any longer.
    """

    def __init__(self, options: DoorOptions) -> None:
        """Prepare."""
        self.running: set[Running] = set()
        self.last_success = 0.0
        self.cache = Cache(options.response_cache_bytes)
        self.ended = asyncio.Event()
        self._options = options
        self._server: Any = None
        self._triton: Triton | None = None
        self._openings = 0
        self._holding = False
        self._draining = False
        self._news = asyncio.Event()  # set while nobody need wait
        self._held = 0
        self._slots = asyncio.Semaphore(options.max_in_flight)
        self._quarantine = Quarantine()
        self._serving = False
        self._listening = True
        self._watchers = 0
        self._changed = asyncio.Event()

    async def listen(self) -> int:
        """Start to listen, and give the port.

        Raises:
            AddressError: the port cannot be had.
            CertificateError: a TLS file cannot be read, or is none.
        """
        options = self._options
        self._server = grpc.aio.server(
            options=[("grpc.max_receive_message_length", options.max_request_bytes), ("grpc.so_reuseport", 0)]
        )
        self._server.add_generic_rpc_handlers(self._handlers())
        address = options.address(options.port)
        try:
            if options.tls is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, options.tls.credentials())
        except RuntimeError as error:
            raise AddressError(f"{address} cannot be had ({error}); stop what listens there") from error
        await self._server.start()
        return int(port)

    async def open_to(self, url: str, constant: Collection[str]) -> None:
        """Have the Triton at ``url`` answer; calls that an earlier one still has, fail.

        Args:
            url: of its gRPC service.
            constant: models whose answers may be kept.
        """
        await self._hang_up()
        self.cache.start_anew(constant)
        self._openings += 1
        self._triton = Triton(url, self._openings, self._look)

    async def hold(self, *, died: bool) -> None:
        """Have calls wait for the next Triton; what this one runs is suspected where it ``died``."""
        if self._triton is not None and not self._holding:
            self._holding = True
            self._triton.is_innocent = not died
            self._look()
            if died:
                for running in self.running:
                    self._quarantine.accuse(running.body, self._triton.number)

    async def _hang_up(self) -> None:
        triton, self._triton = self._triton, None
        self._holding = False
        self._look()
        if triton is not None:
            await triton.close()

    @property
    def _reachable(self) -> Triton | None:
        """The Triton that answers, if there is one."""
        if self._triton is not None and self._triton.connected and not self._holding:
            return self._triton
        return None

    def _look(self) -> None:
        """Tell those who wait when they need wait no longer."""
        if self._reachable or self._draining:
            self._news.set()
        else:
            self._news.clear()

    async def set_serving(self, serving: bool) -> None:
        """Set what callers are told who ask whether the server is live or ready."""
        self._serving = serving
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def drain(self, grace_s: float) -> None:
        """Send callers elsewhere, stop to listen, and give what runs ``grace_s`` seconds to end."""
        self._draining = True
        self._look()
        self._tell()
        notice_s = min(NOTICE_S, grace_s) if self._watchers else 0.0
        await asyncio.sleep(notice_s)
        self._listening = False
        self._tell()
        await self._server.stop(grace_s - notice_s)
        await self._hang_up()

    async def abort(self) -> None:
        """Cancel what is running; the shorter of two graces holds."""
        await self._server.stop(0)

    def _handlers(self) -> list[grpc.GenericRpcHandler]:
        own = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ModelInfer": self._infer,
            "ModelStreamInfer": self._stream,
        }
        methods = {}
        for method in SERVICE.methods:
            work = own.get(method.name) or partial(self._pass_on, method.name)
            if method.name in MODEL_CONTROL and not self._options.model_control:
                work = self._no_model_control
            elif method.name not in OPEN_METHODS:
                work = partial(self._privileged, work)
            # One message or many look alike on the wire; as a stream, a request is not read before its time.
            shape = (
                grpc.stream_stream_rpc_method_handler
                if method.server_streaming
                else grpc.stream_unary_rpc_method_handler
            )
            methods[method.name] = shape(_answering(work))
        health = {
            "Check": grpc.stream_unary_rpc_method_handler(_answering(self._check)),
            "Watch": grpc.stream_stream_rpc_method_handler(_answering(self._watch_health)),
        }
        return [
            grpc.method_handlers_generic_handler(SERVICE.full_name, methods),
            grpc.method_handlers_generic_handler("grpc.health.v1.Health", health),
        ]

    async def _infer(self, context: Context) -> bytes:
        async with self._slot():
            body = await _read(context)
            flaws.check(body)
            entry = self.cache.entry(body)
            if entry is not None and (known := entry.find()) is not None:
                return known
            async with self._quarantine.admit(body):
                answer = await self._run(body, context)
            if entry is not None:
                entry.keep(answer)
            return answer

    async def _run(self, body: bytes, context: Context) -> bytes:
        triton = await self._connection()
        running = Running(time.monotonic(), body)
        self.running.add(running)
        try:
            answer = await triton.ask("ModelInfer", body, context)
        except Refusal as refusal:
            if refusal.reason is Reason.RESTARTING and not triton.is_innocent:
                self._quarantine.accuse(body, triton.number)
            raise
        finally:
            self.running.discard(running)
        self.last_success = time.monotonic()
        return answer

    async def _stream(self, context: Context) -> None:
        async with self._slot():
            triton = await self._connection()
            running = Running(time.monotonic(), is_stream=True)

            async def requests() -> AsyncIterator[bytes]:
                while (body := await context.read()) is not grpc.aio.EOF:
                    flaws.check(body)
                    self._quarantine.suspects(body)
                    running.body = body
                    yield body

            self.running.add(running)
            try:
                await triton.converse("ModelStreamInfer", requests(), context)
            finally:
                self.running.discard(running)

    async def _pass_on(self, method: str, context: Context) -> bytes:
        body = await _read(context)
        triton = await self._connection()
        return await triton.ask(method, body, context)

    async def _privileged(self, work: _Work, context: Context) -> bytes | None:
        token = self._options.admin_token
        if token is None:
            raise refusals.denied("this call is closed here; start the server with an admin token to open it")
        shown = dict(context.invocation_metadata()).get(ADMIN_HEADER, "")
        if not hmac.compare_digest(shown.encode(), token.encode()):
            raise refusals.denied(f"this call needs the server's admin token in the header {ADMIN_HEADER}")
        return await work(context)

    async def _no_model_control(self, context: Context) -> bytes | None:
        raise refusals.denied("models stay as they are; start the server with --model-control to change that")

    async def _server_live(self, context: Context) -> bytes:
        await _read(context)
        return bytes(service_pb2.ServerLiveResponse(live=self._serving).SerializeToString())

    async def _server_ready(self, context: Context) -> bytes:
        await _read(context)
        return bytes(service_pb2.ServerReadyResponse(ready=self._serving).SerializeToString())

    async def _model_ready(self, context: Context) -> bytes:
        if self._serving:
            return await self._pass_on("ModelReady", context)
        await _read(context)
        return bytes(service_pb2.ModelReadyResponse(ready=False).SerializeToString())

    async def _check(self, context: Context) -> bytes:
        return _HEALTH[self._health(await _read(context))]

    async def _watch_health(self, context: Context) -> None:
        request = await _read(context)
        told: bool | None = None
        self._watchers += 1
        try:
            while self._listening:
                changed = self._changed
                if told is not (healthy := self._health(request)):
                    told = healthy
                    await context.write(_HEALTH[told])
                else:
                    await changed.wait()
        finally:
            self._watchers -= 1
        raise refusals.draining()

    def _health(self, request: bytes) -> bool:
        """What ``grpc.health.v1.HealthCheckRequest`` asks: of the server, or of the service."""
        return not self._draining if request == _OF_SERVICE else self._serving

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """One of the places of inferences, within the context.

        Raises:
            Refusal: none is free; or as ``_connection``.
        """
        if self._reachable is not None:
            if self._slots.locked():
                raise refusals.overloaded(f"{self._options.max_in_flight} requests are running")
            await self._slots.acquire()
        else:
            if self._held >= MAX_HELD:
                raise refusals.overloaded(f"{MAX_HELD} requests wait for the server to be started anew")
            self._held += 1
            try:
                await self._connection()
                await self._slots.acquire()
            finally:
                self._held -= 1
        try:
            yield
        finally:
            self._slots.release()

    async def _connection(self) -> Triton:
        """The Triton that answers, as soon as there is one.

        Raises:
            Refusal: there is none within ``HOLD_S`` seconds, or there will be none.
        """
        if (triton := self._reachable) is not None:
            return triton
        try:
            async with asyncio.timeout(HOLD_S):
                while (triton := self._reachable) is None and not self._draining:
                    await self._news.wait()
        except TimeoutError:
            raise refusals.restarting("the server is still being started anew") from None
        if triton is None:
            raise refusals.draining()
        return triton


def _answering(work: _Work) -> Callable[[object, Context], Awaitable[bytes | None]]:
    """A gRPC handler of ``work``."""

    async def handle(_: object, context: Context) -> bytes | None:
        try:
            return await work(context)
        except Refusal as refusal:
            # Not the refusal itself: gRPC keeps what it aborts by, and its traceback would keep the request.
            status = refusal.code, refusal.details, refusal.metadata
        await context.abort(*status)
        return None

    return handle


async def _read(context: Context) -> bytes:
    """The message of a call with one.

    Raises:
        Refusal: it does not come.
    """
    try:
        async with asyncio.timeout(READ_S):
            message = await context.read()
    except TimeoutError:
        raise Refusal(
            grpc.StatusCode.DEADLINE_EXCEEDED, f"the request did not come within {READ_S:g} s"
        ) from None
    if message is grpc.aio.EOF:
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "the call brought no request")
    return bytes(message)
