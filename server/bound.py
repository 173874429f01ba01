"""Becomes another program that gets SIGTERM when the process that started it ends, however it ends.

``python bound.py PARENT COMMAND...``: so a launcher that is killed leaves no server behind. A program
of its own, as ``preexec_fn`` is not safe where the starting process has threads. Linux only, as Triton.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""``linux/prctl.h``; the signal comes when the *thread* that started this process ends."""


def main(parent: int, command: list[str]) -> None:
    """Bind this process to ``parent`` and become ``command``."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() == parent:  # else it ended before the binding
        os.execv(command[0], command)  # noqa: S606 - the point of this program


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
