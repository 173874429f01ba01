"""Which influencers fit a brand, against responses made by hand: the question, the answer, and why."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from adlens import contract
from adlens.async_recommender import AsyncRecommender
from adlens.described import DescribedAccount
from adlens.errors import AdlensError, BadAccount, BadFilter, BadRequest, ServerFault, WrongEmbedder
from adlens.influencers import InfluencerAnswer
from adlens.jobs import influencers
from adlens.jobs.influencers import Wanted
from adlens.recommender import Recommender
from adlens.towers import AccountSchema, Block, Segment
from adlens.transport import InferResponse
from tests.client.fake_triton import FakeTriton
from tests.client.influencer_responses import BRAND, GALLERY, SCHEMA, TOWER, Said

THREE = {"ann": [1, 0, 2, 0, 1], "bob": [2, 0, 0, 1, 1], "eve": [0, 0, 1, -2, 0]}
"""Products with BRAND: 6, 3.5 and 1."""
INFINITE = float("inf")


def described(made_by: dict[str, str]) -> DescribedAccount:
    """BRAND as an account, pooled plainly and not."""
    vectors = {name: np.array(values) for name, values in BRAND.items()}
    vectors["topics_plain"] = vectors["topics"]
    return DescribedAccount(
        "shop", "s", "shop", 1e6, 0.01, "", "", True, 1, 1, (), {}, vectors, made_by
    )  # fmt: skip


def ask(
    said: Said, brand: Any = BRAND, schema: AccountSchema | None = None, **wanted: Any
) -> InfluencerAnswer:
    """Hold the whole conversation with ``said``; as many are wanted as there are, unless it is told."""
    wanted = {"count": max(1, len(said.influencers))} | wanted
    steps = influencers.ask(brand, "shop", Wanted(**wanted), schema)
    try:
        model, inputs = next(steps)
        while True:
            outputs = said.models[model](dict(inputs))
            model, inputs = steps.send(InferResponse(model, "1", outputs))
    except StopIteration as end:
        answer, _ = end.value
        assert isinstance(answer, InfluencerAnswer)
        return answer


def test_the_answer_ranks_and_says_why() -> None:
    answer = ask(Said(THREE, {"ann": (7_000, 0.03), "bob": (9_000, np.nan)}))
    assert [(each.id, each.rank) for each in answer.influencers] == [("ann", 1), ("bob", 2), ("eve", 3)]
    assert [each.score for each in answer.influencers] == pytest.approx([6, 3.5, 1])
    ann, bob, eve = answer.influencers
    assert (ann.followers, bob.engagement, eve.followers) == (7_000, None, None)
    assert ann.engagement == pytest.approx(0.03)
    for each in answer.influencers:
        assert sum(each.contributions.values()) == pytest.approx(each.score)
    assert ann.contributions == pytest.approx({"topics": 5, "hashtags": 1})
    assert eve.shares == pytest.approx({"topics": 2 / 3, "hashtags": -1 / 3})
    assert (answer.brand, answer.passing, answer.known) == ("shop", 3, ("topics", "hashtags"))
    assert (answer.warnings, answer.starter) == ((), ())
    assert answer.model_versions == {"brand_tower": TOWER.weights, "influencers": GALLERY.weights}


def test_the_answer_has_a_json_form() -> None:
    raw = json.loads(json.dumps(ask(Said(THREE)).to_json(), allow_nan=False))
    assert raw["influencers"][2] == {
        "id": "eve", "rank": 3, "score": 1.0, "contributions": {"topics": 2.0, "hashtags": -1.0},
        "shares": {"topics": 0.666667, "hashtags": -0.333333}, "followers": None, "engagement": None,
        "posts": [],
    }  # fmt: skip


def test_micro_influencers_are_asked_for_unless_said_otherwise() -> None:
    said = Said(THREE)
    ask(said)
    ask(said, followers=(None, 9_000), engagement=(0.02, None), filter={"category": "shoes"})
    first, second = said.asked
    assert first[contract.RANGES].tolist() == [[[5_000, 100_000], [-INFINITE, INFINITE]]]
    assert second[contract.RANGES][0].tolist() == [[-INFINITE, 9_000], pytest.approx([0.02, INFINITE])]
    assert not first[contract.FILTER].any()
    assert second[contract.FILTER][0, 0, 0] == contract.filter_code("category", "shoes")
    expected = contract.MODELS[contract.RANK_INFLUENCERS].inputs
    assert {name: (1, *tensor.shape) for name, tensor in expected.items()} == {
        name: array.shape for name, array in first.items()
    }


def test_a_block_that_is_not_known_is_nan_and_is_said() -> None:
    said = Said(THREE)
    answer = ask(said, {"topics": [1, 0, 2], "hashtags": [np.nan, np.nan], "colours": [1, 2]})
    row = said.asked[0][contract.ACCOUNT][0]
    assert row[:3].tolist() == [1, 0, 2]
    assert np.isnan(row[3:5]).all()
    assert not row[5:].any()
    assert answer.known == ("topics",)
    assert answer.warnings == ("not known of the brand: hashtags", "the ranker does not read colours")


@pytest.mark.parametrize(
    ("brand", "said"),
    [
        ({"topic": [1, 0, 2]}, "did you mean 'topics'.*reads topics, hashtags"),
        ({}, "blocks are none"),
        ({"topics": [np.nan] * 3}, "at least one has to be known"),
        ({"topics": [1, 2]}, r"shape \[2\]; the ranker was trained on \[3\]"),
        ({"topics": [1, np.nan, 2]}, "has 1 numbers that are not finite"),
        ({"topics": [1, INFINITE, 2]}, "has 1 numbers that are not finite"),
        ({"topics": ["a", "b", "c"]}, "no array of numbers"),
    ],
)
def test_a_brand_that_does_not_fit_is_refused_before_it_is_sent(brand: Any, said: str) -> None:
    server = Said(THREE)
    with pytest.raises(BadAccount, match=f"shop: .*{said}"):
        ask(server, brand)
    assert server.asked == []


@pytest.mark.parametrize(
    ("wanted", "error", "said"),
    [
        ({"followers": (9, 5)}, BadFilter, "followers 9 to 5"),
        ({"followers": (float("nan"), None)}, BadFilter, "followers nan"),
        ({"engagement": (None, -0.1)}, BadFilter, "engagement to -0.1"),
        ({"count": 0}, BadRequest, "count 0; the server ranks 1 to 50"),
        ({"count": 51}, BadRequest, "count 51"),
        ({"filter": {"colour": "red"}}, BadFilter, "no attribute colour.*category, language"),
    ],
)
def test_what_cannot_be_wanted_is_refused(wanted: Any, error: type[AdlensError], said: str) -> None:
    with pytest.raises(error, match=said):
        ask(Said(THREE), **wanted)


def test_no_more_are_given_than_are_wanted() -> None:
    answer = ask(Said(THREE), count=2)
    assert [each.id for each in answer.influencers] == ["ann", "bob"]
    assert answer.passing == 3


def test_nobody_to_be_found_is_no_fault() -> None:
    empty = ask(Said({}, gallery=replace(GALLERY, photos=0, embedder_weights="", attributes=())))
    assert empty.influencers == ()
    assert empty.warnings == ("there are no influencers; add some (`adlens influencers build`)",)
    nobody = ask(Said({}), filter={"category": ["food", "shoes"]})
    assert nobody.warnings == ("no influencer passes category=food or shoes, followers 5,000 to 100,000",)


def test_influencers_of_whom_too_little_is_known_are_said_where_few_are_found() -> None:
    """As of a file of features, which tells nobody's followers: else nobody would know why none is found."""
    said = Said(THREE, {"ann": (7_000, 0.03), "eve": (900, np.nan)}, within_ranges=True)
    answer = ask(said)
    assert [each.id for each in answer.influencers] == ["ann"]
    assert answer.warnings == (
        "followers of 1 influencers are not known, so that they pass no range of followers; to have them, "
        "open it (`--followers :`, followers=(None, None))",
    )
    assert [inputs[contract.RANGES].tolist() for inputs in said.asked] == [
        [[[5_000, 100_000], [-INFINITE, INFINITE]]], [[[-INFINITE, INFINITE]] * 2],
    ]  # fmt: skip
    nobody = ask(Said(THREE, within_ranges=True), engagement=(0.02, None))
    assert nobody.influencers == ()
    assert nobody.warnings[0].startswith("no influencer passes followers 5,000 to 100,000, engagement")
    assert [warning[: warning.index(" of")] for warning in nobody.warnings[1:]] == ["followers", "engagement"]
    assert "of 3 influencers are not known" in nobody.warnings[2]
    assert "engagement=(None, None)" in nobody.warnings[2]
    many = {f"a-{number}": [100 - number] for number in range(contract.RANKED)}
    assert "of at least 50 influencers" in ask(Said(many, within_ranges=True)).warnings[1]
    for enough in ({"count": 1}, {"followers": (None, None)}):
        said.asked.clear()
        assert not any("not known" in warning for warning in ask(said, **enough).warnings)
        assert len(said.asked) == 1


