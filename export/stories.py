"""What was trained, on disk: safetensors, with the story of its training in the header.

A story is what JSON holds. Of it a model's card and manifest are made, and it stays with the numbers that it
tells of.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from export.weights import WeightsError

REPORT_FILE: Final = "report.json"
_KEY: Final = "adlens"
Story = TypeVar("Story")


def write(state: Mapping[str, Tensor], story: Mapping[str, Any], file: Path) -> None:
    """Leave ``state`` and its ``story`` in ``file``; a former one stays whole until the new one is."""
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = {name: value.detach().contiguous() for name, value in state.items()}
    partial = file.with_name(f"partial-{file.name}")
    save_file(whole, partial, metadata={_KEY: json.dumps(story)})
    partial.rename(file)


def write_report(story: Mapping[str, Any], folder: Path) -> None:
    """The ``story`` once more, for people, as ``report.json`` in ``folder``."""
    (folder / REPORT_FILE).write_text(json.dumps(story, indent=2) + "\n")


def read(file: Path, build: Callable[[dict[str, Any]], Story], what: str) -> Story:
    """The story in ``file``.

    Args:
        file: as ``write`` leaves it.
        build: makes a story of what JSON holds.
        what: should be in the file, for the message.

    Raises:
        WeightsError: there is none, or ``build`` makes none of it.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            raw: dict[str, Any] = json.loads(opened.metadata()[_KEY])
        return build(raw)
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise WeightsError(f"{file}: not {what} ({error}); train it again") from error


def part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with ``prefix``, under what follows it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
