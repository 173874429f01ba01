"""What ``build`` and ``add`` do for a gallery of photos: embed them, and publish them.

What is embedded is noted at once, so that a run that is interrupted goes on where it was.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from adlens.answers import Failure
from adlens.commands.inventory import Held, connect, exit_codes
from adlens.commands.run import Run, progress
from adlens.enrolment import Embedder, embed_many
from adlens.errors import CorruptGallery, InvalidConfiguration, WrongEmbedder
from adlens.galleries.contents import Contents
from adlens.galleries.journal import Journal, stamp
from adlens.galleries.records import Record
from adlens.galleries.served import ServedGallery
from adlens.photos import Photo
from adlens.reports import Json, Report
from adlens.transport import Connection

source = click.argument("source", type=click.Path(path_type=Path, exists=True))
from_folder = click.option(
    "--attribute-from-folder", "attribute", envvar="ADLENS_ATTRIBUTE_FROM_FOLDER", metavar="NAME",
    help="The folder in which a photo lies is this attribute of it.",
)  # fmt: skip
replacing = click.option(
    "--replace", envvar="ADLENS_REPLACE", is_flag=True, help="A photo takes the place of one with its id."
)


@dataclass(frozen=True)
class _Enrolled:
    """A photo that was embedded; ``faces`` as in ``Embedded``."""

    photo: Photo
    faces: int | None

    @property
    def warnings(self) -> list[str]:
        return [f"{self.faces} faces; took the large and central one"] if (self.faces or 0) > 1 else []

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.photo.id,
            "path": str(self.photo.path),
            **({} if self.faces is None else {"faces": self.faces}),
            "warnings": self.warnings,
        }


class _Warnings(Report[_Enrolled | Failure]):
    """For people: only what they might want to change."""

    def line(self, answer: _Enrolled | Failure, drawing: Path | None) -> str | None:
        """See ``Report``."""
        if isinstance(answer, Failure) or not answer.warnings:
            return None
        return f"{answer.photo.path}: {'; '.join(answer.warnings)}"


def enrol(
    held: Held,
    find: Callable[[], list[Photo]],
    embedder_of: Callable[[Connection], Embedder],
    *,
    keep: bool,
    replace: bool,
    as_json: bool,
    workers: int,
    connection: dict[str, Any],
) -> None:
    """Embed photos and publish them; exits.

    Args:
        held: the gallery.
        find: gives the photos.
        embedder_of: gives what embeds them on a server.
        keep: whether those that were there stay.
        replace: whether a photo may take the place of one with its id.
        as_json: whether to print for machines.
        workers: photos in flight.
        connection: of the server.
    """
    report: Report[_Enrolled | Failure] = Json() if as_json else _Warnings()
    gallery = held.gallery
    with exit_codes(), connect(connection) as server, progress() as bar:
        if not gallery.folder.is_dir():  # one made here would be searched by no server
            raise InvalidConfiguration(f"{gallery.folder} is no gallery; name its folder with {held.option}")
        photos, embedder = find(), embedder_of(server)
        weights = embedder.card.weights
        if embedder.card.starter:
            said = f"{embedder.card.model} runs on starter weights: what is found later is not similar"
            click.echo(f"warning: {said}; to have that, train it first, and then build this anew", err=True)
        gallery.ensure(embedder.name, embedder.dimension)
        with gallery.locked():
            before = contents_before(held, embedder.name, embedder.dimension, keep=keep)
            before.check(photos, weights, replace_ids=replace)
            run, journal = Run[_Enrolled](report, bar), Journal(gallery.folder, weights)
            try:
                _embed(run, journal, photos, embedder, workers)
            except KeyboardInterrupt:
                run.interrupted()
                raise
            code, noted = run.ended(), journal.read()
            records = [
                Record(photo.id, found.vector, photo.attributes, str(photo.path), found.payload)
                for photo in photos
                if (found := noted.get((photo.id, stamp(photo.path)))) is not None
            ]
            if run.gone:
                kept = f"{len(records)} of {len(photos)} photos are embedded and kept"
                click.echo(f"error: {kept}; to go on, give the same command again", err=True)
            elif records:
                contents = before.with_records(records, weights, replace_ids=replace)
                settle = ServedGallery(gallery, server).publish(contents)
                journal.clear()
                settle()
                click.echo(_summary(held, len(records), len(contents.ids), as_json=as_json))
    sys.exit(code)


def contents_before(held: Held, embedder: str, dimension: int, *, keep: bool) -> Contents:
    """The contents that records are added to, whose vectors ``embedder`` makes.

    Raises:
        WrongEmbedder: the gallery is of another one's.
        CorruptGallery: it cannot be read, and is to be kept.
    """
    gallery = held.gallery
    try:
        if (found := gallery.manifest().embedder) != embedder:
            raise WrongEmbedder(
                f"{gallery.folder} is a gallery of {found}, not of {embedder}; choose another with "
                f"{held.option}"
            )
        if keep:
            return gallery.read()
    except CorruptGallery:  # which to build anew is the remedy
        if keep:
            raise
    return Contents.empty(embedder, dimension)


def _embed(
    run: Run[_Enrolled], journal: Journal, photos: list[Photo], embedder: Embedder, workers: int
) -> None:
    """Embed those of ``photos`` that are not in the journal, and note them there."""
    known = journal.read()
    left = [photo for photo in photos if (photo.id, stamp(photo.path)) not in known]
    run.expect(len(left))
    for photo, answer in zip(left, embed_many(embedder, left, workers), strict=True):
        run.done()
        if isinstance(answer, Failure):
            run.failed(answer)
        else:
            journal.append(photo.id, stamp(photo.path), answer.embedding)
            run.show(_Enrolled(photo, answer.faces))


def _summary(held: Held, added: int, photos: int, *, as_json: bool) -> str:
    folder = held.gallery.folder
    if as_json:
        return json.dumps({"gallery": str(folder), "added": added, "photos": photos})
    return f"{folder}: {added} photos added, {photos} in all"
