"""A trained judge on disk: its head, and its trunk's last layers where these were fine-tuned, as safetensors.

The story of its training stands in the header, and again beside it as ``report.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from export import stories
from export.creative.finetune import learning_layers
from export.creative.network import BACKBONES, CreativeNetwork, CreativeTrunk, Statistics, Tones
from export.graph import Weights
from export.networks.attributes import digest
from export.weights import WeightsError, load_network

JUDGE_FILE: Final = "judge.safetensors"
_HEAD: Final = "head."
_TUNED: Final = "trunk."


@dataclass(frozen=True)
class JudgeStory:
    """What a trained judge says of itself."""

    backbone: str
    labels: tuple[str, ...]
    weights: str
    """What ``export.weights.load_network`` was asked for."""
    trunk: str
    """SHA-256 over the parameters of the trunk before any fine-tuning."""
    trained_on: str
    starter: bool
    """Whether its trunk is seeded, or its pictures were generated."""
    held_out: Mapping[str, Any]
    """As ``export.creative.judging.Judgement`` gives it."""

    @property
    def skill(self) -> tuple[float, ...]:
        """2 AUC - 1 of each label on held-out pictures; 0 where it says nothing of real ones."""
        return tuple(0.0 if self.starter else float(self.held_out["skill"][label]) for label in self.labels)


def save_judge(network: CreativeNetwork, tuned: bool, story: JudgeStory, folder: Path) -> None:
    """Leave the judge in ``folder``; with the last layers of its trunk where these were ``tuned``."""
    state: dict[str, Tensor] = {_HEAD + name: value for name, value in network.head.state_dict().items()}
    if tuned:
        last = learning_layers(network.trunk)
        state |= {_TUNED + name: value for name, value in last.state_dict().items()}
    stories.write(state, asdict(story), folder / JUDGE_FILE)
    stories.write_report(asdict(story), folder)


def read_story(folder: Path) -> JudgeStory:
    """The story of the judge in ``folder``.

    Raises:
        WeightsError: there is none, or it is none of ours.
    """
    return stories.read(
        folder / JUDGE_FILE,
        lambda raw: JudgeStory(**{**raw, "labels": tuple(raw["labels"])}),
        "a judge of creatives",
    )


def load_trunk(
    backbone: str, weights: str, statistics: type[Statistics] | type[Tones] = Statistics
) -> tuple[CreativeTrunk, Weights]:
    """The trunk of ``backbone`` in evaluation mode, and where its weights come from.

    Args:
        backbone: in BACKBONES.
        weights: as ``export.weights.load_network``.
        statistics: as ``CreativeTrunk``.

    Raises:
        WeightsError: they cannot be had.
    """
    network, source = load_network(backbone, BACKBONES[backbone], weights)
    return CreativeTrunk(network, statistics).eval(), source


def load_judge(folder: Path) -> tuple[CreativeNetwork, JudgeStory, Weights]:
    """What ``save_judge`` left in ``folder``, and where the trunk's weights come from.

    Raises:
        WeightsError: a file is missing or does not fit, or the weights are no longer what was learned on.
    """
    story = read_story(folder)
    trunk, source = load_trunk(story.backbone, story.weights)
    if digest(trunk) != story.trunk:
        raise WeightsError(
            f"{folder / JUDGE_FILE} was trained on {story.weights!r} as it was then, and that has "
            "changed: train again with `python -m export.train_variants`"
        )
    try:
        network = CreativeNetwork(trunk, story.labels).eval()
        state = load_file(folder / JUDGE_FILE)
        network.head.load_state_dict(stories.part(state, _HEAD))
        if tuned := stories.part(state, _TUNED):
            learning_layers(trunk).load_state_dict(tuned)
    except (RuntimeError, ValueError, SafetensorError) as error:
        raise WeightsError(
            f"{folder / JUDGE_FILE} does not fit today's network ({error}): train again with "
            "`python -m export.train_variants`"
        ) from error
    return network, story, source
