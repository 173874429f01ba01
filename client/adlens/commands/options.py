"""Options that commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from adlens import contract, transport
from adlens.galleries.files import GalleryFolder
from adlens.recommender import DEFAULT_WORKERS
from adlens.transport import Tls

_Command = Callable[..., Any]


def connecting(command: _Command) -> _Command:
    """Options of every command that calls the server, as one argument ``connection`` for ``Recommender``."""

    @functools.wraps(command)
    def connected(
        *arguments: object,
        url: str,
        timeout_s: float,
        retries: int,
        tls: bool,
        tls_ca: Path | None,
        **rest: object,
    ) -> Any:  # noqa: ANN401
        security = Tls(authorities=tls_ca) if tls or tls_ca else None
        connection = {"url": url, "timeout_s": timeout_s, "retries": retries, "tls": security}
        return command(*arguments, connection=connection, **rest)

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
        connected = option(connected)
    return connected


workers = click.option("--workers", envvar="ADLENS_WORKERS", type=click.IntRange(1), show_default=True,
                       default=DEFAULT_WORKERS, metavar="N", help="Pictures in flight.")  # fmt: skip
as_json = click.option("--json", "as_json", envvar="ADLENS_JSON", is_flag=True,
                       help="One JSON object a line.")  # fmt: skip
embedder = click.option("--embedder", envvar="ADLENS_EMBEDDER", default=contract.EMBEDDER, show_default=True,
                        metavar="NAME", help="What finds similar faces.")  # fmt: skip
gallery = click.option("--gallery", "folder", envvar="ADLENS_GALLERY",
                       type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
                       help="Folder of the gallery.  [default: that of this checkout]")  # fmt: skip
alternates = click.option("--alternates", "folder", envvar="ADLENS_ALTERNATES",
                          type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
                          help="Folder of the alternates.  [default: that of this checkout]")  # fmt: skip

influencers = click.option("--influencers", "folder", envvar="ADLENS_INFLUENCERS",
                           type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
                           help="Folder of the influencers.  [default: that of this checkout]")  # fmt: skip


def gallery_folder(folder: Path | None, embedder: str) -> GalleryFolder:
    """What ``--gallery`` names, or stands for."""
    repository = Path("model_repository" if embedder == contract.EMBEDDER else "embedders")
    return GalleryFolder(folder or repository / contract.gallery_model(embedder))


def alternates_folder(folder: Path | None) -> GalleryFolder:
    """What ``--alternates`` names, or stands for."""
    return GalleryFolder(folder or Path("model_repository", contract.ALTERNATES))


def influencers_folder(folder: Path | None) -> GalleryFolder:
    """What ``--influencers`` names, or stands for."""
    return GalleryFolder(folder or Path("model_repository", contract.INFLUENCERS))
