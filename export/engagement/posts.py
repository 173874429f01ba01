"""Past posts of one account or several, as people export them: CSV, a JSON array, or JSON lines.

A row names a picture file, relative to the export, with its likes and comments; a timestamp, a caption, the
number of followers, whether it was advertised, and its account are taken where they are there. A row that
cannot be used is left out alone, and counted by reason.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, tzinfo
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from adlens import contract
from adlens.errors import BadPost
from adlens.features import brief
from adlens.posts import derive, encode, read_timestamp
from export.datasets import DatasetError
from export.engagement.columns import find_columns
from export.tables import read_table

COLUMNS: Final = ("image", "account", "likes", "comments", "timestamp", *contract.POST_FIELDS)
"""Of the CSV that ``write_posts_csv`` writes."""
_HOUR: Final = contract.POST_FIELDS.index("hour")
_JSON: Final = (".json", ".jsonl", ".ndjson")
_NUMBER: Final = re.compile(r"[+-]?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?")
"""Thousands may be parted by commas; by points they may not, as 1.234 would be either."""
_MOST: Final = 10**12
"""Likes that no post has; a larger number is something else, such as an id."""
_BLANK: Final = frozenset({"", "nan", "none", "null", "na", "n/a"})
_TRUTHS: Final[Mapping[str, bool]] = dict.fromkeys(("true", "yes", "y", "1"), True) | dict.fromkeys(
    ("false", "no", "n", "0"), False
)


@dataclass(frozen=True)
class Posts:
    """What is known of ``n`` posts.

    Attributes:
        pictures: their files.
        accounts: names; "" where the export names none.
        likes: int64 [n].
        comments: int64 [n].
        times: float64 [n], seconds since 1970 in UTC; a time without a zone is taken for UTC, or for the zone
            that was named. NaN where unknown.
        context: float32 [n, P] as POST of the contract; NaN where unknown.
    """

    pictures: tuple[Path, ...]
    accounts: tuple[str, ...]
    likes: NDArray[np.int64]
    comments: NDArray[np.int64]
    times: NDArray[np.float64]
    context: NDArray[np.float32]

    def __len__(self) -> int:
        """Count the posts."""
        return len(self.pictures)

    @property
    def totals(self) -> NDArray[np.int64]:
        """Likes and comments together, int64 [n]."""
        return self.likes + self.comments

    def subset(self, rows: NDArray[Any]) -> Posts:
        """The posts of ``rows`` (mask or indices)."""
        chosen = np.arange(len(self))[rows]
        return Posts(
            tuple(self.pictures[row] for row in chosen),
            tuple(self.accounts[row] for row in chosen),
            self.likes[chosen],
            self.comments[chosen],
            self.times[chosen],
            self.context[chosen],
        )


@dataclass(frozen=True)
class Unusable(Mapping[str, int]):
    """Rows of an export that could not be used: how many, by reason."""

    rows: dict[str, list[str]] = field(default_factory=dict)
    """By reason, which rows, and what they held."""

    def add(self, reason: str, row: str) -> None:
        """Note one more."""
        self.rows.setdefault(reason, []).append(row)

    def __getitem__(self, reason: str) -> int:
        return len(self.rows[reason])

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


class _UnusableError(ValueError):
    """A row cannot be used: the reason, as it is counted, and what the row held."""

    def __init__(self, reason: str, held: str = "") -> None:
        super().__init__(reason)
        self.reason, self.held = reason, held


@dataclass(frozen=True)
class _Post:
    picture: Path
    account: str
    likes: int
    comments: int
    time: float
    context: NDArray[np.float32]


def read_posts(
    path: Path, columns: Mapping[str, str] | None = None, zone: tzinfo | None = None
) -> tuple[Posts, Unusable]:
    """The posts of an export, and which rows could not be used.

    Args:
        path: a CSV with a header, a JSON array of objects, or JSON lines, in UTF-8; which, its suffix says.
        columns: by field of ``columns.ALIASES``, columns that are called otherwise.
        zone: where the account lives. Times in UTC, as seconds since 1970 and those that end in Z are, are
            told in it; unless given, as they are. Times in another zone, or in none, are local already.

    Raises:
        DatasetError: the export cannot be read, lacks a column, or holds no usable post.
    """
    records = _read_json(path) if path.suffix.lower() in _JSON else _read_csv(path)
    there = list(dict.fromkeys(name for record in records if isinstance(record, dict) for name in record))
    found = find_columns(path, there, columns or {})
    unusable, posts, seen = Unusable(), [], set()
    for number, record in enumerate(records, start=1):
        try:
            post = _read_post(record, found, path.parent, zone)
            key = (os.path.normpath(post.picture), None if math.isnan(post.time) else post.time)
            if key in seen:
                raise _UnusableError("the same picture at the same time again", str(post.picture))
        except _UnusableError as error:
            unusable.add(error.reason, f"row {number}{error.held and f': {error.held}'}")
        else:
            seen.add(key)
            posts.append(post)
    if not posts:
        told = "; ".join(f"{count} rows: {reason}" for reason, count in unusable.items())
        raise DatasetError(f"{path} holds no post that can be used ({told or 'no row at all'})")
    return _table(posts), unusable


def write_posts_csv(posts: Posts, file: Path) -> None:
    """Write COLUMNS of all posts, from which ``read_posts`` gives the same; pictures stay where they are."""
    partial = file.with_name(f"partial-{file.name}")
    with partial.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(COLUMNS)
        for row, picture in enumerate(posts.pictures):
            writer.writerow((
                os.path.relpath(picture, file.parent),
                posts.accounts[row],
                posts.likes[row],
                posts.comments[row],
                _stamp(posts.times[row], hour_known=bool(np.isfinite(posts.context[row, _HOUR]))),
                *("" if math.isnan(value) else np.format_float_positional(value, trim="-")
                  for value in posts.context[row]),
            ))  # fmt: skip
    partial.rename(file)


def _stamp(seconds: float, *, hour_known: bool) -> str:
    """A timestamp; of a day whose hour is not known, the day."""
    if math.isnan(seconds):
        return ""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat() if hour_known else moment.date().isoformat()


def _table(posts: Sequence[_Post]) -> Posts:
    return Posts(
        tuple(post.picture for post in posts),
        tuple(post.account for post in posts),
        np.array([post.likes for post in posts], np.int64),
        np.array([post.comments for post in posts], np.int64),
        np.array([post.time for post in posts], np.float64),
        np.stack([post.context for post in posts]),
    )


def _read_csv(path: Path) -> list[Any]:
    table = read_table(path, "post")
    return [dict(zip(table, cells, strict=True)) for cells in zip(*table.values(), strict=True)]


def _read_json(path: Path) -> list[Any]:
    """Elements of an array, or of lines; a line that is no JSON is None."""
    try:
        text = path.read_text("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    if text.startswith("["):
        try:
            return list(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{path} cannot be read: {error}; write an array of objects") from error
    return [_read_line(line) for line in text.split("\n") if line.strip()]


def _read_line(line: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _read_post(record: object, columns: Mapping[str, str], folder: Path, zone: tzinfo | None) -> _Post:
    if not isinstance(record, dict):
        raise _UnusableError("no JSON object", brief(record))
    row = {name: _given(record.get(column)) for name, column in columns.items()}
    likes, comments = (_count(name, row[name]) for name in ("likes", "comments"))
    picture = _picture(row["image"], folder)
    moment, hour_known = _moment(row.get("timestamp"), zone)
    derived = derive(_caption(record, columns), moment)
    if not hour_known:
        derived["hour"] = math.nan
    fields: dict[str, object] = {name: value for name, value in derived.items() if math.isfinite(value)}
    for name in contract.POST_FIELDS:
        if row.get(name) is not None:
            fields[name] = _context(name, row[name])
    try:
        context = encode(fields)
    except BadPost as error:
        raise _UnusableError("a value of the context cannot be", str(error)) from error
    account = record.get(columns.get("account"))  # nobody's name stands for a blank
    return _Post(
        picture,
        # JSON may hold half a character, which no UTF-8 file can.
        "" if account is None else str(account).encode(errors="replace").decode(),
        likes,
        comments,
        math.nan if moment is None else moment.replace(tzinfo=moment.tzinfo or zone or UTC).timestamp(),
        context,
    )


def _given(value: object) -> object:
    """The value of a cell, or None where it is blank."""
    if isinstance(value, str) and value.strip().casefold() in _BLANK:
        return None
    return None if isinstance(value, float) and math.isnan(value) else value


def _caption(record: Mapping[str, object], columns: Mapping[str, str]) -> str | None:
    """Blank where the export has captions and this post none; None where it does not say."""
    if columns.get("caption") not in record:
        return None
    caption = record[columns["caption"]]
    return caption.strip() if isinstance(caption, str) else ""


def _count(name: str, value: object) -> int:
    number = _number(value)
    if value is None:
        raise _UnusableError(f"no number of {name}")
    if number is None or not abs(number) <= _MOST or number % 1:
        raise _UnusableError(f"{name} that are no whole number", brief(value))
    if number < 0:
        raise _UnusableError(f"negative {name}", brief(value))
    return int(number)


def _number(value: object) -> float | None:
    """A number, or a text that is one; else None."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value.strip().replace(",", ""))
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _picture(value: object, folder: Path) -> Path:
    if not isinstance(value, str):
        raise _UnusableError("no picture is named", "" if value is None else brief(value))
    if re.match(r"https?:", value, re.IGNORECASE):
        raise _UnusableError("a web address in place of a picture file", brief(value))
    path = folder / value
    try:
        there = path.is_file()
    except OSError:  # such as a name that is too long for one
        there = False
    if not there:
        raise _UnusableError("no such picture file", brief(str(path)))
    return path


def _moment(value: object, zone: tzinfo | None) -> tuple[datetime | None, bool]:
    """When a post was published, in the account's zone, and whether the hour is known as well as the day."""
    if value is None:
        return None, False
    number = _number(value)
    try:
        if number is None and isinstance(value, str) and len(value.strip()) == len("2026-11-20"):
            day = date.fromisoformat(value.strip())
            return read_timestamp(datetime.combine(day, time(), UTC)), False
        read = read_timestamp(value if number is None else number, zone)
    except ValueError as error:
        raise _UnusableError("a timestamp that cannot be read", str(error)) from error
    return read, True


def _context(name: str, value: object) -> object:
    """The value of a field as ``adlens.posts.encode`` takes it."""
    number = _number(value)
    if name == "advertised" and isinstance(value, str):
        return _TRUTHS.get(value.strip().casefold(), value if number is None else number)
    if name == "hashtags" and isinstance(value, list):
        return len(value)
    if name == "hashtags" and isinstance(value, str) and "#" in value:
        return derive(value, None)["hashtags"]
    return value if number is None else number