def test_a_ranker_of_generated_accounts_is_said() -> None:
    answer = ask(Said(THREE, tower=replace(TOWER, starter=True)))
    assert answer.starter == ("brand_tower",)
    assert answer.warnings[0].startswith(
        "the ranker is a starter, learned from generated accounts: of others"
    )


def test_towers_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(WrongEmbedder, match=f"of the ranker {'7' * 16}.*is of {'5' * 16}.*build"):
        ask(Said(THREE, gallery=replace(GALLERY, embedder_weights="7" * 16)))


def test_a_brand_that_was_described_by_something_else_is_refused_before_it_is_sent() -> None:
    """The numbers of another network, or of other words, mean something else."""
    topics, hashtags = SCHEMA.blocks
    schema = replace(SCHEMA, blocks=(replace(topics, made_by="a" * 16), hashtags))
    assert AccountSchema.from_bytes(schema.to_bytes()) == schema
    said = Said(THREE, schema=schema)
    with pytest.raises(WrongEmbedder, match=r"shop: its block 'topics' was made by b{16}.*by a{16}"):
        ask(said, described({"topics": "b" * 16, "hashtags": "c" * 16}))
    assert said.asked == []
    for made_by in ({"topics": "a" * 16, "hashtags": "c" * 16}, {}):  # what is not known is taken
        assert ask(said, described(made_by)).influencers
    pooled = replace(schema, blocks=(replace(topics, name="topics_plain", made_by="a" * 16), hashtags))
    with pytest.raises(WrongEmbedder, match="block 'topics_plain' was made by"):
        ask(Said(THREE, schema=pooled), described({"topics": "b" * 16}))


