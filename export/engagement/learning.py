"""From cleaned posts to a judged predictor of engagement: look, part, learn, calibrate, judge once.

Class boundaries, moments and weights come from the fitting part alone; when to stop and how sure to be from
the validation part; and the held-out part is looked at when all that is done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from adlens import contract
from export.creative.features import FeatureStore
from export.creative.network import CreativeTrunk, Tones
from export.creative.story import load_trunk
from export.datasets import DatasetError
from export.engagement import calibration, classes, finetune, splits, training
from export.engagement.calibration import Choice, Classes, Floats
from export.engagement.classes import Boundaries
from export.engagement.config import EngagementConfig
from export.engagement.evaluation import Judgement, judge
from export.engagement.features import compute_features
from export.engagement.network import CONTEXT, IMAGE, EngagementNetwork, Head
from export.engagement.posts import Posts
from export.engagement.splits import Parts
from export.engagement.training import Examples
from export.graph import Weights
from export.networks.attributes import digest
from export.weights import cache_folder

MIN_POSTS: Final = 10
"""In each part: of fewer, nothing can be told."""
PARTS: Final = ("fitting", "validation", "held_out")


@dataclass(frozen=True)
class Schedule:
    """How long and how often."""

    epochs: int = 300
    """Of the head, at most."""
    patience: int = 30
    """Epochs without a lower loss after which it stops."""
    views: int = 4
    """Of each picture, that the head learns from."""
    fine_tune: int = 0
    """Epochs of the trunk's last layers."""
    seed: int = 20
    shuffle: int | None = None
    """Seed by which likes and comments are given to other posts, so that nothing can be learned."""
    threads: int = 0
    """At work; 0 takes all cores."""


@dataclass(frozen=True)
class Trained:
    """A predictor, and how it does on posts that nothing was learned from.

    Attributes:
        network: calibrated.
        source: of its trunk's weights; None without a trunk.
        trunk: digest of its trunk before any fine-tuning; "" without one.
        boundaries: between the classes.
        counts: posts by part and class.
        choice: of the calibration.
        judgement: on held-out posts.
        without_context: on the same, with nothing known of them but the picture; the same where it reads
            nothing else.
        said: probabilities [n, C] of these.
        uncalibrated: before calibration.
        truth: their classes [n].
    """

    network: EngagementNetwork
    source: Weights | None
    trunk: str
    boundaries: Boundaries
    counts: Mapping[str, Mapping[str, int]]
    choice: Choice
    judgement: Judgement
    without_context: Judgement
    said: Floats
    uncalibrated: Floats
    truth: Classes


def learn(kept: Posts, configuration: EngagementConfig, schedule: Schedule) -> Trained:
    """Learn from cleaned posts, and judge.

    Raises:
        DatasetError: there are too few posts, or none can be read.
        WeightsError: the weights cannot be had.
    """
    if schedule.threads:
        torch.set_num_threads(schedule.threads)
    trunk, source, store = _look(kept, configuration, schedule)
    if store is not None:
        kept = kept.subset(store.rows)
    if schedule.shuffle is not None:
        order = np.random.default_rng(schedule.shuffle).permutation(len(kept))
        kept = replace(kept, likes=kept.likes[order], comments=kept.comments[order])
    parts = splits.split(kept, configuration.split, schedule.seed)
    fitting = kept.subset(parts.fitting)
    boundaries = classes.fit(
        fitting, configuration.classes, configuration.boundaries, configuration.quantiles
    )
    labels = boundaries.label(kept)
    counts = _count(labels, parts)
    before = digest(trunk) if trunk is not None else ""
    examples = Examples(store, kept.context, labels)
    head, examples = _fit(trunk, kept, examples, parts, configuration, schedule)
    own = training.scale_of(head)
    # Sure of itself with a post's context and without: it is calibrated on both.
    ways = [examples, examples.without_context()] if CONTEXT in head.reads else [examples]
    validated = np.concatenate([training.scores_of(head, way, parts.validation) for way in ways])
    truth = np.tile(labels[parts.validation], len(ways))
    choice = calibration.choose(own, validated, truth, schedule.seed, len(ways))
    held_out, truth = kept.subset(parts.held_out), labels[parts.held_out]
    accounts = None if configuration.classes == classes.FIXED else held_out.accounts
    shares = np.bincount(labels[parts.fitting], minlength=len(contract.ENGAGEMENT_CLASSES))
    said, uncalibrated, judgements = [], [], []
    for way in ways:
        scores = training.scores_of(head, way, parts.held_out)
        said.append(choice.scale(scores))
        uncalibrated.append(own(scores))
        judgements.append(
            judge(said[-1], uncalibrated[-1], truth, held_out.totals, shares / shares.sum(), accounts)
        )
    head.rescale(choice.scale.slope, choice.scale.low, choice.scale.high)
    network = EngagementNetwork(trunk, head).eval()
    return Trained(
        network, source, before, boundaries, counts, choice, judgements[0], judgements[-1],
        said[0], uncalibrated[0], truth,
    )  # fmt: skip


