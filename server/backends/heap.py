"""What a model process has freed goes back to the system, which glibc leaves undone for most of it.

Loading takes the weights twice or thrice for a while, and batches of all sizes leave holes between blocks
that are in use: without this, a ResNet50 process holds 300 MB where 170 would do, and grows with every crowd.
But what is given back between two runs, the second takes anew, page by page; so a process does it when it
has nothing else to do.
"""

from __future__ import annotations

import ctypes
import threading
import time

IDLE_S = 1.0
"""Without work after which all is given back."""
BUSY_S = 60.0
"""With work all the time, after which it is as well: a run in hundreds takes its memory anew."""


class Heap:
    """The heap of this process, looked after by a thread."""

    def __init__(self) -> None:
        self._trim = ctypes.CDLL(None).malloc_trim
        self._worked = threading.Event()
        threading.Thread(target=self._look_after, name="heap", daemon=True).start()

    def used(self) -> None:
        """Say that a run has ended."""
        self._worked.set()

    def trim(self) -> None:
        """Give back what is free."""
        self._trim(0)

    def _look_after(self) -> None:
        while self._worked.wait():
            latest = time.monotonic() + BUSY_S
            while self._worked.is_set() and time.monotonic() < latest:
                self._worked.clear()
                time.sleep(IDLE_S)
            self.trim()
