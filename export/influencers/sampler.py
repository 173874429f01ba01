"""K-buckets sampling: lists of K influencers of a brand, one from each of K buckets, to learn from.

K - 1 buckets hold the brand's positives, parted by competence, from the highest; the last holds its negatives
(Gan et al., "Seeking Micro-influencers for Brand Promotion", ACM Multimedia 2019; K = 4 did best there). A
list is labelled by normalised competence over the sum of the list's, so that the labels are what a softmax
over it should say.

Competence is the engagement of the brand's posts that mention an influencer over the brand's followers.
Where it is not known, all positives have label 1. Nothing parts them then: each brand's are shuffled into
buckets anew whenever lists are drawn, and labels are alike within a list but for the negative's 0.

On planted accounts buckets are ahead of random negatives where some pairs were mistakes, which a low
competence tells (``planted.plant``, ``misfits``). Without any, random negatives have the higher AUC, as each
of their lists shows more of them, and buckets only the better order of competence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.datasets import DatasetError
from export.influencers.blocks import Floats

RANDOM: Final = "random"
BUCKETS: Final = "buckets"
LOWEST: Final = 0.25
"""Normalised competence of the least competent pair, still above none."""


@dataclass(frozen=True)
class Lists:
    """Rows of brands [lists], columns of influencers [lists, K], and labels [lists, K] that sum up to 1."""

    brands: NDArray[np.int64]
    influencers: NDArray[np.int64]
    labels: Floats

    def __len__(self) -> int:
        return len(self.brands)


def normalise(labels: Floats) -> Floats:
    """Competence from ``LOWEST`` to 1 by its logarithm, over all pairs; 0 stays 0, one value alone gives 1.

    Raw shares of a list would nearly all be 0: competence spans four orders of magnitude.
    """
    positive = labels > 0
    logs = np.log(np.where(positive, labels, 1.0))
    low, high = logs[positive].min(), logs[positive].max()
    share = (logs - low) / (high - low) if high > low else np.ones_like(logs)
    return np.where(positive, LOWEST + (1 - LOWEST) * share, 0.0).astype(np.float32)


class KBucketsSampler:
    """Draws lists from labels."""

    def __init__(self, labels: Floats, k: int, how: str = BUCKETS) -> None:
        """Part each brand's positives into buckets.

        Args:
            labels: competence, float32 [brands, influencers], 0 for no pair.
            k: influencers in a list, at least 2. A brand with fewer than k - 1 positives fills a list with
                the ones that it has, some of them twice.
            how: ``buckets``; or ``random``, to compare with: one positive, and k - 1 negatives.

        Raises:
            DatasetError: k is below 2, ``how`` is unknown, or no brand has a positive and a negative.
        """
        if k < 2:
            raise DatasetError(f"k is {k}; a list has at least 2 influencers")
        if how not in (BUCKETS, RANDOM):
            raise DatasetError(f"sampling {how!r} is unknown; choose {BUCKETS} or {RANDOM}")
        self.k = k
        self.how = how
        self.labels = labels
        positive = labels > 0
        self.brands = np.flatnonzero(positive.any(1) & ~positive.all(1))
        if not len(self.brands):
            raise DatasetError("no brand has both an influencer and a candidate that is none of its own")
        self._normalised = normalise(labels)
        self._positives = [np.flatnonzero(positive[brand]) for brand in self.brands]
        self._negatives = [np.flatnonzero(~positive[brand]) for brand in self.brands]

    def buckets(self, brand: int, random: np.random.Generator) -> list[NDArray[np.int64]]:
        """K - 1 buckets of positives of ``self.brands[brand]``, from the most competent; then negatives.

        As equal in size as can be, the first the larger; equal competence is parted at random.
        """
        mine = random.permutation(self._positives[brand])
        competence = self.labels[self.brands[brand], mine]
        ordered = mine[np.argsort(-competence, kind="stable")]
        if len(ordered) < self.k - 1:
            ordered = np.sort(np.resize(ordered, self.k - 1))
            ordered = ordered[np.argsort(-self.labels[self.brands[brand], ordered], kind="stable")]
        return [*np.array_split(ordered, self.k - 1), self._negatives[brand]]

    def draw(self, random: np.random.Generator) -> Lists:
        """As many lists of each brand as it has positives, of all brands in random order."""
        rows, columns = [], []
        for place, brand in enumerate(self.brands):
            count = len(self._positives[place])
            if self.how == BUCKETS:
                parts = [random.choice(bucket, count) for bucket in self.buckets(place, random)]
            else:
                parts = [random.permutation(self._positives[place])]
                parts += [random.choice(self._negatives[place], count) for _ in range(self.k - 1)]
            rows.append(np.full(count, brand))
            columns.append(np.stack(parts, axis=1))
        brands, influencers = np.concatenate(rows), np.concatenate(columns)
        order = random.permutation(len(brands))
        brands, influencers = brands[order], influencers[order]
        competence = self._normalised[brands[:, None], influencers]
        labels = competence / competence.sum(1, keepdims=True)
        return Lists(brands, influencers, labels.astype(np.float32))
