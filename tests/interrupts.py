"""Ctrl-C for programs that tests start."""

from __future__ import annotations

import signal


def heed_ctrl_c() -> None:
    """To be run in the program: a shell lets what it runs in the background, tests too, ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
