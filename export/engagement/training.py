"""Learning the head of a predictor of engagement from features and context, with early stopping.

Each time that a post comes, some of its context is left out, so that the head learns to do without; and its
picture is seen in another of its views. What is learned in an epoch is kept only where the loss on posts for
validation falls. A run that was killed goes on from its last epoch, and comes to the same end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from adlens import contract
from export.creative.features import FeatureStore
from export.engagement.calibration import Floats, Scale
from export.engagement.network import CONTEXT, IMAGE, Head, log_loss
from export.engagement.progress import Progress

RATE: Final = 1e-3
DECAY: Final = 0.5
"""AdamW's weight decay (arXiv:1711.05101), of matrices."""
IMAGE_DECAY: Final = 10.0
"""Of what reads the features, thousands a post."""
DROP: Final = 0.5
"""Share of the features left out of each step (N. Srivastava et al., JMLR 15, 2014)."""
DROP_FIELD: Final = 0.15
"""How often a field of the context is left out."""
DROP_CONTEXT: Final = 0.1
"""How often all of it is: some callers know nothing of a post."""
BATCH: Final = 64
POOL: Final = 2048
"""Posts whose features are in memory at a time."""
_FLOOR: Final = 1e-2
"""Of a feature's deviation, in parts of the mean one: what hardly ever varies must not be blown up."""


