"""Runs over many pictures: so many in flight, answers in input order, until the server is gone.

One bad picture becomes a ``Failure`` and harms no other; once the server is gone the rest is not sent,
and says so. What is asked about is read as answers are taken.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from random import Random
from typing import Final, TypeVar

from adlens import pictures
from adlens.answers import Failure
from adlens.errors import AdlensError, InvalidConfiguration, NotSent, Overloaded, ServerError
from adlens.pictures import ImageLike

_WINDOW: Final = 4
"""Pictures for each worker that may be ahead of the answer that is due next."""
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 4.0
_PATIENCE: Final = 8
"""Server faults without an answer in between after which the server counts as gone."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def ask_many(
    ask: Callable[[ImageLike], Answer], images: Iterable[ImageLike], workers: int, timeout_s: float
) -> Iterator[Answer | Failure]:
    """Call ``ask`` on each of ``images``, on ``workers`` threads; again for ``timeout_s`` if overloaded.

    Raises:
        InvalidConfiguration: ``workers`` is below 1.
    """
    return ask_each(ask, images, pictures.describe, workers, timeout_s)


def ask_many_async(
    ask: Callable[[ImageLike], Awaitable[Answer]],
    images: Iterable[ImageLike],
    workers: int,
    timeout_s: float,
) -> AsyncGenerator[Answer | Failure]:
    """``ask_many`` for asyncio."""
    return ask_each_async(ask, images, pictures.describe, workers, timeout_s)


def ask_each(
    ask: Callable[[Item], Answer],
    items: Iterable[Item],
    name: Callable[[Item], str],
    workers: int,
    timeout_s: float,
) -> Iterator[Answer | Failure]:
    """``ask_many`` for anything that has a ``name`` in failures."""
    run = _Run(workers)

    def answer(item: Item) -> Answer | Failure:
        pauses = run.pauses(timeout_s)
        while True:
            try:
                run.check()
                return run.answered(ask(item))
            except AdlensError as error:
                pause_s = next(pauses, None) if isinstance(error, Overloaded) else None
                if pause_s is None:
                    return run.failed(name(item), error)
            time.sleep(pause_s)

    executor = ThreadPoolExecutor(workers, thread_name_prefix="adlens")
    due: deque[Future[Answer | Failure]] = deque()
    try:
        for item in items:
            due.append(executor.submit(answer, item))
            if len(due) >= _WINDOW * workers or due[0].done():
                yield due.popleft().result()
        while due:
            yield due.popleft().result()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


async def ask_each_async(
    ask: Callable[[Item], Awaitable[Answer]],
    items: Iterable[Item],
    name: Callable[[Item], str],
    workers: int,
    timeout_s: float,
) -> AsyncGenerator[Answer | Failure]:
    """``ask_each`` for asyncio."""
    run = _Run(workers)
    slots = asyncio.Semaphore(workers)

    async def answer(item: Item) -> Answer | Failure:
        async with slots:
            pauses = run.pauses(timeout_s)
            while True:
                try:
                    run.check()
                    return run.answered(await ask(item))
                except AdlensError as error:
                    pause_s = next(pauses, None) if isinstance(error, Overloaded) else None
                    if pause_s is None:
                        return run.failed(name(item), error)
                await asyncio.sleep(pause_s)

    due: deque[asyncio.Task[Answer | Failure]] = deque()
    try:
        for item in items:
            due.append(asyncio.create_task(answer(item)))
            if len(due) >= _WINDOW * workers or due[0].done():
                yield await due.popleft()
        while due:
            yield await due.popleft()
    finally:
        for task in due:
            task.cancel()
        await asyncio.gather(*due, return_exceptions=True)


class _Run:
    """Watches a run over many pictures, and ends it once the server is gone."""

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise InvalidConfiguration(f"workers {workers}; give a number above 0")
        self._gone: AdlensError | None = None
        self._faults = 0
        self._random = Random()  # noqa: S311 - spreads load, hides nothing

    def check(self) -> None:
        """Raise ``NotSent`` where the server is gone."""
        if self._gone:
            raise NotSent(f"not sent, as the server failed before ({self._gone})")

    def pauses(self, within_s: float) -> Iterator[float]:
        """Seconds to wait before each further attempt at an overloaded server; ends after ``within_s``."""
        ends, longest_s = time.monotonic() + within_s, _FIRST_PAUSE_S
        while time.monotonic() < ends:
            # At random, or all who were refused together would come back together.
            yield self._random.uniform(longest_s / 2, longest_s)
            longest_s = min(2 * longest_s, _LONGEST_PAUSE_S)

    def answered(self, answer: Answer) -> Answer:
        """Note that the server is alive."""
        self._faults = 0
        return answer

    def failed(self, name: str, error: AdlensError) -> Failure:
        """Note what went wrong with the picture ``name``."""
        if isinstance(error, ServerError):
            self._faults += 1
        if not self._gone and (error.ends_run or self._faults >= _PATIENCE):
            self._gone = error
        return Failure.of(name, error)
