"""What a server leaves on the machine, and how it goes: processes, shared memory, temporary folders.

All names carry ``adlens-<process id of the launcher>-``, so that a later start can clear what a
launcher that was killed could not.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps shared memory, and Triton its regions
ENOUGH_SHARED_MEMORY = 16 << 20
"""Free bytes below which model processes may soon fail to pass pictures on."""
KILL_TIMEOUT_S = 5.0
NAME = re.compile(r"adlens-(\d{1,9})-[0-9a-f]{8}")


def new_name() -> str:
    """A name for one server of this process, unique on the machine."""
    return f"adlens-{os.getpid()}-{secrets.token_hex(4)}"


def clear_shared_memory(name: str) -> None:
    """Remove the shared memory of the server of this name; its processes must have ended."""
    for region in SHARED_MEMORY.glob(f"{name}*"):
        region.unlink(missing_ok=True)


def clear_abandoned() -> None:
    """Remove shared memory and temporary folders of launchers that are no more."""
    for folder in (SHARED_MEMORY, Path(tempfile.gettempdir())):
        for entry in folder.glob("adlens-*"):
            found = NAME.match(entry.name)
            if found is None or psutil.pid_exists(int(found[1])):
                continue
            # Another user's is not ours to remove, nor is what cannot be written.
            with suppress(OSError):
                if entry.is_dir():
                    shutil.rmtree(entry, ignore_errors=True)
                else:
                    entry.unlink(missing_ok=True)


def kill_group(group: int) -> None:
    """End all processes of a process group at once, and wait until none runs any longer."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    deadline = time.monotonic() + KILL_TIMEOUT_S
    while group_members(group) and time.monotonic() < deadline:
        time.sleep(0.01)


def group_members(group: int) -> list[psutil.Process]:
    """The living processes of a process group."""
    members = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process)
    return members


def shortage() -> str | None:
    """What to do about shared memory that is nearly used up; None where there is enough."""
    usage = psutil.disk_usage(str(SHARED_MEMORY))
    if usage.free >= ENOUGH_SHARED_MEMORY:
        return None
    return (
        f"{SHARED_MEMORY} has {usage.free >> 20} MiB of {usage.total >> 20} left: delete what others left "
        "there, or give the container more (docker run --shm-size=1g)"
    )
