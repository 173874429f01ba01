"""``adlens alternates``: the catalogue of pictures that may be shown instead of another.

A change is taken up by a running server within a second or two, without a failed request; the command
ends when that has happened and what was before is wiped.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

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


inventory.add_commands(alternates, _alternates_options, _held, "pictures", "catalogue")
