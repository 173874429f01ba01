"""``python -m server`` in a process of its own, as users start it."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from server.leftovers import SHARED_MEMORY, group_members

CHECKOUT = Path(__file__).resolve().parent.parent.parent
PYTHON_CONFIGURATION = """backend: "python"
input { name: "X" data_type: TYPE_FP32 dims: [ 2 ] } output { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] }
instance_group { count: 1 kind: KIND_CPU }"""
READY = re.compile(r"adlens server ready at (127\.0\.0\.1:\d+) after [\d.]+ s, serving .*\n")


def wait_until(condition: Callable[[], object], timeout_s: float = 20) -> bool:
    """Whether ``condition`` came to hold in time."""
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(condition())


def add_python(repository: Path, name: str, work: str, more: str = "") -> None:
    """Write a model of Triton's Python backend that does ``work`` for each request, and echoes it."""
    path = repository / name / "1" / "model.py"
    path.parent.mkdir(parents=True)
    path.write_text(f"""import time
import triton_python_backend_utils as pb
class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(pb.get_input_tensor_by_name(request, "X")) for request in requests]
    def answer(self, tensor):
        {work}
        return pb.InferenceResponse([pb.Tensor("Y", tensor.as_numpy())])
""")
    (repository / name / "config.pbtxt").write_text(PYTHON_CONFIGURATION + more)


class Launched:
    """A server that has been started; ``until_ready`` waits for it."""

    def __init__(self, *arguments: str, wrapper: Sequence[str] = ()) -> None:
        """Start it; ``wrapper`` is a command that becomes the command behind it."""
        command = [*wrapper, sys.executable, "-m", "server"]
        command += ["--grpc-port", "0", "--metrics-port", "0", *arguments]
        self.process = subprocess.Popen(
            command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._said: list[str] = []
        # Read all the time, or a server that says much would wait for its reader.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._said.append(line)

    @property
    def said(self) -> str:
        """What it has said on standard error so far."""
        return "".join(self._said)

    def until_ready(self) -> str:
        """Wait for the ready line; the URL in it."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = READY.fullmatch(line)
        assert found, f"no ready line but {line!r}; {self.end()}"
        return found[1]

    @property
    def triton(self) -> psutil.Process:
        """The tritonserver of the moment."""
        (triton,) = psutil.Process(self.process.pid).children()
        return triton

    def model_processes(self) -> list[psutil.Process]:
        """The model processes of the moment."""
        processes = self.triton.children(recursive=True)
        return [process for process in processes if _lives(process)]

    def end(self) -> tuple[int, str]:
        """Wait for the end: exit status and what was said on standard error."""
        status = self.process.wait(30)
        self._reader.join(5)
        return status, self.said

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        self.process.kill()
        self.process.wait()
        self._reader.join(5)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def left_behind(self, group: int) -> list[str]:
        """Processes of the group, shared memory and temporary folders of this launcher."""
        prefix = f"adlens-{self.process.pid}-"
        files = [*SHARED_MEMORY.glob(f"{prefix}*"), *Path(tempfile.gettempdir()).glob(f"{prefix}*")]
        return [*map(str, files), *map(str, group_members(group))]


def _lives(process: psutil.Process) -> bool:
    """Whether it is there and not only waits to be buried; one may end between two looks."""
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False
