"""What is known of the posts of a run, out of a file of each form; and files that say what cannot be."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from adlens import contexts, posts
from adlens.errors import BadPost

RECORDS = [
    {"image": "photos/a.jpg", "hour": 18.5, "weekday": "Friday", "advertised": True},
    {"image": "b.jpg", "caption": "New in! #sneakers\n, and more", "followers": 52_000},
]
CSV = (
    "image,likes,comments,account,hour,weekday,caption,followers,advertised\r\n"
    "photos/a.jpg,900,12,me,18.5,Friday,,,yes\r\n"
    '\r\n./b.jpg,,,,,,"New in! #sneakers\n, and more",52000,\r\n'
)


def write(folder: Path, text: str | bytes, name: str = "context") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def rows(known: contexts.FileContexts, folder: Path) -> list[dict[str, float]]:
    """The fields known of both pictures."""
    given = known.of_each([folder / "photos" / "a.jpg", folder / "b.jpg"])
    assert isinstance(given, list)
    return [posts.known(posts.encode(each)) for each in given]


FIELDS = [
    {"hour": 18.5, "weekday": 4, "advertised": 1},
    {"caption_length": 28, "hashtags": 1, "followers": 52_000},
]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(RECORDS),
        "\n".join(map(json.dumps, RECORDS)),
        "\n\n".join(map(json.dumps, RECORDS)) + "\r\n",
        CSV,
        "\ufeff" + CSV,
    ],
    ids=["array", "lines", "blank lines", "csv", "byte order mark"],
)
def test_records_say_of_each_picture_what_is_known_of_it(tmp_path: Path, text: str) -> None:
    known = contexts.load(write(tmp_path, text))
    assert rows(known, tmp_path) == FIELDS
    assert known.of(tmp_path / "photos" / ".." / "b.jpg") == known.of(tmp_path / "b.jpg")
    assert known.of(tmp_path / "photos" / "b.jpg") is None


def test_pictures_are_found_however_the_file_and_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, CSV)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").symlink_to(tmp_path, target_is_directory=True)
    known = contexts.load(Path("elsewhere/context"))
    assert rows(known, Path()) == rows(known, tmp_path / "elsewhere") == FIELDS
    absolute = json.dumps({"image": os.fspath(tmp_path / "b.jpg"), "hour": 3})
    assert contexts.load(write(tmp_path, absolute)).of(Path("b.jpg")) == {"hour": 3}


def test_an_object_holds_for_all_pictures(tmp_path: Path) -> None:
    known = contexts.load(write(tmp_path, '{"hour": 18.5}'))
    assert known.of(Path("any.jpg")) == {"hour": 18.5}
    assert known.of_each([Path("any.jpg"), Path("other.jpg")]) == {"hour": 18.5}
    assert contexts.load(write(tmp_path, "{}")).of(Path("any.jpg")) == {}


def test_a_wrong_record_is_left_to_its_picture(tmp_path: Path) -> None:
    known = contexts.load(
        write(tmp_path, "image,hour,followers,advertised\na.jpg,late,,\nb.jpg,3,-1,maybe\n")
    )
    for name, reason in (("a.jpg", "hour: 'late' is no number"), ("b.jpg", "advertised: 'maybe'; give true")):
        with pytest.raises(BadPost, match=reason):
            posts.encode(known.of(tmp_path / name))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "neither JSON nor a table with the column 'image'"),
        ("   \n", "neither JSON nor a table"),
        ("hour=18", "neither JSON nor a table"),
        ("path,hour\na.jpg,3\n", "column 'image'; write a JSON object such as"),
        (
            "image,folowers\na.jpg,3\n",
            "unknown column 'folowers', did you mean 'followers'.; known: image, time",
        ),
        ("image,hour,hour\na.jpg,3,3\n", "two columns 'hour'; rename one"),
        ("image,hour\na.jpg,3,4\n", "line 2: 3 cells, and the header has 2"),
        ('image,hour\na.jpg,"3\n', "line 2: .*end of data"),
        ("image,hour\n,3\n", "line 2: image is None; name the picture"),
        ("image,hour\na.jpg,3\n./a.jpg,4\n", "line 3: ./a.jpg comes twice, with other values"),
        ('{"hour": 18', "Expecting ',' delimiter"),
        ('{"hour": 18}}', "line 1: Extra data"),
        ('{"hour": 18, "hour": 3}', "'hour' comes twice"),
        ('{"hour": 25}', "context: hour: 25; a day has hours 0 to 24"),
        ('{"hour": NaN}', "hour: nan is not finite"),
        ('{"folowers": 3}', "did you mean 'followers'"),
        ("[3]", "record 1: 3; write a JSON object"),
        ('["a.jpg"]', "record 1: 'a.jpg'"),
        ('[{"hour": 3}]', "record 1: image is None"),
        ('[{"image": 3}]', "record 1: image is 3"),
        ('[{"image": "a\\u0000b"}]', "record 1: image .* is no path"),
        ('{"image": "a.jpg"}\nimage,hour\n', "line 2: "),
        ("[" * 20_000, "recursion"),
        (b"image\n\xff\xfe", "no UTF-8"),
        (b"\x00\x01", "neither JSON nor a table|NUL"),
    ],
)
def test_a_file_that_is_none_is_refused_with_its_name_and_the_remedy(
    tmp_path: Path, text: Any, reason: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(BadPost, match=reason) as caught:
        contexts.load(path)
    assert str(caught.value).startswith(str(path))


def test_a_file_that_is_not_there_or_is_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.json", tmp_path):
        with pytest.raises(BadPost, match=f"{path} cannot be read .*; check the path"):
            contexts.load(path)


def test_a_caption_may_hold_what_unicode_takes_for_the_end_of_a_line(tmp_path: Path) -> None:
    records = [{"image": "a.jpg", "caption": "one\u2028two\x85three"}, {"image": "b.jpg", "hour": 3}]
    text = "\r\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    known = contexts.load(write(tmp_path, text))
    assert known.of(tmp_path / "a.jpg") == {"caption": "one\u2028two\x85three"}
    assert known.of(tmp_path / "b.jpg") == {"hour": 3}
