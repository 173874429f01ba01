"""Make past posts ready for training: ``python -m export.import_posts EXPORT --out DIR``.

Reads an export of posts (CSV, JSON, or JSON lines), leaves out what cannot be used and what breaks the rules
of cleaning, and says how many posts that were, and why. Leaves ``posts.csv`` and ``report.json`` in a folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import tzinfo
from pathlib import Path
from typing import Final, TypeVar

import click

from adlens.posts import read_zone
from export.datasets import DatasetError
from export.engagement.cleaning import CleaningReport, Rules, clean
from export.engagement.columns import ALIASES
from export.engagement.posts import Unusable, read_posts, write_posts_csv

POSTS_FILE: Final = "posts.csv"
REPORT_FILE: Final = "report.json"
Command = TypeVar("Command", bound=Callable[..., None])
NAMED: Final = 3
"""Rows named of each reason for which rows cannot be used."""


def import_posts(
    export: Path,
    folder: Path,
    rules: Rules,
    columns: dict[str, str] | None = None,
    zone: tzinfo | None = None,
) -> tuple[CleaningReport, Unusable]:
    """Read, clean, and leave ``posts.csv`` and ``report.json`` in ``folder``.

    Args:
        export: as for ``read_posts``, and so ``columns`` and ``zone``.
        folder: made where it is not there; pictures stay where they are, and are named relative to it.
        rules: of cleaning.
        columns: by field.
        zone: where the account lives.

    Raises:
        DatasetError: the export cannot be read, or no post is left.
    """
    posts, unusable = read_posts(export, columns, zone)
    kept, report = clean(posts, rules, unusable)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / POSTS_FILE).resolve() == export.resolve():
        raise DatasetError(f"{export} would be overwritten; name another folder by --out")
    write_posts_csv(kept, folder / POSTS_FILE)
    named = {reason: rows[:NAMED] for reason, rows in unusable.rows.items()}
    told = {"export": export.name, **report.to_json(), "examples": named}
    (folder / REPORT_FILE).write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return report, unusable


def _zone(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tzinfo | None:
    try:
        return read_zone(value) if value else None
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _columns(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for value, (field, _, column) in zip(values, pairs, strict=True):
        if not column or field not in ALIASES:
            raise click.BadParameter(
                f"{value!r}; write FIELD=COLUMN, such as likes=hearts, with a field of {', '.join(ALIASES)}"
            )
    return {field: column for field, _, column in pairs}


_OPTIONS: Final = (
    click.option("--min-ratio", default=Rules.min_ratio, help="Fewest comments a like."),
    click.option("--max-ratio", default=Rules.max_ratio, help="Most comments a like."),
    click.option("--max-likes", default=Rules.max_likes, help="Of a post; one with more was paid for."),
    click.option(
        "--keep-advertised", is_flag=True, help="Keep posts that the export itself calls advertised."
    ),
    click.option(
        "--timezone",
        callback=_zone,
        help="Where the account lives, such as Europe/Berlin; for times in UTC, or in seconds since 1970.",
    ),
    click.option(
        "--column",
        "columns",
        multiple=True,
        callback=_columns,
        help="FIELD=COLUMN, where the export calls a field otherwise; again for others.",
    ),
)


def reading_options(command: Command) -> Command:
    """Give ``command`` the options that say how an export is read and cleaned."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_IMPORT_POSTS"})
@click.argument("export", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path),
    help="Folder for posts.csv and report.json.",
)  # fmt: skip
@reading_options
def main(
    export: Path,
    out: Path,
    min_ratio: float,
    max_ratio: float,
    max_likes: int,
    keep_advertised: bool,
    timezone: tzinfo | None,
    columns: dict[str, str],
) -> None:
    """Clean the posts of EXPORT, a CSV, JSON or JSON lines file, for training."""
    try:
        rules = Rules(min_ratio, max_ratio, max_likes, keep_advertised)
        report, unusable = import_posts(export, out, rules, columns, timezone)
    except DatasetError as error:
        raise click.ClickException(str(error)) from error
    for reason, rows in unusable.rows.items():
        more = f", and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
        click.echo(f"left out: {reason}: {'; '.join(rows[:NAMED])}{more}", err=True)
    click.echo(report)
    click.echo(f"posts.csv and report.json are in {out}", err=True)


if __name__ == "__main__":
    main()
