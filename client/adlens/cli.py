"""The command line: ``adlens products`` and ``adlens health``.

Answers go to standard output while the rest is still running, failures to standard error. Exit
codes: 0 all answered; 1 some inputs failed; 2 wrong usage; 3 the server failed; 130 interrupted.
"""

from __future__ import annotations

import itertools
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from PIL import Image
from tqdm import tqdm

from adlens import pictures, recommender, transport
from adlens.answers import Failure, PictureAnswer, UserAnswer
from adlens.drawings import Drawings
from adlens.errors import AdlensError, InvalidConfiguration, NoPictures, NotSent
from adlens.recommender import Recommender
from adlens.reports import Csv, Json, Report, Text
from adlens.transport import Tls

SOME_FAILED: Final = 1
WRONG_USAGE: Final = 2
SERVER_FAILED: Final = 3
INTERRUPTED: Final = 130
"""What shells report of a program that Ctrl-C ended (128 + SIGINT)."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _connection_options(command: _Command) -> _Command:
    """Options of every command that calls the server."""
    for option in (
        click.option("--tls-ca", envvar="ADLENS_TLS_CA", type=click.Path(path_type=Path), metavar="FILE",
                     help="Trust these authorities (PEM) instead of the system's; implies --tls."),
        click.option("--tls", envvar="ADLENS_TLS", is_flag=True, help="Encrypt the connection."),
        click.option("--retries", envvar="ADLENS_RETRIES", show_default=True,
                     type=click.IntRange(0, transport.MAX_RETRIES), default=transport.DEFAULT_RETRIES,
                     help="Further attempts where the server is not available."),
        click.option("--timeout", "timeout_s", envvar="ADLENS_TIMEOUT", show_default=True, type=float,
                     default=transport.DEFAULT_TIMEOUT_S, metavar="S", help="Seconds for one picture."),
        click.option("--url", envvar="ADLENS_URL", show_default=True, default=transport.DEFAULT_URL,
                     metavar="HOST:PORT", help="gRPC service of the server."),
    ):  # fmt: skip
        command = option(command)
    return command


class _Interruptible(click.Group):
    """Exits with INTERRUPTED on Ctrl-C; click itself would exit with 1, which is SOME_FAILED here."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


@click.group(cls=_Interruptible, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="adlens")
def main() -> None:
    """From a picture to a marketing decision. Every option can also be set as ADLENS_<OPTION>."""
    # Pillow's warning of a huge picture is an answer of ours (TooLarge), not a line on the screen.
    warnings.simplefilter("error", Image.DecompressionBombWarning)


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", envvar="ADLENS_JSON", is_flag=True, help="One JSON object a line.")
@click.option("--csv", "as_csv", envvar="ADLENS_CSV", is_flag=True, help="CSV, one row an answer.")
@click.option("--out", envvar="ADLENS_OUT", type=click.Path(path_type=Path), metavar="DIR",
              help="Write annotated pictures there.")  # fmt: skip
@click.option("--recursive", envvar="ADLENS_RECURSIVE", is_flag=True,
              help="Each folder below that holds pictures is a user.")  # fmt: skip
@click.option("--workers", envvar="ADLENS_WORKERS", type=click.IntRange(1), show_default=True,
              default=recommender.DEFAULT_WORKERS, metavar="N", help="Pictures in flight.")  # fmt: skip
@click.option("--catalogue", envvar="ADLENS_CATALOGUE", type=click.Path(path_type=Path), metavar="FILE",
              help="Product catalogue (YAML), instead of the one of adlens.")  # fmt: skip
