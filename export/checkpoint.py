"""Trained heads on disk: safetensors, with the story of their training in the header.

Heads are looked for in the cache folder first, then among the committed ones (``export/heads``), which
make real answers possible on a machine without a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from safetensors.torch import load_file
from torch import nn

from adlens import contract
from export import stories
from export.weights import WeightsError, cache_folder

COMMITTED: Final = Path(__file__).parent / "heads"


@dataclass(frozen=True)
class HeadsStory:
    """What a heads file says of itself."""

    backbone: str
    labels: tuple[str, ...]
    weights: str
    """What ``export.weights.load_backbone`` was asked for."""
    trunk: str
    """SHA-256 over the parameters of the backbone under these heads."""
    trained_on: str
    held_out: Mapping[str, Mapping[str, float | None]]
    """By label: auc, standard_error, positives, negatives, skill."""

    @property
    def skill(self) -> tuple[float, ...]:
        """Weight of each label in the combined answer, 0 to 1."""
        return tuple(float(self.held_out[label]["skill"] or 0.0) for label in self.labels)


def save_heads(tails: nn.ModuleDict, story: HeadsStory, path: Path) -> None:
    """Write all tails and the story to one safetensors file."""
    stories.write(tails.state_dict(), asdict(story), path)


def read_story(path: Path) -> HeadsStory:
    """The story of a heads file.

    Raises:
        WeightsError: the file is none of ours.
    """
    return stories.read(
        path, lambda raw: HeadsStory(**{**raw, "labels": tuple(raw["labels"])}), "a heads file of adlens"
    )


def load_heads(tails: nn.ModuleDict, path: Path) -> None:
    """Fill ``tails`` from the file.

    Raises:
        WeightsError: the file has other labels or other shapes.
    """
    try:
        tails.load_state_dict(load_file(path), strict=True)
    except RuntimeError as error:
        raise WeightsError(f"{path}: heads do not fit the backbone: {error}") from error


def cached_heads(backbone: str) -> Path:
    """Where training leaves the heads of ``backbone``."""
    return cache_folder() / "heads" / f"{contract.attributes_model(backbone)}.safetensors"


def find_heads(backbone: str) -> Path | None:
    """Heads from an own training run, else the committed ones, else None."""
    candidates = (cached_heads(backbone), COMMITTED / cached_heads(backbone).name)
    return next((path for path in candidates if path.is_file()), None)
