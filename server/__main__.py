"""``python -m server``: serve the models of this checkout on this machine until Ctrl-C.

``python -m server -- COMMAND`` serves for as long as COMMAND runs, with ADLENS_URL naming the server.

Where Triton fails it is started again, and standard error says why. Exit status: 0 stopped as asked,
2 wrong usage, 3 the server could not start; with a COMMAND, its own (128 + N where signal N ended it),
and 130 where that was not waited for.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from adlens.contract import RECOMMEND_PRODUCTS
from server.door import DoorOptions, DoorTls
from server.errors import AddressError, ServerError
from server.launcher import LOG_LEVELS, ServerOptions, free_port, loopback
from server.supervisor import WATCH_INTERVAL_S, Supervisor

FAILED, INTERRUPTED = 3, 130
SAME_SIGNAL_S = 0.5
"""``timeout`` of GNU coreutils signals its command and then the whole group: that is one signal, not two."""
DEFAULTS = ServerOptions()
PORT = click.IntRange(0, 65535)
PEM = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(context_settings={"auto_envvar_prefix": "ADLENS_SERVER", "show_default": True})
@click.option("--host", default=DEFAULTS.host, help="Address to listen on; of this machine only.")
@click.option("--grpc-port", type=PORT, default=DEFAULTS.grpc_port, help="0 for any free one.")
@click.option(
    "--metrics-port",
    type=PORT,
    default=DEFAULTS.metrics_port,
    help="Prometheus metrics; 0 for any free one.",
)
@click.option("--profile", help="Take configs/PROFILE.pbtxt of each model that has it.")
@click.option(
    "--model-repository",
    multiple=True,
    type=click.Path(path_type=Path),
    default=DEFAULTS.repositories,
    show_default="those of this checkout",
    help="Folder of models; may be given several times.",
)
@click.option(
    "--model",
    multiple=True,
    help="Serve only this one and its steps; several times.",
    show_default="all",
)
@click.option("--model-control", is_flag=True, help="Let who shows the token load and unload models.")
@click.option(
    "--admin-token",
    metavar="SECRET",
    help="Opens what is closed else, to who sends it as header triton-grpc-protocol-admin: model control, "
    "configurations, statistics, logging, trace, shared memory. Give it as ADLENS_SERVER_ADMIN_TOKEN: "
    "arguments are visible to all users of a machine.",
)
@click.option(
    "--max-in-flight",
    type=click.IntRange(min=1),
    default=DoorOptions.max_in_flight,
    help="Inferences at once; more are refused.",
)
@click.option(
    "--response-cache-bytes",
    type=click.IntRange(min=0),
    default=DoorOptions.response_cache_bytes,
    help="Of answers to keep for pictures that come again; of what reads no gallery. 0 keeps none.",
)
@click.option("--tls-certificate", type=PEM, help="Speak TLS only, as who this PEM file says.")
@click.option("--tls-key", type=PEM, help="Its key.")
@click.option("--tls-clients", type=PEM, help="Let in only whom these authorities have certified.")
@click.option(
    "--drain",
    type=click.FloatRange(min=0),
    default=30.0,
    help="Seconds given, at the end, to what is under way.",
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
    model_repository: tuple[Path, ...],
    model: tuple[str, ...],
    model_control: bool,
    admin_token: str | None,
    max_in_flight: int,
    response_cache_bytes: int,
    tls_certificate: Path | None,
    tls_key: Path | None,
    tls_clients: Path | None,
    drain: float,
    log_level: str,
    command: tuple[str, ...],
) -> None:
    """Serve models by a real Triton on this machine, until Ctrl-C or while COMMAND runs.

    Each option may be given as an environment variable too, such as ADLENS_SERVER_GRPC_PORT.
    """
    if command and shutil.which(command[0]) is None:
        raise click.UsageError(f"COMMAND '{command[0]}' is no program that can be found and run")
    if response_cache_bytes and model_control:
        raise click.UsageError(
            "--response-cache-bytes and --model-control exclude each other: answers would outlive models"
        )
    options = ServerOptions(
        host=host,
        metrics_port=metrics_port,
        profile=profile,
        repositories=model_repository,
        models=model,
        model_control=model_control,
        log_level=log_level,
    )
    try:
        door = DoorOptions(
            host=loopback(host),
            port=free_port(loopback(host), grpc_port, "--grpc-port"),
            max_in_flight=max_in_flight,
            admin_token=admin_token,
            model_control=model_control,
            tls=_tls(tls_certificate, tls_key, tls_clients),
            response_cache_bytes=response_cache_bytes,
        )
    except AddressError as error:
        _fail(error)
    began = time.monotonic()
    supervisor = Supervisor(options, door, lambda line: _say(f"adlens server {line}", err=True))
    signals = _Signals(supervisor)
    try:
        signals.heed()
        supervisor.start()
        _say(ready_line(supervisor, time.monotonic() - began), err=bool(command))
        if command:
            sys.exit(_run(command, supervisor))
        while True:
            supervisor.tend()
            time.sleep(WATCH_INTERVAL_S)
    except KeyboardInterrupt:
        _say("stopping", err=True)
        if command:
            sys.exit(INTERRUPTED)
    except ServerError as error:
        _fail(error)
    finally:
        signals.ending = True
        supervisor.stop(drain)


def _say(line: str, *, err: bool) -> None:
    """Print; a server goes on where nobody reads what it says any longer."""
    with suppress(OSError):
        click.echo(line, err=err)


def _fail(error: ServerError) -> NoReturn:
    _say(f"error: {error}", err=True)
    sys.exit(FAILED)


def _tls(certificate: Path | None, key: Path | None, clients: Path | None) -> DoorTls | None:
    if certificate and key:
        return DoorTls(certificate, key, clients)
    if certificate or key or clients:
        raise click.UsageError("TLS needs both --tls-certificate and --tls-key")
    return None


def _run(command: tuple[str, ...], supervisor: Supervisor) -> int:
    """Exit status of ``command``, run with ADLENS_URL; it dies with the server."""
    process = subprocess.Popen(command, env={**os.environ, "ADLENS_URL": supervisor.door.url})
    try:
        while True:
            try:
                status = process.wait(WATCH_INTERVAL_S)
                return status if status >= 0 else 128 - status
            except subprocess.TimeoutExpired:
                supervisor.tend()
    finally:
        process.terminate()


def ready_line(supervisor: Supervisor, ready_s: float) -> str:
    """One line for people and scripts: where, what, how fast, and what to do next."""
    url, models = supervisor.door.url, supervisor.server.models
    public = [name for name, model in models.items() if model.is_ensemble] or list(models)
    line = f"adlens server ready at {url} after {ready_s:.1f} s, serving {', '.join(public)}"
    if RECOMMEND_PRODUCTS in public:
        line += f"; try: adlens products photo.jpg --url {url}"
    return line


class _Signals:
    """Ctrl-C and SIGTERM: stop the server in order, or where it is ``ending`` already, kill it."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.ending = False
        self._supervisor = supervisor
        self._last = -SAME_SIGNAL_S

    def heed(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        is_same, self._last = now - self._last < SAME_SIGNAL_S, now
        if is_same:
            return
        if not self.ending:
            raise KeyboardInterrupt
        self._supervisor.abort()


if __name__ == "__main__":
    main(prog_name="python -m server")
