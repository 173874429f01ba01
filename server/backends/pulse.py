"""Signs of life of model processes: since when each has been at work on a batch.

Triton notices neither a model process that died nor one that hangs. A process that has been at work
for seconds and used no processor time meanwhile is stuck, however long its work may rightly take; so
each says when it begins and ends, in eight bytes of a file that the supervisor reads. A file whose
process is no more tells of one that died: who ends in order takes its file along.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FOLDER_VARIABLE = "ADLENS_PULSES"
"""Names the folder of the files, one a process, named by its id; set by the launcher."""

_SINCE = struct.Struct("<d")


class Pulse:
    """The sign of life of this process; without a folder to write to, none."""

    def __init__(self) -> None:
        self._memory: mmap.mmap | None = None
        if folder := os.environ.get(FOLDER_VARIABLE):
            self._path = Path(folder) / str(os.getpid())
            self._path.write_bytes(_SINCE.pack(0.0))
            with self._path.open("r+b") as file:
                self._memory = mmap.mmap(file.fileno(), _SINCE.size)

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Say that this process is at work for as long as the context lasts."""
        if self._memory is None:
            yield
            return
        _SINCE.pack_into(self._memory, 0, time.monotonic())
        try:
            yield
        finally:
            _SINCE.pack_into(self._memory, 0, 0.0)

    def end(self) -> None:
        """Say that this process is about to end in order."""
        if self._memory is not None:
            self._path.unlink(missing_ok=True)


def read_pulses(folder: Path) -> dict[int, float]:
    """Ids of the model processes, and since when (``time.monotonic()``, one clock for all) each is at work.

    0 for those that are idle.
    """
    found = {}
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # ended between the two calls
            data = path.read_bytes()
            # A file that has just been made is empty.
            found[int(path.name)] = _SINCE.unpack(data)[0] if len(data) == _SINCE.size else 0.0
    return found