@dataclass(frozen=True)
class Examples:
    """Posts of which the features are known.

    Attributes:
        store: features [posts, views, wide] of their pictures; None where these are not read.
        context: POST, float32 [posts, P].
        classes: int64 [posts].
    """

    store: FeatureStore | None
    context: NDArray[np.float32]
    classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.classes)

    def without_context(self) -> Examples:
        """The same, as seen by who knows nothing of the posts but their pictures."""
        return replace(self, context=np.full_like(self.context, np.nan))

    def pools(self, chosen: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Rows of the chosen posts, in order, and the features of all their views; at most POOL at once."""
        rows = np.flatnonzero(chosen)
        for some in np.array_split(rows, max(1, math.ceil(len(rows) / POOL))):
            yield some, self._features(some)

    def shuffled(
        self, chosen: NDArray[np.bool_], random: np.random.Generator
    ) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """The same in a random order, and each picture in one view, float32 [some, wide]."""
        rows = random.permutation(np.flatnonzero(chosen))
        for some in np.array_split(rows, max(1, math.ceil(len(rows) / POOL))):
            some.sort()
            features = self._features(some)
            views = torch.from_numpy(random.integers(features.shape[1], size=len(some)))
            yield some, features[torch.arange(len(some)), views]

    def _features(self, rows: NDArray[np.int64]) -> Tensor:
        if self.store is None:
            return torch.zeros(len(rows), 1, 0)
        mask = np.zeros(len(self), np.bool_)
        mask[rows] = True
        return torch.cat(list(self.store.chunks(mask)))


def fit_head(
    head: Head,
    examples: Examples,
    fitting: NDArray[np.bool_],
    validation: NDArray[np.bool_],
    *,
    epochs: int,
    patience: int,
    seed: int,
    checkpoint: Path,
) -> float:
    """Train ``head`` in place, and leave it as it was in its best epoch.

    Args:
        head: untrained.
        examples: all posts.
        fitting: [posts], those to learn from.
        validation: [posts], those whose loss says when to stop.
        epochs: at most.
        patience: epochs without a lower loss after which it stops.
        seed: of weights, orders, views, and what is left out.
        checkpoint: file to go on from where it is there; removed in the end.

    Returns:
        The validation loss of the best epoch.

    Raises:
        ArithmeticError: the loss is no number any longer.
    """
    _start(head, examples, fitting, seed)
    optimiser = torch.optim.AdamW(_groups(head), lr=RATE)
    progress = Progress(head, optimiser, checkpoint)
    with tqdm(total=epochs, initial=progress.done, desc="head", unit="epoch", disable=None) as bar:
        while progress.done < epochs and progress.since_best < patience:
            random = np.random.default_rng((seed, progress.done))
            torch.manual_seed(int(random.integers(2**31)))
            for rows, features in examples.shuffled(fitting, random):
                _learn(head, optimiser, examples, rows, features, random)
            progress.note(validation_loss(head, examples, validation))
            bar.set_postfix(loss=f"{progress.best:.4f}")
            bar.update()
    progress.finish()
    return progress.best


def scores_of(head: Head, examples: Examples, chosen: NDArray[np.bool_]) -> Floats:
    """Scores float64 [n] of the chosen posts, in order, their pictures as they are."""
    found = []
    with torch.no_grad():
        for rows, features in examples.pools(chosen):
            post = torch.from_numpy(examples.context[rows])
            found.append(head.score(features[:, 0], post))
    return torch.cat(found).double().numpy()


def scale_of(head: Head) -> Scale:
    """How the head makes probabilities of its scores by itself."""
    low, high = head.thresholds.tolist()
    return Scale(1.0, low, high)


def validation_loss(head: Head, examples: Examples, chosen: NDArray[np.bool_]) -> float:
    """Mean negative log-likelihood of the chosen posts; with and without their context, where it is read."""
    ways = [examples, examples.without_context()] if CONTEXT in head.reads else [examples]
    scores = np.concatenate([scores_of(head, way, chosen) for way in ways])
    classes = torch.from_numpy(np.tile(examples.classes[chosen], len(ways)))
    with torch.no_grad():
        return float(log_loss(torch.from_numpy(scores).float(), head.thresholds, classes))


def left_out(context: Tensor, random: np.random.Generator) -> Tensor:
    """POST with some fields unknown: each sometimes, and sometimes all."""
    gone = random.random(context.shape) < DROP_FIELD
    gone |= random.random((len(context), 1)) < DROP_CONTEXT
    return context.masked_fill(torch.from_numpy(gone), math.nan)


def _start(head: Head, examples: Examples, fitting: NDArray[np.bool_], seed: int) -> None:
    """Weights from ``seed``, moments of the posts to learn from, and thresholds at their shares."""
    torch.manual_seed(seed)
    for module in head.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()
    nn.init.zeros_(head.last.weight)
    if hasattr(head, "context"):
        head.context.fit(torch.from_numpy(examples.context[fitting]))
    if IMAGE in head.reads:
        mean, deviation = _moments(examples, fitting)
        head.mean.copy_(mean)
        head.deviation.copy_(deviation)
    counts = np.bincount(examples.classes[fitting], minlength=len(contract.ENGAGEMENT_CLASSES)) + 1.0
    below = np.cumsum(counts)[:-1] / counts.sum()
    low, high = np.log(below / (1 - below)).tolist()
    head.rescale(1.0, low, high)


def _groups(head: Head) -> list[dict[str, Any]]:
    """Parameters by how much they are pulled to 0; thresholds and other biases are not."""
    first = f"branches.{IMAGE}.weight"
    decays = {
        name: IMAGE_DECAY if name == first else DECAY if parameter.ndim > 1 else 0.0
        for name, parameter in head.named_parameters()
    }
    return [
        {
            "params": [each for name, each in head.named_parameters() if decays[name] == decay],
            "weight_decay": decay,
        }
        for decay in sorted(set(decays.values()))
    ]


def _moments(examples: Examples, chosen: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature over all views, float32 [wide]; the latter has a floor."""
    count, total, squares = 0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for _, features in examples.pools(chosen):
        flat = features.flatten(0, 1).double()
        count += len(flat)
        total = total + flat.sum(0)
        squares = squares + (flat**2).sum(0)
    mean = total / count
    deviation = (squares / count - mean**2).clamp(min=0).sqrt()
    return mean.float(), (deviation + _FLOOR * deviation.mean()).clamp(min=1e-8).float()


def _learn(
    head: Head,
    optimiser: torch.optim.Optimizer,
    examples: Examples,
    rows: NDArray[np.int64],
    features: Tensor,
    random: np.random.Generator,
) -> None:
    """A step for each batch of a pool."""
    order = random.permutation(len(rows))
    for some in np.array_split(order, max(1, round(len(rows) / BATCH))):
        chosen = rows[some]
        post = left_out(torch.from_numpy(examples.context[chosen]), random)
        scores = head.score(features[torch.from_numpy(some)], post, DROP)
        loss = log_loss(scores, head.thresholds, torch.from_numpy(examples.classes[chosen]))
        if not loss.isfinite():
            raise ArithmeticError("learning diverged; take a lower RATE")
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
