"""Keeps requests that kill apart from those that merely ran at the same time.

A request that was running at a death of Triton or of a model process is a suspect: from then on it runs
only while no other suspect does. So at the next death at most one suspect was running, and that one is
poison. An answer acquits. Requests are known by the hash of their bytes, which is computed at a death,
and of new requests only while there are suspects.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from server.door import refusals

MEMORY_S = 600.0
"""After so long, in seconds, a request is tried anew."""
MAX_SUSPECTS = 1024
"""The oldest are forgotten beyond."""


@dataclass(frozen=True)
class _Suspect:
    """A request that was running at ``death``, the last of its kind; ``seen`` by ``time.monotonic()``."""

    death: int
    seen: float
    is_poison: bool


class Quarantine:
    """What is known of requests that were running at deaths. For one event loop."""

    def __init__(self) -> None:
        self._suspects: OrderedDict[bytes, _Suspect] = OrderedDict()
        self._turn = asyncio.Lock()

    def accuse(self, body: bytes, death: int) -> None:
        """Note that the request ``body`` was running at the death of this number; may be told twice."""
        key = _key(body)
        known = self._suspects.pop(key, None)
        is_poison = known is not None and (known.is_poison or known.death != death)
        self._suspects[key] = _Suspect(death, time.monotonic(), is_poison)
        if len(self._suspects) > MAX_SUSPECTS:
            self._suspects.popitem(last=False)

    @asynccontextmanager
    async def admit(self, body: bytes) -> AsyncIterator[None]:
        """Let the request ``body`` run within the context, where it is a suspect after the others.

        Raises:
            Refusal: it must not run.
        """
        if not self.suspects(body):
            yield
            return
        async with self._turn:
            self.suspects(body)  # it may have become poison meanwhile
            yield
            self._suspects.pop(_key(body), None)

    def suspects(self, body: bytes) -> bool:
        """Whether the request ``body`` was running at a death.

        Raises:
            Refusal: at two.
        """
        if not self._suspects:
            return False
        suspect = self._suspects.get(_key(body))
        if suspect is None or suspect.seen < time.monotonic() - MEMORY_S:
            return False
        if suspect.is_poison:
            raise refusals.poison(MEMORY_S / 60)
        return True


def _key(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).digest()