def test_the_schema_is_asked_for_once_and_again_when_the_ranker_was_replaced() -> None:
    said = Said(THREE)
    ask(said)
    assert (said.probed, len(said.asked)) == (1, 1)
    ask(said, schema=SCHEMA)
    assert (said.probed, len(said.asked)) == (1, 2)
    former = AccountSchema("brand", (Block("topics", 0, 3),), (), "4" * 16)
    assert ask(said, schema=former).known == ("topics", "hashtags")
    assert (said.probed, len(said.asked)) == (1, 4)


def _rising(scores: np.ndarray[Any, Any]) -> None:
    scores[0, :3] = [1, 2, 3]


def _with_nan(scores: np.ndarray[Any, Any]) -> None:
    scores[0, 1] = np.nan


@pytest.mark.parametrize("spoil", [_rising, _with_nan])
def test_scores_that_cannot_be_are_the_servers_fault(spoil: Callable[[Any], None]) -> None:
    said = Said(THREE)
    scores = said.ranked({contract.ACCOUNT: np.ones((1, contract.MAX_ACCOUNT), np.float32)})
    spoilt = scores[contract.INFLUENCER_SCORES]
    spoil(spoilt)
    with pytest.raises(ServerFault, match="INFLUENCER_SCORES is"):
        ask(Said(THREE, changes={contract.INFLUENCER_SCORES: spoilt}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({contract.INFLUENCER_NUMBERS: np.zeros((1, 50, 3), np.float32)}, r"is \[1, 50, 3\], not"),
        ({contract.SCHEMA: np.full((1, contract.SCHEMA_BYTES), 32, np.uint8)}, "rank_influencers"),
        ({contract.INFLUENCER_COUNT: np.array([[9]], np.int32)}, "3 influencers of 9 that pass"),
    ],
)
def test_an_answer_that_breaks_the_contract_is_the_servers_fault(changes: Any, said: str) -> None:
    with pytest.raises(ServerFault, match=said):
        ask(Said(THREE, changes=changes))


@pytest.mark.parametrize(
    "schema",
    [
        replace(SCHEMA, side="shop"),
        replace(SCHEMA, blocks=()),
        replace(SCHEMA, blocks=(Block("a", 0, 3), Block("a", 3, 1))),
        replace(SCHEMA, blocks=(Block("a", 0, 3), Block("b", 2, 1))),
        replace(SCHEMA, blocks=(Block("a", 0, contract.MAX_ACCOUNT + 1),)),
        replace(SCHEMA, segments=(Segment("topics", 3, 3),)),
        replace(SCHEMA, segments=(Segment("topics", 0, contract.ACCOUNT_DIMENSION + 1),)),
    ],
)
def test_a_schema_that_contradicts_itself_is_none(schema: AccountSchema) -> None:
    with pytest.raises(ValueError, match="schema of accounts: "):
        schema.to_bytes()
    assert AccountSchema.from_bytes(SCHEMA.to_bytes()) == SCHEMA


def test_both_front_doors_ask_alike() -> None:
    said = Said(THREE)

    async def later(url: str) -> InfluencerAnswer:
        async with AsyncRecommender(url) as front:
            return await front.rank_influencers(BRAND, name="shop")

    shop = described({})
    with FakeTriton() as server, Recommender(server.url) as front:
        server.models |= said.models
        assert front.rank_influencers(shop).brand == "shop"
        assert front.rank_influencers(BRAND).brand == "brand"
        answer = front.rank_influencers(BRAND, name="shop")
        assert [each.id for each in answer.influencers] == ["ann", "bob", "eve"]
        assert asyncio.run(later(server.url)) == answer
        assert front.rank_influencers(BRAND, name="shop") == answer
    assert said.probed == 2
