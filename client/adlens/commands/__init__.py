"""The commands of ``adlens``, one file each, and what they share.

Exit codes: 0 all answered; 1 some inputs failed; 2 wrong usage; 3 the server failed; 130 interrupted.
"""

from typing import Final

SOME_FAILED: Final = 1
WRONG_USAGE: Final = 2
SERVER_FAILED: Final = 3
INTERRUPTED: Final = 130
"""What shells report of a program that Ctrl-C ended (128 + SIGINT)."""
