"""The Triton behind the door: passes calls on to it as bytes, and reads its failures.

Status, details and metadata of Triton's answers pass unchanged, but for the reason that is added where it is
known, and for the death of a model process, which Triton calls INTERNAL and the door UNAVAILABLE.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable
from typing import Any

import grpc
from tritonclient.grpc import service_pb2

from adlens.contract import QUEUE_FULL_WORDS, Reason
from server.door.refusals import Metadata, Refusal, restarting

SERVICE = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
INFERENCE = ("ModelInfer", "ModelStreamInfer")
"""Of other calls Triton's UNAVAILABLE may mean that it does not want to: to load a model, for one."""

STUB_DIED = "is not healthy"
"""In an INTERNAL: "Stub process 'NAME' is not healthy.", where the process of a model died."""
_NO_RETRY = ("grpc-retry-pushback-ms", "-1")
"""Tells gRPC clients that retry on their own not to (gRFC A6)."""

_PARTING_S = 1.0
"""Given to the last call to let go of a connection that was closed."""

Context = Any
_Call = Any
"""``grpc.aio.ServicerContext`` and ``grpc.aio.Call``, which have no types."""


class Triton:
    """A connection to one Triton. For one event loop.

    Attributes:
        number: tells it from those before.
        connected: whether it answers; false as soon as the connection breaks, before anyone can say why.
        is_innocent: whether it ends in order, so that requests that fail then are not to blame.
    """

    def __init__(self, url: str, number: int, on_change: Callable[[], None]) -> None:
        """Connect.

        Args:
            url: where it listens, as gRPC takes it.
            number: tells this Triton from those before.
            on_change: called after each change of ``connected``.
        """
        self.number = number
        self.is_innocent = False
        self.connected = False
        self._closed = False
        self._on_change = on_change
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.enable_retries", 0),
            # An idle connection stays: one that breaks means that Triton died.
            ("grpc.client_idle_timeout_ms", 2**31 - 1),
            ("grpc.initial_reconnect_backoff_ms", 100),
        ]
        self._channel = grpc.aio.insecure_channel(url, options)
        self._calls = {
            method.name: (
                self._channel.stream_stream if method.client_streaming else self._channel.unary_unary
            )(f"/{SERVICE.full_name}/{method.name}")
            for method in SERVICE.methods
        }
        self._follower = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        while not self._closed:
            state = self._channel.get_state(try_to_connect=True)
            self.connected = state is grpc.ChannelConnectivity.READY
            self._on_change()
            await self._channel.wait_for_state_change(state)

    async def close(self) -> None:
        """Cancel the calls under way, and hang up."""
        self._closed = True
        await self._channel.close()
        await asyncio.wait([self._follower], timeout=_PARTING_S)
        self._follower.cancel()

    async def ask(self, method: str, request: bytes, context: Context) -> bytes:
        """Answer of a call with one request and one answer, within the caller's deadline.

        Raises:
            Refusal: it failed.
        """
        call = self._calls[method](
            request, timeout=context.time_remaining(), metadata=_metadata_from(context)
        )
        try:
            answer: bytes = await call
        except grpc.aio.AioRpcError as error:
            raise _refusal(error, method) from error
        except asyncio.CancelledError:
            _raise_if_cancelled()
            raise restarting("the server was started anew") from None
        await _pass_metadata(call, context)
        return answer

    async def converse(self, method: str, requests: AsyncIterable[bytes], context: Context) -> None:
        """Pass ``requests`` on, and answers back, as they come, within the caller's deadline.

        Raises:
            Refusal: it failed; or what ``requests`` raises.
        """
        call = self._calls[method](timeout=context.time_remaining(), metadata=_metadata_from(context))

        async def send() -> None:
            try:
                async for request in requests:
                    await call.write(request)
                await call.done_writing()
            except Refusal:
                call.cancel()
                raise

        sending = asyncio.create_task(send())
        try:
            await _pass_answers(call, context)
        except grpc.aio.AioRpcError as error:
            raise _refusal(error, method) from error
        except asyncio.CancelledError:
            _raise_if_cancelled()
            raise restarting("the server was started anew") from None
        finally:
            sending.cancel()
            (outcome,) = await asyncio.gather(sending, return_exceptions=True)
            if isinstance(outcome, Refusal):
                # A copy: what is raised where it is kept would keep the call until a garbage collection.
                raise Refusal(outcome.code, outcome.details, outcome.reason)


def _metadata_from(context: Context) -> Metadata:
    """What the caller sent, less what belongs to its connection."""
    return tuple(
        (name, value)
        for name, value in context.invocation_metadata()
        if name != "user-agent" and not name.startswith("grpc-")
    )


async def _pass_answers(call: _Call, context: Context) -> None:
    first = True
    while (answer := await call.read()) is not grpc.aio.EOF:
        if first and (initial := await call.initial_metadata()):
            await context.send_initial_metadata(tuple(initial))
        first = False
        await context.write(answer)
    context.set_trailing_metadata(tuple(await call.trailing_metadata()))


async def _pass_metadata(call: _Call, context: Context) -> None:
    if initial := await call.initial_metadata():
        await context.send_initial_metadata(tuple(initial))
    if trailing := await call.trailing_metadata():
        context.set_trailing_metadata(tuple(trailing))


def _raise_if_cancelled() -> None:
    """Tell the two causes of a CancelledError apart: the caller gave up, or our connection was closed."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _refusal(error: grpc.aio.AioRpcError, method: str) -> Refusal:
    """What the caller is told of Triton's failure."""
    code, details, metadata = error.code(), error.details() or "", tuple(error.trailing_metadata() or ())
    if method in INFERENCE and code is grpc.StatusCode.UNAVAILABLE:
        if any(words in details.lower() for words in QUEUE_FULL_WORDS):
            return Refusal(code, details, Reason.OVERLOADED, (*metadata, _NO_RETRY))
        return restarting(details, metadata)
    if method in INFERENCE and code is grpc.StatusCode.INTERNAL and STUB_DIED in details:
        return restarting(details, metadata)
    return Refusal(code, details, None, metadata)
