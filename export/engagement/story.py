"""A trained predictor of engagement on disk: its head, and its trunk's last layers where fine-tuned.

As safetensors, with the story of its training in the header, and again beside it as ``report.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from adlens import contract
from adlens.contract import EngagementCard
from export import stories
from export.creative.finetune import learning_layers
from export.creative.network import Tones
from export.creative.story import load_trunk
from export.engagement.network import IMAGE, EngagementNetwork, Head
from export.graph import Weights
from export.networks.attributes import digest
from export.weights import WeightsError

MODEL_FILE: Final = "engagement.safetensors"
_HEAD: Final = "head."
_TUNED: Final = "trunk."


@dataclass(frozen=True)
class EngagementStory:
    """What a trained predictor says of itself."""

    backbone: str
    """Of its trunk; "" where it reads no pictures."""
    weights: str
    """What ``export.weights.load_network`` was asked for."""
    trunk: str
    """SHA-256 over the parameters of the trunk before any fine-tuning; "" without one."""
    wide: int
    """Features of a picture; 0 without a trunk."""
    reads: tuple[str, ...]
    classes: str
    """``fixed`` or ``account``."""
    boundaries: tuple[float, ...]
    """Where fixed."""
    trained_on: str
    starter: bool
    """Whether its trunk is seeded, or its posts were generated."""
    held_out: Mapping[str, Any]
    """As ``export.engagement.evaluation.Judgement`` gives it."""
    without_context: Mapping[str, Any]
    """The same of the same posts, with nothing known of them but the picture."""
    training: Mapping[str, Any]
    """How it came about: cleaning, split, calibration, context learned of."""

    def card(self, weights: str) -> EngagementCard:
        """Of the model that was trained; ``weights`` is its digest."""
        skill = tuple(map(float, self.held_out["skill"]))
        return EngagementCard(
            contract.ENGAGEMENT_MODEL,
            weights[:16],
            self.starter,
            contract.ENGAGEMENT_CLASSES,
            (0.0,) * len(skill) if self.starter else skill,
            signal=bool(self.held_out["signal"]),
            accuracy=float(self.held_out["accuracy"]),
            majority=float(self.held_out["majority"]),
            picture_signal=IMAGE in self.reads and bool(self.without_context["signal"]),
            picture_accuracy=float(self.without_context["accuracy"]),
            boundaries=self.boundaries,
            reads=self.reads,
        )


def save(network: EngagementNetwork, tuned: bool, story: EngagementStory, folder: Path) -> None:
    """Leave the predictor in ``folder``; with the last layers of its trunk where these were ``tuned``."""
    state: dict[str, Tensor] = {_HEAD + name: value for name, value in network.head.state_dict().items()}
    if tuned and network.features is not None:
        last = learning_layers(network.features.trunk)
        state |= {_TUNED + name: value for name, value in last.state_dict().items()}
    stories.write(state, asdict(story), folder / MODEL_FILE)
    stories.write_report(asdict(story), folder)


def read_story(folder: Path) -> EngagementStory:
    """The story of the predictor in ``folder``.

    Raises:
        WeightsError: there is none, or it is none of ours.
    """
    return stories.read(folder / MODEL_FILE, _build, "a predictor of engagement")


def _build(raw: dict[str, Any]) -> EngagementStory:
    lists = {"reads": tuple(raw["reads"]), "boundaries": tuple(map(float, raw["boundaries"]))}
    story = EngagementStory(**{**raw, **lists})
    story.card("")  # all figures are there
    return story


def load(folder: Path) -> tuple[EngagementNetwork, EngagementStory, Weights]:
    """What ``save`` left in ``folder``, and where the trunk's weights come from.

    Raises:
        WeightsError: a file is missing or does not fit, or the weights are no longer what was learned on.
    """
    story = read_story(folder)
    file = folder / MODEL_FILE
    trunk, source = None, Weights("own training run", "that of the data", "", story.starter)
    if IMAGE in story.reads:
        trunk, source = load_trunk(story.backbone, story.weights, Tones)
        if digest(trunk) != story.trunk:
            raise WeightsError(
                f"{file} was trained on {story.weights!r} as it was then, and that has changed: train again "
                "with `python -m export.train_engagement`"
            )
    try:
        network = EngagementNetwork(trunk, Head(story.wide, story.reads)).eval()
        state = load_file(file)
        network.head.load_state_dict(stories.part(state, _HEAD))
        if trunk is not None and (tuned := stories.part(state, _TUNED)):
            learning_layers(trunk).load_state_dict(tuned)
    except (RuntimeError, ValueError, SafetensorError) as error:
        raise WeightsError(
            f"{file} does not fit today's network ({error}): train again with "
            "`python -m export.train_engagement`"
        ) from error
    return network, story, source
