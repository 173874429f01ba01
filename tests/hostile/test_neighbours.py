"""In a dynamic batch only the bad picture fails, with the reason; its neighbours never learn of it.

With the gate inside the stand-in ``dali`` backend; with isolation alone, for what passes a gate; and
with the gate as a model before a decoder that fails as a whole, as NVIDIA's native one does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from adlens import contract
from server.launcher import Server
from tests.hostile.corpus import bases
from tests.hostile.requests import Caller, Outcome, ask

GOOD = [bases()[name] for name in sorted(bases()) if name.startswith(("astronaut", "cat"))][:8]
BAD = {
    "text": (b"this is a shopping list, and no picture", "not a JPEG"),
    "truncated": (GOOD[0][: len(GOOD[0]) // 2], "truncated"),
    "no tables": (GOOD[0].replace(b"\xff\xdb", b"\xff\xee"), "a table that a scan needs"),
    "huge": (GOOD[0].replace(b"\xff\xc0\x00\x11\x08\x00\xc8", b"\xff\xc0\x00\x11\x08\xff\xff"), "pixels"),
}
"""Pictures that make the decoder fail, and what the gate says of them."""
WAYS = ("gated", "isolated", "guarded")


@pytest.fixture(scope="module")
def alone(attacked: Server) -> list[Outcome]:
    """What each of ``GOOD`` gives where it shares its batch with nobody."""
    caller = Caller(attacked.url)
    outcomes = [caller.send(ask("native", picture)) for picture in GOOD]
    caller.close()
    assert all(outcome.ok for outcome in outcomes)
    return outcomes


@pytest.fixture
def batches(attacked: Server, batches_run: Callable[[Server, str, int], int]) -> Callable[[str], int]:
    """How many batches a model has run; known only a moment after its last answer."""
    return lambda model: batches_run(attacked, model, -1)


def test_native_attacked_fail_the_whole_batch_which_is_what_this_is_about(caller: Caller) -> None:
    requests = [ask("native", picture) for picture in (*GOOD[:7], BAD["no tables"][0])]
    assert {outcome.status for outcome in caller.send_together(requests)} == {"INVALID_ARGUMENT"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("number", [1, 4, 7])
def test_only_the_bad_ones_of_a_batch_fail_and_the_others_are_answered_as_if_alone(
    caller: Caller, alone: list[Outcome], way: str, kind: str, number: int
) -> None:
    bad, reason = BAD[kind]
    pictures = [bad] * number + GOOD[number:]
    outcomes = caller.send_together([ask(way, picture) for picture in pictures])
    assert [outcome.status for outcome in outcomes[:number]] == ["INVALID_ARGUMENT"] * number
    expected = "DALI could not run this request" if way == "isolated" else reason
    assert all(expected in outcome.message for outcome in outcomes[:number])
    for outcome, one in zip(outcomes[number:], alone[number:], strict=True):
        assert outcome.ok, outcome.message
        for name in (contract.PIXELS, contract.PICTURE_SIZE):
            np.testing.assert_array_equal(outcome.outputs[name], one.outputs[name])


@pytest.mark.parametrize("way", WAYS)
def test_of_several_pictures_in_a_request_the_bad_one_is_named(caller: Caller, way: str) -> None:
    bad, _ = BAD["no tables"]
    requests = [ask(way, *GOOD[:2], bad, GOOD[3]), ask(way, *GOOD[:4])]
    refused, answered = caller.send_together(requests)
    assert refused.status == "INVALID_ARGUMENT"
    assert "sample 3 of 4" in refused.message or "picture 3 of 4" in refused.message
    assert answered.outputs[contract.PICTURE_SIZE].shape == (4, 2)


@pytest.mark.parametrize("way", WAYS)
def test_they_did_share_a_batch(caller: Caller, way: str, batches: Callable[[str], int]) -> None:
    model = "gate" if way == "guarded" else way
    before = batches(model)
    outcomes = caller.send_together([ask(way, picture) for picture in (BAD["text"][0], *GOOD[1:])])
    assert sum(outcome.ok for outcome in outcomes) == 7
    assert batches(model) <= before + 2
