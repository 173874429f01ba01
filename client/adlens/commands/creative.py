"""``adlens creative``: which version of a picture converts best, and which other pictures would."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
from PIL import Image

from adlens import contract, filters, pictures
from adlens.answers import Failure
from adlens.commands import options
from adlens.commands.gallery_photos import AnsweringGallery, one_of_each_folder
from adlens.commands.run import Run, progress
from adlens.creatives import CreativeAnswer
from adlens.drawings import Drawings
from adlens.errors import AdlensError, BadContext, BadFilter, InvalidConfiguration, NotSent
from adlens.front import DEFAULT_TARGET
from adlens.galleries.files import GalleryFolder
from adlens.recommender import Recommender
from adlens.reports import Creative, CreativeText, Json, Report

_WRONG_FOR_ALL = {BadContext.__name__: BadContext, BadFilter.__name__: BadFilter}
"""Failures with which no picture of the run can fare better: the command was used wrongly."""


@click.command()
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")
@click.option("--target", envvar="ADLENS_TARGET", default=DEFAULT_TARGET, show_default=True,
              type=click.Choice(contract.TARGETS), help="What the campaign is for.")  # fmt: skip
@click.option("--campaign-type", envvar="ADLENS_CAMPAIGN_TYPE", default="", metavar="NAME",
              help="Of the campaign; an unknown one is answered by those that the model knows.")  # fmt: skip
@click.option("--industry", envvar="ADLENS_INDUSTRY", default="", metavar="NAME", help="The same.")
@click.option("--type", "type_", envvar="ADLENS_TYPE", default="", metavar="NAME",
              help="Kind of product; alternates are of the same one.")  # fmt: skip
@click.option("--filter", "pairs", envvar="ADLENS_FILTER", multiple=True, metavar="ATTRIBUTE=VALUE",
              help="Pictures that may be alternates; of one attribute any value will do.")  # fmt: skip
@options.alternates
@click.option("--out", envvar="ADLENS_OUT", type=click.Path(path_type=Path), metavar="DIR",
              help="Write a sheet of each picture with its variants and alternates there.")  # fmt: skip
@click.option("--variants", envvar="ADLENS_VARIANTS", type=click.Path(path_type=Path), metavar="DIR",
              help="Write the variants of each picture there, to be sent.")  # fmt: skip
@options.as_json
@options.workers
@options.connecting
def creative(
    photos: tuple[Path, ...],
    target: str,
    campaign_type: str,
    industry: str,
    type_: str,
    pairs: tuple[str, ...],
    folder: Path | None,
    out: Path | None,
    variants: Path | None,
    as_json: bool,
    workers: int,
    connection: dict[str, Any],
) -> None:
    """Find the version of each picture at PATH that converts best in a campaign, and alternates to it."""
    report: Report[Creative | Failure] = Json() if as_json else CreativeText()
    campaign = {"campaign_type": campaign_type, "industry": industry, "type": type_}
    try:
        catalogue = options.alternates_folder(folder)
        desk = _desk(out, variants, photos, catalogue)
        asked = {**campaign, "filter": filters.parse(pairs), "workers": workers}
        with Recommender(**connection) as front, progress() as bar:
            run = _Creatives(report, bar)
            run.expect(len(photos))
            try:
                for answer in _ask(front, photos, target, asked):
                    run.take(answer, desk, front)
            except KeyboardInterrupt:
                run.interrupted()
                raise
            code = run.ended()
    except (InvalidConfiguration, BadFilter, BadContext) as error:
        raise click.UsageError(str(error)) from error
    sys.exit(code)


def _ask(
    front: Recommender, photos: tuple[Path, ...], target: str, asked: dict[str, Any]
) -> Iterator[CreativeAnswer | Failure]:
    """An answer a photo, or a failure each where the server does not say which campaigns it knows.

    Raises:
        BadContext: it does not know this one.
    """
    try:
        answers = front.optimise_creatives(photos, target, **asked)
    except (BadContext, InvalidConfiguration):
        raise
    except AdlensError as error:
        yield Failure.of(str(photos[0]), error)
        for photo in photos[1:]:
            yield Failure.of(str(photo), NotSent(f"not sent, as the server failed before ({error})"))
    else:
        yield from answers


@dataclass(frozen=True)
class _Desk:
    """Where sheets and variants are laid, each where it was asked for; and the alternates' pictures."""

    sheets: Drawings | None
    variants: Drawings | None
    catalogue: GalleryFolder


def _desk(
    out: Path | None, variants: Path | None, photos: tuple[Path, ...], catalogue: GalleryFolder
) -> _Desk:
    inputs = (*photos, *one_of_each_folder(catalogue)) if out or variants else ()
    sheets = Drawings(out, inputs) if out else None
    if variants and out and variants.resolve() == out.resolve():
        return _Desk(sheets, sheets, catalogue)  # which then knows the names that are taken
    return _Desk(sheets, Drawings(variants, inputs, "--variants") if variants else None, catalogue)


class _Creatives(Run[Creative]):
    """One run: draws and prints."""

    def take(self, answer: CreativeAnswer | Failure, desk: _Desk, front: Recommender) -> None:
        """Print ``answer``, and lay on the ``desk`` what was asked for.

        Raises:
            BadContext: it says so; no other photo can fare better.
            BadFilter: the same.
        """
        self.done()
        if isinstance(answer, Failure):
            if answer.kind in _WRONG_FOR_ALL:
                raise _WRONG_FOR_ALL[answer.kind](answer.message)
            self.failed(answer)
            return
        if not (desk.sheets or desk.variants):
            self.show(Creative(answer))
            return
        versions = self.draw(lambda: front.render_creative(answer.path))
        files = self._variants(answer, desk.variants, versions) if desk.variants and versions else {}
        drawing, sheets = None, desk.sheets
        if sheets and versions:
            alternates, missing = _alternates(answer, desk.catalogue) if answer.alternates else ({}, [])
            answer = replace(answer, warnings=(*answer.warnings, *missing))
            drawing = self.draw(lambda: sheets.creative(answer, versions, alternates))
        self.show(Creative(answer, files), drawing)

    def _variants(
        self, answer: CreativeAnswer, drawings: Drawings, versions: Mapping[str, Image.Image]
    ) -> dict[str, Path]:
        """The files of the variants that could be written, the best first."""
        files: dict[str, Path] = {}
        for version in answer.variants:
            label, picture = version.label, versions.get(version.label)
            if picture is not None:
                path = self.draw(partial(drawings.variant, answer, label, picture))
                files |= {label: path} if path else {}
        return files


def _alternates(answer: CreativeAnswer, catalogue: GalleryFolder) -> tuple[dict[str, Image.Image], list[str]]:
    """Pictures of the alternates by id, and what is to be said where some are not at hand."""
    found: dict[str, Image.Image] = {}
    faults = []
    try:
        answering = AnsweringGallery(catalogue, answer.model_versions, "--alternates")
    except AdlensError as error:
        return {}, [f"alternates are not shown: {error}"]
    for each in answer.alternates:
        try:
            found[each.id] = pictures.open_upright(answering.photo(each.id))
        except AdlensError as error:
            faults.append(f"an alternate is not shown: {error}")
    return found, faults
