"""What is known of the posts of a run, read from a file: the same of all, or of each picture by its name.

A JSON object holds for all. A JSON array, JSON lines or CSV has one record a picture, whose ``image`` is the
way to it from the file. What tells of past posts is passed over, so that a table of those will do, too.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from adlens import posts
from adlens.errors import BadPost
from adlens.features import brief, guess, listed, without_repeats
from adlens.posts import Context

IMAGE: Final = "image"
"""Name under which a record tells its picture."""
OUTCOMES: Final = ("likes", "comments", "account")
"""What a table of past posts tells besides."""
_TRUE: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_TEXTS: Final = (IMAGE, "caption", *OUTCOMES)
_WANTED: Final = (
    'write a JSON object such as {"hour": 18.5, "weekday": "Friday"} for all pictures, or a JSON array, JSON '
    "lines or CSV with one record a picture, named by 'image'"
)


@dataclass(frozen=True)
class FileContexts:
    """What a file says.

    Attributes:
        source: the file.
        shared: what holds for all pictures; None where each has its own.
        own: of each picture that the file names, by its resolved path.
    """

    source: Path
    shared: Context | None = None
    own: Mapping[str, Context] = field(default_factory=dict)

    def of(self, picture: Path) -> Context | None:
        """What is known of the post with ``picture``; None where the file does not name it."""
        return self.own.get(os.path.realpath(picture)) if self.shared is None else self.shared

    def of_each(self, pictures: Sequence[Path]) -> Context | list[Context | None]:
        """What holds for all ``pictures``, or what is known of each."""
        return [self.of(picture) for picture in pictures] if self.shared is None else self.shared


def load(file: Path) -> FileContexts:
    """Read ``file``; what it says of one picture is checked when that picture is asked about.

    Raises:
        BadPost: it cannot be read, is of none of the forms, says of all pictures what cannot be, or names one
            twice.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadPost(f"{file} cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise BadPost(
            f"{file} is no UTF-8 ({error.reason} at byte {error.start}); save it as such"
        ) from error
    try:
        if text.lstrip()[:1] not in ("{", "["):
            return FileContexts(file, own=_by_picture(file, _table(text)))
        read = _json(text)
        if not isinstance(read, dict):
            return FileContexts(file, own=_by_picture(file, read))
        posts.encode(read)
    except (ValueError, RecursionError, BadPost) as error:
        raise BadPost(f"{file}: {error}") from error
    return FileContexts(file, read)


def _json(text: str) -> dict[str, object] | list[tuple[str, object]]:
    """An object for all pictures, or records with what each is called in messages."""
    try:
        read = json.loads(text, object_pairs_hook=without_repeats)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise ValueError(f"{error}; {_WANTED}") from error
        # By line feeds alone: captions may hold what Unicode takes for the end of a line, too.
        lines = [(f"line {number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        return [(where, _line(where, line)) for where, line in lines]
    if isinstance(read, dict):
        return [("record 1", read)] if IMAGE in read else read
    return [(f"record {number}", record) for number, record in enumerate(read, 1)]


def _line(where: str, line: str) -> object:
    try:
        return json.loads(line, object_pairs_hook=without_repeats)
    except ValueError as error:
        raise ValueError(f"{where}: {error}; {_WANTED}") from error


def _table(text: str) -> list[tuple[str, object]]:
    """The rows of a table in CSV; cells that are empty are not known."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = [name.strip() for name in next(rows, [])]
        if IMAGE not in names:
            raise ValueError(f"neither JSON nor a table with the column {IMAGE!r}; {_WANTED}")
        known = (IMAGE, *posts.NAMES, *OUTCOMES)
        for name in names:
            if name not in known:
                raise ValueError(
                    f"unknown column {brief(name)}{guess(name, known)}; known: {listed(known, len(known))}"
                )
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two columns {twice!r}; rename one")
        found: list[tuple[str, object]] = []
        for cells in rows:
            where = f"line {rows.line_num}"
            if cells and len(cells) != len(names):
                raise ValueError(
                    f"{where}: {len(cells)} cells, and the header has {len(names)}; write one each"
                )
            if cells:
                found.append(
                    (where, {name: _cell(name, cell) for name, cell in zip(names, cells, strict=True)})
                )
    except csv.Error as error:
        raise ValueError(f"line {rows.line_num}: {error}; {_WANTED}") from error
    return found


def _cell(name: str, cell: str) -> object:
    """What a cell says; a text where it is none of what belongs there, for ``posts.encode`` to refuse."""
    text = cell if name == "caption" else cell.strip()
    if not text:
        return None
    if name == "advertised":
        return _TRUE.get(text.casefold(), text)
    if name in _TEXTS:
        return text
    try:
        return float(text)
    except ValueError:
        return text


def _by_picture(file: Path, records: Iterable[tuple[str, object]]) -> dict[str, Context]:
    folder = file.absolute().parent
    found: dict[str, Context] = {}
    for where, record in records:
        if not isinstance(record, dict):
            raise ValueError(f"{where}: {brief(record)}; {_WANTED}")
        image = record.get(IMAGE)
        if not isinstance(image, str) or not image:
            raise ValueError(f"{where}: {IMAGE} is {brief(image)}; name the picture, as seen from the file")
        try:
            path = os.path.realpath(folder / image)
        except ValueError as error:
            raise ValueError(f"{where}: {IMAGE} {brief(image)} is no path ({error}); correct it") from error
        context = {name: value for name, value in record.items() if name not in (IMAGE, *OUTCOMES)}
        if found.setdefault(path, context) != context:
            raise ValueError(f"{where}: {image} comes twice, with other values; leave one out")
    return found
