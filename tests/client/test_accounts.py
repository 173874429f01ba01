"""Accounts and posts out of folders: what is read, what is not known, and what cannot be used."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from adlens import accounts
from adlens.accounts import MAX_LINE_BYTES, NAMED, Account, AccountPost, Unused, competence, find_accounts
from adlens.errors import InvalidConfiguration


def write(folder: Path, posts: list[Any], account: dict[str, Any] | str | None = None) -> Path:
    """A folder of an account; a post that is a text is a line as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [post if isinstance(post, str) else json.dumps(post) for post in posts]
    (folder / accounts.POSTS).write_text("\n".join(lines), encoding="utf-8")
    if account is not None:
        text = account if isinstance(account, str) else json.dumps(account)
        (folder / accounts.ACCOUNT).write_text(text)
    return folder


def read(folder: Path) -> tuple[Account, list[AccountPost], Unused]:
    """The first account in ``folder``."""
    unused = Unused()
    account = next(find_accounts(folder, unused))
    return account, list(account.posts(unused)), unused


def test_all_that_is_said_of_an_account_and_its_posts_is_read(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "ada",
        [
            {
                "image": "pictures/1.jpg",
                "caption": "With @Nike",
                "timestamp": "2026-01-01T01:00:00+01:00",
                "likes": 90,
                "comments": 10,
                "mentions": ["@Puma", "adidas"],
            },
            {"caption": "Thanks @nike, @cafe.de. mail me@x.org", "timestamp": 86_400 * 10_957},
        ],
        {
            "followers": 12_000,
            "category": "shoes",
            "language": "en",
            "brand": False,
            "name": "Ada",
            "more": 1,
        },
    )
    (folder / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "pictures" / "1.jpg")
    account, (first, second), unused = read(tmp_path)
    assert account == Account("ada", folder, "Ada", 12_000, "shoes", "en", brand=False)
    assert first.image == folder / "pictures" / "1.jpg"
    assert (first.line, first.caption, first.engagement) == (1, "With @Nike", 100)
    assert first.seconds == 1_767_225_600  # 2026 began in Greenwich
    assert first.mentions == {"puma", "adidas"}
    assert second.mentions == {"nike", "cafe.de"}
    assert (second.image, second.seconds) == (None, 946_684_800)
    assert math.isnan(second.engagement)
    assert not unused.counts


def test_a_wrong_value_is_counted_and_harms_nothing_else(tmp_path: Path) -> None:
    good = {"caption": "good", "likes": 1}
    write(
        tmp_path / "ada",
        [
            good,
            "{broken",
            "[1]",
            {"likes": 3},
            {"caption": "a", "likes": "many", "comments": 4},
            {"caption": "b", "likes": -1},
            {"caption": "c", "likes": True},
            {"caption": "d", "timestamp": "soon"},
            {"caption": "e", "mentions": "nike"},
            {"caption": "f", "image": "missing.jpg"},
            {"caption": "g", "image": "../other/1.jpg"},
            {"image": "/etc/passwd"},
            {"caption": 7},
            json.dumps({"caption": "x" * MAX_LINE_BYTES}),
            "",
            good,
        ],
    )
    account, posts, unused = read(tmp_path)
    assert [post.caption for post in posts] == ["good", *"abcdefg", "good"]
    assert posts[1].engagement == 4
    assert math.isnan(posts[2].engagement)
    assert posts[-1].line == 16
    assert math.isnan(account.followers)
    assert unused.counts == {
        "no JSON object in UTF-8": 2,
        "neither picture nor caption": 3,
        "likes that is no number": 2,
        "likes that is no count": 1,
        "timestamp that is no time of 2000 to 2099, in ISO 8601 or seconds since 1970": 1,
        "mentions that is no list of names": 1,
        "image that is not there": 1,
        "image that lies outside of the account's folder": 2,
        "caption that is no text": 1,
        f"a line of more than {MAX_LINE_BYTES} bytes": 1,
    }
    assert unused.named["no JSON object in UTF-8"] == ["ada/posts.jsonl line 2", "ada/posts.jsonl line 3"]


def test_the_first_few_of_a_reason_are_named_and_all_are_counted() -> None:
    unused = Unused()
    for number in range(100):
        unused.add("reason", f"place {number}")
    unused.add("other", "there")
    assert unused.lines()[0] == "100 x reason, such as place 0; place 1; place 2"
    assert unused.to_json()["reason"] == {
        "count": 100,
        "such_as": [f"place {each}" for each in range(NAMED)],
    }


def test_folders_that_are_no_accounts_are_named_and_the_others_are_read(tmp_path: Path) -> None:
    write(tmp_path / "b", [], {"brand": "yes"})
    write(tmp_path / "a", [])
    write(tmp_path / "broken", [], "{")
    write(tmp_path / ("x" * 65), [])
    (tmp_path / "empty").mkdir()
    (tmp_path / ".hidden").mkdir()
    unused = Unused()
    assert [(each.id, each.brand) for each in find_accounts(tmp_path, unused)] == [("a", False), ("b", False)]
    assert unused.counts["a folder without posts.jsonl"] == 1
    assert unused.counts["brand that is neither true nor false"] == 1
    assert len(unused.counts) == 4


@pytest.mark.parametrize("made", [True, False])
def test_a_folder_without_accounts_is_refused(tmp_path: Path, *, made: bool) -> None:
    folder = tmp_path / "accounts"
    if made:
        folder.mkdir()
    with pytest.raises(InvalidConfiguration, match=r"accounts .*(cannot be listed|has no account)"):
        list(find_accounts(folder, Unused()))


def test_posts_are_read_one_at_a_time(tmp_path: Path) -> None:
    folder = write(tmp_path / "ada", [{"caption": f"{number}"} for number in range(1000)])
    posts = Account("ada", folder, "ada").posts(unused := Unused())
    assert next(posts).caption == "0"
    with (folder / accounts.POSTS).open("a") as file:
        file.write("\n{\n")
    assert sum(1 for _ in posts) == 999
    assert unused.counts["no JSON object in UTF-8"] == 1


def test_competence_is_the_mean_engagement_of_the_posts_that_mention_an_influencer(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "brand",
        [
            {"caption": "@Ada and @ben", "likes": 90, "comments": 10},
            {"caption": "@ada again", "likes": 300},
            {"caption": "@cy, of whom nothing is known"},
            {"caption": "nobody", "likes": 5000},
        ],
    )
    brand = Account("brand", folder, "brand", followers=10_000, brand=True)
    found = competence(brand, Unused())
    assert math.isnan(found.pop("cy"))
    assert found == {"ada": 0.02, "ben": 0.01}


def test_competence_needs_the_followers_of_the_brand(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match="followers nan"):
        competence(Account("brand", write(tmp_path / "brand", []), "brand"), Unused())


def test_a_name_that_no_file_can_have_harms_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "ann", [{"caption": "one", "image": "x" * 5_000}, {"caption": "two"}])
    _, posts, unused = read(tmp_path)
    assert [post.caption for post in posts] == ["one", "two"]
    assert unused.counts == {"image that is not there": 1}


def test_half_a_character_becomes_one_that_can_be_written(tmp_path: Path) -> None:
    write(tmp_path / "ann", [{"caption": "cut off \ud83d"}], {"name": "Ann \ud83d"})
    account, posts, _ = read(tmp_path)
    assert (account.name, posts[0].caption) == ("Ann ?", "cut off ?")
