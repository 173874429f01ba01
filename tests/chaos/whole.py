"""The whole server as users start it, and callers of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from adlens import Recommender
from export import generated
from tests.server.callers import Callers
from tests.server.launched import Launched


@contextmanager
def serving(*arguments: str, wrapper: tuple[str, ...] = ()) -> Iterator[tuple[Launched, str]]:
    """The whole server, and its URL."""
    server = Launched(*arguments, wrapper=wrapper)
    try:
        yield server, server.until_ready()
    finally:
        server.kill()


@contextmanager
def calling(url: str, count: int = 4) -> Iterator[Callers]:
    """Callers that send the astronaut, again and again."""
    picture = np.asarray(generated.astronaut())
    with Recommender(url, timeout_s=60) as recommender:

        def call() -> None:
            assert len(recommender.recommend_products(picture).faces) == 1

        with Callers(call, count) as callers:
            yield callers
