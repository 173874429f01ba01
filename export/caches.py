"""Folders of what was computed of data, each named by a key of all that went into it.

Another network, or other code, gives another key, and of large data gigabytes. Of the same data the last
``KEPT`` keys stay, as training goes back and forth between a few networks; older ones are removed as a new
one is opened. A folder that a run has open stays whatever comes: ``of.txt``, which says of what it was
computed, is locked for as long. What has no such file was left by others, and stays, too.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

KEPT: Final = 3
"""Keys of the same data: of a trunk, of the same when it is fine-tuned, and of one before."""
TRIES: Final = 100
"""Times to make a folder that others remove; then it is something else that stands in the way."""
OF: Final = "of.txt"
_WRITING: Final = ".writing"
_REMOVED: Final = ".removed-"


class CacheFolder:
    """A folder that stays as long as this object lives."""

    def __init__(self, kind: Path, key: str, of: str) -> None:
        """Open it, made where it is not there; what it replaces is removed.

        Args:
            kind: folder of all keys.
            key: of what went in.
            of: the data, in a line; former keys of the same are replaced.
        """
        self.path = kind / key
        descriptor = _opened(self.path)
        os.pwrite(descriptor, of.encode(), 0)
        os.utime(descriptor)
        weakref.finalize(self, os.close, descriptor)
        _remove_replaced(kind, key, of)

    @contextmanager
    def only_writer(self) -> Iterator[None]:
        """Wait until no other run writes into the folder; it may have written all that is needed."""
        with (self.path / _WRITING).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def pictures_of(paths: Sequence[Path], network: str) -> str:
    """What to say of features of pictures: where they lie, and which network looks at them."""
    folder = os.path.commonpath([path.resolve().parent for path in paths]) if paths else ""
    return f"{network} of pictures in {folder}\n"


def _opened(folder: Path) -> int:
    """A descriptor of ``OF``, locked together with others that use it."""
    for left in reversed(range(TRIES)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder / OF, os.O_RDWR | os.O_CREAT, 0o644)
        except (FileExistsError, FileNotFoundError):  # another run has just removed the folder
            if left:
                continue
            raise
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if _is_there(folder, descriptor):
            return descriptor
        os.close(descriptor)
    raise FileNotFoundError(f"{folder} was removed {TRIES} times while it was opened")


def _is_there(folder: Path, descriptor: int) -> bool:
    """Whether ``OF`` is still the file that was locked: the folder may have been removed while we waited."""
    try:
        return os.path.samestat(os.fstat(descriptor), (folder / OF).stat())
    except FileNotFoundError:
        return False


def _remove_replaced(kind: Path, key: str, of: str) -> None:
    former = []
    for entry in kind.iterdir():
        try:
            if entry.name.startswith(_REMOVED):
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.name != key and (entry / OF).read_text() == of:
                former.append(((entry / OF).stat().st_mtime_ns, entry))
        except OSError:  # none of ours, or another run was faster
            continue
    for _, folder in sorted(former, reverse=True)[KEPT - 1 :]:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Unless a run has it open."""
    try:
        descriptor = os.open(folder / OF, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_there(folder, descriptor):
            return
        removed = folder.rename(folder.with_name(f"{_REMOVED}{folder.name}"))
    except OSError:  # it is open, or another run has removed it
        return
    finally:
        os.close(descriptor)
    shutil.rmtree(removed, ignore_errors=True)
