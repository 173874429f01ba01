"""What the server takes of a laptop: memory after work, and time to start."""

from __future__ import annotations

import os

import psutil

from adlens import Failure, Recommender, contract
from export import generated
from export.generated_ads import CUSTOMER
from server.launcher import Server
from tests.e2e.pictures import crowd

MOST_GB = 2.5
MOST_READY_S = 20.0
SLOW_CI = 4
"""Allowed for machines that others use at the same time."""


def memory_gb(server: Server) -> float:
    """Memory of all processes of ``server``; what they share is counted once (proportional set size)."""
    triton = psutil.Process(server.pid)
    processes = [triton, *triton.children(recursive=True)]
    return sum(process.memory_full_info().pss for process in processes) / 1e9


def test_memory_stays_small_after_crowds(server: Server, recommender: Recommender) -> None:
    """A picture full of faces is the most that one request can ask for."""
    photos = [crowd(), generated.astronaut(), crowd()] * 2
    answers = [*recommender.recommend_many(photos), *recommender.personalise_many(photos, CUSTOMER)]
    faces = [len(answer.faces) for answer in answers if not isinstance(answer, Failure)]
    assert faces == [contract.MAX_FACES, 1, contract.MAX_FACES] * 4
    used = memory_gb(server)
    print(f"{used:.2f} GB")  # noqa: T201
    assert used < MOST_GB


def test_the_server_is_ready_soon(server: Server) -> None:
    print(f"ready after {server.ready_s:.1f} s")  # noqa: T201
    busy = os.getloadavg()[0] > (os.cpu_count() or 1)
    assert server.ready_s < MOST_READY_S * (SLOW_CI if busy or os.environ.get("CI") else 1)
