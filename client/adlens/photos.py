"""Which pictures go into a gallery, under which ids and with which attributes: of a folder or a table."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from adlens import contract, pictures
from adlens.errors import BadRecord, InvalidConfiguration, NoPictures
from adlens.galleries.records import COLUMNS, by_id, check_attributes, check_id

CATALOGUE_PATH: Final = "relative_im_path"
"""Column of a catalogue: where a picture lies, and its id."""
_CATALOGUE_NAMES: Final = {"shoe_gender": "type", "shoe_brand": "brand", "shoe_name": "name"}
"""What columns of a catalogue are called as attributes; ``type`` is that of ``contract.CONTEXT_NAMES``."""


@dataclass(frozen=True)
class Photo:
    """A photo that is to go into a gallery."""

    id: str
    path: Path
    attributes: Mapping[str, str] = field(default_factory=dict)


def find_photos(source: Path, attribute: str | None = None) -> list[Photo]:
    """The campaign photos of a folder and those below, or of a CSV table.

    Args:
        source: a folder, where a file's name less its suffix is the id; or a table with the columns
            ``id`` and ``path``, seen from the table, whose other columns are attributes.
        attribute: in a folder, named by the folder that a photo lies in.

    Raises:
        NoPictures: there are none, or they cannot be listed.
        InvalidConfiguration: the table cannot be read, or lacks a column.
        BadRecord: an id or attribute that a gallery cannot take.
        DuplicateId: two photos have one id.
    """
    if source.is_dir():
        return _checked(source, _of_folder(source, attribute, lambda path: path.stem))
    columns, rows = _read(source)
    _check_columns(source, columns, COLUMNS)
    folder = source.absolute().parent
    return _checked(source, (Photo(row["id"], folder / row["path"], _others(row)) for row in rows))


def find_creatives(source: Path, attribute: str | None = None, images: Path | None = None) -> list[Photo]:
    """The pictures of a folder and those below, or of a catalogue in CSV, for alternates.

    Args:
        source: a folder, where the path from there less the suffix is the id. Or a table with the column
            ``relative_im_path``, which is the id, too, or with ``id`` and ``path``; of the others
            ``shoe_gender``, ``shoe_brand`` and ``shoe_name`` are the attributes type, brand and name, what
            is none of ``contract.TARGETS`` is an attribute of its own name. A picture may come more than
            once, with other outcomes.
        attribute: in a folder, named by the folder that a picture lies in.
        images: from where the table's paths are seen; its own folder by default.

    Raises:
        As ``find_photos``.
    """
    if source.is_dir():
        folder = source.absolute()
        return _checked(
            source,
            _of_folder(source, attribute, lambda path: path.relative_to(folder).with_suffix("").as_posix()),
        )
    columns, rows = _read(source)
    if CATALOGUE_PATH not in columns:
        _check_columns(source, columns, COLUMNS, f" (or {CATALOGUE_PATH})")
    id_, path = (CATALOGUE_PATH,) * 2 if CATALOGUE_PATH in columns else COLUMNS
    names = [_CATALOGUE_NAMES.get(name, name) for name in columns]
    _check_columns(source, names, ())
    folder = (images or source.parent).absolute()
    photos = [
        Photo(row[id_], folder / row[path], _catalogue_attributes(row, used={id_, path})) for row in rows
    ]
    if id_ == CATALOGUE_PATH:
        for photo in photos:
            _check_length(photo.id)
    return _checked(source, _once(photos))


def _check_length(id_: str) -> None:
    size = len(id_.encode(errors="surrogatepass"))
    if size > contract.ID_BYTES:
        raise BadRecord(
            f"{CATALOGUE_PATH} '{id_}' has {size} bytes, and as an id at most {contract.ID_BYTES} travel; "
            "name the pictures in columns id and path"
        )


def _catalogue_attributes(row: Mapping[str, str], used: set[str]) -> dict[str, str]:
    left_out = used.union(contract.TARGETS)
    return {_CATALOGUE_NAMES.get(name, name): text for name, text in row.items() if name not in left_out}


def _once(photos: Sequence[Photo]) -> Iterator[Photo]:
    """Those that come again, as they are, left out.

    Raises:
        BadRecord: one comes again with another attribute.
    """
    first: dict[str, Photo] = {}
    for photo in photos:
        known = first.setdefault(photo.id, photo)
        if known is photo:
            yield photo
        elif known.path != photo.path:
            yield photo  # for ``by_id`` to refuse
        elif known.attributes != photo.attributes:
            name = next(name for name, text in photo.attributes.items() if known.attributes.get(name) != text)
            raise BadRecord(
                f"picture '{photo.id}' has {name} {known.attributes.get(name)!r} in one row and "
                f"{photo.attributes[name]!r} in another; correct it, or leave the column {name} out"
            )


def _checked(source: Path, found: Iterator[Photo]) -> list[Photo]:
    photos = list(found)
    if not photos:
        raise NoPictures(f"{source}: no photos; check the path")
    for photo in photos:
        check_id(photo.id)
        check_attributes(photo.attributes, photo.attributes.values())
    return list(by_id(photos).values())


def _of_folder(folder: Path, attribute: str | None, id_of: Callable[[Path], str]) -> Iterator[Photo]:
    for below in pictures.find_users(folder.absolute()):
        for path in pictures.find_pictures(below):
            yield Photo(id_of(path), path, {attribute: below.name} if attribute else {})


def _others(row: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in row.items() if name not in COLUMNS}


def _read(table: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The names of a table's columns, and its rows.

    Raises:
        InvalidConfiguration: it cannot be read.
        BadRecord: a row has another length.
    """
    found = []
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            columns = list(rows.fieldnames or [])
            for row in rows:
                if None in row or None in row.values():
                    raise BadRecord(
                        f"{table}, line {rows.line_num}: not {len(columns)} columns; write one each"
                    )
                found.append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidConfiguration(f"{table} is no folder, nor a table in CSV: {error}") from error
    return columns, found


def _check_columns(table: Path, columns: Sequence[str], needed: Sequence[str], more: str = "") -> None:
    if missing := [name for name in needed if name not in columns]:
        raise InvalidConfiguration(f"{table} lacks the column {' and '.join(missing)}{more}; add it")
    if twice := [name for name, times in Counter(columns).items() if times > 1]:
        raise InvalidConfiguration(f"{table} has the column {' and '.join(twice)} twice; rename one")
