"""Described accounts and the posts of brands become blocks and labels for a ranker."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from adlens.accounts import ACCOUNT, POSTS, Unused
from adlens.described import DescribedAccount, DescribedFolder
from export.datasets import DatasetError
from export.influencers.blocks import read_pairs
from export.influencers.collected import LEAST, collect, main

BRANDS = {
    "nike": [{"caption": "@Ada", "likes": 200}, {"caption": "@ben"}, {"caption": "@stranger", "likes": 9}],
    "puma": [{"caption": "@ben", "likes": 0}],
}


@pytest.fixture
def accounts(tmp_path: Path) -> Path:
    for name, posts in BRANDS.items():
        (tmp_path / "accounts" / name).mkdir(parents=True)
        (tmp_path / "accounts" / name / POSTS).write_text("\n".join(map(json.dumps, posts)))
        about = {"brand": True, "followers": 10_000}
        (tmp_path / "accounts" / name / ACCOUNT).write_text(json.dumps(about))
    return tmp_path / "accounts"


@pytest.fixture
def described(tmp_path: Path) -> Path:
    folder = DescribedFolder(tmp_path / "described")
    with folder.locked({}):
        for number, name in enumerate((*BRANDS, "Ada", "ben", "cy")):
            folder.append(account(name, number, set_aside=2 if name in BRANDS else 0))
        folder.settle()
    return tmp_path / "described"


def account(name: str, number: int, **about: Any) -> DescribedAccount:
    vectors = {"pictures": np.full(4, number, np.float32)}
    known = {"made_by": {"pictures": "a" * 16}} | about
    return DescribedAccount(
        name, "", name, math.nan, math.nan, "shoes", "", name in BRANDS, 3, 1, (), {}, vectors, **known
    )


def test_labels_are_competence_and_of_what_is_unknown_the_brands_median(
    accounts: Path, described: Path
) -> None:
    pairs, brands, influencers = collect(accounts, described, Unused())
    assert (brands, influencers) == (["nike", "puma"], ["Ada", "ben", "cy"])
    typical = np.median([0.02, 0.0009])  # of those whose engagement is known, the stranger's too
    np.testing.assert_allclose(pairs.labels, [[0.02, typical, 0], [0, LEAST, 0]], rtol=1e-6)
    np.testing.assert_array_equal(pairs.influencers["pictures"][:, 0], [2, 3, 4])
    assert pairs.brand_category is not None
    assert pairs.brand_category.tolist() == ["shoes", "shoes"]


def test_the_command_writes_what_the_ranker_reads(accounts: Path, described: Path, tmp_path: Path) -> None:
    out = tmp_path / "pairs.npz"
    (accounts / "puma" / ACCOUNT).write_text(json.dumps({"brand": True}))
    options = ["--accounts", str(accounts), "--described", str(described), "--out", str(out)]
    ran = CliRunner().invoke(main, options)
    assert ran.exit_code == 0, ran.output
    assert "not used: 1 x a brand without followers, such as puma" in ran.stderr
    assert read_pairs(out).positive.sum() == 2
    assert read_pairs(out).made_by == {"pictures": "a" * 16}


def test_a_brand_whose_vectors_tell_whom_it_mentions_is_left_out(accounts: Path, described: Path) -> None:
    """Of no post set aside, those that gave the labels are in its vectors: the answer would be among them."""
    folder, unused = DescribedFolder(described), Unused()
    with folder.locked({}):
        folder.append(account("nike", 0))
    pairs, brands, _ = collect(accounts, described, unused)
    assert (brands, pairs.labels.shape) == (["puma"], (1, 3))
    np.testing.assert_array_equal(pairs.brands["pictures"][:, 0], [1])
    assert "a brand whose vectors tell whom it mentions" in unused.lines()[0]
    with folder.locked({}):
        folder.append(account("puma", 1))
    with pytest.raises(DatasetError, match="described by those very posts alone; give them more"):
        collect(accounts, described, Unused())


def test_accounts_that_were_not_described_by_the_same_are_refused(accounts: Path, described: Path) -> None:
    folder = DescribedFolder(described)
    with folder.locked({}):
        folder.append(account("cy", 4, made_by={"pictures": "b" * 16}))
    with pytest.raises(DatasetError, match=r"nike was described by .*a{16}.*, and cy by .*b{16}"):
        collect(accounts, described, Unused())


def test_accounts_without_a_pair_are_refused(accounts: Path, described: Path) -> None:
    for name in BRANDS:
        (accounts / name / POSTS).write_text("")
    with pytest.raises(DatasetError, match="no post of a brand mentions"):
        collect(accounts, described, Unused())