def _look(
    kept: Posts, configuration: EngagementConfig, schedule: Schedule
) -> tuple[CreativeTrunk | None, Weights | None, FeatureStore | None]:
    """The trunk, where its weights come from, and what it says of all pictures; None where none is read."""
    if IMAGE not in configuration.reads:
        return None, None, None
    trunk, source = load_trunk(configuration.backbone, configuration.weights, Tones)
    store = compute_features(trunk, kept.pictures, schedule.views, cache_folder(), schedule.threads)
    if not len(store):
        raise DatasetError(f"none of {len(kept)} pictures can be read, such as {kept.pictures[0]}")
    return trunk, source, store


def _count(labels: NDArray[np.int64], parts: Parts) -> dict[str, dict[str, int]]:
    """Posts by part and class.

    Raises:
        DatasetError: a part has too few posts, or there is but one class to learn from.
    """
    names = contract.ENGAGEMENT_CLASSES
    counts = {
        part: dict(
            zip(names, np.bincount(labels[getattr(parts, part)], minlength=len(names)).tolist(), strict=True)
        )
        for part in PARTS
    }
    for part, each in counts.items():
        if sum(each.values()) < MIN_POSTS:
            raise DatasetError(
                f"{sum(each.values())} posts in the {part.replace('_', ' ')} part, and it needs {MIN_POSTS}; "
                "gather more"
            )
    if max(counts["fitting"].values()) == sum(counts["fitting"].values()):
        raise DatasetError(
            f"all posts to learn from are of one class ({counts['fitting']}); choose boundaries between "
            "them, or each account's own (`--classes account`)"
        )
    return counts


def _fit(
    trunk: CreativeTrunk | None,
    kept: Posts,
    examples: Examples,
    parts: Parts,
    configuration: EngagementConfig,
    schedule: Schedule,
) -> tuple[Head, Examples]:
    """A trained head, and the examples as the trunk sees them in the end."""
    head = Head(0 if trunk is None else trunk.wide, configuration.reads)
    key = _key(examples, parts, configuration, schedule, trunk)
    checkpoints = cache_folder() / "posts"
    training.fit_head(
        head, examples, parts.fitting, parts.validation,
        epochs=schedule.epochs, patience=schedule.patience, seed=schedule.seed,
        checkpoint=checkpoints / f"head-{key}.safetensors",
    )  # fmt: skip
    if schedule.fine_tune and trunk is not None:
        finetune.fine_tune(
            trunk, head, kept, examples.classes, parts.fitting, parts.validation,
            epochs=schedule.fine_tune, seed=schedule.seed,
            checkpoint=checkpoints / f"fine-tuning-{key}.safetensors",
        )  # fmt: skip
        seen = compute_features(trunk, kept.pictures, 1, cache_folder(), schedule.threads)
        examples = replace(examples, store=seen)
    return head.eval().requires_grad_(False), examples


def _key(
    examples: Examples,
    parts: Parts,
    configuration: EngagementConfig,
    schedule: Schedule,
    trunk: CreativeTrunk | None,
) -> str:
    """Of a training: its checkpoints are another's where anything differs that matters."""
    total = hashlib.sha256(repr((configuration, schedule)).encode())
    total.update(digest(trunk).encode() if trunk is not None else b"")
    for values in (examples.context, examples.classes, parts.fitting, parts.validation):
        total.update(np.ascontiguousarray(values).tobytes())
    return total.hexdigest()[:16]
