"""Exports are read as people have them; a row that cannot be used is left out alone, with its reason."""

from __future__ import annotations

import csv
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from click.testing import CliRunner

from adlens import contract
from adlens.posts import encode
from export import import_posts
from export.datasets import DatasetError
from export.engagement.posts import read_posts, write_posts_csv
from tests.export.engagement.exports import rows, write_csv, write_pictures

HOUR, WEEKDAY, CAPTION_LENGTH, HASHTAGS, FOLLOWERS, ADVERTISED = range(len(contract.POST_FIELDS))


def write_json(folder: Path, table: list[Any], name: str) -> Path:
    write_pictures(folder)
    file = folder / name
    if name.endswith(".json"):
        file.write_text(json.dumps(table, indent=1), encoding="utf-8")
    else:
        file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in table), encoding="utf-8")
    return file


def test_csv_json_and_json_lines_give_the_same(tmp_path: Path) -> None:
    found = [
        read_posts(write_csv(tmp_path, rows())),
        read_posts(write_json(tmp_path, rows(), "posts.json")),
        read_posts(write_json(tmp_path, rows(), "posts.jsonl")),
    ]
    for posts, unusable in found:
        assert not unusable
        assert posts.pictures == tuple(tmp_path / f"pictures/{number}.jpg" for number in range(4))
        assert posts.accounts == ("shop",) * 4
        assert posts.likes.tolist() == [8000, 8001, 8002, 8003]
        assert posts.totals.tolist() == [8080, 8081, 8082, 8083]
        assert posts.times[0] == datetime(2026, 11, 20, 17, 30, tzinfo=UTC).timestamp()
        np.testing.assert_array_equal(posts.context[0], [18.5, 4, 25, 2, 52_000, 0])
        np.testing.assert_array_equal(posts.context[:, WEEKDAY], [4, 5, 6, 0])


def test_what_is_read_is_what_a_caller_would_send(tmp_path: Path) -> None:
    row = rows(1)[0]
    posts, _ = read_posts(write_csv(tmp_path, [row]))
    told = {name: row[name] for name in ("timestamp", "caption", "followers", "advertised")}
    np.testing.assert_array_equal(posts.context[0], encode(told))


@pytest.mark.parametrize(
    "names",
    [
        {
            "image": "Image Path",
            "likes": "numberLikes",
            "comments": "numberComments",
            "account": "ownerUsername",
        },
        {
            "image": "file_name",
            "likes": "likesCount",
            "comments": "commentsCount",
            "advertised": "isSponsored",
        },
        {
            "image": "picture",
            "likes": "like_count",
            "comments": "comment_count",
            "followers": "followersCount",
        },
    ],
)
def test_columns_may_be_called_as_exporters_call_them(tmp_path: Path, names: dict[str, str]) -> None:
    usual, _ = read_posts(write_csv(tmp_path, rows()))
    renamed = [{names.get(name, name): value for name, value in row.items()} for row in rows()]
    found, unusable = read_posts(write_csv(tmp_path, renamed))
    assert not unusable
    assert found.accounts == usual.accounts
    np.testing.assert_array_equal(found.totals, usual.totals)
    np.testing.assert_array_equal(found.context, usual.context)


