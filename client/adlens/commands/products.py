"""``adlens products``: what to recommend to the people in pictures."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from adlens import pictures
from adlens.answers import Failure, PictureAnswer, UserAnswer
from adlens.commands import options
from adlens.commands.run import Run, progress
from adlens.drawings import Drawings
from adlens.errors import InvalidConfiguration, NoPictures, NotSent
from adlens.recommender import Recommender
from adlens.reports import Csv, Json, Report, Text

_Answer = PictureAnswer | UserAnswer


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@options.as_json
@click.option("--csv", "as_csv", envvar="ADLENS_CSV", is_flag=True, help="CSV, one row an answer.")
@click.option("--out", envvar="ADLENS_OUT", type=click.Path(path_type=Path), metavar="DIR",
              help="Write annotated pictures there.")  # fmt: skip
@click.option("--recursive", envvar="ADLENS_RECURSIVE", is_flag=True,
              help="Each folder below that holds pictures is a user.")  # fmt: skip
@click.option("--fast", envvar="ADLENS_FAST", is_flag=True,
              help="Judge faces by one network alone: sooner, and somewhat less sure.")  # fmt: skip
@options.workers
@click.option("--catalogue", envvar="ADLENS_CATALOGUE", type=click.Path(path_type=Path), metavar="FILE",
              help="Product catalogue (YAML), instead of the one of adlens.")  # fmt: skip
@options.connecting
def products(
    paths: tuple[Path, ...],
    as_json: bool,
    as_csv: bool,
    out: Path | None,
    recursive: bool,
    fast: bool,
    workers: int,
    catalogue: Path | None,
    connection: dict[str, Any],
) -> None:
    """Recommend products to the people in pictures.

    Each of PATHS is a picture or a folder; a folder holds the pictures of one user, who gets a
    recommendation of their own.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    report: Report[_Answer | Failure] = Json() if as_json else Csv() if as_csv else Text()
    try:
        drawings = Drawings(out, paths) if out else None
        with Recommender(**connection, catalogue=catalogue) as front, progress() as bar:
            run = _Products(front, report, drawings, bar, workers, fast)
            try:
                code = run(_targets(paths, recursive))
            except KeyboardInterrupt:
                run.interrupted()
                raise
    except InvalidConfiguration as error:
        raise click.UsageError(str(error)) from error
    sys.exit(code)


class _Products(Run[_Answer]):
    """One run: asks, prints and draws."""

    def __init__(
        self,
        front: Recommender,
        report: Report[_Answer | Failure],
        drawings: Drawings | None,
        bar: tqdm[Any],
        workers: int,
        fast: bool,
    ) -> None:
        super().__init__(report, bar)
        self._front = front
        self._fast = fast
        self._drawings = drawings
        self._workers = workers

    def __call__(self, targets: Iterator[_Target]) -> int:
        """Work through ``targets``; the exit code."""
        for target in targets:
            if isinstance(target, Failure):
                self.failed(target)
            elif self.gone:
                self._leave_out(target)
            elif isinstance(target, _User):
                self._user(target)
            else:
                self._pictures(target)
        return self.ended()

    def _pictures(self, paths: list[Path]) -> None:
        self.expect(len(paths))
        for answer in self._front.recommend_many(paths, workers=self._workers, fast=self._fast):
            self._picture(answer)

    def _user(self, user: _User) -> None:
        try:
            self.expect(sum(1 for _ in pictures.find_pictures(user.folder)))
            answer = self._front.recommend_for_user(
                user.folder,
                workers=self._workers,
                on_answer=lambda answer: self._picture(answer, user),
                fast=self._fast,
            )
        except NoPictures as error:
            self.failed(Failure.of(str(user.folder), error))
            return
        self.show(answer, self._drawn(lambda drawings: drawings.user(answer, user.folder, user.root)))

    def _picture(self, answer: PictureAnswer | Failure, user: _User | None = None) -> None:
        self.done()
        if isinstance(answer, Failure):
            self.failed(answer)
            return
        folder, root = (user.folder, user.root) if user else (None, None)
        self.show(answer, self._drawn(lambda drawings: drawings.picture(answer, folder, root)))

    def _leave_out(self, target: _User | list[Path]) -> None:
        """Say of a target that it was not begun."""
        error = NotSent("not sent, as the server failed before")
        for path in [target.folder] if isinstance(target, _User) else target:
            self.failed(Failure.of(str(path), error))

    def _drawn(self, draw: Callable[[Drawings], Path | None]) -> Path | None:
        drawings = self._drawings
        return self.draw(lambda: draw(drawings)) if drawings else None


class _User:
    """A folder with the pictures of one user, found in the folder ``root`` that was asked for."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        self.root = root


_Target = _User | list[Path] | Failure


def _targets(paths: tuple[Path, ...], recursive: bool) -> Iterator[_Target]:
    """What to work through: users, and pictures that follow one another together."""
    for is_folder, group in itertools.groupby(paths, Path.is_dir):
        if not is_folder:
            yield list(group)
            continue
        for root in group:
            yield from _users(root) if recursive else (_User(root, root),)


def _users(root: Path) -> Iterator[_Target]:
    """The users in ``root``, or the failure to find any."""
    empty = True
    for folder in pictures.find_users(root):
        empty = False
        yield _User(folder, root)
    if empty:
        error = NoPictures(f"{root}: no picture files in this folder or below; check the path")
        yield Failure.of(str(root), error)
