"""``influencers.yaml``: which ranker is trained, on which blocks, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import yaml

from export.datasets import DatasetError
from export.influencers.fitting import FitOptions
from export.influencers.story import OURS, SEED_NETWORK
from export.influencers.training import NetworkOptions

FILE: Final = Path(__file__).with_name("influencers.yaml")
_KEYS: Final = ("kind", "blocks", OURS, SEED_NETWORK)


@dataclass(frozen=True)
class RankerConfig:
    """Which ranker, and how it learns.

    Attributes:
        kind: ``ours`` or ``bilinear``.
        blocks: names to use; empty for all.
        ours: options of the one.
        bilinear: options of the other.
    """

    kind: str = OURS
    blocks: tuple[str, ...] = ()
    ours: FitOptions = field(default_factory=FitOptions)
    bilinear: NetworkOptions = field(default_factory=NetworkOptions)


def read_config(path: Path = FILE) -> RankerConfig:
    """The configuration in ``path``; what it leaves out is as by default.

    Raises:
        DatasetError: it cannot be read, or says what cannot be.
    """
    try:
        raw = yaml.safe_load(path.read_text()) or {}
        if not isinstance(raw, dict) or not set(raw) <= set(_KEYS):
            raise DatasetError(f"it may have the keys {', '.join(_KEYS)} and no others")
        kind = raw.get("kind", OURS)
        if kind not in (OURS, SEED_NETWORK):
            raise DatasetError(f"kind {kind!r} is unknown; choose {OURS} or {SEED_NETWORK}")
        blocks = _texts("blocks", raw.get("blocks", []))
        network = {**_section(NetworkOptions, raw, SEED_NETWORK), "blocks": blocks}
        ours = FitOptions(**_section(FitOptions, raw, OURS))
        return RankerConfig(kind, blocks, ours, NetworkOptions(**network))
    except (OSError, yaml.YAMLError, DatasetError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: {error}") from error


def _section(kind: type[Any], raw: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Values of a section, each of the type that its default has."""
    said = raw.get(name) or {}
    defaults = {each.name: each.default for each in fields(kind)}
    if not isinstance(said, dict) or not set(said) <= set(defaults):
        raise DatasetError(f"{name} may have the keys {', '.join(defaults)} and no others")
    found: dict[str, Any] = {}
    for key, value in said.items():
        default = defaults[key]
        if isinstance(default, tuple):
            if not isinstance(value, list):
                raise DatasetError(f"{name}: {key} is {value!r}; it must be a list")
            found[key] = tuple(float(each) for each in value)
        elif isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise DatasetError(f"{name}: {key} is {value!r}; it must be as {default!r} is")
        elif isinstance(default, int) and value != int(value):
            raise DatasetError(f"{name}: {key} is {value!r}; it must be a whole number")
        else:
            found[key] = int(value) if isinstance(default, int) else _like(default, value)
    return found


def _like(default: object, value: str | float) -> str | float:
    return float(value) if isinstance(default, float) else str(value)


def _texts(name: str, raw: object) -> tuple[str, ...]:
    if not isinstance(raw, list):
        raise DatasetError(f"{name}: {raw!r} is no list of names")
    return tuple(str(each) for each in raw)
