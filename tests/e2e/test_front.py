"""The whole way of a request through the door, as users of ``python -m server`` go it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from adlens import PictureAnswer, Recommender, contract
from adlens.errors import Overloaded, Timeout
from adlens.transport import Connection, Endpoint
from server.door import Door, DoorOptions
from server.launcher import Server
from tests.e2e.pictures import TIMEOUT_S

OpenDoor = Callable[..., str]


@pytest.fixture
def open_door(server: Server) -> Iterator[OpenDoor]:
    """Opens a door to the server, and gives its URL."""
    doors: list[Door] = []

    def start(**options: int) -> str:
        door = Door(DoorOptions(port=0, **options))
        door.start()
        doors.append(door)
        door.open_to(server.url)
        door.set_serving(True)
        return door.url

    yield start
    for door in doors:
        door.stop()


def test_answers_are_those_of_triton(
    open_door: OpenDoor, recommender: Recommender, demo: dict[str, Path]
) -> None:
    with Recommender(open_door(), timeout_s=TIMEOUT_S) as through:
        for path in demo.values():
            assert through.recommend_products(path) == recommender.recommend_products(path)
        assert through.health().model == contract.RECOMMEND_PRODUCTS


def test_a_run_over_many_pictures_survives_an_overloaded_server(
    open_door: OpenDoor, demo: dict[str, Path]
) -> None:
    url = open_door(max_in_flight=1)
    pictures = [demo["astronaut"]] * 6
    with Recommender(url, timeout_s=TIMEOUT_S) as through:
        assert all(isinstance(each, PictureAnswer) for each in through.recommend_many(pictures, workers=3))


def test_a_refusal_is_quick_and_says_overloaded(open_door: OpenDoor, demo: dict[str, Path]) -> None:
    jpeg = np.fromfile(demo["astronaut"], np.uint8)[np.newaxis]
    batch = np.repeat(jpeg, contract.MAX_BATCH, 0)
    with Connection(Endpoint(open_door(max_in_flight=1), timeout_s=TIMEOUT_S)) as connection:
        busy = threading.Thread(
            target=connection.infer, args=(contract.RECOMMEND_PRODUCTS, {contract.IMAGE: batch})
        )
        busy.start()
        time.sleep(0.3)
        refused_s = []
        while busy.is_alive():
            began = time.perf_counter()
            try:
                connection.infer(contract.RECOMMEND_PRODUCTS, {contract.IMAGE: jpeg})
            except Overloaded:
                refused_s.append(time.perf_counter() - began)
            time.sleep(0.02)
        busy.join()
    # On a quiet machine 20 ms at worst (tests/chaos); this one may be busy.
    assert np.median(refused_s) < 0.1


@pytest.mark.alone
def test_nothing_is_computed_for_callers_who_have_gone(open_door: OpenDoor, demo: dict[str, Path]) -> None:
    """Sixty pictures that nobody waits for any longer cost the next caller one batch that had begun."""
    jpeg = np.fromfile(demo["astronaut"], np.uint8)[np.newaxis]
    with Connection(Endpoint(open_door(), timeout_s=TIMEOUT_S, retries=0)) as connection:

        def ask(timeout_s: float) -> float:
            began = time.perf_counter()
            connection.infer(contract.RECOMMEND_PRODUCTS, {contract.IMAGE: jpeg}, timeout_s)
            return time.perf_counter() - began

        ask(TIMEOUT_S)
        one_s = float(np.median([ask(TIMEOUT_S) for _ in range(3)]))
        with ThreadPoolExecutor(60) as pool:
            hasty = [pool.submit(ask, 2 * one_s) for _ in range(60)]
        kinds = Counter(type(each.exception()) for each in hasty)
        assert kinds[Timeout] >= 40, kinds
        assert ask(TIMEOUT_S) < one_s * kinds[Timeout] / 4
