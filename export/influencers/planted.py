"""Brands and influencers with planted relevance, where the best ranking is known.

Each account has a hidden taste and a hidden manner, two directions. A brand went with the influencers whose
taste is nearest to its own, but for misfits: a share of its choices may be any others. Competence shows how
well a choice was: it grows with the nearness of tastes and, among those whose taste is near, with that of
manners. What is seen of an account are its posts, in two ways: ``topics``, shares of twelve topics, for
which both sides use the same words, and ``text``, vectors, for which each side has words of its own, so that
what goes with what has to be learned. A post that engages people tells more of its account than one that
does not: a history that is pooled by engagement is clearer than a plain mean (``topics_plain``,
``text_plain``). ``picture`` is seen of brands alone.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.influencers.blocks import PLAIN, Pairs

SEED: Final = 20
TASTES: Final = 6
"""Dimensions of a taste."""
MANNERS: Final = 2
"""Dimensions of a manner."""
HIDDEN: Final = TASTES + MANNERS
TOPICS: Final = 12
TEXT: Final = 24
PICTURE: Final = 48
POSTS: Final = 20
"""Of an account."""
MANNER: Final = 0.5
"""How much nearness of manners counts in competence, where that of tastes counts 1."""
COMPETENCE: Final = (3e-5, 0.273)
"""Lowest and highest, as found on the published data."""
CATEGORIES: Final = 6
_NOISE: Final = 1.0
"""Standard deviation of a post of mean engagement around its account, in that of tastes."""

Array = NDArray[np.float64]


def plant(
    brands: int = 120, influencers: int = 600, each: int = 10, seed: int = SEED, misfits: float = 0.0
) -> Pairs:
    """Accounts and pairs.

    Args:
        brands: how many.
        influencers: how many.
        each: influencers of a brand, at most ``influencers - 1``.
        seed: of all that is drawn. Other seeds have other tastes, seen through the same maps.
        misfits: probability of a choice to be any other influencer. All else of a seed stays as it is
            without; ``Pairs.planted`` tells which ought to have been chosen.
    """
    random = np.random.default_rng(seed)
    maps = np.random.default_rng(0)
    to_topics, to_picture = (maps.normal(size=(HIDDEN, wide)) for wide in (TOPICS, PICTURE))
    to_text = {side: maps.normal(size=(HIDDEN, TEXT)) for side in ("brand", "influencer")}
    centres = _directions(maps, CATEGORIES, TASTES)
    kind = random.integers(0, CATEGORIES, brands)
    near = random.integers(0, CATEGORIES, influencers)
    mine = _account(_unit(0.6 * centres[kind] + _directions(random, brands, TASTES)), random)
    theirs = _account(_unit(0.6 * centres[near] + _directions(random, influencers, TASTES)), random)
    likeness = mine[:, :TASTES] @ theirs[:, :TASTES].T
    appeal = likeness + MANNER * (mine[:, TASTES:] @ theirs[:, TASTES:].T)
    mistaken = np.random.default_rng((seed, 1))
    labels = np.zeros((brands, influencers), np.float32)
    fitting = np.zeros(labels.shape, np.bool_)
    for brand, row in enumerate(likeness):
        order = np.argsort(-row)
        fitting[brand, order[:each]] = True
        wrong = int(mistaken.binomial(each, misfits))
        chosen = np.concatenate([order[: each - wrong], mistaken.permutation(order[each:])[:wrong]])
        labels[brand, chosen] = _competence(appeal[brand, chosen])
    seen: dict[str, dict[str, NDArray[np.float32]]] = {}
    for side, hidden in (("brand", mine), ("influencer", theirs)):
        weighted, plain = _histories(hidden, random)
        seen[side] = {}
        for suffix, told in (("", weighted), (PLAIN, plain)):
            seen[side]["topics" + suffix] = _shares(told @ to_topics)
            seen[side]["text" + suffix] = (told @ to_text[side]).astype(np.float32)
    seen["brand"]["picture"] = np.maximum(mine @ to_picture, 0).astype(np.float32)
    return Pairs(f"planted {seed}", seen["brand"], seen["influencer"], labels, kind, planted=fitting)


def _account(tastes: Array, random: np.random.Generator) -> Array:
    """With a manner beside each taste, float64 [accounts, HIDDEN]."""
    return np.hstack([tastes, _directions(random, len(tastes), MANNERS)])


def _histories(hidden: Array, random: np.random.Generator) -> tuple[Array, Array]:
    """What posts tell of an account, pooled by engagement and plainly, float64 [accounts, HIDDEN].

    The noise of a post has a variance that goes with one over its engagement.
    """
    engagement = random.lognormal(0.0, 1.0, (len(hidden), POSTS, 1))
    noise = random.normal(size=(len(hidden), POSTS, HIDDEN)) * _NOISE / np.sqrt(engagement * HIDDEN)
    posts = hidden[:, None] + noise
    return np.asarray((posts * engagement).sum(1) / engagement.sum(1)), np.asarray(posts.mean(1))


def _competence(likeness: Array) -> Array:
    """From the lowest to the highest, evenly by its logarithm, in the order of ``likeness``."""
    span = likeness.max() - likeness.min()
    share = (likeness - likeness.min()) / span if span > 0 else np.ones_like(likeness)
    low, high = np.log(COMPETENCE)
    return np.asarray(np.exp(low + share * (high - low)))


def _shares(values: Array) -> NDArray[np.float32]:
    """Softmax of each row."""
    exps = np.exp(values - values.max(1, keepdims=True))
    return np.asarray(exps / exps.sum(1, keepdims=True), np.float32)


def _directions(random: np.random.Generator, count: int, wide: int) -> Array:
    return _unit(random.normal(size=(count, wide)))


def _unit(values: Array) -> Array:
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True))
