"""``adlens ads``: the campaign photo with the most similar face, and the offer to show it with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from adlens import filters
from adlens.ads import AdAnswer
from adlens.answers import Failure
from adlens.commands import options
from adlens.commands.gallery_photos import AnsweringGallery, one_of_each_folder
from adlens.commands.run import Run, progress
from adlens.customers import load_customer
from adlens.drawings import Drawings
from adlens.errors import AdlensError, BadFilter, InvalidConfiguration
from adlens.filters import Filter
from adlens.galleries.files import GalleryFolder
from adlens.recommender import Recommender
from adlens.reports import AdText, Json, Report


@click.command()
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--customer", envvar="ADLENS_CUSTOMER", type=click.Path(path_type=Path), metavar="FILE",
              help="The customer's record (a JSON object), for an offer.")  # fmt: skip
@click.option("--filter", "pairs", envvar="ADLENS_FILTER", multiple=True, metavar="ATTRIBUTE=VALUE",
              help="Campaign photos that may be found; of one attribute any value will do.")  # fmt: skip
@options.gallery
@options.embedder
@click.option("--out", envvar="ADLENS_OUT", type=click.Path(path_type=Path), metavar="DIR",
              help="Write each photo beside the one found for it there.")  # fmt: skip
@options.as_json
@options.workers
@options.connecting
def ads(
    photos: tuple[Path, ...],
    customer: Path | None,
    pairs: tuple[str, ...],
    folder: Path | None,
    embedder: str,
    out: Path | None,
    as_json: bool,
    workers: int,
    connection: dict[str, Any],
) -> None:
    """Find the ad for the person in each of PHOTOS: a campaign photo and an offer."""
    report: Report[AdAnswer | Failure] = Json() if as_json else AdText()
    try:
        chosen = filters.parse(pairs)
        gallery = options.gallery_folder(folder, embedder)
        drawings = Drawings(out, (*photos, *one_of_each_folder(gallery))) if out else None
        with Recommender(**connection, embedder=embedder) as front, progress() as bar:
            run = _Ads(report, bar)
            run.expect(len(photos))
            try:
                for answer in _ask(front, photos, customer, chosen, workers):
                    run.take(answer, drawings, gallery)
            except KeyboardInterrupt:
                run.interrupted()
                raise
            code = run.ended()
    except (InvalidConfiguration, BadFilter) as error:
        raise click.UsageError(str(error)) from error
    sys.exit(code)


def _ask(
    front: Recommender, photos: tuple[Path, ...], customer: Path | None, chosen: Filter, workers: int
) -> Iterator[AdAnswer | Failure]:
    """An answer a photo, or one failure where there is no offer to be had for the customer."""
    try:
        record = load_customer(customer) if customer else None
        answers = front.personalise_many(photos, record, filter=chosen, workers=workers)
    except AdlensError as error:
        yield Failure.of(str(customer), error)
    else:
        yield from answers


class _Ads(Run[AdAnswer]):
    """One run: draws and prints."""

    def take(self, answer: AdAnswer | Failure, drawings: Drawings | None, gallery: GalleryFolder) -> None:
        """Print ``answer``, and draw it where there are ``drawings``.

        Raises:
            BadFilter: it says so; no other photo can fare better.
        """
        self.done()
        if isinstance(answer, Failure):
            if answer.kind == BadFilter.__name__:
                raise BadFilter(answer.message)
            self.failed(answer)
            return
        drawing = None
        if drawings:
            try:
                campaign = _campaign_photo(answer, gallery)
            except AdlensError as error:
                answer = replace(answer, warnings=(*answer.warnings, f"not drawn: {error}"))
            else:
                drawing = self.draw(lambda: drawings.ad(answer, campaign))
        self.show(answer, drawing)


def _campaign_photo(answer: AdAnswer, gallery: GalleryFolder) -> bytes | None:
    """The photo found, as a JPEG file; None without one.

    Raises:
        AdlensError: it cannot be read, or ``gallery`` is not the one that answered.
    """
    if answer.nearest is None:
        return None
    answering = AnsweringGallery(gallery, answer.model_versions, "--gallery")
    return answering.photo(answer.nearest.id).jpeg
