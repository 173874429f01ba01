"""``adlens alternates``: the catalogue of pictures that may be shown instead of another.

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
from adlens.enrolment import CreativeEmbedder
from adlens.photos import find_creatives

_Command = Callable[..., Any]
_images = click.option(
    "--images", envvar="ADLENS_IMAGES", type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR", help="Where a table's paths begin.  [default: the table's folder]",
)  # fmt: skip


def _alternates_options(command: _Command) -> _Command:
    """Which catalogue, and which server searches it."""
    return options.alternates(options.connecting(command))


def _held(folder: Path | None) -> Held:
    return Held(options.alternates_folder(folder), "--alternates")


@click.group()
def alternates() -> None:
    """Build, change and look at the catalogue of alternate pictures."""


@alternates.command()
@enrolling.source
@_images
@enrolling.from_folder
@options.as_json
@options.workers
@_alternates_options
def build(**given: Any) -> None:  # noqa: ANN401
    """Make SOURCE the catalogue, in place of what it held.

    SOURCE is a CSV table with the column relative_im_path, which is the id, too, and shoe_gender,
    shoe_brand and shoe_name, which become the attributes type, brand and name; further columns are
    attributes, but for the targets. Or one with the columns id and path; or a folder of pictures, in which
    a picture's path less its suffix is the id. No picture is stored. A run that is interrupted goes on
    where it was when it is started again.
    """
    _enrol(keep=False, replace=False, **given)


@alternates.command()
@enrolling.source
@_images
@enrolling.from_folder
@enrolling.replacing
@options.as_json
@options.workers
@_alternates_options
def add(**given: Any) -> None:  # noqa: ANN401
    """Add the pictures of SOURCE, which is as for build."""
    _enrol(keep=True, **given)


def _enrol(
    *,
    folder: Path | None,
    source: Path,
    images: Path | None,
    attribute: str | None,
    **rest: Any,  # noqa: ANN401
) -> None:
    enrolling.enrol(
        _held(folder), lambda: find_creatives(source, attribute, images), CreativeEmbedder, **rest
    )


@alternates.command()
@click.argument("ids", nargs=-1)
@inventory.ids_from
@inventory.as_one_json
@_alternates_options
def remove(
    ids: tuple[str, ...],
    ids_from: IO[str] | None,
    as_json: bool,
    folder: Path | None,
    connection: dict[str, Any],
) -> None:
    """Remove the pictures of these IDS for good: afterwards their vectors are in no file of the catalogue."""
    inventory.remove(_held(folder), connection, ids, ids_from, as_json=as_json)


@alternates.command("list")
@inventory.pairs
@options.as_json
@_alternates_options
def list_(pairs: tuple[str, ...], as_json: bool, folder: Path | None, connection: dict[str, Any]) -> None:
    """Show ids and attributes of the pictures."""
    inventory.show(_held(folder), pairs, as_json=as_json)


@alternates.command()
@inventory.as_one_json
@_alternates_options
def stats(as_json: bool, folder: Path | None, connection: dict[str, Any]) -> None:
    """Show how many pictures there are, of which attributes, and whether a server searches them."""
    inventory.describe(_held(folder), connection, as_json=as_json)
