"""The front doors' part of job 4, sync and asyncio, against a fake Triton with a model made by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from adlens import contract, errors
from adlens.answers import Failure
from adlens.engagement import EngagementAnswer
from adlens.recommender import AsyncRecommender, Recommender
from tests.client.engagement_responses import Said, grey
from tests.client.fake_triton import FakeTriton

CONTEXT = {"timestamp": "2026-11-20T18:30:00+01:00", "followers": 52_000}


@pytest.fixture
def said(triton: FakeTriton) -> Said:
    models = Said()
    triton.models.update(models.models)
    return models


@pytest.fixture
def front(triton: FakeTriton, said: Said) -> Iterator[Recommender]:
    with Recommender(triton.url, timeout_s=10, retries=0) as recommender:
        yield recommender


@pytest.fixture
def shades(tmp_path: Path) -> list[Path]:
    return [grey(tmp_path / f"{shade}.jpg", shade) for shade in (50, 250, 150)]


def test_one_request_a_picture(
    front: Recommender, triton: FakeTriton, said: Said, shades: list[Path]
) -> None:
    seen = front.predict_engagement(shades[1], CONTEXT)
    assert (seen.label, seen.path, triton.calls) == ("high", str(shades[1]), 1)
    assert said.asked[0][contract.POST][0, :2].tolist() == [18.5, 4]
    assert front.predict_engagement(shades[0]).label == "low"


def test_a_wrong_context_is_refused_before_anything_is_sent(
    front: Recommender, triton: FakeTriton, shades: list[Path]
) -> None:
    for ask in (
        lambda: front.predict_engagement(shades[0], {"hour": 25}),
        lambda: front.predict_engagements(shades, {"hour": 25}),
        lambda: front.rank_engagement(shades, {"hour": 25}),
    ):
        with pytest.raises(errors.BadPost, match="hour: 25; a day has hours 0 to 24"):
            ask()
    assert triton.calls == 0


def test_a_bad_picture_or_context_harms_no_neighbour(
    front: Recommender, triton: FakeTriton, shades: list[Path]
) -> None:
    photos = [shades[0], b"no picture", shades[1], shades[2]]
    contexts = [CONTEXT, None, {"weekday": "Fryday"}, None]
    seen = list(front.predict_engagements(photos, contexts, workers=2))
    assert [type(each) for each in seen] == [EngagementAnswer, Failure, Failure, EngagementAnswer]
    assert [each.kind for each in seen if isinstance(each, Failure)] == ["BadImage", "BadPost"]
    assert isinstance(seen[2], Failure)
    assert (seen[2].path, seen[2].server) == (str(shades[1]), False)
    assert triton.calls == 2


def test_contexts_and_pictures_that_differ_in_number_are_refused(
    front: Recommender, shades: list[Path]
) -> None:
    with pytest.raises(errors.InvalidConfiguration, match="1 contexts, and more pictures"):
        list(front.predict_engagements(shades, [None]))


def test_candidates_are_ranked_and_told_as_they_come(front: Recommender, shades: list[Path]) -> None:
    told: list[EngagementAnswer | Failure] = []
    ranking = front.rank_engagement([*shades, b"no picture"], CONTEXT, on_answer=told.append)
    assert [each.path for each in ranking.ranked] == [str(shades[at]) for at in (1, 2, 0)]
    assert [each.kind for each in ranking.failures] == ["BadImage"]
    assert [each.path for each in told] == [*map(str, shades), "<bytes>"]


def test_a_server_without_the_model_says_so(
    front: Recommender, triton: FakeTriton, shades: list[Path]
) -> None:
    triton.always = (
        grpc.StatusCode.NOT_FOUND,
        "Request for unknown model: 'predict_engagement' is not found",
    )
    with pytest.raises(errors.UnknownModel, match="predict_engagement"):
        front.predict_engagement(shades[0])
    kinds = [each.kind for each in front.predict_engagements(shades, workers=1) if isinstance(each, Failure)]
    assert kinds == ["UnknownModel", "NotSent", "NotSent"]


def test_what_the_server_refuses_is_a_bad_image_with_its_name(
    front: Recommender, triton: FakeTriton, shades: list[Path]
) -> None:
    triton.always = (grpc.StatusCode.INVALID_ARGUMENT, "decode: broken Huffman code")
    with pytest.raises(errors.BadImage, match=f"{shades[0]}: refused by the server as damaged"):
        front.predict_engagement(shades[0])


async def test_asyncio_answers_the_same(front: Recommender, triton: FakeTriton, shades: list[Path]) -> None:
    expected = front.predict_engagement(shades[0], CONTEXT)
    async with AsyncRecommender(triton.url, retries=0) as other:
        assert await other.predict_engagement(shades[0], CONTEXT) == expected
        photos = [shades[0], b"no picture"]
        seen = [each async for each in other.predict_engagements(photos, [CONTEXT, None])]
        assert seen[0] == expected
        assert isinstance(seen[1], Failure)
        ranking = await other.rank_engagement(shades, CONTEXT)
        assert ranking == front.rank_engagement(shades, CONTEXT)
        with pytest.raises(errors.BadPost):
            await other.rank_engagement(shades, {"hour": 25})
