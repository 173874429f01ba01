"""Requests that are wrong in every way that gRPC lets through: refused, and the next good one is answered."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from adlens import contract
from adlens.transport import infer_request
from server.backends.heap import IDLE_S
from server.launcher import Server
from tests.hostile import fuzz
from tests.hostile.corpus import bases
from tests.hostile.requests import Caller

SEED = 30
ACCEPTABLE = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED"}
"""NOT_FOUND is Triton's word for an unknown model, version or shared-memory region; UNIMPLEMENTED for a
sequence ID of more than 128 characters. All say that the caller is at fault, and that a retry is in vain."""
TIMEOUT_S = 20.0
MOST_GROWTH = 0.10
READINGS = 2

pytestmark = pytest.mark.timeout(900)


def models() -> dict[str, fuzz.Inputs]:
    """Leaf models and ensembles, each with inputs that it answers."""
    picture = {contract.IMAGE: np.frombuffer(bases()["cat-baseline"], np.uint8)[np.newaxis]}
    pixels = np.zeros((1, contract.CANVAS, contract.CANVAS, 3), np.uint8)
    boxes = np.tile(np.array([10, 10, 100, 120], np.float32), (1, contract.MAX_FACES, 1))
    faces = {contract.BOXES: boxes, contract.FACE_COUNT: np.ones((1, 1), np.int32)}
    return {
        contract.DECODE: picture,
        contract.DETECT_FACES: {contract.PIXELS: pixels},
        contract.attributes_model("dlib"): {contract.PIXELS: pixels, **faces},
        "faces": picture,
    }


def test_the_known_flaw_of_24_10_is_what_it_is_said_to_be(caller: Caller) -> None:
    """Should this fail, another Triton is served: drop ``breaks_triton``, and what guards against it."""
    request = infer_request(contract.DECODE, models()[contract.DECODE])
    request.inputs[0].shape[0] = 0
    outcome = caller.send(request)
    assert (outcome.status, "max allowed is 8" in outcome.message) == ("INTERNAL", True)


def test_every_wrong_request_is_refused_and_a_good_one_is_answered_after_it(
    caller: Caller,
    attacked: Server,
    count: int,
    report: dict[str, Any],
    memory_mb: Callable[[], float],
) -> None:
    good = {model: infer_request(model, inputs) for model, inputs in models().items()}

    def at_rest() -> float:
        """Once all have given back what they freed, which they do when nobody calls."""
        found = []
        for _ in range(READINGS):
            assert all(caller.send(request).ok for request in good.values())
            time.sleep(2 * IDLE_S)
            found.append(memory_mb())
        return min(found)

    counted: dict[str, Counter[str]] = defaultdict(Counter)
    wrong, before = [], 0.0
    for number, (kind, request) in enumerate(fuzz.requests(models(), count, SEED)):
        if number == count // 2:
            before = at_rest()
        if fuzz.breaks_triton(request):
            counted[kind]["not sent"] += 1
            continue
        outcome = caller.send(request, TIMEOUT_S)
        counted[kind][outcome.status] += 1
        if outcome.status not in ACCEPTABLE:
            wrong.append(
                f"{number} {kind} to {request.model_name[:40]}: {outcome.status} {outcome.message[:200]}"
            )
        if number % len(fuzz.FAULTS) == 0:
            attacked.check()
            name = list(good)[number // len(fuzz.FAULTS) % len(good)]
            assert caller.send(good[name]).ok, f"{name} after {kind}"
    growth = at_rest() / before - 1
    total = sum(counted.values(), Counter[str]())
    kinds = {kind: dict(counter) for kind, counter in counted.items()}
    report["fuzz"] = {"all": dict(total), "kinds": kinds, "memory growth": round(growth, 4)}
    assert not wrong, "\n".join(wrong)
    assert growth < MOST_GROWTH
