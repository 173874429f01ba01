"""Which posts tell of an account's own readers: the rules of the seed document, and what they leave out.

Posts that were paid for have likes out of proportion to their comments. A post is kept where it has 0.5 % to
2 % as many comments as likes, and no more than 16,000 likes. The rules are asked in the order of ``REASONS``;
a post that breaks several counts for the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from adlens import contract
from export.datasets import DatasetError
from export.engagement.posts import Posts

NO_LIKES: Final = "no likes, so that comments are in no ratio to them"
TOO_POPULAR: Final = "too many likes"
FEW_COMMENTS: Final = "too few comments a like"
MANY_COMMENTS: Final = "too many comments a like"
REASONS: Final = (NO_LIKES, TOO_POPULAR, FEW_COMMENTS, MANY_COMMENTS)
_ADVERTISED: Final = contract.POST_FIELDS.index("advertised")
_LABEL_WIDTH: Final = 62


@dataclass(frozen=True)
class Rules:
    """What a post has to fulfil; both ends of a range fulfil it."""

    min_ratio: float = 0.005
    """Comments a like."""
    max_ratio: float = 0.02
    max_likes: int = 16_000
    keep_advertised: bool = False
    """Whether posts that the export itself calls advertised need no more than likes: the model is told."""

    def __post_init__(self) -> None:
        """Refuse rules that no post can fulfil.

        Raises:
            DatasetError: they are such.
        """
        if not 0 <= self.min_ratio <= self.max_ratio or self.max_likes < 1:
            raise DatasetError(
                f"no post has {self.min_ratio:g} to {self.max_ratio:g} comments a like and at most "
                f"{self.max_likes} likes; correct the rules"
            )


@dataclass(frozen=True)
class Statistics:
    """Of some posts; NaN where there are too few."""

    posts: int
    likes_mean: float
    likes_sd: float
    """Standard deviation of a sample, with n - 1."""
    comments_mean: float
    comments_sd: float

    @classmethod
    def of(cls, posts: Posts) -> Statistics:
        """Of ``posts``."""
        figures = [figure for numbers in (posts.likes, posts.comments) for figure in _mean_and_sd(numbers)]
        return cls(len(posts), *figures)

    def to_json(self) -> dict[str, float | None]:
        """As a JSON object; null for NaN."""
        return {name: value if np.isfinite(value) else None for name, value in asdict(self).items()}


@dataclass(frozen=True)
class CleaningReport:
    """What cleaning did.

    Attributes:
        rules: that were asked.
        unusable: rows of the export that are no posts, by reason.
        dropped: posts that broke a rule, by REASONS; all of them, in their order.
        before: of the posts that could be read.
        after: of those that are left.
    """

    rules: Rules
    dropped: Mapping[str, int]
    before: Statistics
    after: Statistics
    unusable: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "rules": asdict(self.rules),
            "rows": self.before.posts + sum(self.unusable.values()),
            "unusable": dict(self.unusable),
            "dropped": dict(self.dropped),
            "before": self.before.to_json(),
            "after": self.after.to_json(),
        }

    def __str__(self) -> str:
        """As a table of text: rows, what was dropped by reason, what is left, and its statistics."""
        rules = self.rules
        told = {
            NO_LIKES: NO_LIKES,
            TOO_POPULAR: f"{TOO_POPULAR}: more than {rules.max_likes:,}",
            FEW_COMMENTS: f"{FEW_COMMENTS}: fewer than {rules.min_ratio:.2%}",
            MANY_COMMENTS: f"{MANY_COMMENTS}: more than {rules.max_ratio:.2%}",
        }
        before, after = self.before, self.after
        counts = [
            ("rows", before.posts + sum(self.unusable.values())),
            *((f"  cannot be used: {reason}", count) for reason, count in self.unusable.items()),
            *((f"  dropped: {told[reason]}", count) for reason, count in self.dropped.items()),
            ("posts left", after.posts),
        ]
        lines = [f"{label:<{_LABEL_WIDTH}}{count:>8,}" for label, count in counts]
        lines += ["", f"{'':<{_LABEL_WIDTH - 8}}{'before':>8}{'after':>8}"]
        figures = {
            "posts": (before.posts, after.posts),
            "likes, mean": (before.likes_mean, after.likes_mean),
            "likes, standard deviation": (before.likes_sd, after.likes_sd),
            "comments, mean": (before.comments_mean, after.comments_mean),
            "comments, standard deviation": (before.comments_sd, after.comments_sd),
        }
        lines += [
            f"{name:<{_LABEL_WIDTH - 8}}{first:>8,.0f}{last:>8,.0f}"
            for name, (first, last) in figures.items()
        ]
        return "\n".join(lines)


def clean(
    posts: Posts, rules: Rules | None = None, unusable: Mapping[str, int] | None = None
) -> tuple[Posts, CleaningReport]:
    """The posts that fulfil the rules, and what was dropped.

    Args:
        posts: as read.
        rules: those of the seed document unless given.
        unusable: rows of the export that are no posts, by reason, for the report.

    Raises:
        DatasetError: no post fulfils them.
    """
    rules = rules or Rules()
    broken = _broken(posts, rules)
    dropped = {reason: int((broken == number).sum()) for number, reason in enumerate(REASONS)}
    kept = posts.subset(broken < 0)
    if not len(kept):
        told = ", ".join(f"{reason}: {count}" for reason, count in dropped.items() if count)
        raise DatasetError(
            f"none of {len(posts)} posts fulfils the rules ({told}); widen them by --min-ratio, --max-ratio "
            "or --max-likes"
        )
    return kept, CleaningReport(
        rules, dropped, Statistics.of(posts), Statistics.of(kept), dict(unusable or {})
    )


def _broken(posts: Posts, rules: Rules) -> NDArray[np.int64]:
    """The place in REASONS of the first rule that each post breaks, int64 [n]; -1 where it breaks none."""
    ratio = posts.comments / np.maximum(posts.likes, 1)
    exempt = (posts.context[:, _ADVERTISED] == 1) & rules.keep_advertised
    breaks = {
        NO_LIKES: posts.likes == 0,
        TOO_POPULAR: (posts.likes > rules.max_likes) & ~exempt,
        FEW_COMMENTS: (ratio < rules.min_ratio) & ~exempt,
        MANY_COMMENTS: (ratio > rules.max_ratio) & ~exempt,
    }
    return np.select([breaks[reason] for reason in REASONS], range(len(REASONS)), default=-1).astype(np.int64)


def _mean_and_sd(numbers: NDArray[np.int64]) -> tuple[float, float]:
    mean = float(numbers.mean()) if len(numbers) else np.nan
    return mean, float(numbers.std(ddof=1)) if len(numbers) > 1 else np.nan
