"""Accounts become influencers, and posts reasons, by a tower whose vectors are an account's own numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from adlens import cli, contract, influencer_sheet
from adlens.answers import Failure
from adlens.contract import ModelCard
from adlens.described import DescribedAccount, DescribedPost
from adlens.errors import ServerFault, WrongEmbedder
from adlens.galleries.records import AccountRecord
from adlens.influencer_table import table
from adlens.influencers import InfluencerAnswer, InfluentialPost, RankedInfluencer
from adlens.recruiting import Recruiter
from adlens.transport import Connection, Endpoint
from tests.client.fake_triton import FakeTriton
from tests.client.influencer_responses import RANKER, SCHEMA, Arrays, Said, bytes_of

NAN = float("nan")
TOWER = ModelCard(contract.INFLUENCER_TOWER, RANKER, False)


def account(
    id_: str, topics: list[float], hashtags: list[float], posts: tuple[DescribedPost, ...] = (), **about: Any
) -> DescribedAccount:
    vectors = {"topics": np.array(topics, np.float32), "hashtags": np.array(hashtags, np.float32)}
    known = {"followers": 9_000.0, "engagement": 0.02, "category": "shoes", "language": "en", "brand": False}
    return DescribedAccount(
        id=id_, stamp="s", name=id_, posts=4, pictures=4, heaviest=posts,
        weights={"topics": 1.0, "hashtags": 1.0}, vectors=vectors, **(known | about),
    )  # fmt: skip


def post(line: int, topics: list[float], weight: float = 0.25) -> DescribedPost:
    vectors = {"topics": np.array(topics, np.float32), "hashtags": np.full(2, NAN, np.float32)}
    return DescribedPost(line, f"{line}.jpg", f"caption {line}", weight, vectors)


class Tower:
    """What answers for ``influencer_tower``; the card may change from a call to the next."""

    def __init__(self) -> None:
        self.cards = [TOWER]
        self.schema = replace(SCHEMA, side="influencer")
        self.sizes: list[int] = []

    def __call__(self, inputs: Arrays) -> Arrays:
        accounts = inputs[contract.ACCOUNT]
        self.sizes.append(len(accounts))
        card = self.cards.pop(0) if len(self.cards) > 1 else self.cards[0]
        said = np.frombuffer(self.schema.to_bytes(), np.uint8)
        return {
            contract.ACCOUNT_VECTOR: np.nan_to_num(accounts[:, : contract.ACCOUNT_DIMENSION]),
            contract.CARD: np.repeat(bytes_of(card), len(accounts), axis=0),
            contract.SCHEMA: np.repeat(said[np.newaxis], len(accounts), axis=0),
        }


@pytest.fixture
def tower() -> Tower:
    return Tower()


@pytest.fixture
def connection(tower: Tower) -> Iterator[Connection]:
    with FakeTriton() as server, Connection(Endpoint(server.url)) as found:
        server.models[contract.INFLUENCER_TOWER] = tower
        yield found


def test_accounts_become_records_in_order_and_brands_none(connection: Connection, tower: Tower) -> None:
    accounts = [account(f"a-{n}", [n, 0, 1], [1, n], brand=n == 3) for n in range(20)]
    found = [*Recruiter(connection).recruit(accounts)]
    assert [each.id for each in found if isinstance(each, AccountRecord)] == [
        f"a-{n}" for n in range(20) if n != 3
    ]
    last = found[-1]
    assert isinstance(last, AccountRecord)
    assert last.vector[:6].tolist() == [19, 0, 1, 1, 19, 0]
    assert last.attributes == {"category": "shoes", "language": "en"}
    assert last.payload.tolist() == [9_000, pytest.approx(0.02)]
    assert tower.sizes == [1, 8, 8, 3]


def test_an_account_that_does_not_fit_fails_alone(connection: Connection) -> None:
    accounts = [
        account("good", [1, 2, 3], [1, 2]),
        account("short", [1, 2], [1, 2]),
        account("unknown", [NAN] * 3, [NAN] * 2),
        account("strange", [1, 2, 3], [1, 2], followers=-5.0),
        account("partly", [1, 2, 3], [NAN, NAN], engagement=NAN),
    ]
    good, *failures, partly = Recruiter(connection).recruit(accounts)
    assert isinstance(good, AccountRecord)
    assert [(each.path, each.kind) for each in failures if isinstance(each, Failure)] == [
        ("short", "BadAccount"), ("unknown", "BadAccount"), ("strange", "BadRecord"),
    ]  # fmt: skip
    assert isinstance(partly, AccountRecord)
    assert partly.vector[:5].tolist() == [1, 2, 3, 0, 0]
    assert np.isnan(partly.payload[1])


def test_accounts_that_were_described_by_something_else_are_refused_together(tower: Tower) -> None:
    """One by one they would fill the screen, and none of them is at fault."""
    topics, hashtags = tower.schema.blocks
    tower.schema = replace(tower.schema, blocks=(replace(topics, made_by="a" * 16), hashtags))
    with FakeTriton() as server, Connection(Endpoint(server.url)) as connection:
        server.models[contract.INFLUENCER_TOWER] = tower
        recruiter = Recruiter(connection)
        same, *others = (
            account(id_, [1, 2, 3], [1, 2], made_by={"topics": by * 16})
            for id_, by in (("ann", "a"), ("bob", "b"), ("eve", "b"))
        )
        assert len([*recruiter.recruit([same])]) == 1
        with pytest.raises(WrongEmbedder, match=r"bob: its block 'topics' was made by b{16}.*or train a"):
            [*recruiter.recruit(others)]


def test_a_ranker_that_is_replaced_meanwhile_ends_the_run(connection: Connection, tower: Tower) -> None:
    tower.cards = [TOWER, TOWER, replace(TOWER, weights="9" * 16)]
    accounts = [account(f"a-{n}", [n, 0, 1], [1, n]) for n in range(20)]
    with pytest.raises(WrongEmbedder, match=f"weights {RANKER} by {'9' * 16}"):
        [*Recruiter(connection).recruit(accounts)]


def test_a_tower_of_two_minds_is_the_servers_fault(connection: Connection, tower: Tower) -> None:
    tower.cards = [replace(TOWER, weights="9" * 16)]
    with pytest.raises(ServerFault, match=r"card is of weights 9+, its schema of the ranker 5+"):
        Recruiter(connection)


@pytest.mark.parametrize(
    "vectors", [np.zeros((1, 3), np.float32), np.full((1, contract.ACCOUNT_DIMENSION), NAN, np.float32)]
)
def test_vectors_that_break_the_contract_are_the_servers_fault(tower: Tower, vectors: Arrays) -> None:
    with FakeTriton() as server, Connection(Endpoint(server.url)) as connection:
        server.models[contract.INFLUENCER_TOWER] = lambda inputs: (
            tower(inputs) | {contract.ACCOUNT_VECTOR: vectors}
        )
        with pytest.raises(ServerFault, match="ACCOUNT_VECTOR is"):
            [*Recruiter(connection).recruit([account("a", [1, 2, 3], [1, 2])])]


def answer_of(*ranked: RankedInfluencer, **about: Any) -> InfluencerAnswer:
    brand = np.zeros(contract.ACCOUNT_DIMENSION, np.float32)
    brand[0] = 1  # only the first topic counts
    known = {"model_versions": {contract.BRAND_TOWER: RANKER}, "vector": brand, "passing": len(ranked)}
    return InfluencerAnswer(brand="shop", influencers=ranked, known=("topics",), **(known | about))


def test_posts_add_what_the_account_would_lack_without_them(connection: Connection) -> None:
    posts = (post(1, [4, 0, 0]), post(2, [0, 0, 0]), post(3, [2, 9, 9]), post(4, [NAN] * 3))
    known = {"ann": account("ann", [1.5, 2, 2], [0, 0], posts)}
    ranked = [RankedInfluencer(id_, rank, 1.5, {}, None, None) for rank, id_ in enumerate(("ann", "bob"), 1)]
    answer = Recruiter(connection).with_posts(answer_of(*ranked), known, 2)
    ann, bob = answer.influencers
    # Without the first the mean is (1.5 - 4 / 4) / (3 / 4); the second speaks against, the last says nothing.
    assert [(each.line, each.image) for each in ann.posts] == [(1, "1.jpg"), (3, "3.jpg")]
    assert ann.posts[0].contribution == pytest.approx(1.5 - 0.5 / 0.75)
    assert ann.posts[1].contribution == pytest.approx(1.5 - 1.0 / 0.75)
    assert bob.posts == ()


def test_an_account_that_was_described_anew_has_no_reasons(connection: Connection) -> None:
    anew = account("ann", [1.5, 2, 2], [0, 0], (post(1, [4, 0, 0]),))
    ranked = RankedInfluencer("ann", 1, 1.7, {}, None, None)
    (ann,) = Recruiter(connection).with_posts(answer_of(ranked), {"ann": anew}, 2).influencers
    assert ann.posts == ()


def test_an_only_post_adds_all_that_is_known(connection: Connection) -> None:
    only = replace(
        account("ann", [3, 0, 0], [NAN, NAN], (post(1, [3, 0, 0], 1.0),)),
        weights={"topics": 1.0, "hashtags": 0.0},
    )
    ranked = RankedInfluencer("ann", 1, 3.0, {}, None, None)
    (ann,) = Recruiter(connection).with_posts(answer_of(ranked), {"ann": only}, 3).influencers
    assert ann.posts[0].contribution == pytest.approx(3.0)


def test_reasons_by_another_ranker_are_refused(connection: Connection) -> None:
    answer = answer_of(model_versions={contract.BRAND_TOWER: "9" * 16})
    with pytest.raises(WrongEmbedder, match="replaced meanwhile; ask again"):
        Recruiter(connection).with_posts(answer, {}, 3)


ANN = RankedInfluencer(
    "ann", 1, 1.2345678, {"hashtags": -1.0, "topics": 3.0, "crowding": -0.001}, 52_000.0, 0.031,
    (InfluentialPost(1, "a/1.jpg", "Sneakers\n" + "on and " * 20, 0.25), InfluentialPost(7, "", "", 0.1)),
)  # fmt: skip
BOB = RankedInfluencer("bob.of.the.long.name", 2, -0.5, {}, None, None)


def test_a_table_says_who_how_well_and_why() -> None:
    assert [*table(answer_of(ANN, BOB, passing=312))] == [
        "shop: 2 of 312 influencers that may be found",
        "rank  influencer            score  followers  engagement  why",
        "   1  ann                   1.235     52,000       3.1 %  topics 75 %, crowding 0 %, hashtags -25 %",
        '      +0.25  a/1.jpg "Sneakers on and on and on and on and on and..."',
        "      +0.1  post 7",
        "   2  bob.of.the.long.name   -0.5          ?           ?",
    ]
    assert [*table(answer_of())] == ["shop: 0 of 0 influencers that may be found"]
    assert [*table(answer_of(passing=1))] == ["shop: 0 of 1 influencer that may be found"]


def test_a_sheet_shows_the_posts_at_hand() -> None:
    red = Image.new("RGB", (200, 100), (250, 0, 0))
    answer = answer_of(ANN, BOB, starter=("brand_tower",))
    with_picture = np.asarray(influencer_sheet.draw(answer, {("ann", 1): red}))
    without = np.asarray(influencer_sheet.draw(answer, {}))
    assert with_picture.shape == without.shape
    assert (with_picture == (250, 0, 0)).all(axis=2).sum() > 10_000
    assert not (without == (250, 0, 0)).all(axis=2).any()
    assert influencer_sheet.draw(answer_of(), {}).height < with_picture.shape[0]


def test_commands_know_wrong_usage_before_anything_is_sent() -> None:
    """As no server is asked, none is needed."""
    for arguments, said in (
        (["--followers", "5000"], "is no range; write LOW:HIGH"),
        (["--followers", "a:b"], "is no range"),
        (["--count", "51"], "1<=x<=50"),
        (["--out", "somewhere"], "say by --pictures where"),
    ):
        given = ["influencers", "rank", "shop", "--accounts", ".", *arguments]
        result = CliRunner().invoke(cli.main, given)
        assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


def test_the_fake_of_these_tests_is_of_the_contract() -> None:
    ranked = Said({}).ranked({contract.ACCOUNT: np.zeros((1, contract.MAX_ACCOUNT), np.float32)})
    expected = contract.MODELS[contract.RANK_INFLUENCERS].outputs
    assert {name: array.shape[1:] for name, array in ranked.items()} == {
        name: tensor.shape for name, tensor in expected.items()
    }
