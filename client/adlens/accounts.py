"""Accounts and their past posts, read from a folder for each: what influencers are ranked by.

::

    DIR/<account>/posts.jsonl     one post a line, a JSON object: image (as seen from the folder), caption,
                                  timestamp, likes, comments, mentions; what is not known is left out
    DIR/<account>/account.json    optional, an object: name, followers, category, language, brand

Posts are read one at a time, however many there are. Nothing is lost silently: what cannot be used is counted
by its reason, and the first few are named (``Unused``). One bad post, or one bad value, harms nothing else.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

from adlens.errors import BadRecord, InvalidConfiguration
from adlens.features import without_repeats
from adlens.galleries.records import check_id
from adlens.posts import read_timestamp

POSTS: Final = "posts.jsonl"
ACCOUNT: Final = "account.json"
NAMED: Final = 3
"""Cases named of each reason."""
MAX_LINE_BYTES: Final = 1 << 20
"""Of a post; Instagram's longest caption has 2,200 characters."""
_MENTION: Final = re.compile(r"(?<![\w.@])@(\w(?:[\w.]*\w)?)")
"""Not the second half of a mail address. A name may have full stops inside, not at its end."""
Value = TypeVar("Value")


@dataclass
class Unused:
    """What could not be used: how often, by reason, and the first ``NAMED`` places of each."""

    counts: Counter[str] = field(default_factory=Counter)
    named: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, place: str) -> None:
        """Count one case of ``reason``, found at ``place``."""
        self.counts[reason] += 1
        named = self.named.setdefault(reason, [])
        if len(named) < NAMED:
            named.append(place)

    def lines(self) -> list[str]:
        """For people, the most frequent reason first."""
        return [
            f"{count} x {reason}, such as {'; '.join(self.named[reason])}"
            for reason, count in self.counts.most_common()
        ]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            reason: {"count": count, "such_as": self.named[reason]}
            for reason, count in self.counts.most_common()
        }


@dataclass(frozen=True)
class AccountPost:
    """A past post of an account.

    Attributes:
        line: of its file, from 1.
        image: its picture, a file that was there; None where there is none.
        caption: empty where there is none.
        seconds: when it was published, since 1970 in UTC (a time without a zone is taken for UTC); NaN where
            not known.
        likes: NaN where not known.
        comments: likewise.
        mentions: accounts that it names, without @, in lower case.
    """

    line: int
    image: Path | None = None
    caption: str = ""
    seconds: float = math.nan
    likes: float = math.nan
    comments: float = math.nan
    mentions: frozenset[str] = frozenset()

    @property
    def engagement(self) -> float:
        """Likes and comments together; of what is known where one is not, NaN where neither is."""
        known = [count for count in (self.likes, self.comments) if not math.isnan(count)]
        return math.fsum(known) if known else math.nan


@dataclass(frozen=True)
class Account:
    """A brand or an influencer.

    Attributes:
        id: the folder's name, by which posts mention it.
        folder: where its posts are.
        name: to be shown; the id where no other is given.
        followers: NaN where not known.
        category: empty where not known.
        language: likewise.
        brand: whether it is a brand; otherwise it may be an influencer.
    """

    id: str
    folder: Path
    name: str
    followers: float = math.nan
    category: str = ""
    language: str = ""
    brand: bool = False

    def posts(self, unused: Unused) -> Iterator[AccountPost]:
        """Its posts in the order of the file; what cannot be used goes into ``unused``.

        Raises:
            InvalidConfiguration: the file cannot be read.
        """
        path = self.folder / POSTS
        try:
            with path.open("rb") as file:
                for number, line in _lines(file):
                    place = f"{self.id}/{POSTS} line {number}"
                    try:
                        yield _post(number, _Record(_line(line), place, unused), self.folder)
                    except ValueError as error:
                        unused.add(str(error), place)
        except OSError as error:
            raise InvalidConfiguration(f"{path} cannot be read ({error.strerror}); check the file") from error


def find_accounts(folder: str | os.PathLike[str], unused: Unused) -> Iterator[Account]:
    """The accounts of ``folder`` by name; those that cannot be used go into ``unused``.

    Raises:
        InvalidConfiguration: the folder cannot be listed, or has no account in it.
    """
    try:
        names = sorted(
            each.name for each in os.scandir(folder) if each.is_dir() and not each.name.startswith(".")
        )
    except OSError as error:
        raise InvalidConfiguration(
            f"{os.fspath(folder)} cannot be listed ({error.strerror}); check the path"
        ) from error
    found = False
    for name in names:
        path = Path(folder, name)
        if not _is_file(path / POSTS):
            unused.add(f"a folder without {POSTS}", name)
            continue
        try:
            check_id(name)
            yield _account(path, unused)
        except (ValueError, BadRecord) as error:
            unused.add(f"an account that cannot be used: {error}", name)
            continue
        found = True
    if not found:
        raise InvalidConfiguration(
            f"{os.fspath(folder)} has no account in it; give a folder of folders with {POSTS}"
        )


