"""One program at a time changes a folder: a lock that goes with the process that holds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from adlens.errors import CallerError, GalleryBusy, InvalidConfiguration

LOCK: Final = ".lock"
"""Name of the file that is locked; it stays."""


@contextmanager
def only_writer(folder: Path, unwritable: type[CallerError] = InvalidConfiguration) -> Iterator[None]:
    """Keep other writers out of ``folder``, which is made where it is not there. Readers are not kept out.

    Raises:
        GalleryBusy: one is at work.
        CallerError: the folder cannot be written to; of the class ``unwritable``.
    """
    import fcntl  # not on Windows, where what others wrote can be read all the same

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("ab")
    except OSError as error:
        raise unwritable(f"{folder} cannot be written to ({error.strerror})") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise GalleryBusy(f"another program is changing {folder}; try again when it is done") from error
        yield
