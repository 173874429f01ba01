"""The graph of job 4: how popular a post will be, from its picture and what else is known of it.

A picture's features come from the trunk that also judges creatives, a post's context from a few numbers that
may each be unknown; the two are joined into one score. The three classes are ordered, so that two thresholds
on that score give their probabilities (P. McCullagh, "Regression models for ordinal data", JRSS B 42, 1980).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from adlens import contract
from export.creative.framing import frame
from export.creative.network import SIDE, CreativeTrunk

IMAGE: Final = "image"
CONTEXT: Final = "context"
READS: Final = (IMAGE, CONTEXT)
"""Branches that a network may have."""
PERIODS: Final = {"hour": 24.0, "weekday": 7.0}
"""Fields that come round again, and after how much: a sine and a cosine each."""
COUNTED: Final = ("caption_length", "hashtags", "followers")
"""Fields read by the logarithm of one more."""
COLUMNS: Final = (
    *(f"{wave} of {name}" for name in PERIODS for wave in ("sine", "cosine")),
    *(f"log {name}" for name in COUNTED),
    "advertised",
    *(f"no {name}" for name in contract.POST_FIELDS),
)
"""What becomes of a post's context."""
_SOURCES: Final = (
    *(contract.POST_FIELDS.index(name) for name in PERIODS for _ in range(2)),
    *(contract.POST_FIELDS.index(name) for name in (*COUNTED, "advertised")),
)
"""Of each column but the last, the field that it comes from."""
FARTHEST: Final = 4.0
"""Standard deviations beyond which a value counts no more: nobody knows what happens out there."""
WIDTH: Final = 24
"""Of each branch, and of what joins them."""
_LARGEST: Final = 3.0e38
_LEAST_GAP: Final = 1e-3
"""Between the two thresholds."""


class Context(nn.Module):
    """POST float32 [N, P] -> COLUMNS float32 [N, len(COLUMNS)], standardised; 0 where a field is unknown.

    A field that was never known where the moments come from, or always the same, counts as unknown for ever:
    nothing was learned of it.
    """

    mean: Tensor
    deviation: Tensor
    learned: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(len(_SOURCES)))
        self.register_buffer("deviation", torch.ones(len(_SOURCES)))
        self.register_buffer("learned", torch.ones(len(contract.POST_FIELDS)))

    @torch.no_grad()
    def fit(self, post: Tensor) -> None:
        """Take the moments of ``post``, POST of the posts to learn from."""
        known = _known(post)
        columns, there = _columns(post, known), known[:, list(_SOURCES)]
        count = there.sum(0).clamp(min=1)
        self.mean.copy_((columns * there).sum(0) / count)
        spread = (((columns - self.mean) * there) ** 2).sum(0) / count
        self.deviation.copy_(spread.sqrt().clamp(min=1e-6))
        varies = [len(torch.unique(column[there])) > 1 for column, there in zip(post.T, known.T, strict=True)]
        self.learned.copy_(torch.tensor(varies, dtype=torch.float32))

    def names(self) -> tuple[str, ...]:
        """Fields of which something was learned."""
        return tuple(
            name for name, learned in zip(contract.POST_FIELDS, self.learned.tolist(), strict=True) if learned
        )

    def forward(self, post: Tensor) -> Tensor:
        """See the class."""
        known = _known(post) & (self.learned > 0)
        standard = (_columns(post, known) - self.mean) / self.deviation
        there = known[:, list(_SOURCES)]
        return torch.cat((standard.clamp(-FARTHEST, FARTHEST) * there, (~known).float()), dim=1)


def _known(post: Tensor) -> Tensor:
    """Bool [N, P]; NaN is less than nothing."""
    return post.abs() < _LARGEST


def _columns(post: Tensor, known: Tensor) -> Tensor:
    """float32 [N, columns with a source], not standardised."""
    values = dict(zip(contract.POST_FIELDS, torch.where(known, post, 0.0).unbind(1), strict=True))
    waves = [
        wave(2 * math.pi * values[name] / period)
        for name, period in PERIODS.items()
        for wave in (torch.sin, torch.cos)
    ]
    counts = [(1 + values[name].clamp(min=0)).log() for name in COUNTED]
    return torch.stack((*waves, *counts, values["advertised"]), dim=1)