@_connection_options
def products(
    paths: tuple[Path, ...],
    as_json: bool,
    as_csv: bool,
    out: Path | None,
    recursive: bool,
    workers: int,
    catalogue: Path | None,
    url: str,
    timeout_s: float,
    retries: int,
    tls: bool,
    tls_ca: Path | None,
) -> None:
    """Recommend products to the people in pictures.

    Each of PATHS is a picture or a folder; a folder holds the pictures of one user, who gets a
    recommendation of their own.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    report = Json() if as_json else Csv() if as_csv else Text()
    try:
        drawings = Drawings(out, paths) if out else None
        with (
            Recommender(
                url, timeout_s=timeout_s, retries=retries, catalogue=catalogue, tls=_tls(tls, tls_ca)
            ) as front,
            tqdm(unit=" pictures", disable=None, total=0, leave=False) as bar,
        ):
            run = _Products(front, report, drawings, bar, workers)
            try:
                code = run(_targets(paths, recursive))
            except KeyboardInterrupt:
                run.interrupted()
                raise
    except InvalidConfiguration as error:
        raise click.UsageError(str(error)) from error
    sys.exit(code)


@main.command()
@click.option("--json", "as_json", envvar="ADLENS_JSON", is_flag=True, help="One JSON object.")
@_connection_options
def health(as_json: bool, url: str, timeout_s: float, retries: int, tls: bool, tls_ca: Path | None) -> None:
    """Have the server answer a real request, and show which weights answered."""
    try:
        with Recommender(url, timeout_s=timeout_s, retries=retries, tls=_tls(tls, tls_ca)) as front:
            found = front.health()
    except InvalidConfiguration as error:
        raise click.UsageError(str(error)) from error
    except AdlensError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(SERVER_FAILED)
    if as_json:
        click.echo(json.dumps(found.to_json()))
        return
    click.echo(f"{found.url}: {found.server} answers, {found.model} in {found.latency_ms:.0f} ms")
    for model, weights in found.model_versions.items():
        click.echo(f"  {model:24} weights {weights}{'  (starter)' if model in found.starter else ''}")


def _tls(tls: bool, authorities: Path | None) -> Tls | None:
    return Tls(authorities=authorities) if tls or authorities else None


class _Products:
    """One run of ``adlens products``: asks, prints, draws, and remembers what failed."""

    def __init__(
        self,
        front: Recommender,
        report: Report,
        drawings: Drawings | None,
        bar: tqdm[Any],
        workers: int,
    ) -> None:
        self._front = front
        self._report = report
        self._drawings = drawings
        self._bar = bar
        self._workers = workers
        self._code = 0
        self._gone = False
        self._not_sent = 0
        self._done = 0

    def __call__(self, targets: Iterator[_Target]) -> int:
        """Work through ``targets``; the exit code."""
        if self._report.header:
            self._print(self._report.header)
        for target in targets:
            if isinstance(target, Failure):
                self._failed(target)
            elif self._gone:
                self._leave_out(target)
            elif isinstance(target, _User):
                self._user(target)
            else:
                self._pictures(target)
        if self._not_sent:
            self._complain(f"{self._not_sent} more were not sent, as the server failed before")
        return self._code

    def interrupted(self) -> None:
        """Say how far the run came."""
        self._complain(f"interrupted after {self._done} picture{'' if self._done == 1 else 's'}")

    def _pictures(self, paths: list[Path]) -> None:
        self._expect(len(paths))
        for answer in self._front.recommend_many(paths, workers=self._workers):
            self._picture(answer)

    def _user(self, user: _User) -> None:
        try:
            self._expect(sum(1 for _ in pictures.find_pictures(user.folder)))
            answer = self._front.recommend_for_user(
                user.folder, workers=self._workers, on_answer=lambda answer: self._picture(answer, user)
            )
        except NoPictures as error:
            self._failed(Failure.of(str(user.folder), error))
            return
        self._show(answer, self._draw(lambda drawings: drawings.user(answer, user.folder, user.root)))

    def _picture(self, answer: PictureAnswer | Failure, user: _User | None = None) -> None:
        self._done += 1
        self._bar.update()
        if isinstance(answer, Failure):
            self._failed(answer)
            return
        folder, root = (user.folder, user.root) if user else (None, None)
        self._show(answer, self._draw(lambda drawings: drawings.picture(answer, folder, root)))

    def _leave_out(self, target: _User | list[Path]) -> None:
        """Say of a target that it was not begun."""
        error = NotSent("not sent, as the server failed before")
        for path in [target.folder] if isinstance(target, _User) else target:
            self._failed(Failure.of(str(path), error))

    def _draw(self, draw: Callable[[Drawings], Path | None]) -> Path | None:
        if self._drawings is None:
            return None
        try:
            return draw(self._drawings)
        except (AdlensError, OSError) as error:
            self._code = max(self._code, SOME_FAILED)
            self._complain(f"the annotated picture could not be written: {error}")
            return None

    def _show(self, answer: PictureAnswer | UserAnswer | Failure, drawing: Path | None = None) -> None:
        line = self._report.line(answer, drawing)
        if line is not None:
            self._print(line)

    def _failed(self, failure: Failure) -> None:
        self._code = max(self._code, SERVER_FAILED if failure.server else SOME_FAILED)
        self._gone = self._gone or failure.ends_run
        self._show(failure)
        if failure.kind == NotSent.__name__:  # one line for all of them, at the end
            self._not_sent += 1
        else:
            self._complain(str(failure))

    def _expect(self, number: int) -> None:
        self._bar.total = (self._bar.total or 0) + number
        self._bar.refresh()

    @staticmethod
    def _print(line: str) -> None:
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()

    @staticmethod
    def _complain(message: str) -> None:
        tqdm.write(f"error: {message}", file=sys.stderr)


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


if __name__ == "__main__":
    main()
