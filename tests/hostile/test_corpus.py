"""Thousands of damaged JPEGs, each alone and one in eight: answered or refused, and no neighbour harmed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from adlens import contract
from server.launcher import Server
from tests.hostile.corpus import Hostile, bases, corpus
from tests.hostile.requests import Caller, Outcome, ask

SEED = 20
ACCEPTABLE = {"OK", "INVALID_ARGUMENT"}
NEIGHBOURS = contract.MAX_BATCH - 1
IN_FLIGHT = 4 * contract.MAX_BATCH
MOST_GROWTH = 0.10
WHOLE = 0.04
"""Share of the files that pass through the whole of ``recommend_products`` too."""

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def files(count: int) -> list[Hostile]:
    """The corpus."""
    return list(corpus(count, SEED))


@pytest.fixture(scope="module")
def good() -> list[bytes]:
    """The neighbours, no two alike."""
    return [data for name, data in sorted(bases().items()) if name.startswith("noise")][:NEIGHBOURS]


def statuses(files: list[Hostile], outcomes: list[Outcome]) -> dict[str, Any]:
    """How many files ended how, in all and by kind of damage."""
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for file, outcome in zip(files, outcomes, strict=True):
        kinds[file.kind][outcome.status] += 1
    total = Counter(outcome.status for outcome in outcomes)
    return {"all": dict(total), "kinds": {kind: dict(counter) for kind, counter in kinds.items()}}


def test_each_file_alone_is_answered_or_refused_with_a_reason_and_memory_stays(
    caller: Caller, files: list[Hostile], report: dict[str, Any], memory_mb: Callable[[], float]
) -> None:
    warm, rest = files[: len(files) // 5], files[len(files) // 5 :]
    outcomes = list(caller.send_all((ask("single", file.data) for file in warm), IN_FLIGHT))
    before = memory_mb()
    outcomes += caller.send_all((ask("single", file.data) for file in rest), IN_FLIGHT)
    growth = memory_mb() / before - 1
    counted = statuses(files, outcomes)
    report["alone"] = {**counted, "memory growth": round(growth, 4)}
    assert set(counted["all"]) <= ACCEPTABLE
    assert counted["all"]["OK"] > len(files) / 5
    assert all(len(outcome.message) > 10 for outcome in outcomes if not outcome.ok)
    assert growth < MOST_GROWTH


def test_one_in_eight_harms_no_neighbour(
    caller: Caller,
    attacked: Server,
    files: list[Hostile],
    good: list[bytes],
    report: dict[str, Any],
    batches_run: Callable[..., int],
    memory_mb: Callable[[], float],
) -> None:
    neighbours = [ask("shared", picture) for picture in good]
    expected = [caller.send(request).outputs[contract.PIXELS] for request in neighbours]
    ran, before = batches_run(attacked, "shared"), memory_mb()

    def requests() -> Iterator[service_pb2.ModelInferRequest]:
        for file in files:
            yield ask("shared", file.data)
            yield from neighbours

    hostile, harmed = [], Counter[str]()
    for number, outcome in enumerate(caller.send_all(requests(), IN_FLIGHT)):
        place = number % contract.MAX_BATCH
        if place == 0:
            hostile.append(outcome)
        elif not outcome.ok:
            harmed[f"{outcome.status}: {outcome.message}"] += 1
        elif not np.array_equal(outcome.outputs[contract.PIXELS], expected[place - 1]):
            harmed["another picture's answer"] += 1
    growth = memory_mb() / before - 1
    size = contract.MAX_BATCH * len(files) / (batches_run(attacked, "shared", ran) - ran)
    counted = statuses(files, hostile)
    report["one in eight"] = {
        **counted,
        "neighbours": NEIGHBOURS * len(files),
        "neighbours harmed": dict(harmed),
        "mean batch": round(size, 2),
        "memory growth": round(growth, 4),
    }
    assert set(counted["all"]) <= ACCEPTABLE
    assert not harmed
    assert size > contract.MAX_BATCH / 2
    assert growth < MOST_GROWTH


def test_what_passes_the_decoder_passes_through_the_whole_of_recommend_products(
    server: Server, files: list[Hostile], report: dict[str, Any]
) -> None:
    chosen = files[:: round(1 / WHOLE)]
    caller = Caller(server.url)
    requests = (ask(contract.RECOMMEND_PRODUCTS, file.data) for file in chosen)
    outcomes = list(caller.send_all(requests, contract.MAX_BATCH))
    caller.close()
    report["whole"] = statuses(chosen, outcomes)
    assert set(report["whole"]["all"]) <= ACCEPTABLE
    assert report["whole"]["all"]["OK"] > len(chosen) / 5
