"""Generated accounts described by the real server: what is planted shows, and a bad picture harms nobody."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from adlens import contract
from adlens.cli import main
from adlens.described import DescribedAccount, DescribedFolder
from adlens.describing import PICTURES
from adlens.galleries.records import AccountRecord
from adlens.jobs import influencers as influencers_job
from adlens.recruiting import Recruiter
from adlens.transport import Connection, Endpoint
from export.influencers.generated_accounts import write_accounts
from server.launcher import Server


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two brands and five influencers of three categories, two pictures each; one has a broken third."""
    folder = write_accounts(tmp_path_factory.mktemp("accounts"), brands=2, influencers=5, pictures=2)
    (folder / "ada_0" / "extra.jpg").write_bytes(b"\xff\xd8 broken")
    with (folder / "ada_0" / "posts.jsonl").open("a") as file:
        file.write('{"image": "extra.jpg"}\n')
    return folder


def describe(server: Server, source: Path, out: Path) -> Result:
    given = ["influencers", "describe", str(source), "--out", str(out), "--url", server.url]
    return CliRunner().invoke(main, given)


def test_accounts_of_one_category_are_described_alike(server: Server, source: Path, tmp_path: Path) -> None:
    ran = describe(server, source, tmp_path / "out")
    assert ran.exit_code == 1, ran.output
    assert "7 accounts described by 14 pictures" in ran.stdout
    assert "1 x a picture that cannot be described, such as ada_0/posts.jsonl line" in ran.stderr
    found = list(DescribedFolder(tmp_path / "out").read())
    assert [each.pictures for each in found] == [2] * 7
    shoes = [each for each in found if each.category == "shoes"]
    food = [each for each in found if each.category == "food"]
    within = [likeness(one, other, found) for one in shoes for other in shoes if one is not other]
    across = [likeness(one, other, found) for one in shoes for other in food]
    assert len(within) == 3 * 2
    assert min(within) > max(across)
    again = describe(server, source, tmp_path / "out")
    assert "0 accounts described by 0 pictures, 7 were there" in again.stdout


def test_the_starter_finds_who_was_planted_to_fit(server: Server, source: Path, tmp_path: Path) -> None:
    """Among accounts that it has not seen, but that are generated likewise."""
    describe(server, source, tmp_path / "out")
    found = list(DescribedFolder(tmp_path / "out").read())
    influencers = [each for each in found if not each.brand]
    with Connection(Endpoint(server.url)) as connection:
        recruiter = Recruiter(connection)
        if not recruiter.card.starter:
            pytest.skip("the ranker is of an own training run, which knows no generated accounts")
        held = [each for each in recruiter.recruit(found) if isinstance(each, AccountRecord)]
        for brand in (each for each in found if each.brand):
            response = connection.infer(contract.BRAND_TOWER, influencers_job.probe())
            row = influencers_job.read_schema(response).encode(brand.vectors, brand.id)
            vector = connection.infer(contract.BRAND_TOWER, {contract.ACCOUNT: row[np.newaxis]}).outputs[
                contract.ACCOUNT_VECTOR
            ][0]
            scores = {each.id: float(each.vector @ vector) for each in held}
            own = [scores[each.id] for each in influencers if each.category == brand.category]
            others = [scores[each.id] for each in influencers if each.category != brand.category]
            assert len(own) == 2
            assert min(own) > max(others)


def likeness(one: DescribedAccount, other: DescribedAccount, among: list[DescribedAccount]) -> float:
    """Cosine of what sets the pictures of two accounts off from the mean."""
    mean = np.mean([each.vectors[PICTURES] for each in among], axis=0)
    first, second = (each.vectors[PICTURES] - mean for each in (one, other))
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))
