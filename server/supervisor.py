"""Keeps one Triton serving: watches it, starts it anew where it fails, and ends it without losing a call.

Callers speak to the door, which stays while Triton comes and goes behind it. Triton is taken for healthy
as long as inferences succeed: those of callers, or the canary's where there are none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from server import leftovers
from server.door import Door, DoorOptions
from server.errors import ServerError, TritonFailedError
from server.launcher import Server, ServerOptions
from server.repository import constant
from server.vitals import STALL_S, Stillness

WATCH_INTERVAL_S = 0.25
QUIET_S = 2.0
"""Without a success for so long, the canary sings."""
LONGEST_PAUSE_S = 30.0
SILENCE_S = 120.0
"""Without any answer for so long while the canary waits for one, Triton works in vain."""
STEADY_S = 10.0
"""A Triton that fails sooner than that is failing again and again."""
_STEP_S = 0.2
"""Processor seconds of the whole server that count as getting on; an idle one uses less in ``STALL_S``."""
_MOMENT_S = 0.001
"""No two answers come at the same time."""


class Supervisor:
    """One door with one Triton behind it. All methods are for the thread that called ``start``.

    Attributes:
        door: where callers come in.
        server: the Triton of the moment.
        restarts: how often Triton was started anew.
    """

    def __init__(self, options: ServerOptions, door: DoorOptions, report: Callable[[str], None]) -> None:
        """Prepare.

        Args:
            options: of Triton, to which only the door has access.
            door: of the door.
            report: is told of failures and recoveries, a line each.
        """
        self._options = replace(options, private=True)
        self.door = Door(door)
        self.server = Server(self._options, report)
        self.restarts = 0
        self._report = report
        self._singer = ThreadPoolExecutor(1, thread_name_prefix="canary")
        self._song: Future[None] | None = None
        self._work = self._answers = Stillness(0)
        self._opened = self._heard = 0.0
        self._pause_s = 0.0
        self._is_short = False

    def start(self) -> None:
        """Start Triton and open the door.

        Raises:
            ServerError: as ``Door.start`` and ``Server.start``; then nothing is left.
        """
        # The door first: who calls already, waits.
        self.door.start()
        try:
            self.server.start()
        except BaseException:
            self.door.stop()
            raise
        # A restart must bring the metrics back to where they were.
        self._options = replace(self._options, metrics_port=self.server.options.metrics_port)
        self._open()

    def tend(self) -> None:
        """Look after Triton once, to be called every ``WATCH_INTERVAL_S``; returns when it is well."""
        try:
            self._find_room()
            self.server.check()
            for news in self.server.galleries.look(self.server.url):
                self._report(news)
            self._listen()
        except TritonFailedError as error:
            self._heal(error)

    def _open(self) -> None:
        self.door.open_to(self.server.url, constant(self.server.models))
        self.door.set_serving(True)
        self._opened = self._heard = time.monotonic()

    def _find_room(self) -> None:
        """Clear shared memory that nobody owns where it gets short; say so where that does not help."""
        if leftovers.shortage():
            leftovers.clear_abandoned()
        shortage = leftovers.shortage()
        if shortage and not self._is_short:
            self._report(f"short of shared memory: {shortage}")
        self._is_short = bool(shortage)

    def _listen(self) -> None:
        """Have the canary sing where nobody else gets answers, and heed what it sings.

        Raises:
            TritonFailedError: it is dead.
        """
        if self._song is None:
            if time.monotonic() - max(self.door.last_success, self._heard) > QUIET_S and self.server.canary:
                self._song = self._singer.submit(self.server.canary.sing)
                self._work, self._answers = Stillness(_STEP_S), Stillness(_MOMENT_S)
        elif self._song.done():
            self._song.result()
            self._song, self._heard = None, time.monotonic()
        else:
            self._judge_silence()

    def _judge_silence(self) -> None:
        """While the canary waits for an answer: is Triton busy with others, or dead?

        Raises:
            TritonFailedError: it is dead.
        """
        # Other people's models may wait for more than a processor: at most twice as long as at first.
        patience_s = max(STALL_S, 2 * self.server.first_song_s)
        idle_s = self._work.seconds(self.server.processor_s)
        silent_s = self._answers.seconds(self.door.last_success)
        if min(idle_s, silent_s) > patience_s:
            raise TritonFailedError(f"Triton owes an answer, and has done nothing for {patience_s:.3g} s")
        if silent_s > SILENCE_S:
            raise TritonFailedError(f"Triton works, but has answered nobody for {SILENCE_S:g} s")

    def _heal(self, error: ServerError) -> None:
        """Start Triton anew, with longer and longer pauses where it fails again and again."""
        began = time.monotonic()
        if began - self._opened > STEADY_S:
            self._pause_s = 0.0
        self.door.set_serving(False)
        self.door.hold(died=True)
        failure: ServerError | None = error
        while failure is not None:
            self._report(f"failed: {failure}")
            self.server.stop(at_once=True)
            self._song = None
            self._find_room()
            self._report(f"starting again in {self._pause_s:g} s")
            time.sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s or 1.0, LONGEST_PAUSE_S)
            self.restarts += 1
            self.server = Server(self._options, self._report)
            failure = self._start_again()
        self._open()
        self._report(f"serving again after {time.monotonic() - began:.1f} s")

    def _start_again(self) -> ServerError | None:
        try:
            self.server.start()
        except ServerError as error:
            return error
        return None

    def stop(self, drain_s: float) -> None:
        """Finish what is under way, within ``drain_s`` seconds, and end; any number of times."""
        if self._opened:
            self.door.set_serving(False)
            self.door.drain(drain_s)
            self._opened = 0.0
        self.door.stop()
        self.server.stop()
        self._singer.shutdown(wait=False, cancel_futures=True)

    def abort(self) -> None:
        """Kill all processes at once; a ``stop()`` under way then ends. Safe in a signal handler."""
        self.door.abort()
        self.server.abort()
