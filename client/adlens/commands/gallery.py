"""``adlens gallery``: the campaign photos that faces are matched with, and what is known of them.

A change is taken up by a running server within a second or two, without a failed request; the command
ends when that has happened and what was before is wiped.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import click

from adlens.commands import enrolling, inventory, options
from adlens.commands.inventory import Held
from adlens.enrolment import FaceEmbedder
from adlens.photos import find_photos

_Command = Callable[..., Any]


def _gallery_options(command: _Command) -> _Command:
    """Which gallery, and which server searches it."""
    return options.gallery(options.embedder(options.connecting(command)))


def _held(folder: Path | None, embedder: str) -> Held:
    return Held(options.gallery_folder(folder, embedder), "--gallery")


@click.group()
def gallery() -> None:
    """Build, change and look at the gallery of campaign photos."""


@gallery.command()
@enrolling.source
@enrolling.from_folder
@options.as_json
@options.workers
@_gallery_options
def build(**given: Any) -> None:  # noqa: ANN401
    """Make SOURCE the gallery, in place of what it held.

    SOURCE is a folder of photos, in which a file's name is the photo's id; or a CSV table with the columns
    id and path, whose further columns are attributes. No photo is stored. A run that is interrupted goes on
    where it was when it is started again.
    """
    _enrol(keep=False, replace=False, **given)


@gallery.command()
@enrolling.source
@enrolling.from_folder
@enrolling.replacing
@options.as_json
@options.workers
@_gallery_options
def add(**given: Any) -> None:  # noqa: ANN401
    """Add the photos of SOURCE, which is as for build."""
    _enrol(keep=True, **given)


def _enrol(*, folder: Path | None, embedder: str, source: Path, attribute: str | None, **rest: Any) -> None:  # noqa: ANN401
    enrolling.enrol(
        _held(folder, embedder),
        lambda: find_photos(source, attribute),
        lambda server: FaceEmbedder(server, embedder),
        **rest,
    )


@gallery.command()
@click.argument("ids", nargs=-1)
@inventory.ids_from
@inventory.as_one_json
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
    inventory.remove(_held(folder, embedder), connection, ids, ids_from, as_json=as_json)


@gallery.command("list")
@inventory.pairs
@options.as_json
@_gallery_options
def list_(
    pairs: tuple[str, ...], as_json: bool, folder: Path | None, embedder: str, connection: dict[str, Any]
) -> None:
    """Show ids and attributes of the photos."""
    inventory.show(_held(folder, embedder), pairs, as_json=as_json)


@gallery.command()
@inventory.as_one_json
@_gallery_options
def stats(as_json: bool, folder: Path | None, embedder: str, connection: dict[str, Any]) -> None:
    """Show how many photos there are, of which attributes, and whether a server searches them."""
    inventory.describe(_held(folder, embedder), connection, as_json=as_json)
