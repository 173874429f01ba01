"""Job 1 in each way that a user could pick, started for one turn, measured by the same callers, and stopped.

Nothing else runs meanwhile: an idle server would still take a little of the cores.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import psutil

from adlens import contract
from adlens.transport import Connection, Endpoint
from perf.callers import OK, HttpCaller, closed
from perf.peers.environment import python_of
from perf.peers.names import (
    ADLENS,
    ADLENS_FAST,
    ADLENS_INT8,
    FASTAPI,
    IN_PROCESS,
    LITSERVE,
    SEED,
)
from perf.serving import CHECKOUT, served
from perf.setting import Setting
from perf.subjects import FAST
from perf.throughput import InProcess, Jpeg

START_TIMEOUT_S: Final = 90.0
STOP_TIMEOUT_S: Final = 10.0
Figures = dict[str, Any]
Way = Callable[[Setting], Figures]
"""Starts it, measures, and stops it."""


def _adlens(model: str, *, in_integers: bool = False) -> Way:
    def measure(setting: Setting) -> Figures:
        profile = setting.int8_profile if in_integers else None
        with served(model, profile=profile) as url, Connection(Endpoint(url)) as connection:

            def call(jpeg: Jpeg) -> object:
                return connection.infer(model, {contract.IMAGE: jpeg[np.newaxis]})

            callers = [call] * setting.in_flight
            return asdict(closed(callers, setting.pictures, setting.seconds, setting.warm_up_s))

    return measure


def _http(peer: str, path: str, content_type: str, body: Callable[[Jpeg], bytes]) -> Way:
    def measure(setting: Setting) -> Figures:
        bodies = [body(jpeg) for jpeg in setting.pictures]
        with ExitStack() as stack:
            address = stack.enter_context(_started(peer, setting.out / "peers"))
            callers = [HttpCaller(address, path, content_type) for _ in range(setting.in_flight)]
            for caller in callers:
                stack.callback(caller.close)
            return asdict(closed(callers, bodies, setting.seconds, setting.warm_up_s))

    return measure


def _seed(setting: Setting) -> Figures:
    """One caller: it has no server, and takes picture by picture."""
    python = python_of(SEED, setting.out / "peers")
    pictures = setting.pictures
    command = [str(python), "-m", "perf.peers.seed.run", str(setting.picture_folder.resolve())]
    command += ["--seconds", str(setting.seconds), "--warm-up", str(setting.warm_up_s)]
    done = subprocess.run(
        command,
        cwd=CHECKOUT,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT_S + 4 * len(pictures) + 4 * (setting.seconds + setting.warm_up_s),
        check=False,
    )
    if done.returncode:
        raise click.ClickException(f"the seed's way failed: {done.stderr[-1000:]}")
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return found


def _in_process(setting: Setting) -> Figures:
    """No server: a caller on each core."""
    stages = InProcess()
    callers = [stages.run] * setting.cores
    return asdict(closed(callers, setting.pictures, setting.seconds, setting.warm_up_s))


def _in_base64(jpeg: Jpeg) -> bytes:
    return json.dumps({"image": base64.b64encode(jpeg.tobytes()).decode()}).encode()


WAYS: Final[Mapping[str, Way]] = {
    SEED: _seed,
    FASTAPI: _http(FASTAPI, "/infer", "image/jpeg", lambda jpeg: jpeg.tobytes()),
    LITSERVE: _http(LITSERVE, "/predict", "application/json", _in_base64),
    ADLENS: _adlens(contract.RECOMMEND_PRODUCTS),
    ADLENS_INT8: _adlens(contract.RECOMMEND_PRODUCTS, in_integers=True),
    ADLENS_FAST: _adlens(FAST),
    IN_PROCESS: _in_process,
}
"""In the order of their turns."""


@contextmanager
def _started(peer: str, folder: Path) -> Iterator[str]:
    """HOST:PORT of a peer's server, once it says that it is healthy.

    Raises:
        ClickException: it does not start; with what it said.
    """
    python = python_of(peer, folder)
    port = _free_port()
    log = folder / f"{peer}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(python), "-m", f"perf.peers.{peer}.serve", str(port)],
            cwd=CHECKOUT,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _is_healthy(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise click.ClickException(f"{peer} does not start: {log.read_text()[-1500:]}")
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it has started."""
    try:
        whole = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    except psutil.NoSuchProcess:
        whole = []
    process.terminate()
    for each in psutil.wait_procs(whole, STOP_TIMEOUT_S)[1]:
        each.kill()
    process.wait()


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _environment() -> dict[str, str]:
    paths: Sequence[str] = (str(CHECKOUT), str(CHECKOUT / "client"))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
