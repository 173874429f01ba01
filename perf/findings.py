"""What a section of the benchmark has found so far, in a file that is whole at any moment.

``figures`` by name; ``ratios`` of two ways that took turns, with all rounds; ``failed`` by name, with why:
what fails is told and takes nothing else along.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from perf.serving import CHECKOUT

LONGEST: Final = 1000


def told(error: str) -> str:
    """The end of an error's text, without where on the machine the checkout lies: results are committed."""
    return error.replace(f"{CHECKOUT}/", "")[-LONGEST:]


class Findings:
    """Of one section; each addition is on the disk at once."""

    def __init__(self, path: Path) -> None:
        """Begin anew in the file ``path``."""
        self._path = path
        self._found: dict[str, dict[str, Any]] = {"figures": {}, "ratios": {}, "failed": {}}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write()

    def put(self, name: str, value: object) -> None:
        """Keep a figure, or a structure of them."""
        self._found["figures"][name] = value
        self._write()

    def ratio(self, name: str, rounds: Sequence[float]) -> None:
        """Keep a ratio: its median over ``rounds``, and all of them."""
        self._found["ratios"][name] = {
            "value": round(statistics.median(rounds), 4),
            "rounds": [round(each, 4) for each in rounds],
        }
        self._write()

    def fail(self, name: str, error: BaseException | str) -> None:
        """Keep why there is no figure of ``name``."""
        self._found["failed"][name] = told(str(error))
        self._write()

    def _write(self) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(self._found, indent=1))
        new.replace(self._path)
