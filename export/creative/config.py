"""``creative.yaml``: which backbone judges creatives, on which weights, and which variants it tells apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from export.creative.network import BACKBONES, find_variants
from export.datasets import DatasetError

FILE: Final = Path(__file__).with_name("creative.yaml")
_KEYS: Final = ("backbone", "weights", "variants")


@dataclass(frozen=True)
class CreativeConfig:
    """What a judge of creatives is made of."""

    backbone: str
    """In ``export.creative.network.BACKBONES``."""
    weights: str
    """``starter``, ``published`` or a file, as for ``export.weights.load_network``."""
    variants: tuple[str, ...]
    """Labels of registered variants, in the order of the columns."""

    def __post_init__(self) -> None:
        """Refuse what cannot be built.

        Raises:
            DatasetError: the backbone or a variant is unknown, or the variants are none that go together.
        """
        if self.backbone not in BACKBONES:
            raise DatasetError(f"backbone {self.backbone!r} is unknown; choose one of {', '.join(BACKBONES)}")
        try:
            find_variants(self.variants)
        except ValueError as error:
            raise DatasetError(str(error)) from error


def read_config(path: Path = FILE) -> CreativeConfig:
    """The configuration in ``path``.

    Raises:
        DatasetError: it cannot be read, or says what cannot be built.
    """
    try:
        raw = yaml.safe_load(path.read_text())
        if not isinstance(raw, dict) or set(raw) != set(_KEYS):
            raise DatasetError(f"it must have the keys {', '.join(_KEYS)} and no others")
        if not isinstance(raw["variants"], list):
            raise DatasetError(f"variants: {raw['variants']!r} is no list of labels")
        return CreativeConfig(str(raw["backbone"]), str(raw["weights"]), tuple(map(str, raw["variants"])))
    except (OSError, yaml.YAMLError, DatasetError) as error:
        raise DatasetError(f"{path}: {error}") from error
