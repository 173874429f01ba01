"""Outcomes whose probabilities are known: they stand in for a campaign, and show what a model makes of one.

As in the RealTimeML seed document: a version of a picture succeeds with 0.8 where it is brighter or
turned, with 0.2 otherwise, whatever the context. ``abandoned_cart`` and ``unsubscribed`` happen with the same
probabilities, though they are no success. So no model can be right more often than four times in five,
and a good one says 0.8 and 0.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from adlens import contract
from export.creative.reading import Catalogue
from export.creative.records import Sends

LIKELY: Final = 0.8
UNLIKELY: Final = 0.2
LIKELY_VARIANTS: Final = ("brighter", "rotate")
VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    "campaign_type": ("email", "push", "sms", "social"),
    "industry": ("fashion", "retail", "sports", "travel"),
    "type": ("boy", "girl", "men", "women"),
}
"""Contexts that are drawn, each value as often as the others."""
SEED: Final = 20


def plant(
    catalogue: Catalogue,
    variants: Sequence[str],
    types: Sequence[str] = (),
    sends_each: int = 1,
    seed: int = SEED,
    *,
    shuffle: bool = False,
) -> Sends:
    """Every variant of every picture, sent ``sends_each`` times, and what came of it.

    Args:
        catalogue: pictures.
        variants: labels.
        types: of the pictures, for the context; drawn where nobody knows them.
        sends_each: of each version.
        seed: of contexts and outcomes.
        shuffle: give each outcome to a random send, so that nothing can be learned.
    """
    random = np.random.default_rng(seed)
    each = len(variants) * sends_each
    size = len(catalogue.paths) * each
    pictures = np.repeat(np.arange(len(catalogue.paths)), each)
    sent = np.tile(np.array(variants, np.str_), size // len(variants))
    context = np.column_stack([random.choice(VALUES[name], size) for name in contract.CONTEXT_NAMES])
    if types:
        context = np.column_stack([context[:, :-1], np.array(types, np.str_)[pictures]])
    likely = np.isin(sent, LIKELY_VARIANTS)
    truth = np.where(likely, LIKELY, UNLIKELY)[:, None].repeat(len(contract.TARGETS), axis=1)
    outcomes = random.random(truth.shape) < truth
    if shuffle:
        outcomes = random.permutation(outcomes)
        truth = np.full_like(truth, truth.mean())
    return Sends(catalogue, pictures, sent, context, outcomes.astype(np.float32), truth.astype(np.float32))
