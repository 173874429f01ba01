"""Figures: a line each for people, and a JSON file that ``ADLENS_CHAOS_REPORT`` names."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Record = Callable[[str, Any], None]


@pytest.fixture(scope="session")
def figures() -> Iterator[dict[str, Any]]:
    """By name; written at the end."""
    found: dict[str, Any] = {}
    yield found
    if path := os.environ.get("ADLENS_CHAOS_REPORT"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(found, indent=2) + "\n")


@pytest.fixture
def record(figures: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> Record:
    """Keeps a figure, and prints it past pytest."""

    def keep(name: str, figure: Any) -> None:
        figures[name] = figure
        with capsys.disabled():
            print(f"\n  {name}: {json.dumps(figure)}", end="")  # noqa: T201 - what this is run for

    return keep
