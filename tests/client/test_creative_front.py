"""The front doors' part of job 3, sync and asyncio, against a fake Triton with models made by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import grpc
import numpy as np
import pytest

from adlens import contract, errors
from adlens.answers import Failure
from adlens.creatives import CreativeAnswer
from adlens.recommender import AsyncRecommender, Recommender
from tests.client.creative_responses import CAMPAIGN, LABELS, VOCABULARY, Said, picture
from tests.client.fake_triton import FakeTriton


@pytest.fixture
def said(triton: FakeTriton) -> Said:
    models = Said()
    triton.models.update(models.models)
    return models


@pytest.fixture
def front(triton: FakeTriton, said: Said) -> Iterator[Recommender]:
    with Recommender(triton.url, timeout_s=10, retries=0) as recommender:
        yield recommender


def test_one_request_a_picture_once_the_vocabulary_is_known(
    front: Recommender, triton: FakeTriton, said: Said
) -> None:
    seen = front.optimise_creative(picture(), **CAMPAIGN)
    assert (seen.target, seen.recommended.label, triton.calls) == ("click_through", "brighter", 2)
    assert front.optimise_creative(picture(), "unsubscribed", **CAMPAIGN).recommended.label == "swivel"
    assert triton.calls == 3
    assert said.asked[1][contract.CONTEXT].tolist() == [[1, 0, 1]]
    assert [inputs.keys() & {contract.IMAGE} for inputs in said.asked] == [set(), {"IMAGE"}, {"IMAGE"}]


def test_many_pictures_share_one_question_and_fail_alone(front: Recommender, triton: FakeTriton) -> None:
    photos = [picture(), b"no picture", picture()]
    seen = list(
        front.optimise_creatives(photos, "open_rate", **CAMPAIGN, filter={"brand": "puma"}, workers=2)
    )
    assert [type(answer) for answer in seen] == [CreativeAnswer, Failure, CreativeAnswer]
    assert triton.calls == 3


def test_a_campaign_that_is_unknown_is_refused_before_any_picture_is_sent(
    front: Recommender, triton: FakeTriton, said: Said
) -> None:
    with pytest.raises(errors.BadContext, match="industry: unknown 'oil'; known: retail, sport"):
        front.optimise_creatives([picture()], **{**CAMPAIGN, "industry": "oil"})
    with pytest.raises(errors.BadContext, match="give one of open_rate"):
        front.optimise_creatives([picture()], "sales", **CAMPAIGN)
    assert all(contract.IMAGE not in inputs for inputs in said.asked)
    # A model that knows it takes the place of the one that did not.
    values = {**VOCABULARY.context, "industry": ("oil",)}
    said.vocabulary = replace(VOCABULARY, context=values)
    assert front.optimise_creative(picture(), **{**CAMPAIGN, "industry": "oil"}).probability > 0


def test_variants_are_made_to_look_at_only_when_asked_for(front: Recommender, said: Said) -> None:
    images = front.render_creative(picture())
    assert tuple(images) == LABELS
    assert images["rotate"].size == (480, 640)
    with pytest.raises(errors.BadImage):
        front.render_creative(b"no picture")


def test_what_the_server_refuses_is_a_bad_image_with_its_name(front: Recommender, triton: FakeTriton) -> None:
    front.optimise_creative(picture(), **CAMPAIGN)
    triton.always = (grpc.StatusCode.INVALID_ARGUMENT, "decode: broken Huffman code")
    with pytest.raises(errors.BadImage, match="refused by the server as damaged"):
        front.optimise_creative(picture(), **CAMPAIGN)
    with pytest.raises(errors.BadImage, match="refused by the server as damaged"):
        front.render_creative(picture())


async def test_asyncio_answers_the_same(front: Recommender, triton: FakeTriton, said: Said) -> None:
    expected = front.optimise_creative(picture(), **CAMPAIGN)
    async with AsyncRecommender(triton.url, retries=0) as other:
        assert await other.optimise_creative(picture(), **CAMPAIGN) == expected
        photos = [picture(), b"no picture"]
        seen = [answer async for answer in other.optimise_creatives(photos, **CAMPAIGN)]
        assert seen[0] == expected
        assert isinstance(seen[1], Failure)
        with pytest.raises(errors.BadContext):
            async for _ in other.optimise_creatives(photos, **{**CAMPAIGN, "type": "child"}):
                pass
        images = await other.render_creative(picture())
    assert np.array_equal(images["sketch"], front.render_creative(picture())["sketch"])