class Head(nn.Module):
    """Features of a picture and columns of its context -> score [N] -> probabilities of the classes.

    What it does not read is no part of it. The score starts as 0 of everything.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, wide: int, reads: Sequence[str]) -> None:
        """Make one that knows nothing yet.

        Args:
            wide: features of a picture, as ``CreativeTrunk.wide``.
            reads: branches, of READS.

        Raises:
            ValueError: there is no branch, or an unknown one.
        """
        super().__init__()
        if not reads or set(reads) - set(READS):
            raise ValueError(f"a network that reads {list(reads)}: name {IMAGE!r}, {CONTEXT!r}, or both")
        self.reads = tuple(name for name in READS if name in reads)
        self.wide = wide if IMAGE in self.reads else 0
        branches = {}
        if IMAGE in self.reads:
            self.register_buffer("mean", torch.zeros(wide))
            self.register_buffer("deviation", torch.ones(wide))
            branches[IMAGE] = nn.Linear(wide, WIDTH)
        if CONTEXT in self.reads:
            self.context = Context()
            branches[CONTEXT] = nn.Linear(len(COLUMNS), WIDTH)
        self.branches = nn.ModuleDict(branches)
        self.joint = nn.Linear(WIDTH * len(branches), WIDTH)
        self.last = nn.Linear(WIDTH, 1, bias=False)  # thresholds are its bias
        nn.init.zeros_(self.last.weight)
        self.low = nn.Parameter(torch.tensor(-1.0))
        self.gap = nn.Parameter(torch.tensor(2.0))

    @property
    def thresholds(self) -> Tensor:
        """float32 [2], rising."""
        return torch.stack((self.low, self.low + self.gap.clamp(min=_LEAST_GAP)))

    def score(self, features: Tensor, post: Tensor, drop: float = 0.0) -> Tensor:
        """One number a post, the higher the more popular, float32 [N].

        Args:
            features: float32 [N, wide] as the trunk gives them; not read where there is no branch for it.
            post: POST.
            drop: share of a picture's features to leave out, in training.
        """
        found = []
        if IMAGE in self.reads:
            standard = ((features - self.mean) / self.deviation).clamp(-FARTHEST, FARTHEST)
            found.append(self.branches[IMAGE](functional.dropout(standard, drop, drop > 0)))
        if CONTEXT in self.reads:
            found.append(self.branches[CONTEXT](self.context(post)))
        joined = functional.relu(self.joint(functional.relu(torch.cat(found, dim=1))))
        scores: Tensor = self.last(joined).squeeze(1)
        return scores

    def forward(self, features: Tensor, post: Tensor) -> Tensor:
        """ENGAGEMENT float32 [N, C]."""
        return probabilities(self.score(features, post), self.thresholds)

    @torch.no_grad()
    def rescale(self, slope: float, low: float, high: float) -> None:
        """Multiply the score by ``slope``, and put the thresholds there: what a calibration gives."""
        self.last.weight.mul_(slope)
        self.low.fill_(low)
        self.gap.fill_(high - low)


def probabilities(scores: Tensor, thresholds: Tensor) -> Tensor:
    """Of the classes in their order, [N, 3], from scores [N] and rising thresholds [2].

    None is a difference of two numbers near 1, so that each is as exact as it is small.
    """
    below = thresholds - scores[:, None]
    low, high = below[:, 0].sigmoid(), (-below[:, 1]).sigmoid()
    middle = (-below[:, 0]).sigmoid() * below[:, 1].sigmoid() * _share(thresholds)
    return torch.stack((low, middle, high), dim=1)


def log_loss(scores: Tensor, thresholds: Tensor, classes: Tensor) -> Tensor:
    """Mean negative log-likelihood of ``classes`` int64 [N]; finite wherever the scores are."""
    below = thresholds - scores[:, None]
    low, high = functional.logsigmoid(below[:, 0]), functional.logsigmoid(-below[:, 1])
    middle = functional.logsigmoid(-below[:, 0]) + functional.logsigmoid(below[:, 1])
    each = torch.stack((low, middle + _share(thresholds).log(), high), dim=1)
    return -each.gather(1, classes[:, None]).mean()


def _share(thresholds: Tensor) -> Tensor:
    """sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)): the last factor."""
    return -torch.expm1(thresholds[0] - thresholds[1])


class FeatureNetwork(nn.Module):
    """PIXELS, PICTURE_SIZE -> what the trunk tells the head of each picture, float32 [N, wide]."""

    def __init__(self, trunk: CreativeTrunk) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, pixels: Tensor, picture_size: Tensor) -> Tensor:
        """The picture as a whole, on a square filled up with its own background."""
        wide: Tensor = self.trunk(frame(pixels, picture_size, SIDE).squares)[0]
        return wide


class EngagementNetwork(nn.Module):
    """PIXELS, PICTURE_SIZE, POST -> ENGAGEMENT, as ``adlens.contract`` says."""

    def __init__(self, trunk: CreativeTrunk | None, head: Head) -> None:
        """Join both.

        Args:
            trunk: taken over; None where the head reads no picture.
            head: trained or not.

        Raises:
            ValueError: the head reads pictures, and there is no trunk.
        """
        super().__init__()
        if trunk is None and IMAGE in head.reads:
            raise ValueError("a head that reads pictures needs a trunk; give one")
        self.features = FeatureNetwork(trunk) if trunk is not None and IMAGE in head.reads else None
        self.head = head

    def forward(self, pixels: Tensor, picture_size: Tensor, post: Tensor) -> Tensor:
        """ENGAGEMENT float32 [N, C]; what is not read is not computed."""
        features = post if self.features is None else self.features(pixels, picture_size)
        found: Tensor = self.head(features, post)
        return found
