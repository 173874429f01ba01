"""A ranker where there is none of an own training run: it has learned from planted accounts.

They are seen as described accounts are (``adlens.describing``): ``pictures`` as wide as POST_FEATURES and
``words`` as wide as word vectors, through fixed random maps from what ``planted`` shows. So accounts can be
built and ranked, and all that is timed is real; whom it finds means nothing, and its card says so.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import numpy as np

from adlens import contract
from adlens.describing import PICTURES, WORDS
from adlens.words import DIMENSION
from export import stories
from export.influencers import (
    blocks,
    descent,
    fitting,
    losses,
    planted,
    ranker,
    rows,
    siamese,
    story,
    weighing,
)
from export.influencers.blocks import Blocks, Pairs
from export.influencers.fitting import FitOptions, fit_ranker
from export.influencers.networks import BilinearNetwork
from export.influencers.ranker import Ranker
from export.influencers.story import (
    OURS,
    RANKER_FILE,
    RankerStory,
    cached_ranker,
    load_ranker,
    save_ranker,
    shape_of,
)
from export.weights import cache_folder, sha256

BRANDS: Final = 30
INFLUENCERS: Final = 120
EACH: Final = 6
"""Influencers of a brand."""
OPTIONS: Final = FitOptions(folds=2)
_SEED: Final = 0
_MODULES: Final = (blocks, descent, fitting, losses, planted, ranker, rows, siamese, stories, story, weighing)
"""By which it is learned and kept."""


def load() -> tuple[Ranker | BilinearNetwork, RankerStory]:
    """The ranker of an own training run, else a starter.

    Raises:
        DatasetError: the starter has too little to learn from.
        WeightsError: a file is missing, or does not fit.
    """
    own = cached_ranker()
    return load_ranker(own if (own / RANKER_FILE).exists() else train_starter())


def train_starter() -> Path:
    """Folder of a ranker that has learned from planted accounts; kept in the cache folder.

    Raises:
        DatasetError: it has too little to learn from.
    """
    key = hashlib.sha256("".join(map(sha256, _code())).encode()).hexdigest()[:12]
    folder = cache_folder() / "starter" / key / contract.BRAND_TOWER
    if not (folder / RANKER_FILE).exists():
        pairs = wide_pairs()
        learned = fit_ranker(pairs, OPTIONS)
        told = f"{BRANDS} brands and {INFLUENCERS} influencers that are planted"
        save_ranker(learned, RankerStory(OURS, told, True, shape_of(learned)), folder)
    return folder


def wide_pairs() -> Pairs:
    """Planted accounts, seen as described ones are."""
    pairs = planted.plant(BRANDS, INFLUENCERS, EACH)
    return Pairs(pairs.name, _wide(pairs.brands), _wide(pairs.influencers), pairs.labels)


def sources() -> list[Path]:
    """Files on which what ``load`` gives depends."""
    own = cached_ranker() / RANKER_FILE
    return [*_code(), *([own] if own.exists() else [])]


def _wide(seen: Blocks) -> Blocks:
    """``text`` as pictures, which are 0 or more, and ``topics`` as words."""
    maps = np.random.default_rng(_SEED)
    to_pictures = maps.standard_normal((planted.TEXT, contract.POST_FEATURES_LENGTH), np.float32)
    to_words = maps.standard_normal((planted.TOPICS, DIMENSION), np.float32)
    return {PICTURES: np.maximum(seen["text"] @ to_pictures, 0), WORDS: seen["topics"] @ to_words}


def _code() -> list[Path]:
    """Of what a starter is learned by."""
    return [Path(__file__), *(Path(str(each.__file__)) for each in _MODULES)]