def competence(brand: Account, unused: Unused) -> dict[str, float]:
    """How much the public of ``brand`` takes to each account that its posts mention.

    The competence score of Gan et al. (ACM Multimedia 2019): engagement of the brand's posts that mention the
    account over the brand's followers; of several such posts the mean. It was 3e-5 to 0.273 there.

    Args:
        brand: whose posts are read, one at a time.
        unused: takes what cannot be used.

    Returns:
        By the name that is mentioned, in lower case; NaN where the engagement of none of the posts is known.

    Raises:
        InvalidConfiguration: its followers are not known, or its posts cannot be read.
    """
    if not brand.followers > 0:
        raise InvalidConfiguration(
            f"{brand.id}: followers {brand.followers:g}; write a number above 0 into {brand.folder / ACCOUNT}"
        )
    totals: defaultdict[str, float] = defaultdict(float)
    times: Counter[str] = Counter()
    for post in brand.posts(unused):
        known = not math.isnan(post.engagement)
        for name in post.mentions:
            totals[name] += post.engagement if known else 0
            times[name] += known
    return {
        name: totals[name] / count / brand.followers if count else math.nan for name, count in times.items()
    }


def mentions(caption: str) -> frozenset[str]:
    """Accounts that ``caption`` names by @, in lower case."""
    return frozenset(name.lower() for name in _MENTION.findall(caption))


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, by number; of a longer one than MAX_LINE_BYTES its beginning."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        whole = line
        while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES + 1)
        if whole.strip():
            yield number, whole


class _Record:
    """A JSON object, read value by value; one that cannot be goes into ``unused``, and is not known."""

    def __init__(self, data: bytes, place: str, unused: Unused) -> None:
        """Read ``data``, found at ``place``.

        Raises:
            ValueError: it is no JSON object, or names a value twice.
        """
        try:
            read = json.loads(data.decode("utf-8-sig"), object_pairs_hook=without_repeats)
        except (ValueError, RecursionError) as error:
            raise ValueError("no JSON object in UTF-8") from error
        if not isinstance(read, dict):
            raise ValueError("no JSON object in UTF-8")
        self._values, self._place, self._unused = read, place, unused

    def read(self, name: str, reader: Callable[[object], Value], unknown: Value) -> Value:
        """What ``reader`` makes of the value ``name``."""
        value = self._values.get(name)
        try:
            return unknown if value is None else reader(value)
        except ValueError as error:
            self._unused.add(f"{name} that {error}", self._place)
            return unknown


def _line(data: bytes) -> bytes:
    """The same.

    Raises:
        ValueError: it is too long.
    """
    if len(data) > MAX_LINE_BYTES:
        raise ValueError(f"a line of more than {MAX_LINE_BYTES} bytes")
    return data


def _post(line: int, record: _Record, folder: Path) -> AccountPost:
    """The post that ``record`` tells of.

    Raises:
        ValueError: there is neither picture nor caption.
    """
    caption = record.read("caption", _text, "")
    image: Path | None = record.read("image", partial(_picture, folder), None)
    if image is None and not caption.strip():
        raise ValueError("neither picture nor caption")
    return AccountPost(
        line,
        image,
        caption,
        record.read("timestamp", _seconds, math.nan),
        record.read("likes", _count, math.nan),
        record.read("comments", _count, math.nan),
        record.read("mentions", _names, mentions(caption)),
    )


def _account(folder: Path, unused: Unused) -> Account:
    """The account of ``folder``.

    Raises:
        ValueError: what is said of it is no JSON object.
    """
    path = folder / ACCOUNT
    try:
        data = path.read_bytes() if path.exists() else b"{}"
    except OSError as error:
        raise ValueError(f"{ACCOUNT} cannot be read ({error.strerror})") from error
    record = _Record(data, f"{folder.name}/{ACCOUNT}", unused)
    return Account(
        folder.name,
        folder,
        record.read("name", _text, folder.name),
        record.read("followers", _count, math.nan),
        record.read("category", _text, ""),
        record.read("language", _text, ""),
        record.read("brand", _flag, unknown=False),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is no text")
    return value.encode(errors="replace").decode()  # JSON may hold half a character, which no UTF-8 can


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false")
    return value


def _count(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("is no number")
    if not 0 <= value < 1e15:  # NaN is none either; nothing on earth is liked more often
        raise ValueError("is no count")
    return float(value)


def _seconds(value: object) -> float:
    try:
        read = read_timestamp(value)
    except ValueError as error:
        raise ValueError("is no time of 2000 to 2099, in ISO 8601 or seconds since 1970") from error
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


def _names(value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError("is no list of names")
    return frozenset(name.strip().removeprefix("@").lower() for name in value) - {""}


def _picture(folder: Path, value: object) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("is no path")
    path = Path(os.path.normpath(folder / value))
    if not path.is_relative_to(os.path.normpath(folder)):
        raise ValueError("lies outside of the account's folder")
    if not _is_file(path):
        raise ValueError("is not there")
    return path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long for one, or a folder that may not be entered
        return False
