"""``adlens influencers``: those that the server holds, and which of them fit a brand.

A change is taken up by a running server within a second or two, without a failed request; the command
ends when that has happened and what was before is wiped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from PIL import Image
from tqdm import tqdm

from adlens import contract, tiles
from adlens.answers import Failure
from adlens.commands import SERVER_FAILED, SOME_FAILED, inventory, options
from adlens.commands.describing import describe
from adlens.commands.enrolling import contents_before
from adlens.commands.inventory import Held, connect, exit_codes
from adlens.described import DescribedAccount
from adlens.drawings import Drawings
from adlens.errors import InvalidConfiguration
from adlens.feature_file import read_accounts
from adlens.filters import Filter
from adlens.galleries.records import AccountRecord
from adlens.galleries.served import ServedGallery
from adlens.influencer_table import table
from adlens.influencers import InfluencerAnswer
from adlens.jobs.influencers import DEFAULT_COUNT, MICRO, Range
from adlens.recommender import Recommender
from adlens.recruiting import Recruiter

_Command = Callable[..., Any]
_MICRO: Final = ":".join(f"{number:g}" for number in MICRO if number is not None)
_POSTS: Final = 3


def _influencers_options(command: _Command) -> _Command:
    """Which gallery, and which server searches it."""
    return options.influencers(options.connecting(command))


def _held(folder: Path | None) -> Held:
    return Held(options.influencers_folder(folder), "--influencers", "influencer")


_accounts = click.argument("accounts", type=click.Path(path_type=Path, exists=True))


@click.group()
def influencers() -> None:
    """Rank influencers for a brand; build, change and look at those that the server holds."""


influencers.add_command(describe)


@influencers.command()
@_accounts
@options.as_json
@_influencers_options
def build(**given: Any) -> None:  # noqa: ANN401
    """Make the accounts of ACCOUNTS the influencers, in place of those before.

    ACCOUNTS is a folder of described accounts (adlens influencers describe), or an NPZ of features as rankers
    are trained on; brands among them are passed over. No post is stored. Category and language become
    attributes.
    """
    _recruit(keep=False, **given)


@influencers.command()
@_accounts
@options.as_json
@_influencers_options
def add(**given: Any) -> None:  # noqa: ANN401
    """Add the accounts of ACCOUNTS, which is as for build; each takes the place of one with its id."""
    _recruit(keep=True, **given)


def _recruit(
    *, keep: bool, accounts: Path, as_json: bool, folder: Path | None, connection: dict[str, Any]
) -> None:
    held, failures = _held(folder), []
    gallery = held.gallery
    with exit_codes(), connect(connection) as server:
        if not gallery.folder.is_dir():  # one made here would be searched by no server
            raise InvalidConfiguration(f"{gallery.folder} is no gallery; name its folder with {held.option}")
        recruiter = Recruiter(server)
        if recruiter.card.starter:
            said = f"{recruiter.card.model} is a starter, learned from generated accounts"
            remedy = "that others are found who fit, train it first, and then build this anew"
            click.echo(f"warning: {said}; so {remedy}", err=True)
        gallery.ensure(recruiter.name, recruiter.dimension)
        with gallery.locked():
            before = contents_before(held, recruiter.name, recruiter.dimension, keep=keep)
            records = []
            for each in recruiter.recruit(_bar(read_accounts(accounts, posts=False))):
                if isinstance(each, AccountRecord):
                    records.append(each)
                else:
                    failures.append(each)
                    _complain(each, as_json=as_json)
            if records:
                contents = before.with_records(records, recruiter.card.weights, replace_ids=True)
                ServedGallery(gallery, server).publish(contents)()
                found = {"gallery": str(gallery.folder), "added": len(records)}
                found[held.things] = len(contents.ids)
                found["without_followers"] = _without_followers(records)
                words = f"{gallery.folder}: {len(records)} influencers added, {len(contents.ids)} in all"
                click.echo(json.dumps(found) if as_json else words)
            elif not failures:
                raise InvalidConfiguration(f"{accounts} has no influencer in it; describe accounts into it")
    if any(failure.server for failure in failures):
        sys.exit(SERVER_FAILED)
    sys.exit(SOME_FAILED if failures else 0)


def _without_followers(records: Sequence[AccountRecord]) -> int:
    """How many have no known number of them, which is said: most rankings will not find them."""
    column = contract.ACCOUNT_NUMBERS.index("followers")
    if unknown := sum(bool(np.isnan(record.payload[column])) for record in records):
        said = (
            f"followers of {unknown} influencers are not known: a ranking finds them by --followers : alone"
        )
        click.echo(f"warning: {said}", err=True)
    return unknown


def _bar(accounts: Iterable[DescribedAccount]) -> Iterable[DescribedAccount]:
    """With a bar on standard error, where that is a terminal."""
    return tqdm(accounts, unit=" accounts", disable=None, leave=False)


def _complain(failure: Failure, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(failure.to_json(), ensure_ascii=False))
    click.echo(f"error: {failure}", err=True)


inventory.add_commands(influencers, _influencers_options, _held, "influencers", "gallery")


def _bounds(ctx: click.Context, param: click.Parameter, value: str) -> Range:
    """LOW:HIGH, either of which may be left out."""
    low, colon, high = value.partition(":")
    try:
        found = (float(low) if low.strip() else None, float(high) if high.strip() else None)
    except ValueError:
        colon = ""
    if not colon:
        said = f"{value!r} is no range; write LOW:HIGH, such as 5000:100000, or 5000: without an end"
        raise click.BadParameter(said, ctx, param)
    return found


@dataclass(frozen=True)
class _Chosen:
    """What ``rank`` is asked for, but for the brand."""

    category: tuple[str, ...]
    language: tuple[str, ...]
    followers: Range
    min_engagement: float | None
    count: int
    posts: int

    @property
    def filter(self) -> Filter:
        """By attributes."""
        chosen = {"category": self.category, "language": self.language}
        return {name: values for name, values in chosen.items() if values}


@influencers.command()
@click.argument("brand")
@click.option(
    "--accounts",
    envvar="ADLENS_ACCOUNTS",
    required=True,
    metavar="PATH",
    type=click.Path(path_type=Path, exists=True),
    help="Folder of described accounts: the brand's, and influencers' whose posts are to be told. Or an NPZ.",
)
@click.option(
    "--category",
    envvar="ADLENS_CATEGORY",
    multiple=True,
    metavar="NAME",
    help="Only influencers of this category, or of one of several.",
)
@click.option(
    "--language",
    envvar="ADLENS_LANGUAGE",
    multiple=True,
    metavar="NAME",
    help="Only influencers who write in it, or in one of several.",
)
@click.option(
    "--followers",
    envvar="ADLENS_FOLLOWERS",
    callback=_bounds,
    default=_MICRO,
    show_default=True,
    metavar="LOW:HIGH",
    help="Only influencers with so many; : for any, and for those of whom it is not known.",
)
@click.option(
    "--min-engagement",
    envvar="ADLENS_MIN_ENGAGEMENT",
    type=float,
    metavar="X",
    help="Only where likes and comments of a post are this share of followers, such as 0.02.",
)
@click.option(
    "--count",
    envvar="ADLENS_COUNT",
    type=click.IntRange(1, contract.RANKED),
    show_default=True,
    default=DEFAULT_COUNT,
    metavar="N",
    help="Influencers shown.",
)
@click.option(
    "--posts",
    envvar="ADLENS_POSTS",
    type=click.IntRange(0),
    show_default=True,
    default=_POSTS,
    metavar="N",
    help="Posts of each that are told as reasons; 0 for none.",
)
@click.option(
    "--out",
    envvar="ADLENS_OUT",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write a sheet of the influencers with these posts there; needs --pictures.",
)
@click.option(
    "--pictures",
    envvar="ADLENS_PICTURES",
    metavar="DIR",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Where the accounts' own folders are, of which --accounts was described.",
)
@inventory.as_one_json
@options.connecting
def rank(
    brand: str,
    accounts: Path,
    out: Path | None,
    pictures: Path | None,
    as_json: bool,
    connection: dict[str, Any],
    **chosen: Any,  # noqa: ANN401
) -> None:  # fmt: skip
    """Rank the influencers that the server holds for BRAND, an account of --accounts.

    Blocks of features are told with their share in what speaks for an influencer, below 0 where they speak
    against it; posts with what they add to the score.
    """
    if out and not pictures:
        raise click.UsageError("--out shows posts; say by --pictures where the accounts' folders are")
    drawing = None
    with exit_codes():
        drawings = Drawings(out, (pictures,)) if out and pictures else None
        answer = _ranked(brand, accounts, _Chosen(**chosen), connection)
        if drawings and pictures:
            drawing = drawings.influencers(answer, _at_hand(answer, pictures))
    if as_json:
        said = answer.to_json() | ({"sheet": str(drawing)} if drawing else {})
        click.echo(json.dumps(said, ensure_ascii=False))
        return
    for line in table(answer):
        click.echo(line)
    if drawing:
        click.echo(f"sheet: {drawing}")
    for warning in answer.warnings:
        click.echo(f"warning: {warning}", err=True)


def _at_hand(answer: InfluencerAnswer, folder: Path) -> dict[tuple[str, int], Image.Image]:
    """Pictures of the posts told, those that can be read, as large as the sheet needs them."""
    found = {}
    for each in answer.influencers:
        for post in each.posts:
            if post.image and (picture := tiles.thumbnail(folder / each.id / post.image)):
                found[each.id, post.line] = picture
    return found


def _ranked(brand: str, accounts: Path, chosen: _Chosen, connection: dict[str, Any]) -> InfluencerAnswer:
    """The answer, with posts where they are asked for.

    Raises:
        InvalidConfiguration: the brand is none of the accounts.
        AdlensError: as ``Recommender.rank_influencers``.
    """
    account = next(read_accounts(accounts, {brand}, posts=False), None)
    if account is None:
        raise InvalidConfiguration(f"{accounts} has no account {brand!r}; describe it into that folder")
    with Recommender(**connection) as front:
        answer = front.rank_influencers(
            account,
            filter=chosen.filter,
            followers=chosen.followers,
            engagement=(chosen.min_engagement, None),
            count=chosen.count,
        )
    if not (chosen.posts and answer.influencers):
        return answer
    with connect(connection) as server:
        wanted = {each.id for each in answer.influencers}
        known = {account.id: account for account in read_accounts(accounts, wanted)}
        return Recruiter(server).with_posts(answer, known, chosen.posts)
