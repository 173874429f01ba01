"""``adlens gallery``: the campaign photos that faces are matched with, and what is known of them.

A change is taken up by a running server within a second or two, without a failed request; the command
ends when that has happened and what was before is wiped.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import click

from adlens import filters
from adlens.answers import Failure
from adlens.commands import SERVER_FAILED, SOME_FAILED, options
from adlens.commands.run import Run, progress
from adlens.contract import EmbedderCard
from adlens.enrolment import Photo, embed_many, embedder_card, find_photos
from adlens.errors import (
    AdlensError,
    BadFilter,
    CorruptGallery,
    InvalidConfiguration,
    NoPictures,
    ServerError,
    UnknownModel,
    WrongEmbedder,
)
from adlens.galleries.contents import Contents
from adlens.galleries.files import GalleryFolder
from adlens.galleries.journal import Journal, stamp
from adlens.galleries.records import Embedding, Record
from adlens.galleries.served import ServedGallery
from adlens.reports import Json, Report
from adlens.transport import Connection, Endpoint

_Command = Callable[..., Any]


def _gallery_options(command: _Command) -> _Command:
    """Which gallery, and which server searches it."""
    return options.gallery(options.embedder(options.connecting(command)))


_source = click.argument("source", type=click.Path(path_type=Path, exists=True))
_from_folder = click.option(
    "--attribute-from-folder", "attribute", envvar="ADLENS_ATTRIBUTE_FROM_FOLDER", metavar="NAME",
    help="The folder in which a photo lies is this attribute of it.",
)  # fmt: skip
_as_json = click.option("--json", "as_json", envvar="ADLENS_JSON", is_flag=True, help="One JSON object.")
_replace = click.option(
    "--replace", envvar="ADLENS_REPLACE", is_flag=True, help="A photo takes the place of one with its id."
)


@click.group()
def gallery() -> None:
    """Build, change and look at the gallery of campaign photos."""


@gallery.command()
@_source
@_from_folder
@options.as_json
@options.workers
@_gallery_options
def build(folder: Path | None, embedder: str, **rest: Any) -> None:  # noqa: ANN401
    """Make SOURCE the gallery, in place of what it held.

    SOURCE is a folder of photos, in which a file's name is the photo's id; or a CSV table with the columns
    id and path, whose further columns are attributes. No photo is stored. A run that is interrupted goes on
    where it was when it is started again.
    """
    _enrol(options.gallery_folder(folder, embedder), embedder, keep=False, replace=False, **rest)


@gallery.command()
@_source
@_from_folder
@_replace
@options.as_json
@options.workers
@_gallery_options
def add(folder: Path | None, embedder: str, **rest: Any) -> None:  # noqa: ANN401
    """Add the photos of SOURCE, which is as for build."""
    _enrol(options.gallery_folder(folder, embedder), embedder, keep=True, **rest)


@gallery.command()
@click.argument("ids", nargs=-1)
@click.option("--ids-from", envvar="ADLENS_IDS_FROM", metavar="FILE",
              type=click.File(encoding="utf-8-sig", errors="surrogateescape"),
              help="Take further ids from there, one a line; - for standard input.")  # fmt: skip
@_as_json
@_gallery_options
def remove(
    ids: tuple[str, ...],
    ids_from: IO[str] | None,
    as_json: bool,
    folder: Path | None,
    embedder: str,
    connection: dict[str, Any],
) -> None:
    """Remove the photos of these IDS for good: afterwards their vectors are in no file of the gallery."""
    wanted = dict.fromkeys([*ids, *filter(None, (line.rstrip("\n") for line in ids_from or ()))])
    if not wanted:
        raise click.UsageError("name the photos to remove: IDS, or --ids-from FILE")
    with _exit_codes(), _connect(connection) as server:
        held = options.gallery_folder(folder, embedder)
        known = held.paths()
        missing = [id_ for id_ in wanted if id_ not in known]
        removed = ServedGallery(held, server).forget(wanted.keys())
        left = held.manifest().photos
        found = {"gallery": str(held.folder), "removed": removed, "missing": missing, "photos": left}
        click.echo(json.dumps(found) if as_json else f"{held.folder}: {removed} removed, {left} photos left")
    for id_ in missing:
        click.echo(f"error: no photo '{id_}' in {held.folder}", err=True)
    sys.exit(SOME_FAILED if missing else 0)


@gallery.command("list")
@click.option("--filter", "pairs", envvar="ADLENS_FILTER", multiple=True, metavar="ATTRIBUTE=VALUE",
              help="Only such photos; of one attribute any value will do.")  # fmt: skip
@options.as_json
@_gallery_options
def list_(
    pairs: tuple[str, ...], as_json: bool, folder: Path | None, embedder: str, connection: dict[str, Any]
) -> None:
    """Show ids and attributes of the photos."""
    with _exit_codes():
        contents = options.gallery_folder(folder, embedder).read()
        chosen = filters.parse(pairs)
        filters.check(chosen, contents.attributes)
    for row, (id_, path) in enumerate(zip(contents.ids, contents.paths, strict=True)):
        attributes = contents.attributes_of(row)
        if all(attributes[name] in values for name, values in chosen.items()):
            said = "".join(f"  {name}={value}" for name, value in attributes.items())
            entry = {"id": id_, "path": path, "attributes": attributes}
            click.echo(json.dumps(entry, ensure_ascii=False) if as_json else f"{id_}{said}")


@gallery.command()
@_as_json
@_gallery_options
def stats(as_json: bool, folder: Path | None, embedder: str, connection: dict[str, Any]) -> None:
    """Show how many photos there are, of which attributes, and whether a server searches them."""
    with _exit_codes(), _connect(connection) as server:
        held = options.gallery_folder(folder, embedder)
        contents = held.read()
        (version, *_) = held.versions()
        card = ServedGallery(held, server).card()
        found: dict[str, Any] = {
            "gallery": str(held.folder),
            "version": int(version.name),
            "photos": len(contents.ids),
            "bytes": sum(file.stat().st_size for file in version.iterdir()),
            "embedder": contents.embedder,
            "embedder_weights": contents.embedder_weights,
            "served": card is not None and card.weights == contents.card.weights,
            "url": server.endpoint.url,
            "attributes": {
                name: Counter(values[column] for values in contents.values)
                for column, name in enumerate(contents.attributes)
            },
        }
    click.echo(json.dumps(found, ensure_ascii=False) if as_json else _words(found))


def _words(found: dict[str, Any]) -> str:
    served = "served" if found["served"] else "not served"
    weights = f", weights {found['embedder_weights']}" if found["embedder_weights"] else ""
    lines = [
        f"{found['gallery']}: {found['photos']} photos, version {found['version']}, {found['bytes']} bytes",
        f"  vectors by {found['embedder']}{weights}; {served} by {found['url']}",
    ]
    for name, values in found["attributes"].items():
        most = ", ".join(f"{value or '(none)'} {count}" for value, count in values.most_common(10))
        lines.append(f"  {name}: {most}{', ...' if len(values) > 10 else ''}")
    return "\n".join(lines)


@dataclass(frozen=True)
class _Enrolled:
    """A photo whose main face was embedded."""

    photo: Photo
    faces: int

    @property
    def warnings(self) -> list[str]:
        return [f"{self.faces} faces; took the large and central one"] if self.faces > 1 else []

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.photo.id,
            "path": str(self.photo.path),
            "faces": self.faces,
            "warnings": self.warnings,
        }


class _Warnings(Report[_Enrolled | Failure]):
    """For people: only what they might want to change."""

    def line(self, answer: _Enrolled | Failure, drawing: Path | None) -> str | None:
        """See ``Report``."""
        if isinstance(answer, Failure) or not answer.warnings:
            return None
        return f"{answer.photo.path}: {'; '.join(answer.warnings)}"


def _enrol(
    folder: GalleryFolder,
    embedder: str,
    *,
    source: Path,
    attribute: str | None,
    keep: bool,
    replace: bool,
    as_json: bool,
    workers: int,
    connection: dict[str, Any],
) -> None:
    """Embed the photos of ``source`` and publish them, with those that were there where to ``keep`` them."""
    report: Report[_Enrolled | Failure] = Json() if as_json else _Warnings()
    with _exit_codes(), _connect(connection) as server, progress() as bar:
        if not folder.folder.is_dir():  # one made here would be searched by no server
            raise InvalidConfiguration(f"{folder.folder} is no gallery; name its folder with --gallery")
        photos = find_photos(source, attribute)
        judge = embedder_card(server, embedder)
        folder.ensure(embedder, judge.dimension)
        with folder.locked():
            before = _before(folder, keep, embedder, judge.dimension)
            before.check(photos, judge.weights, replace_ids=replace)
            run, journal = Run[_Enrolled](report, bar), Journal(folder.folder, judge.weights)
            try:
                _embed(run, journal, photos, server, judge, workers)
            except KeyboardInterrupt:
                run.interrupted()
                raise
            code, vectors = run.ended(), journal.read()
            records = [
                Record(photo.id, noted.vector, photo.attributes, str(photo.path))
                for photo in photos
                if (noted := vectors.get((photo.id, stamp(photo.path)))) is not None
            ]
            if run.gone:
                kept = f"{len(records)} of {len(photos)} photos are embedded and kept"
                click.echo(f"error: {kept}; to go on, give the same command again", err=True)
            elif records:
                contents = before.with_records(records, judge.weights, replace_ids=replace)
                settle = ServedGallery(folder, server).publish(contents)
                journal.clear()
                settle()
                click.echo(_summary(folder, len(records), len(contents.ids), as_json=as_json))
    sys.exit(code)


def _before(folder: GalleryFolder, keep: bool, embedder: str, dimension: int) -> Contents:
    """The contents that photos are added to."""
    try:
        if (held := folder.manifest().embedder) != embedder:
            raise WrongEmbedder(
                f"{folder.folder} is a gallery of {held}, not of {embedder}; choose another with --gallery"
            )
        if keep:
            return folder.read()
    except CorruptGallery:  # which to build anew is the remedy
        if keep:
            raise
    return Contents.empty(embedder, dimension)


def _embed(
    run: Run[_Enrolled],
    journal: Journal,
    photos: list[Photo],
    server: Connection,
    judge: EmbedderCard,
    workers: int,
) -> None:
    """Embed those of ``photos`` that are not in the journal, and note them there."""
    known = journal.read()
    left = [photo for photo in photos if (photo.id, stamp(photo.path)) not in known]
    run.expect(len(left))
    for photo, answer in zip(left, embed_many(server, left, judge, workers), strict=True):
        run.done()
        if isinstance(answer, Failure):
            run.failed(answer)
        else:
            journal.append(photo.id, stamp(photo.path), Embedding(answer.vector))
            run.show(_Enrolled(photo, answer.faces))


def _summary(folder: GalleryFolder, added: int, photos: int, *, as_json: bool) -> str:
    if as_json:
        return json.dumps({"gallery": str(folder.folder), "added": added, "photos": photos})
    return f"{folder.folder}: {added} photos added, {photos} in all"


def _connect(connection: dict[str, Any]) -> Connection:
    return Connection(Endpoint(**connection))


@contextmanager
def _exit_codes() -> Iterator[None]:
    """Say what went wrong, and whose fault it is."""
    try:
        yield
    except (InvalidConfiguration, BadFilter, NoPictures) as error:
        raise click.UsageError(str(error)) from error
    except AdlensError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(SERVER_FAILED if isinstance(error, ServerError | UnknownModel) else SOME_FAILED)