def test_a_column_of_any_name_can_be_named(tmp_path: Path) -> None:
    table = [{"Gefällt mir": row.pop("likes"), **row} for row in rows()]
    file = write_csv(tmp_path, table)
    with pytest.raises(DatasetError, match=r"which column says likes.*--column likes=NAME"):
        read_posts(file)
    with pytest.raises(DatasetError, match="no column 'Herzen'"):
        read_posts(file, {"likes": "Herzen"})
    with pytest.raises(DatasetError, match="no field 'like', did you mean 'likes'"):
        read_posts(file, {"like": "Gefällt mir"})
    posts, _ = read_posts(file, {"likes": "Gefällt mir"})
    assert posts.likes.tolist() == [8000, 8001, 8002, 8003]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image": "pictures/none.jpg"}, "no such picture file"),
        ({"image": "x" * 5000}, "no such picture file"),
        ({"image": "pictures"}, "no such picture file"),
        ({"image": ""}, "no picture is named"),
        ({"image": "https://cdn.example/1.jpg"}, "a web address in place of a picture file"),
        ({"likes": ""}, "no number of likes"),
        ({"likes": "many"}, "likes that are no whole number"),
        ({"likes": "1.234"}, "likes that are no whole number"),
        ({"likes": "inf"}, "likes that are no whole number"),
        ({"likes": 10**15}, "likes that are no whole number"),
        ({"likes": -1}, "negative likes"),
        ({"comments": "nan"}, "no number of comments"),
        ({"comments": -3}, "negative comments"),
        ({"timestamp": "yesterday"}, "a timestamp that cannot be read"),
        ({"timestamp": 1_700_000_000_000}, "a timestamp that cannot be read"),
        ({"followers": "lots"}, "a value of the context cannot be"),
        ({"followers": -1}, "a value of the context cannot be"),
        ({"advertised": "perhaps"}, "a value of the context cannot be"),
    ],
)
def test_a_row_that_cannot_be_used_is_left_out_alone(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    table = rows()
    table[1] |= change
    posts, unusable = read_posts(write_csv(tmp_path, table))
    assert posts.likes.tolist() == [8000, 8002, 8003]
    assert dict(unusable) == {reason: 1}
    assert unusable.rows[reason][0].startswith("row 2")


def test_the_same_picture_at_the_same_time_counts_once(tmp_path: Path) -> None:
    table = rows() + rows(1)
    table[-1]["image"] = "./pictures/../pictures/0.jpg"
    later = rows(1)[0] | {"timestamp": "2026-12-24T18:30:00+01:00"}
    posts, unusable = read_posts(write_csv(tmp_path, [*table, later]))
    assert len(posts) == 5
    assert dict(unusable) == {"the same picture at the same time again": 1}


def test_json_may_hold_lists_nulls_and_lines_that_are_none(tmp_path: Path) -> None:
    table: list[Any] = rows()
    table[0] |= {"hashtags": ["#a", "#b", "#c"], "caption": None}
    table[1] |= {"followers": None, "timestamp": None, "advertised": True}
    table[2] = ["no", "object"]
    file = write_json(tmp_path, table, "posts.jsonl")
    file.write_text(file.read_text(encoding="utf-8") + '\n{"image": "cut off', encoding="utf-8")
    posts, unusable = read_posts(file)
    assert dict(unusable) == {"no JSON object": 2}
    np.testing.assert_array_equal(posts.context[0, [CAPTION_LENGTH, HASHTAGS]], [0, 3])
    np.testing.assert_array_equal(posts.context[1], [np.nan, np.nan, 25, 2, np.nan, 1])
    assert math.isnan(posts.times[1])


def test_fields_given_directly_win_and_what_is_not_told_is_unknown(tmp_path: Path) -> None:
    table = [
        {"image": "pictures/0.jpg", "likes": "12,345", "comments": "100.0", "timestamp": "2026-11-20T18:30",
         "hour": 7.25, "weekday": "Sunday"},
        {"image": "pictures/1.jpg", "likes": 12, "comments": 1, "timestamp": "", "hour": "", "weekday": ""},
    ]  # fmt: skip
    posts, _ = read_posts(write_csv(tmp_path, table))
    assert posts.likes.tolist() == [12_345, 12]
    nothing = [np.nan] * 4
    np.testing.assert_array_equal(posts.context, [[7.25, 6, *nothing], [np.nan, np.nan, *nothing]])


@pytest.mark.parametrize(
    ("written", "zone", "hour", "weekday", "instant"),
    [
        ("2026-11-20T23:30:00+09:00", None, 23.5, 4, 14.5),
        ("2026-11-20T23:30:00+09:00", "Europe/Berlin", 23.5, 4, 14.5),  # its own zone is the account's
        ("2026-11-20 23:30:00", None, 23.5, 4, 23.5),
        ("2026-11-20 23:30:00", "Europe/Berlin", 23.5, 4, 22.5),  # local already
        ("2026-11-20T23:30:00.000Z", None, 23.5, 4, 23.5),
        ("2026-11-20T23:30:00.000Z", "Europe/Berlin", 0.5, 5, 23.5),
        ("1795217400", None, 23.5, 4, 23.5),
        ("1795217400", "Europe/Berlin", 0.5, 5, 23.5),
        ("2026-11-20", "Europe/Berlin", np.nan, 4, 0),
    ],
)
def test_hours_are_those_of_the_account_and_times_those_of_all(
    tmp_path: Path, written: str, zone: str | None, hour: float, weekday: float, instant: float
) -> None:
    row = rows(1)[0] | {"timestamp": written}
    posts, _ = read_posts(write_csv(tmp_path, [row]), zone=ZoneInfo(zone) if zone else None)
    np.testing.assert_array_equal(posts.context[0, [HOUR, WEEKDAY]], [hour, weekday])
    assert posts.times[0] == datetime(2026, 11, 20, tzinfo=UTC).timestamp() + 3600 * instant


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("posts.json", '[{"image": "a.jpg"', "cannot be read.*array of objects"),
        ("posts.json", "[]", "which column says image"),
        ("posts.json", '{"data": []}', "which column says image and likes and comments. It has data"),
        ("posts.csv", "", "is empty"),
        ("posts.csv", "image,likes,comments\n", "holds no post"),
        ("posts.csv", "image,likes,comments\nnone.jpg,1,2\n", "no post that can be used .1 rows: no such"),
        ("posts.csv", "image;likes;comments\na.jpg;1;2\n", "It has image;likes;comments"),
    ],
)
def test_an_export_that_holds_no_post_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_posts(tmp_path / name)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    table: list[dict[str, Any]] = rows()
    table[0] |= {"timestamp": "2026-11-20", "followers": ""}
    table[1] |= {"timestamp": "", "account": "none"}
    table[2] |= {"timestamp": "2026-11-20T18:20:07Z", "account": "half a character \ud83d"}
    table[3] |= {"followers": 1_234_567_890_123, "account": None}
    written, unusable = read_posts(write_json(tmp_path, table, "posts.json"), zone=ZoneInfo("Asia/Tokyo"))
    assert not unusable
    assert written.accounts == ("shop", "none", "half a character ?", "")
    (tmp_path / "clean").mkdir()
    write_posts_csv(written, tmp_path / "clean" / "posts.csv")
    found, unusable = read_posts(tmp_path / "clean" / "posts.csv")
    assert not unusable
    assert [path.resolve() for path in found.pictures] == [path.resolve() for path in written.pictures]
    assert found.accounts == written.accounts
    for name in ("likes", "comments", "times", "context"):
        np.testing.assert_array_equal(getattr(found, name), getattr(written, name))


