"""A real Triton from pip, started, watched and stopped with nothing left behind.

As a library, from a thread that outlives the server::

    with Server(ServerOptions(grpc_port=0)) as server:
        client = tritonclient.grpc.InferenceServerClient(server.url)
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from server import assembly, bound, leftovers
from server.canary import Canary
from server.damage import set_damaged_aside
from server.errors import AddressError, TritonFailedError
from server.galleries import GalleryWatch
from server.repository import Model, choose, read_models, with_steps
from server.vitals import Vitals

LOG_LEVELS = ("error", "warning", "info", "verbose")
STOP_TIMEOUT_S = 20
"""Given to Triton to finish what it runs; then it is killed."""
LOG_TAIL_LINES = 30
SOCKET_PORT = 1
"""Triton 24.10 joins address and port by a colon whatever they are, and so it makes the name of a socket."""
LONGEST_SOCKET = len("unix:") + 107
"""``sys/un.h``: a path has 108 bytes, and a zero at its end."""
LOAD_FAILURE = re.compile(
    r"failed to load ('.+?') version \d+: (?:\w+: )?(?:TritonModelException: )?(.*?)(?:\\n|\"\n)"
)
"""In a line of Triton's log, a model's name and why it did not load."""


def own_repositories() -> tuple[Path, ...]:
    """Those of the checkout: models, ensembles, and embedders where some were built."""
    always = (assembly.CHECKOUT / "model_repository", assembly.CHECKOUT / "ensembles")
    built = assembly.CHECKOUT / "embedders"
    return (*always, built) if built.is_dir() else always


@dataclass(frozen=True)
class ServerOptions:
    """What to serve, and where.

    Attributes:
        host: an address of this machine only, as the pip server has no protection.
        grpc_port: 0 for any free one.
        metrics_port: of the Prometheus metrics, on the same host; 0 for any free one.
        profile: takes ``configs/<profile>.pbtxt`` of each model that has it.
        repositories: model repositories; an ensemble may name steps in another.
        models: serve only these, and the steps of those that are ensembles; empty for all.
        model_control: whether callers may load and unload models.
        private: listen on a socket in a folder that only this user may enter, not on ``host`` and
            ``grpc_port``, and let galleries change: for who puts a door in front.
        log_level: one of ``LOG_LEVELS``.
        ready_timeout_s: given to loading and to the first inference.
    """

    host: str = "127.0.0.1"
    grpc_port: int = 8001
    metrics_port: int = 8002
    profile: str | None = None
    repositories: tuple[Path, ...] = field(default_factory=own_repositories)
    models: tuple[str, ...] = ()
    model_control: bool = False
    private: bool = False
    log_level: str = "warning"
    ready_timeout_s: float = 120.0


class Server:
    """One tritonserver with all its model processes.

    Attributes:
        name: unique on the machine; Triton's server id, and how all that it leaves is named.
        options: as given, with the ports that were found free.
        models: what is served, by name.
        galleries: of these, those whose new versions are to be loaded.
        canary: sings by a real inference; None where the server is not running.
        ready_s: seconds from the start to the first inference.
        first_song_s: of these, the seconds that the canary took.
    """

    def __init__(
        self, options: ServerOptions | None = None, report: Callable[[str], None] = logging.warning
    ) -> None:
        """Prepare.

        Args:
            options: what to serve, and where.
            report: is told, a line each, of galleries that are damaged and of what is served instead.
        """
        self.options = options or ServerOptions()
        self._report = report
        self.name = leftovers.new_name()
        self.models: Mapping[str, Model] = {}
        self.ready_s = self.first_song_s = 0.0
        self.galleries = GalleryWatch({})
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._vitals: Vitals | None = None
        self.canary: Canary | None = None

    @property
    def url(self) -> str:
        """Of the gRPC endpoint: ``host:port``, or ``unix:PATH`` of a private one."""
        if self.options.private:
            return f"unix:{self._socket}:{SOCKET_PORT}"
        return f"{self._url_host}:{self.options.grpc_port}"

    @property
    def _url_host(self) -> str:
        host = self.options.host
        return f"[{host}]" if ":" in host else host

    @property
    def _socket(self) -> Path:
        if self._folder is None:
            raise TritonFailedError("the server is not running; call start()")
        return Path(self._folder.name) / "grpc"

    @property
    def metrics_url(self) -> str:
        """Where Prometheus finds the metrics."""
        return f"http://{self._url_host}:{self.options.metrics_port}/metrics"

    @property
    def pid(self) -> int:
        """Process id of tritonserver, which is that of its process group too."""
        if self._process is None:
            raise TritonFailedError("the server is not running; call start()")
        return self._process.pid

    @property
    def log(self) -> Path | None:
        """Triton's log, which goes with the server; None where it is not running."""
        return Path(self._folder.name) / "triton.log" if self._folder else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start Triton and wait until a real inference has succeeded.

        Raises:
            MissingPackageError: the environment lacks the server.
            MissingModelError: a model or its weights are missing.
            DamagedGalleryError: no version of a gallery is what was written.
            AddressError: a port is in use, or the host is not this machine.
            TritonFailedError: Triton ended, or a model does not run; with the end of Triton's log.
        """
        began = time.monotonic()
        try:
            self._start(began + self.options.ready_timeout_s)
        except BaseException as error:  # Ctrl-C while loading, too, must leave nothing behind
            self.stop(at_once=True)
            if isinstance(error, OSError | psutil.Error):
                raise TritonFailedError(
                    f"the server cannot be started: {error}; a lack of room ends with another folder: TMPDIR"
                ) from error
            raise
        self.ready_s = time.monotonic() - began

    def _start(self, deadline: float) -> None:
        installation = assembly.Installation.find()
        self.options = options = _with_free_ports(self.options)
        repositories = tuple(path.resolve() for path in options.repositories)
        models = read_models(repositories, options.profile)
        set_damaged_aside(with_steps(models, options.models).values(), self._report)
        self.models = choose(models, options.models)
        self.galleries = GalleryWatch(self.models)
        leftovers.clear_abandoned()
        self._folder = tempfile.TemporaryDirectory(prefix=f"{self.name}-")
        folder = Path(self._folder.name)
        backends, pulses = folder / "backends", folder / "pulses"
        if options.private and len(os.fsencode(self.url)) > LONGEST_SOCKET:
            raise AddressError(f"the path of the socket {self.url} is too long; set TMPDIR to a shorter one")
        backends.mkdir()
        pulses.mkdir()
        assembly.assemble_backends(installation, backends)
        environment = assembly.server_environment(folder, pulses, os.environ)
        self._process = self._launch(self._arguments(installation, repositories, backends), environment)
        self._wait_until_ready(deadline)
        self._vitals = Vitals(psutil.Process(self.pid), pulses, self._changing(repositories))

    def _launch(self, arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-I", bound.__file__, str(os.getpid()), *arguments]
        with open(f"{self.log}", "wb") as log:  # noqa: PTH123 - self.log is optional
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                # A Python backend's process heeds no PYTHONPATH, only its working folder.
                cwd=assembly.CHECKOUT,
                # Ctrl-C in a terminal reaches the launcher alone, which then stops Triton in order.
                process_group=0,
            )

    def _arguments(
        self, installation: assembly.Installation, repositories: tuple[Path, ...], backends: Path
    ) -> list[str]:
        options = self.options
        level = LOG_LEVELS.index(options.log_level)
        arguments = [
            str(installation.server),
            f"--id={self.name}",
            *(f"--model-repository={path}" for path in repositories),
            f"--backend-directory={backends}",
            f"--backend-config=python,shm-region-prefix-name={self.name}-",
            f"--cache-directory={installation.caches}",
            "--allow-http=false",
            f"--grpc-address={f'unix:{self._socket}' if options.private else self._url_host}",
            f"--grpc-port={SOCKET_PORT if options.private else options.grpc_port}",
            # To libevhtp, which serves the metrics, anything else is an IPv4 address.
            f"--metrics-address={'ipv6:' if ':' in options.host else ''}{options.host}",
            f"--metrics-port={options.metrics_port}",
            "--allow-gpu-metrics=false",  # they need NVIDIA's DCGM, which pip does not bring
            "--exit-on-error=true",
            "--strict-readiness=true",
            f"--exit-timeout-secs={STOP_TIMEOUT_S}",
            # Each request kept for reuse would keep the room of the largest message that it has held.
            "--grpc-infer-allocation-pool-size=0",
            f"--log-warning={str(level >= LOG_LEVELS.index('warning')).lower()}",
            f"--log-info={str(level >= LOG_LEVELS.index('info')).lower()}",
            f"--log-verbose={int(level >= LOG_LEVELS.index('verbose'))}",
        ]
        if all(model.is_complete for model in self.models.values()):
            # Asking a model what its configuration lacks takes a process and two seconds each.
            arguments.append("--disable-auto-complete-config")
        if options.profile is not None:
            arguments.append(f"--model-config-name={options.profile}")
        if options.models or self._changing(repositories):
            arguments.append("--model-control-mode=explicit")
            arguments += [f"--load-model={name}" for name in options.models or ("*",)]
        return arguments

    def _changing(self, repositories: tuple[Path, ...]) -> tuple[Path, ...]:
        """Folders of models that may be loaded and unloaded while others are served."""
        if self.options.model_control:
            return repositories
        return self.galleries.folders if self.options.private else ()

    def _wait_until_ready(self, deadline: float) -> None:
        # Left to itself, gRPC would try again after 1 s, 1.6 s, 2.6 s and so on.
        every_s = 0.1
        backoff = [(f"grpc.{which}_reconnect_backoff_ms", int(1e3 * every_s)) for which in ("min", "max")]
        with triton.InferenceServerClient(self.url, channel_args=backoff) as client:
            while not self._answers(client):
                self.check()
                if time.monotonic() > deadline:
                    raise TritonFailedError(
                        f"the models did not load within {self.options.ready_timeout_s:.0f} s\n{self._tail()}"
                    )
                time.sleep(every_s)
        began = time.monotonic()
        # Half the time at least: what loaded in time may be heard.
        left_s = max(deadline - began, self.options.ready_timeout_s / 2)
        try:
            self.canary = Canary(self.url, self.models, left_s)
            self.canary.sing(left_s)
        except TritonFailedError as error:
            raise TritonFailedError(f"{error}\n{self._tail()}") from error
        self.first_song_s = time.monotonic() - began

    def _answers(self, client: triton.InferenceServerClient) -> bool:
        try:
            if not client.is_server_ready(client_timeout=1.0):
                return False
            answering = client.get_server_metadata(client_timeout=1.0).name
        except InferenceServerException:
            return False
        if answering != self.name:
            raise AddressError(f"another server ('{answering}') answers at {self.url}; choose another port")
        return True

    def check(self) -> None:
        """See that Triton and all its model processes are alive and getting on.

        Raises:
            TritonFailedError: one is not; with the end of Triton's log.
        """
        if self._process is None:
            raise TritonFailedError("the server is not running; call start()")
        status = self._process.poll()
        if status is not None:
            how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
            raise TritonFailedError(
                "\n".join([f"tritonserver ended ({how})", *self._refused(), self._tail()])
            )
        if self._vitals is not None and (fault := self._vitals.fault()):
            raise TritonFailedError(f"{fault}\n{self._tail()}")

    @property
    def processor_s(self) -> float:
        """Processor seconds that Triton and its model processes have used so far."""
        return self._vitals.processor_s() if self._vitals else 0.0

    def _refused(self) -> list[str]:
        """Triton's reasons for the models that it did not load."""
        log = self.log.read_text(errors="replace") if self.log else ""
        return [f"model {name}: {reason}" for name, reason in LOAD_FAILURE.findall(log)]

    def _tail(self) -> str:
        """The end of Triton's log, as a block for an error message."""
        if self.log is None or not self.log.exists():
            return "no log"
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "\n".join(["the end of Triton's log:", *(f"  {line}" for line in lines)])

    def stop(self, *, at_once: bool = False) -> None:
        """End Triton and all its processes, and clear what they leave; any number of times.

        Args:
            at_once: kill them, whatever they do.
        """
        self.galleries.stop()
        if self.canary is not None:
            self.canary.close()
            self.canary = None
        if self._process is not None:
            if not at_once:
                self._process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(STOP_TIMEOUT_S + 5)
            leftovers.kill_group(self._process.pid)
            self._process.wait()
            self._process = self._vitals = None
            leftovers.clear_shared_memory(self.name)
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def abort(self) -> None:
        """Kill all processes at once; a ``stop()`` under way then ends. Safe in a signal handler."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


def loopback(host: str) -> str:
    """``host`` as an address that only this machine reaches.

    Raises:
        AddressError: it is not one.
    """
    host = "127.0.0.1" if host == "localhost" else host
    with suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return host
    raise AddressError(
        f"--host {host} is not an address of this machine alone, such as 127.0.0.1; "
        "to serve a network, use NVIDIA's container with the same repositories"
    )


def _with_free_ports(options: ServerOptions) -> ServerOptions:
    """``options`` with ports in place of 0.

    Raises:
        AddressError: the host is not this machine, or a port is in use.
    """
    host = loopback(options.host)
    return replace(
        options,
        host=host,
        grpc_port=free_port(host, options.grpc_port, "--grpc-port"),
        metrics_port=free_port(host, options.metrics_port, "--metrics-port"),
    )


def free_port(host: str, port: int, flag: str) -> int:
    """``port`` if it can be had, any free one for 0.

    Raises:
        AddressError: it is in use; with the ``flag`` that changes it.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise AddressError(
                f"port {port} on {host} cannot be had ({error.strerror}); stop what listens there, or "
                f"choose another with {flag}"
            ) from error
        return int(probe.getsockname()[1])
