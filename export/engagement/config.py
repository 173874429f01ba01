"""``engagement.yaml``: what a predictor of engagement reads, what counts as high, and how it is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from export.creative.network import BACKBONES
from export.datasets import DatasetError
from export.engagement import classes, splits
from export.engagement.network import READS

FILE: Final = Path(__file__).with_name("engagement.yaml")


@dataclass(frozen=True)
class EngagementConfig:
    """What a predictor of engagement is made of."""

    backbone: str
    """In ``export.creative.network.BACKBONES``."""
    weights: str
    """``starter``, ``published`` or a file, as for ``export.weights.load_network``."""
    reads: tuple[str, ...]
    """Of ``export.engagement.network.READS``."""
    classes: str
    """``fixed`` or ``account``."""
    boundaries: tuple[float, float]
    """Likes and comments from which on a post is neutral, and above which it is high, where fixed."""
    quantiles: tuple[float, float]
    """Of an account's posts, where each account has boundaries of its own."""
    split: str
    """``time`` or ``random``."""

    def __post_init__(self) -> None:
        """Refuse what cannot be built.

        Raises:
            DatasetError: a value is unknown, or numbers do not rise.
        """
        for name, known in (("backbone", BACKBONES), ("classes", classes.WAYS), ("split", splits.WAYS)):
            if getattr(self, name) not in known:
                raise DatasetError(
                    f"{name} {getattr(self, name)!r} is unknown; choose one of {', '.join(known)}"
                )
        if not self.reads or set(self.reads) - set(READS) or len(set(self.reads)) < len(self.reads):
            raise DatasetError(f"reads {', '.join(self.reads)!r}: choose of {', '.join(READS)}, each once")
        for name, most in (("boundaries", float("inf")), ("quantiles", 1.0)):
            low, high = getattr(self, name)
            if not 0 < low < high < most:
                raise DatasetError(f"{name} {low}, {high}: give two rising numbers between 0 and {most}")


def read_config(path: Path = FILE) -> EngagementConfig:
    """The configuration in ``path``.

    Raises:
        DatasetError: it cannot be read, or says what cannot be built.
    """
    try:
        raw = yaml.safe_load(path.read_text())
        if not isinstance(raw, dict) or set(raw) != set(_READERS):
            raise DatasetError(f"it must have the keys {', '.join(_READERS)} and no others")
        return EngagementConfig(**{name: read(name, raw[name]) for name, read in _READERS.items()})
    except (OSError, yaml.YAMLError, DatasetError) as error:
        raise DatasetError(f"{path}: {error}") from error


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise DatasetError(f"{name}: {value!r} is no text")
    return value


def _texts(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise DatasetError(f"{name}: {value!r} is no list")
    return tuple(_text(name, each) for each in value)


def _pair(name: str, value: object) -> tuple[float, float]:
    given: Sequence[Any] = value if isinstance(value, list) else ()
    if len(given) != 2 or not all(type(each) in (int, float) for each in given):
        raise DatasetError(f"{name}: {value!r} are not two numbers")
    return float(given[0]), float(given[1])


_READERS: Final[Mapping[str, Callable[[str, object], Any]]] = {
    "backbone": _text,
    "weights": _text,
    "reads": _texts,
    "classes": _text,
    "boundaries": _pair,
    "quantiles": _pair,
    "split": _text,
}