def test_the_importer_says_what_it_left_out_and_leaves_the_rest(tmp_path: Path) -> None:
    table = rows()
    table[0]["likes"] = 20_000
    table[1]["image"] = "pictures/none.jpg"
    file = write_csv(tmp_path, table)
    out = tmp_path / "clean"
    ran = CliRunner().invoke(import_posts.main, [str(file), "--out", str(out)])
    assert ran.exit_code == 0, ran.output
    assert "no such picture file" in ran.stderr
    assert "row 2" in ran.stderr
    assert "too many likes: more than 16,000" in ran.stdout
    report = json.loads((out / "report.json").read_text())
    assert (report["rows"], report["before"]["posts"], report["after"]["posts"]) == (4, 3, 2)
    assert report["unusable"] == {"no such picture file": 1}
    assert report["dropped"]["too many likes"] == 1
    with (out / "posts.csv").open(newline="") as lines:
        assert [row["likes"] for row in csv.DictReader(lines)] == ["8002", "8003"]


def test_the_importer_takes_rules_and_columns_and_refuses_what_is_none(tmp_path: Path) -> None:
    file = write_csv(tmp_path, [{"hearts": row.pop("likes"), **row} for row in rows()])
    out = str(tmp_path / "clean")
    run = CliRunner().invoke
    named = ["--column", "likes=hearts"]
    assert run(import_posts.main, [str(file), "--out", out, *named, "--max-likes", "8001"]).exit_code == 0
    posts, _ = read_posts(tmp_path / "clean" / "posts.csv")
    assert posts.likes.tolist() == [8000, 8001]
    strict = run(
        import_posts.main, [str(file), "--out", out, *named], env={"ADLENS_IMPORT_POSTS_MIN_RATIO": ".015"}
    )
    assert (strict.exit_code, "none of 4 posts fulfils the rules" in strict.output) == (1, True)
    assert run(import_posts.main, [str(file), "--out", out, "--column", "hearts"]).exit_code == 2
    assert run(import_posts.main, [str(file), "--out", out, "--timezone", "Mars/Base"]).exit_code == 2
    over = run(import_posts.main, [str(tmp_path / "clean" / "posts.csv"), "--out", out])
    assert (over.exit_code, "would be overwritten" in over.output) == (1, True)
