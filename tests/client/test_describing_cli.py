"""``adlens influencers describe``: what it prints and writes, and its exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from adlens import contract
from adlens.cli import main
from adlens.described import DescribedFolder
from adlens.towers import AccountSchema, Block
from adlens.words import WordVectors
from tests.client.fake_triton import FakeTriton
from tests.client.influencer_responses import RANKER
from tests.client.test_describing import account, serve
from tests.client.test_recruiting import Tower


@pytest.fixture
def source(tmp_path: Path) -> Path:
    account(tmp_path / "in", "ada", [40, 80])
    account(tmp_path / "in", "brand", [120])
    return tmp_path / "in"


def describe(triton: FakeTriton, source: Path, *options: str) -> Result:
    serve(triton)
    out = source.parent / "out"
    given = ["influencers", "describe", str(source), "--out", str(out), "--url", triton.url, "--retries", "0"]
    return CliRunner().invoke(main, [*given, *options])


def read(source: Path) -> dict[str, Any]:
    return {each.id: each for each in DescribedFolder(source.parent / "out").read()}


def test_accounts_are_described_and_a_second_run_passes_them_over(triton: FakeTriton, source: Path) -> None:
    WordVectors(["shoe"], np.ones((1, 2), np.float32)).save(source.parent / "words.npz")
    options = ["--words", str(source.parent / "words.npz"), "--plain", "--half-life", "inf"]
    first = describe(triton, source, *options)
    assert (first.exit_code, first.stderr) == (0, "")
    assert "2 accounts described by 3 pictures" in first.stdout
    assert set(read(source)["ada"].vectors) == {"pictures", "words", "pictures_plain", "words_plain"}
    second = describe(triton, source, *options)
    assert "0 accounts described by 0 pictures, 2 were there" in second.stdout
    other = describe(triton, source)
    assert other.exit_code == 2
    assert "name another folder" in other.stderr


def test_what_cannot_be_used_is_told_and_the_rest_is_described(triton: FakeTriton, source: Path) -> None:
    (source / "ada" / "0.jpg").write_bytes(b"no picture")
    (source / "empty").mkdir()
    ran = describe(triton, source, "--json")
    assert ran.exit_code == 1
    assert "error: not used: 1 x a folder without posts.jsonl, such as empty" in ran.stderr
    told = json.loads(ran.stdout)
    assert (told["accounts"], told["pictures"], told["unfinished"]) == (2, 2, 0)
    assert told["not_used"]["a picture that cannot be described"]["count"] == 1


def test_a_server_that_dies_is_told_with_the_remedy(triton: FakeTriton, source: Path) -> None:
    triton.die_after = 2
    ran = describe(triton, source, "--workers", "1")
    assert ran.exit_code == 3
    assert "accounts are not described; to go on, give the same command again" in ran.stderr


def test_what_the_servers_ranker_will_refuse_is_said_beforehand(triton: FakeTriton, source: Path) -> None:
    """Thousands of posts take an hour; a ranker that knows other pictures is better told of before it."""
    serve(triton)
    tower = Tower()
    tower.schema = AccountSchema(
        "influencer", (Block("pictures", 0, contract.POST_FEATURES_LENGTH, "b" * 16),), (), RANKER
    )
    triton.models[contract.INFLUENCER_TOWER] = tower
    given = ["influencers", "describe", str(source), "--out", str(source.parent / "out"), "--url", triton.url]
    ran = CliRunner().invoke(main, given)
    assert ran.exit_code == 0
    assert (
        "the server's ranker will refuse these: its block 'pictures' was made by aaaaaaaaaaaaaaaa"
        in ran.stderr
    )
    tower.schema = replace(tower.schema, blocks=(replace(tower.schema.blocks[0], made_by="a" * 16),))
    assert CliRunner().invoke(main, given).stderr == ""


def test_settings_that_cannot_be_are_refused(triton: FakeTriton, source: Path) -> None:
    for options in (["--half-life", "-1"], ["--half-life", "nan"], ["--words", str(source / "none.npz")]):
        ran = describe(triton, source, *options)
        assert ran.exit_code == 2, ran.output
        assert triton.calls == 0
