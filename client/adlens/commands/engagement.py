"""``adlens engagement``: how popular a post with each picture will be, or which of them to post."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from adlens import contexts
from adlens.answers import Failure
from adlens.commands import options
from adlens.commands.run import Run, progress
from adlens.contexts import FileContexts
from adlens.drawings import Drawings
from adlens.engagement import EngagementAnswer, EngagementRanking
from adlens.errors import BadPost, InvalidConfiguration, NoPictures
from adlens.front import pictures_of
from adlens.recommender import Recommender
from adlens.reports import Engagement, EngagementText, Json, Ranked, Report

_Shown = Engagement | Ranked


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")
@click.option("--context", "file", envvar="ADLENS_CONTEXT", type=click.Path(path_type=Path), metavar="FILE",
              help="What is known of the posts: a JSON object for all, or JSON lines, an array or CSV with "
                   "one record a picture, which its 'image' names.")  # fmt: skip
@click.option("--rank", envvar="ADLENS_RANK", is_flag=True,
              help="Take them for candidates of one account: in order, the best first.")  # fmt: skip
@click.option("--out", envvar="ADLENS_OUT", type=click.Path(path_type=Path), metavar="DIR",
              help="Write each picture with its answer there; with --rank, one sheet of all.")  # fmt: skip
@options.as_json
@options.workers
@options.connecting
def engagement(
    paths: tuple[Path, ...],
    file: Path | None,
    rank: bool,
    out: Path | None,
    as_json: bool,
    workers: int,
    connection: dict[str, Any],
) -> None:
    """Predict how popular a post will be with each picture at PATH, or with each in a folder at PATH."""
    report: Report[Any] = Json() if as_json else EngagementText()
    try:
        known = contexts.load(file) if file else None
        drawings = Drawings(out, paths) if out else None
        photos, failures = _photos(paths)
        with Recommender(**connection) as front, progress() as bar:
            run = _Engagements(report, bar, drawings, known)
            run.expect(len(photos) + len(failures))
            try:
                asked = known.of_each(photos) if known else None
                answers = chain(failures, front.predict_engagements(photos, asked, workers=workers))
                run.rank(answers, as_json=as_json) if rank else run.each(answers)
            except KeyboardInterrupt:
                run.interrupted()
                raise
            code = run.ended()
    except (InvalidConfiguration, BadPost) as error:
        raise click.UsageError(str(error)) from error
    sys.exit(code)


def _photos(paths: Iterable[Path]) -> tuple[list[Path], list[Failure]]:
    """The pictures at ``paths``, those of folders by name, and the folders that hold none."""
    found: list[Path] = []
    failures = []
    for path in paths:
        try:
            found += pictures_of(path) if path.is_dir() else [path]
        except NoPictures as error:
            failures.append(Failure.of(str(path), error))
    return found, failures


class _Engagements(Run[_Shown]):
    """One run: draws and prints."""

    def __init__(
        self,
        report: Report[_Shown | Failure],
        bar: tqdm[Any],
        drawings: Drawings | None,
        known: FileContexts | None,
    ) -> None:
        super().__init__(report, bar)
        self._drawings = drawings
        self._known = known

    def each(self, answers: Iterable[EngagementAnswer | Failure]) -> None:
        """Print the answers as they come, and draw them where that is asked for."""
        drawings = self._drawings
        for answer in self._answered(answers):
            self.show(answer, self.draw(partial(drawings.engagement, answer)) if drawings else None)

    def rank(self, answers: Iterable[EngagementAnswer | Failure], *, as_json: bool) -> None:
        """Print and draw the answers in order once all are there."""
        ranking = EngagementRanking.of(self._answered(answers))
        if not ranking.ranked:
            return
        drawings = self._drawings
        drawing = self.draw(partial(drawings.ranking, ranking)) if drawings else None
        if not as_json:
            self.show(ranking, drawing)
            return
        for rank, answer in enumerate(ranking.ranked, 1):
            self.show(Ranked(answer, rank), drawing)

    def _answered(self, answers: Iterable[EngagementAnswer | Failure]) -> Iterator[EngagementAnswer]:
        """The answers; failures are printed."""
        for answer in answers:
            self.done()
            if isinstance(answer, Failure):
                self.failed(answer)
            elif self._known and self._known.of(Path(answer.path)) is None:
                said = f"{self._known.source} says nothing of this picture"
                yield replace(answer, warnings=(*answer.warnings, said))
            else:
                yield answer
