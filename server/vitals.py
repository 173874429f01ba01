"""Are the processes of a server alive and getting on? What Triton itself never notices.

A model process that died is never started again and its requests fail; one that hangs keeps its requests
for ever; and live, ready and model-ready stay true (triton-inference-server/server#8604).
"""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import psutil

from server.backends.pulse import read_pulses

STALL_S = 3.0
"""At work for so long without getting on: stuck. A starved process still gets some processor time."""
_STEP_S = 0.03
"""The kernel counts in ticks of 10 ms."""
_LOOK_S = 1.0
"""No more counts between two looks: a watcher that was frozen has seen nothing."""


class Stillness:
    """For how long a clock, such as that of processor time, has all but stood still."""

    def __init__(self, step_s: float) -> None:
        """Begin to watch; ``step_s`` is by how much the clock must change, in seconds, to get on."""
        self._step_s = step_s
        self._shown = -step_s
        self._looked, self._still_s = time.monotonic(), 0.0

    def seconds(self, shown: float) -> float:
        """Seconds for which we saw the clock, which now shows ``shown`` seconds, stand still."""
        now = time.monotonic()
        self._still_s += min(now - self._looked, _LOOK_S)
        self._looked = now
        # A sum over processes gets less when one ends.
        if abs(shown - self._shown) >= self._step_s:
            self._shown, self._still_s = shown, 0.0
        return self._still_s


class Vitals:
    """Watches one tritonserver and its model processes; ``fault`` is to be asked a few times a second."""

    def __init__(self, triton: psutil.Process, pulses: Path, changing: Collection[Path]) -> None:
        """Begin to watch.

        Args:
            triton: the running tritonserver, all models loaded.
            pulses: the folder of ``server.backends.pulse``.
            changing: folders of models that may be loaded and unloaded meanwhile, or of repositories of
                such, so that their processes may end in order; every other process that ends died.
        """
        self._triton = triton
        self._pulses = pulses
        # Not their children: what a model starts for itself may come and go.
        # Nor those that ended before: some only tell a configuration, and wait to be buried.
        self._fixed = [
            process
            for process in triton.children()
            if _status(process) and not any(map(_model_file(process).is_relative_to, changing))
        ]
        self._known: dict[int, psutil.Process] = {process.pid: process for process in self._fixed}
        self._batches: dict[tuple[int, float], Stillness] = {}

    def fault(self) -> str | None:
        """What is wrong with a model process; None where nothing is."""
        try:
            pulses = read_pulses(self._pulses)
        except FileNotFoundError:
            return f"somebody has removed {self._pulses}, where model processes show that they live"
        # Each is looked at once: that reads files of /proc, four times a second for every model.
        statuses = {process.pid: _status(process) for process in self._fixed}
        for pid, status in statuses.items():
            if status is None:
                return f"model process {pid} ended"
        for pid, since in pulses.items():
            found = self._process(pid)
            status = statuses[pid] if pid in statuses else _status(found)
            if found is None or status is None:
                # Who ends in order takes its file along, though perhaps a moment after it was read.
                if pid in read_pulses(self._pulses):
                    return f"model process {pid} ended"
            elif status == psutil.STATUS_STOPPED:
                return f"model process {pid} is stopped"
            elif since and self._still_s(found, since) >= STALL_S:
                return f"model process {pid} is stuck: at work, and no processor time for {STALL_S:g} s"
        self._batches = {key: still for key, still in self._batches.items() if key in pulses.items()}
        return None

    def processor_s(self) -> float:
        """Processor seconds that all processes of the server have used so far."""
        with suppress(psutil.Error):
            return sum(map(_processor_s, [self._triton, *self._triton.children(recursive=True)]))
        return 0.0

    def _process(self, pid: int) -> psutil.Process | None:
        if pid not in self._known:
            with suppress(psutil.NoSuchProcess):
                self._known[pid] = psutil.Process(pid)
        return self._known.get(pid)

    def _still_s(self, process: psutil.Process, since: float) -> float:
        """Seconds for which the batch that is at work since ``since`` has not got on."""
        still = self._batches.setdefault((process.pid, since), Stillness(_STEP_S))
        return still.seconds(_processor_s(process))


def _model_file(process: psutil.Process) -> Path:
    """Of what a model process serves: Triton's first argument to it (``stub_launcher.cc``)."""
    with suppress(psutil.Error):
        _, *arguments = process.cmdline()
        return Path(*arguments[:1])
    return Path()


def _status(process: psutil.Process | None) -> str | None:
    """One of psutil's; None for a process that is no more, or only waits to be buried."""
    with suppress(psutil.NoSuchProcess):
        if (
            process is not None
            and process.is_running()
            and (status := process.status()) != psutil.STATUS_ZOMBIE
        ):
            return str(status)
    return None


def _processor_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
