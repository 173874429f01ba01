"""The door for threads: an event loop in a thread of its own, and calls into it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Collection, Coroutine
from concurrent.futures import Future
from typing import Any

from server.door.guard import Guard
from server.door.options import DoorOptions


class Door:
    """Listens from ``start`` to ``stop``, whatever happens to Triton. All methods are for any thread."""

    def __init__(self, options: DoorOptions | None = None) -> None:
        """Prepare a door; it starts once."""
        self.options = options or DoorOptions()
        self._guard = Guard(self.options)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), name="door", daemon=True)
        self._started: Future[int] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        """``host:port`` to call, once started."""
        return self.options.address(self._started.result())

    @property
    def in_flight(self) -> int:
        """Inference requests and streams that Triton has."""
        return len(self._guard.running)

    @property
    def oldest_s(self) -> float:
        """For how long, in seconds, the oldest of these has been running, streams left out; 0 if none."""
        began = [running.began for running in tuple(self._guard.running) if not running.is_stream]
        return time.monotonic() - min(began) if began else 0.0

    @property
    def last_success(self) -> float:
        """When an inference last succeeded, streams left out, by ``time.monotonic()``; 0 before the first."""
        return self._guard.last_success

    def start(self) -> None:
        """Listen; callers wait until ``open_to``.

        Raises:
            AddressError: the port cannot be had.
            CertificateError: a TLS file cannot be read, or is none.
        """
        self._thread.start()
        self._started.result()

    @property
    def cache_hits(self) -> tuple[int, int]:
        """Requests answered from the cache, and those that could have been."""
        cache = self._guard.cache
        return cache.hits, cache.hits + cache.misses

    def open_to(self, upstream: str, constant: Collection[str] = ()) -> None:
        """Have Triton at ``upstream`` answer from now on; calls that an earlier one still has, fail.

        Args:
            upstream: ``host:port``, or ``unix:PATH``.
            constant: models that always answer alike, whose answers the cache may keep.
        """
        self._do(self._guard.open_to(upstream, constant))

    def hold(self, *, died: bool = False) -> None:
        """Have new calls wait, up to ``guard.HOLD_S`` seconds, until ``open_to``.

        Args:
            died: Triton or a model process died or hangs, of which what is running is suspected.
        """
        self._do(self._guard.hold(died=died))

    def set_serving(self, serving: bool) -> None:
        """Set what callers are told who ask whether the server is live or ready; at first, it is not."""
        self._do(self._guard.set_serving(serving))

    def drain(self, grace_s: float) -> None:
        """Send callers elsewhere, and finish what is running; after ``grace_s`` seconds, cancel it."""
        self._do(self._guard.drain(grace_s))

    def abort(self) -> None:
        """Cancel what is running, so that a ``drain`` under way ends. Safe in a signal handler."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._guard.abort(), self._loop)

    def stop(self) -> None:
        """Cancel what is running, and listen no longer; any number of times."""
        if self._loop is not None:
            self._do(self._guard.drain(0.0))
            self._loop.call_soon_threadsafe(self._guard.ended.set)
            self._loop = None
            self._thread.join()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        if self._loop is None:
            work.close()
            raise RuntimeError("the door is not there; call start()")
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _live(self) -> None:
        try:
            port = await self._guard.listen()
        except BaseException as error:
            self._started.set_exception(error)
            return
        self._loop = asyncio.get_running_loop()
        self._started.set_result(port)
        await self._guard.ended.wait()
