"""``adlens influencers describe``: the posts of accounts become vectors, which build and rank take."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from adlens.accounts import Unused, find_accounts
from adlens.commands import SERVER_FAILED, SOME_FAILED, options
from adlens.commands.inventory import connect, exit_codes
from adlens.describing import WORKERS, Describer, Outcome, describe_accounts, makers
from adlens.errors import ServerError, UnknownModel, WrongEmbedder
from adlens.history import HALF_LIFE_DAYS, Weighting
from adlens.recruiting import Recruiter
from adlens.transport import Connection
from adlens.words import WordVectors


@click.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--out",
    envvar="ADLENS_DESCRIBED",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Where the vectors go; those that are there are kept.",
)
@click.option(
    "--words",
    envvar="ADLENS_WORDS",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Word vectors, by which captions are described, too.",
)
@click.option(
    "--engagement/--no-engagement",
    envvar="ADLENS_ENGAGEMENT",
    default=True,
    show_default=True,
    help="Posts that are liked weigh more.",
)
@click.option(
    "--half-life",
    "half_life_days",
    envvar="ADLENS_HALF_LIFE",
    type=float,
    metavar="DAYS",
    default=HALF_LIFE_DAYS,
    show_default=True,
    help="Age at which a post weighs half; inf for none.",
)
@click.option("--plain", envvar="ADLENS_PLAIN", is_flag=True, help="Keep the plain means, too.")
@click.option(
    "--workers",
    envvar="ADLENS_WORKERS",
    type=click.IntRange(1),
    show_default=True,
    default=WORKERS,
    metavar="N",
    help="Pictures in flight.",
)
@options.as_json
@options.connecting
def describe(
    source: Path,
    out: Path,
    words: Path | None,
    engagement: bool,
    half_life_days: float,
    plain: bool,
    workers: int,
    as_json: bool,
    connection: dict[str, Any],
) -> None:  # fmt: skip
    """Describe the accounts of SOURCE by their posts: a folder each, with posts.jsonl and account.json.

    A brand's posts that mention somebody are left aside: they tell with whom it works, which a ranking is to
    find. A run that is interrupted goes on where it was: give the same command again.
    """
    unused = Unused()
    with exit_codes(), connect(connection) as server:
        weighting = Weighting(engagement, half_life_days)
        vectors = WordVectors.load(words) if words else None
        describer = Describer(server)
        if describer.card.starter:
            said = f"{describer.card.model} runs on starter weights: it was never taught what pictures show"
            click.echo(f"warning: {said}; to have that, build it with published ones first", err=True)
        _compare(server, makers(describer, vectors))
        with tqdm(unit=" pictures", disable=None, leave=False) as bar:
            outcome = describe_accounts(
                find_accounts(source, unused), describer, out,
                weighting=weighting, words=vectors, plain=plain, workers=workers, on_picture=bar.update,
            )  # fmt: skip
    faults = [*unused.lines(), *outcome.unused.lines()]
    for line in faults:
        click.echo(f"error: not used: {line}", err=True)
    if outcome.failure:
        click.echo(f"error: {outcome.failure}", err=True)
        left = f"{outcome.unfinished} accounts are not described"
        click.echo(f"error: {left}; to go on, give the same command again", err=True)
    click.echo(_summary(out, outcome, unused, as_json=as_json))
    sys.exit(SERVER_FAILED if outcome.failure else SOME_FAILED if faults else 0)


def _compare(server: Connection, made_by: Mapping[str, str]) -> None:
    """Say beforehand where the server's ranker will refuse what is described here; there need not be one."""
    with suppress(ServerError, UnknownModel):
        schema = Recruiter(server).schema
        try:
            schema.check_made_by(dict.fromkeys(made_by, ()), made_by, "the server's ranker will refuse these")
        except WrongEmbedder as error:
            click.echo(f"warning: {error}", err=True)


def _summary(out: Path, outcome: Outcome, unused: Unused, *, as_json: bool) -> str:
    if as_json:
        numbers = {name: getattr(outcome, name) for name in ("accounts", "before", "unfinished", "pictures")}
        return json.dumps(
            {"described": str(out), **numbers, "not_used": unused.to_json() | outcome.unused.to_json()}
        )
    before = f", {outcome.before} were there" if outcome.before else ""
    return f"{out}: {outcome.accounts} accounts described by {outcome.pictures} pictures{before}"
