"""``adlens influencers`` and ``rank_influencers`` with a real server, on planted accounts.

The ranker is real and has learned from them; its blocks are small.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from adlens import Recommender, cli, contract
from adlens.contract import ModelCard
from adlens.described import DescribedAccount, DescribedFolder, DescribedPost
from adlens.errors import BadFilter, BadRequest, WrongEmbedder
from adlens.galleries.files import GalleryFolder
from adlens.galleries.served import ServedGallery
from adlens.transport import Connection, Endpoint
from export.graph import Manifest, Weights
from export.influencers import planted
from export.influencers.blocks import Pairs, write_pairs
from export.influencers.fitting import FitOptions, fit_ranker, score, tensors
from export.influencers.ranker import Ranker
from export.influencers.towers import SIDES, Tower, write_tower
from export.networks.attributes import digest
from tests.server.callers import Callers
from tests.server.launched import CHECKOUT, Launched, wait_until

BLOCKS = ("topics", "text")
CATEGORIES = ("food", "shoes", "travel")
TOLERANCE = 1e-4
"""Between torch and what is served (issue 7)."""
POST = 0.25
"""Weight of each of the three posts of an account that are kept."""


def plant(seed: int) -> Pairs:
    return planted.plant(brands=30, influencers=90, each=5, seed=seed).only(BLOCKS)


def write_towers(models: Path, ranker: Ranker) -> None:
    """Both towers of ``ranker``, exported, with their configurations."""
    found = digest(ranker)
    for model in SIDES:
        card = ModelCard(model, found[:16], False, ("fit",), (0.8,))
        manifest = Manifest(model, Weights("test", "none", ""), found, "planted accounts", {})
        write_tower(ranker, model, card, manifest, models / model / "1")
        shutil.copy(CHECKOUT / "model_repository" / model / "config.pbtxt", models / model)


def accounts_of(pairs: Pairs) -> Iterator[DescribedAccount]:
    """All accounts of ``pairs``, each with three posts, the second of which lies far from the others."""
    random = np.random.default_rng(5)
    for side, blocks in (("brand", pairs.brands), ("influencer", pairs.influencers)):
        for row in range(len(blocks["text"])):
            vectors = {name: blocks[name][row] for name in BLOCKS}
            posts = tuple(
                DescribedPost(
                    line, f"{line}.jpg", f"post {line}", POST,
                    {name: (vector + random.normal(size=len(vector)) * 0.05).astype(np.float32)
                     for name, vector in vectors.items()},
                )
                for line in (1, 2, 3)
            )  # fmt: skip
            yield DescribedAccount(
                f"{side}-{row}", "stamp", f"{side} {row}", 4_000.0 + 1_000 * row if row % 9 else float("nan"),
                0.01 + row / 1_000, CATEGORIES[row % 3], "de" if row % 2 else "en", side == "brand", 4, 4,
                posts, dict.fromkeys(BLOCKS, 1.0), vectors,
            )  # fmt: skip


def described(folder: Path, accounts: Sequence[DescribedAccount]) -> Path:
    """A folder of these accounts."""
    into = DescribedFolder(folder)
    with into.locked({}):
        for account in accounts:
            into.append(account)
        into.settle()
    return folder


@dataclass(frozen=True)
class Agency:
    """A server with influencers of its own, and what they were made of."""

    url: str
    gallery: GalleryFolder
    accounts: Path
    pairs: Pairs
    ranker: Ranker

    def run(self, *arguments: object) -> Result:
        """The outcome of ``adlens influencers`` with these arguments."""
        given = {"ADLENS_URL": self.url, "ADLENS_INFLUENCERS": str(self.gallery.folder)}
        return CliRunner().invoke(cli.main, ["influencers", *map(str, arguments)], env=given)

    def rank(self, brand: int, *arguments: object) -> dict[str, Any]:
        """What ``adlens influencers rank`` says of a brand, as JSON."""
        result = self.run("rank", f"brand-{brand}", "--accounts", self.accounts, "--json", *arguments)
        assert result.exit_code == 0, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agency]:
    """One for all tests."""
    folder = tmp_path_factory.mktemp("agency")
    models = folder / "models"
    pairs = plant(20)
    ranker = fit_ranker(pairs, FitOptions(folds=2))
    write_towers(models, ranker)
    (models / contract.INFLUENCERS).mkdir()
    shutil.copy(
        CHECKOUT / "model_repository" / contract.INFLUENCERS / "config.pbtxt", models / contract.INFLUENCERS
    )
    name = contract.RANK_INFLUENCERS
    (models / name).symlink_to(CHECKOUT / "ensembles" / name, target_is_directory=True)
    gallery = GalleryFolder(models / contract.INFLUENCERS)
    gallery.ensure(contract.INFLUENCER_TOWER, contract.ACCOUNT_DIMENSION)
    accounts = described(folder / "accounts", [*accounts_of(pairs)])
    launched = Launched("--model-repository", str(models))
    try:
        yield Agency(launched.until_ready(), gallery, accounts, pairs, ranker)
    finally:
        launched.kill()


@pytest.fixture
def agency(served: Agency) -> Agency:
    """All influencers in its gallery."""
    if len(served.gallery.read().ids) != 90:  # what a test has left
        result = served.run("build", served.accounts)
        assert result.exit_code == 0, result.output
    return served


def test_nobody_is_found_among_no_influencers(served: Agency) -> None:
    """The first test: the gallery is empty yet."""
    answer = served.rank(0)
    assert answer["influencers"] == []
    assert answer["warnings"] == ["there are no influencers; add some (`adlens influencers build`)"]


def test_influencers_are_built_from_described_accounts_and_brands_are_none(agency: Agency) -> None:
    result = agency.run("build", agency.accounts, "--json")
    assert result.exit_code == 0
    assert result.stderr == (
        "warning: followers of 10 influencers are not known: a ranking finds them by --followers : alone\n"
    )
    assert json.loads(result.stdout) == {
        "gallery": str(agency.gallery.folder), "added": 90, "influencers": 90, "without_followers": 10,
    }  # fmt: skip
    held = agency.gallery.read()
    assert set(held.ids) == {f"influencer-{row}" for row in range(90)}
    with torch.no_grad():
        vectors = agency.ranker.influencer(tensors(agency.pairs.influencers)).numpy()
    for row, id_ in enumerate(held.ids):
        expected = vectors[int(id_.rpartition("-")[2])]
        np.testing.assert_allclose(held.vectors[row, : len(expected)], expected, atol=TOLERANCE)
        assert not held.vectors[row, len(expected) :].any()


def test_a_ranking_equals_torchs_and_its_blocks_add_up(agency: Agency) -> None:
    expected = score(agency.ranker, agency.pairs.brands, agency.pairs.influencers)
    with Recommender(agency.url) as front:
        for brand in range(8):
            blocks = {name: agency.pairs.brands[name][brand] for name in BLOCKS}
            answer = front.rank_influencers(blocks, followers=(None, None), count=contract.RANKED)
            best = np.argsort(-expected[brand])[: contract.RANKED]
            found = [int(each.id.rpartition("-")[2]) for each in answer.influencers]
            np.testing.assert_allclose([each.score for each in answer.influencers], expected[brand, best],
                                       atol=TOLERANCE)  # fmt: skip
            np.testing.assert_allclose(expected[brand, found], expected[brand, best], atol=TOLERANCE)
            for each in answer.influencers:
                assert sum(each.contributions.values()) == pytest.approx(each.score, abs=TOLERANCE)
            assert answer.influencers[0].contributions.keys() == {*BLOCKS, "crowding"}


def test_a_block_that_is_not_known_is_as_if_it_were_not_there(agency: Agency) -> None:
    alone = {"text": agency.pairs.brands["text"][:1]}
    expected = score(agency.ranker, alone, agency.pairs.influencers)[0]
    with Recommender(agency.url) as front:
        answer = front.rank_influencers({"text": alone["text"][0]}, followers=(None, None))
    assert answer.warnings == ("not known of the brand: topics",)
    np.testing.assert_allclose(
        [each.score for each in answer.influencers], np.sort(expected)[::-1][:10], atol=TOLERANCE
    )


def test_filters_and_ranges_choose(agency: Agency) -> None:
    found = agency.rank(
        1, "--category", "food", "--category", "shoes", "--language", "en", "--followers", "20000:60000",
        "--min-engagement", "0.03", "--count", "50",
    )  # fmt: skip
    chosen = {
        f"influencer-{row}"
        for row in range(90)
        if row % 3 < 2 and row % 2 == 0 and row % 9 and 16 <= row <= 56 and 0.01 + row / 1_000 >= 0.03
    }
    assert {each["id"] for each in found["influencers"]} == chosen
    assert found["passing"] == len(chosen) > 5
    assert agency.rank(1)["passing"] == sum(1 for row in range(90) if row % 9 and row <= 96 and row >= 1)
    assert agency.rank(1, "--followers", ":")["passing"] == 90
    with Recommender(agency.url) as front, pytest.raises(BadFilter, match="no attribute colour"):
        front.rank_influencers({"text": agency.pairs.brands["text"][0]}, filter={"colour": "red"})


def test_posts_are_told_by_what_they_add(agency: Agency) -> None:
    found = agency.rank(2, "--posts", "3", "--followers", ":", "--count", "5")
    told = {account.id: account for account in DescribedFolder(agency.accounts).read()}
    with torch.no_grad():
        brand = agency.ranker.brand(
            {name: torch.from_numpy(told["brand-2"].vectors[name][None]) for name in BLOCKS}
        )
        for each in found["influencers"]:
            account = told[each["id"]]
            added = {}
            for post in account.heaviest:
                rest = account.without(post)
                less = agency.ranker.influencer({n: torch.from_numpy(rest[n][None]) for n in BLOCKS})
                added[post.line] = each["score"] - float((brand @ less.T)[0, 0])
            expected = sorted((line for line in added if added[line] > 0), key=lambda line: -added[line])
            assert [post["line"] for post in each["posts"]] == expected
            for post in each["posts"]:
                assert post["contribution"] == pytest.approx(added[post["line"]], abs=TOLERANCE)
                assert post["image"] == f"{post['line']}.jpg"
    assert any(each["posts"] for each in found["influencers"])


def test_people_see_a_table(agency: Agency) -> None:
    result = agency.run("rank", "brand-3", "--accounts", agency.accounts, "--count", "2", "--posts", "1")
    first, header, *lines = result.stdout.splitlines()
    assert first.startswith("brand-3: 2 of ")
    assert header.split() == ["rank", "influencer", "score", "followers", "engagement", "why"]
    assert lines[0].split()[0] == "1"
    assert "crowding" in lines[0]
    assert "text" in lines[0]


def test_who_is_removed_is_not_found_any_longer(agency: Agency) -> None:
    best = agency.rank(4)["influencers"][0]["id"]
    gone = agency.gallery.read()
    trace = gone.vectors[gone.ids.index(best)].tobytes()
    result = agency.run("remove", best, "nobody", "--json")
    assert result.exit_code == 1
    assert result.stderr == f"error: no influencer 'nobody' in {agency.gallery.folder}\n"
    assert json.loads(result.stdout)["influencers"] == 89
    assert best not in [each["id"] for each in agency.rank(4)["influencers"]]
    files = [file for file in agency.gallery.folder.rglob("*") if file.is_file()]
    assert not any(trace in file.read_bytes() for file in files)
    assert agency.run("stats").stdout.startswith(f"{agency.gallery.folder}: 89 influencers, version ")
    assert f"served by {agency.url}" in agency.run("stats").stdout


def test_an_account_that_does_not_fit_fails_alone_and_one_is_added(agency: Agency, tmp_path: Path) -> None:
    some = [account for account in accounts_of(agency.pairs) if not account.brand][:3]
    strange = {"vectors": {"colours": np.ones(3, np.float32)}, "heaviest": ()}
    wrong = replace(some[1], id="wrong", **strange)
    new = replace(some[2], id="new")
    for name, accounts in (("one", [wrong]), ("two", [new])):
        result = agency.run("add", described(tmp_path / name, accounts))
        if name == "one":
            assert result.exit_code == 1
            assert result.stderr.startswith(
                "error: wrong: its blocks are colours; the ranker reads text, topics"
            )
        else:
            assert result.exit_code == 0
            assert "1 influencers added, 91 in all" in result.stdout
    assert "new" in agency.run("list").stdout


def test_callers_see_either_state_and_no_error_while_influencers_change(agency: Agency) -> None:
    text, passing = agency.pairs.brands["text"][0], set[int]()
    with Recommender(agency.url) as front:

        def ask() -> int:
            passing.add(found := front.rank_influencers({"text": text}, followers=(None, None)).passing)
            return found

        with Callers(ask, 2) as callers:
            assert agency.run("remove", "influencer-5").exit_code == 0
            assert callers.wait_for_answers()
            assert agency.run("build", agency.accounts).exit_code == 0
            assert wait_until(lambda: ask() == 90)
    assert (callers.failures, passing) == ([], {90, 89})


def test_a_brand_that_is_not_there_is_a_wrong_usage(agency: Agency) -> None:
    result = agency.run("rank", "nobody", "--accounts", agency.accounts)
    assert result.exit_code == 2
    assert "has no account 'nobody'" in result.stderr
    assert agency.run("rank", "brand-0", "--accounts", agency.accounts, "--followers", "many").exit_code == 2


def test_influencers_of_another_ranker_are_refused(agency: Agency) -> None:
    """A gallery that was not built anew after its towers were."""
    held = agency.gallery.read()
    with agency.gallery.locked():
        agency.gallery.publish(replace(held, embedder_weights="7" * 16))
    with Recommender(agency.url) as front:

        def is_refused() -> bool:
            try:
                front.rank_influencers({"text": agency.pairs.brands["text"][0]})
            except WrongEmbedder as error:
                return "build the influencers anew" in str(error)
            return False

        assert wait_until(is_refused)
    assert agency.run("build", agency.accounts).exit_code == 0
    assert agency.rank(0)["passing"]


@pytest.mark.parametrize("side", SIDES.values())
def test_what_a_tower_says_of_itself_is_what_the_ranker_is(agency: Agency, side: str) -> None:
    schema = Tower(agency.ranker, side).schema
    assert (schema.side, set(schema.names)) == (side, {*BLOCKS})
    assert [segment.stop for segment in schema.segments] == [each.stop for each in agency.ranker.segments]


def test_a_gallery_of_photos_takes_no_influencers(agency: Agency, tmp_path: Path) -> None:
    photos = GalleryFolder(tmp_path / "gallery")
    photos.ensure(contract.EMBEDDER, contract.EMBEDDERS[contract.EMBEDDER])
    result = agency.run("build", agency.accounts, "--influencers", photos.folder)
    assert result.exit_code == 1
    assert "is a gallery of dlib, not of influencer_tower" in result.stderr
    assert photos.manifest().embedder == contract.EMBEDDER


def test_a_sheet_shows_the_posts_that_speak_for_influencers(agency: Agency, tmp_path: Path) -> None:
    found = agency.rank(2, "--followers", ":", "--count", "3", "--posts", "3")
    for each in found["influencers"]:
        for post in each["posts"]:
            picture = tmp_path / "folders" / each["id"] / post["image"]
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (64, 64), (250, 0, 0)).save(picture, quality=95)
    out = tmp_path / "out"
    again = agency.rank(
        2,
        "--followers",
        ":",
        "--count",
        "3",
        "--posts",
        "3",
        "--out",
        out,
        "--pictures",
        tmp_path / "folders",
    )
    assert again == found | {"sheet": str(out / "brand-2.jpg")}
    sheet = np.asarray(Image.open(out / "brand-2.jpg")).astype(int)
    red = (np.abs(sheet - (250, 0, 0)).max(axis=2) < 12).sum()
    assert red > 20_000 * sum(len(each["posts"]) for each in found["influencers"])


def test_a_file_of_features_will_do_where_there_are_no_posts(agency: Agency, tmp_path: Path) -> None:
    file = tmp_path / "features.npz"
    write_pairs(agency.pairs, file)
    expected = [each["id"] for each in agency.rank(5, "--followers", ":")["influencers"]]
    assert agency.run("build", file).exit_code == 0
    result = agency.run("rank", "brand-5", "--accounts", file, "--followers", ":", "--json")
    found = json.loads(result.stdout)["influencers"]
    assert [each["id"] for each in found] == expected
    assert {each["followers"] for each in found} == {None}
    unasked = agency.run("rank", "brand-5", "--accounts", file)
    assert unasked.stdout == "brand-5: 0 of 0 influencers that may be found\n"
    assert "warning: no influencer passes followers 5,000 to 100,000" in unasked.stderr
    assert "followers of at least 50 influencers are not known" in unasked.stderr
    assert "open it (`--followers :`" in unasked.stderr
    assert agency.run("build", agency.accounts).exit_code == 0


def test_a_program_searches_the_gallery_by_vectors_of_its_own(agency: Agency) -> None:
    with torch.no_grad():
        brands = agency.ranker.brand(tensors(agency.pairs.brands)).numpy()[:10]
    vectors = np.zeros((10, contract.ACCOUNT_DIMENSION), np.float32)
    vectors[:, : brands.shape[1]] = brands
    expected = score(agency.ranker, agency.pairs.brands, agency.pairs.influencers)
    with Connection(Endpoint(agency.url)) as connection:
        gallery = ServedGallery(agency.gallery, connection)
        found = gallery.search(vectors, contract.RANKED)
        shoes = gallery.search(vectors[:1], 5, {"category": "shoes"})
        with pytest.raises(BadRequest, match="the server finds 1 to 50"):
            gallery.search(vectors, contract.RANKED + 1)
    for row, matches in enumerate(found):
        best = np.sort(expected[row])[::-1][: contract.RANKED]
        np.testing.assert_allclose([match.score for match in matches], best, atol=TOLERANCE)
    assert {int(match.id.rpartition("-")[2]) % 3 for match in shoes[0]} == {1}
