"""A model process that is dead or stuck is told from one that is idle or at work."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from server.backends.pulse import FOLDER_VARIABLE
from server.vitals import STALL_S, Stillness, Vitals
from tests.server.launched import CHECKOUT, wait_until

WORK = {
    "idle": "time.sleep(60)",
    "deadlocked": "with pulse.beating(): time.sleep(60)",
    "busy": "with pulse.beating(): any(range(10**9) and 0 for _ in iter(int, 1))",
    "ended in order": "time.sleep(1); pulse.end()",
    "idle, with a helper": "import subprocess; subprocess.run(['sleep', '2']); time.sleep(60)",
}
Start = Callable[[str], tuple[Vitals, subprocess.Popen[bytes]]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a process that behaves as a model process does, and begins to watch it."""
    running = []

    def start(work: str) -> tuple[Vitals, subprocess.Popen[bytes]]:
        code = f"import time; from server.backends.pulse import Pulse; pulse = Pulse()\n{WORK[work]}"
        environment = {FOLDER_VARIABLE: str(tmp_path), "PYTHONPATH": str(CHECKOUT)}
        running.append(subprocess.Popen([sys.executable, "-c", code], env=environment))
        assert wait_until(lambda: list(tmp_path.iterdir()))
        return Vitals(psutil.Process(), tmp_path, changing=(Path(),)), running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


def first_fault(vitals: Vitals, within_s: float) -> tuple[str | None, float]:
    """The first fault, and after how many seconds it was found."""
    began = time.monotonic()
    while not (fault := vitals.fault()) and time.monotonic() - began < within_s:
        time.sleep(0.1)
    return fault, time.monotonic() - began


def test_a_process_at_work_without_processor_time_is_stuck(start: Start) -> None:
    vitals, process = start("deadlocked")
    fault, after_s = first_fault(vitals, 2 * STALL_S)
    assert fault == f"model process {process.pid} is stuck: at work, and no processor time for 3 s"
    assert after_s == pytest.approx(STALL_S, abs=1)


@pytest.mark.parametrize("work", ["idle", "busy", "ended in order"])
def test_a_process_that_waits_or_works_or_has_ended_in_order_is_well(start: Start, work: str) -> None:
    vitals, _ = start(work)
    assert first_fault(vitals, STALL_S + 1)[0] is None


def test_a_process_that_was_killed_is_dead(start: Start) -> None:
    vitals, process = start("idle")
    assert vitals.fault() is None
    process.kill()
    process.wait()
    assert vitals.fault() == f"model process {process.pid} ended"


def test_a_stopped_process_is_seen_at_once(start: Start) -> None:
    vitals, process = start("idle")
    psutil.Process(process.pid).suspend()
    assert wait_until(lambda: vitals.fault() == f"model process {process.pid} is stopped", 1)


def test_what_a_model_process_starts_for_itself_may_end(start: Start, tmp_path: Path) -> None:
    _, process = start("idle, with a helper")
    model = psutil.Process(process.pid)
    assert wait_until(model.children)
    vitals = Vitals(psutil.Process(), tmp_path, changing=())
    assert wait_until(lambda: not model.children())
    assert vitals.fault() is None
    process.kill()
    process.wait()
    assert vitals.fault() == f"model process {process.pid} ended"


def test_a_lost_folder_of_pulses_is_a_fault(tmp_path: Path) -> None:
    vitals = Vitals(psutil.Process(), tmp_path / "gone", changing=())
    assert vitals.fault() == (
        f"somebody has removed {tmp_path / 'gone'}, where model processes show that they live"
    )


def test_a_watcher_that_was_frozen_blames_nobody() -> None:
    stillness = Stillness(0.03)
    assert stillness.seconds(5.0) == 0
    time.sleep(1.5)
    assert stillness.seconds(5.0) <= 1
    assert stillness.seconds(4.0) == 0, "a process that ended takes its time along"
