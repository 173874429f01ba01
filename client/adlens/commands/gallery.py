"""``adlens gallery``: the campaign photos that faces are matched with, and what is known of them.

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


inventory.add_commands(gallery, _gallery_options, _held, "photos", "gallery")
