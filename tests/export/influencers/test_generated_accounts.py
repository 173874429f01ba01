"""Generated accounts: they are read as any others, and what was planted in them can be found again."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adlens.accounts import Unused, competence, find_accounts
from export.influencers.generated_accounts import TRUTH, partners, plant, write_accounts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_accounts(tmp_path_factory.mktemp("accounts"), brands=3, influencers=12, pictures=2)


def truth(folder: Path) -> dict[tuple[str, str], float]:
    with (folder / TRUTH).open(newline="") as file:
        rows = csv.DictReader(file)
        return {(row["brand"], row["influencer"]): float(row["competence"]) for row in rows}


def test_all_accounts_and_posts_can_be_used(folder: Path) -> None:
    unused = Unused()
    accounts = list(find_accounts(folder, unused))
    posts = [post for account in accounts for post in account.posts(unused)]
    assert not unused.counts
    assert [sum(account.brand is kind for account in accounts) for kind in (True, False)] == [3, 12]
    assert sum(post.image is not None for post in posts) == 15 * 2
    assert all(post.engagement > 0 and post.caption and post.seconds > 0 for post in posts)


def test_competence_found_in_the_posts_is_the_planted_one_but_for_chance(folder: Path) -> None:
    planted = truth(folder)
    brands = [account for account in find_accounts(folder, Unused()) if account.brand]
    found = {
        (brand.id, name): value for brand in brands for name, value in competence(brand, Unused()).items()
    }
    assert found.keys() == planted.keys()
    ratios = np.array([found[pair] / planted[pair] for pair in planted])
    assert (np.abs(np.log(ratios)) < 0.6).all()
    assert len(set(found.values())) == len(found)


def test_partners_are_of_the_brands_category_and_closest_to_its_style() -> None:
    brands, people = plant(6, 60)
    by_id = {each.id: each for each in people}
    for brand in brands:
        working = partners(brand, people)
        assert {by_id[name].category for name in working} == {brand.category}
        assert len(working) == 10
        values = list(working.values())
        assert all(one >= other for one, other in pairwise(values))
        assert 3e-5 < values[-1] < values[0] < 0.273


def test_pictures_of_an_account_share_its_colour(folder: Path) -> None:
    _, people = plant(3, 12)
    hues, styles = [], []
    for account in people:
        if account.category == "shoes":
            continue
        for path in sorted((folder / account.id).glob("*.jpg")):
            with Image.open(path) as image:
                hue = np.asarray(image.convert("HSV"), float)[..., 0] / 255 * 2 * np.pi
            hues.append(np.angle(np.exp(1j * hue).mean()))
            styles.append(2 * np.pi * account.style)
    apart = np.abs(np.angle(np.exp(1j * (np.array(hues) - np.array(styles)))))
    assert np.median(apart) < 0.2


def test_the_same_seed_writes_the_same_and_a_second_run_nothing(folder: Path, tmp_path: Path) -> None:
    again = write_accounts(tmp_path, brands=3, influencers=12, pictures=2)
    files = sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((again / file).read_bytes() == (folder / file).read_bytes() for file in files)
    (tmp_path / "ada_0" / "posts.jsonl").unlink()
    write_accounts(tmp_path, brands=3, influencers=12, pictures=2)
    assert not (tmp_path / "ada_0" / "posts.jsonl").exists()
