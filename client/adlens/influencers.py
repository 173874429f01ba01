"""What a caller gets back who asks which influencers fit a brand: frozen results, with JSON forms.

Scores order influencers for one brand; they are no probabilities, and those of two brands do not compare.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


def _brief(number: float | None) -> float | None:
    """To six digits, as scores may be small."""
    return None if number is None else float(f"{number:.6g}")


@dataclass(frozen=True)
class InfluentialPost:
    """A past post of an influencer, and what it adds to the score.

    Attributes:
        line: of the file of the account's posts, from 1.
        image: its picture as seen from the account's folder; empty where there is none.
        caption: its beginning.
        contribution: the score less that of the account without this post.
    """

    line: int
    image: str
    caption: str
    contribution: float

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {**vars(self), "contribution": _brief(self.contribution)}


@dataclass(frozen=True)
class RankedInfluencer:
    """An influencer, and why it is where it is.

    Attributes:
        id: of the account.
        rank: 1 is the best.
        score: how well it fits.
        contributions: what each block of features adds to the score; none where the ranker does not tell
            blocks apart.
        followers: None where not known.
        engagement: likes and comments of a post over followers; None where not known.
        posts: those that add the most, the first before all; empty where they were not asked for.
    """

    id: str
    rank: int
    score: float
    contributions: Mapping[str, float]
    followers: float | None
    engagement: float | None
    posts: tuple[InfluentialPost, ...] = ()

    @property
    def shares(self) -> dict[str, float]:
        """Of each block in all that speaks for or against the influencer, -1 to 1; below 0 it speaks against.

        Without their signs they add up to 1.
        """
        total = math.fsum(map(abs, self.contributions.values()))
        return {block: added / total if total else 0.0 for block, added in self.contributions.items()}

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "id": self.id,
            "rank": self.rank,
            "score": _brief(self.score),
            "contributions": {block: _brief(added) for block, added in self.contributions.items()},
            "shares": {block: _brief(share) for block, share in self.shares.items()},
            "followers": _brief(self.followers),
            "engagement": _brief(self.engagement),
            "posts": [post.to_json() for post in self.posts],
        }


@dataclass(frozen=True)
class InfluencerAnswer:
    """The influencers that fit a brand.

    Attributes:
        brand: its name.
        influencers: the best first; of equal ones, the one that was added first.
        passing: how many influencers pass the filter and the ranges.
        known: blocks of the brand that the ranker read.
        warnings: what stands against trusting the answer.
        model_versions: weights that answered, by leaf model.
        starter: leaf models that were trained on generated accounts.
        vector: of the brand, float32 [ACCOUNT_DIMENSION]; its product with an influencer's is the score.
    """

    brand: str
    influencers: tuple[RankedInfluencer, ...]
    passing: int
    known: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    model_versions: Mapping[str, str] = field(default_factory=dict)
    starter: tuple[str, ...] = ()
    vector: npt.NDArray[np.float32] = field(
        default_factory=lambda: np.zeros(0, np.float32), compare=False, repr=False
    )

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, without the vector."""
        return {
            "brand": self.brand,
            "influencers": [influencer.to_json() for influencer in self.influencers],
            "passing": self.passing,
            "known": list(self.known),
            "warnings": list(self.warnings),
            "model_versions": dict(self.model_versions),
            "starter": list(self.starter),
        }
