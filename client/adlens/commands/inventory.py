"""What commands that change a gallery have in common: remove, list, stats, and exit codes."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import click

from adlens import filters
from adlens.commands import SERVER_FAILED, SOME_FAILED, options
from adlens.errors import (
    AdlensError,
    BadFilter,
    InvalidConfiguration,
    NoPictures,
    ServerError,
    UnknownModel,
)
from adlens.galleries.files import GalleryFolder
from adlens.galleries.served import ServedGallery
from adlens.transport import Connection, Endpoint

_Command = Callable[..., Any]
as_one_json = click.option("--json", "as_json", envvar="ADLENS_JSON", is_flag=True, help="One JSON object.")
ids_from = click.option("--ids-from", envvar="ADLENS_IDS_FROM", metavar="FILE",
                        type=click.File(encoding="utf-8-sig", errors="surrogateescape"),
                        help="Take further ids from there, one a line; - for standard input.")  # fmt: skip
pairs = click.option("--filter", "pairs", envvar="ADLENS_FILTER", multiple=True, metavar="ATTRIBUTE=VALUE",
                     help="Only such photos; of one attribute any value will do.")  # fmt: skip


@dataclass(frozen=True)
class Held:
    """A gallery as a command was given it.

    Attributes:
        gallery: its folder.
        option: that names another.
        thing: what it holds, in a word.
    """

    gallery: GalleryFolder
    option: str
    thing: str = "photo"

    @property
    def things(self) -> str:
        """More than one."""
        return f"{self.thing}s"


def add_commands(
    group: click.Group,
    place: Callable[[_Command], _Command],
    held_of: Callable[..., Held],
    things: str,
    where: str,
) -> None:
    """Give ``group`` the commands ``remove``, ``list`` and ``stats``.

    Args:
        group: of the commands that change a gallery.
        place: adds the options that say which gallery, and ``options.connecting``.
        held_of: makes the gallery of the former's values.
        things: what it holds, in help texts.
        where: what it is called there.
    """

    @group.command(
        "remove",
        help=f"Remove the {things} of these IDS for good: afterwards their vectors are in no file of the "
        f"{where}.",
    )
    @click.argument("ids", nargs=-1)
    @ids_from
    @as_one_json
    @place
    def _(
        ids: tuple[str, ...],
        ids_from: IO[str] | None,
        as_json: bool,
        connection: dict[str, Any],
        **which: object,
    ) -> None:
        remove(held_of(**which), connection, ids, ids_from, as_json=as_json)

    @group.command("list", help=f"Show ids and attributes of the {things}.")
    @pairs
    @options.as_json
    @place
    def _(pairs: tuple[str, ...], as_json: bool, connection: dict[str, Any], **which: object) -> None:
        show(held_of(**which), pairs, as_json=as_json)

    @group.command(
        "stats",
        help=f"Show how many {things} there are, of which attributes, and whether a server searches them.",
    )
    @as_one_json
    @place
    def _(as_json: bool, connection: dict[str, Any], **which: object) -> None:
        describe(held_of(**which), connection, as_json=as_json)


def remove(
    held: Held, connection: dict[str, Any], ids: tuple[str, ...], file: IO[str] | None, *, as_json: bool
) -> None:
    """Remove the photos of ``ids`` and of those in ``file``, one a line; exits."""
    wanted = dict.fromkeys([*ids, *filter(None, (line.rstrip("\n") for line in file or ()))])
    if not wanted:
        raise click.UsageError(f"name the {held.things} to remove: IDS, or --ids-from FILE")
    gallery = held.gallery
    with exit_codes(), connect(connection) as server:
        known = gallery.paths()
        missing = [id_ for id_ in wanted if id_ not in known]
        removed = ServedGallery(gallery, server).forget(wanted.keys())
        left = gallery.manifest().photos
        found = {"gallery": str(gallery.folder), "removed": removed, "missing": missing, held.things: left}
        click.echo(
            json.dumps(found)
            if as_json
            else f"{gallery.folder}: {removed} removed, {left} {held.things} left"
        )
    for id_ in missing:
        click.echo(f"error: no {held.thing} '{id_}' in {gallery.folder}", err=True)
    sys.exit(SOME_FAILED if missing else 0)


def show(held: Held, chosen: tuple[str, ...], *, as_json: bool) -> None:
    """Print id and attributes of the photos that pass the filter ``chosen``, ``attribute=value`` each."""
    with exit_codes():
        contents = held.gallery.read()
        filter_ = filters.parse(chosen)
        filters.check(filter_, contents.attributes)
    for row, (id_, path) in enumerate(zip(contents.ids, contents.paths, strict=True)):
        attributes = contents.attributes_of(row)
        if all(attributes[name] in values for name, values in filter_.items()):
            said = "".join(f"  {name}={value}" for name, value in attributes.items())
            entry = {"id": id_, "path": path, "attributes": attributes}
            click.echo(json.dumps(entry, ensure_ascii=False) if as_json else f"{id_}{said}")


def describe(held: Held, connection: dict[str, Any], *, as_json: bool) -> None:
    """Print what is in the gallery, and whether the server searches it."""
    with exit_codes(), connect(connection) as server:
        gallery = held.gallery
        contents = gallery.read()
        (version, *_) = gallery.versions()
        card = ServedGallery(gallery, server).card()
        found: dict[str, Any] = {
            "gallery": str(gallery.folder),
            "version": int(version.name),
            held.things: len(contents.ids),
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
    click.echo(json.dumps(found, ensure_ascii=False) if as_json else _words(found, held.things))


def _words(found: dict[str, Any], things: str) -> str:
    served = "served" if found["served"] else "not served"
    weights = f", weights {found['embedder_weights']}" if found["embedder_weights"] else ""
    lines = [
        f"{found['gallery']}: {found[things]} {things}, version {found['version']}, {found['bytes']} bytes",
        f"  vectors by {found['embedder']}{weights}; {served} by {found['url']}",
    ]
    for name, values in found["attributes"].items():
        most = ", ".join(f"{value or '(none)'} {count}" for value, count in values.most_common(10))
        lines.append(f"  {name}: {most}{', ...' if len(values) > 10 else ''}")
    return "\n".join(lines)


def connect(connection: dict[str, Any]) -> Connection:
    """To the server that ``options.connecting`` names."""
    return Connection(Endpoint(**connection))


@contextmanager
def exit_codes() -> Iterator[None]:
    """Say what went wrong, and whose fault it is."""
    try:
        yield
    except (InvalidConfiguration, BadFilter, NoPictures) as error:
        raise click.UsageError(str(error)) from error
    except AdlensError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(SERVER_FAILED if isinstance(error, ServerError | UnknownModel) else SOME_FAILED)
