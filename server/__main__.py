"""``python -m server``: serve the models of this checkout on this machine until Ctrl-C.

``python -m server -- COMMAND`` serves for as long as COMMAND runs, with ADLENS_URL naming the server.

Exit status: 0 stopped as asked, 2 wrong usage, 3 the server could not start or ended by itself; with a
COMMAND, its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import click

from adlens.contract import RECOMMEND_PRODUCTS
from server.errors import ServerError
from server.launcher import LOG_LEVELS, Server, ServerOptions

FAILED = 3
WATCH_INTERVAL_S = 1.0
DEFAULTS = ServerOptions()


@click.command(context_settings={"auto_envvar_prefix": "ADLENS_SERVER", "show_default": True})
@click.option("--host", default=DEFAULTS.host, help="Address to listen on; of this machine only.")
@click.option("--grpc-port", default=DEFAULTS.grpc_port, help="0 for any free one.")
@click.option("--metrics-port", default=DEFAULTS.metrics_port, help="Prometheus metrics; 0 for any free one.")
@click.option("--profile", help="Take configs/PROFILE.pbtxt of each model that has it.")
@click.option(
    "--model-repository",
    "repositories",
    multiple=True,
    type=click.Path(path_type=Path),
    default=DEFAULTS.repositories,
    show_default="those of this checkout",
    help="Folder of models; may be given several times.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    help="Serve only this one and its steps; several times.",
    show_default="all",
)
@click.option(
    "--log-level", type=click.Choice(LOG_LEVELS), default=DEFAULTS.log_level, help="Of Triton's log."
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def main(
    host: str,
    grpc_port: int,
    metrics_port: int,
    profile: str | None,
    repositories: tuple[Path, ...],
    models: tuple[str, ...],
    log_level: str,
    command: tuple[str, ...],
) -> None:
    """Serve models by a real Triton on this machine, until Ctrl-C or while COMMAND runs.

    Each option may be given as an environment variable too, such as ADLENS_SERVER_GRPC_PORT.
    """
    options = ServerOptions(host, grpc_port, metrics_port, profile, repositories, models, log_level)
    server = Server(options)
    _stop_on_signals(server)
    try:
        server.start()
        click.echo(ready_line(server), err=bool(command))
        if command:
            sys.exit(_run(command, server))
        while True:
            time.sleep(WATCH_INTERVAL_S)
            server.check()
    except KeyboardInterrupt:
        click.echo("stopping", err=True)
    except ServerError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(FAILED)
    finally:
        server.stop()


def _run(command: tuple[str, ...], server: Server) -> int:
    """Exit status of ``command``, run with ADLENS_URL; it dies with the server."""
    process = subprocess.Popen(command, env={**os.environ, "ADLENS_URL": server.url})
    try:
        while True:
            try:
                return process.wait(WATCH_INTERVAL_S)
            except subprocess.TimeoutExpired:
                server.check()
    finally:
        process.terminate()


def ready_line(server: Server) -> str:
    """One line for people and scripts: where, what, how fast, and what to do next."""
    public = [name for name, model in server.models.items() if model.is_ensemble] or list(server.models)
    line = f"adlens server ready at {server.url} after {server.ready_s:.1f} s, serving {', '.join(public)}"
    if RECOMMEND_PRODUCTS in public:
        line += f"; try: adlens products photo.jpg --url {server.url}"
    return line


def _stop_on_signals(server: Server) -> None:
    """Make the first Ctrl-C or SIGTERM stop the server in order, and the second kill it."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, abort)
        raise KeyboardInterrupt

    def abort(number: int, frame: FrameType | None) -> None:
        server.abort()

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, stop)


if __name__ == "__main__":
    main(prog_name="python -m server")
