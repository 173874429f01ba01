"""A ranker where there is none of an own training run: a starter, learned from generated accounts.

Their drawn pictures are described by the network that is served. So it finds who was planted to fit among
accounts that are generated likewise, such as the demo's; whom it finds among real ones means nothing, and its
card says so. It does not read captions, as everybody has word vectors of their own, and does not say what
described its accounts, so that all can be tried with it.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from adlens import contract
from export import generated_creatives, stories
from export.influencers import (
    blocks,
    collected,
    descent,
    describing,
    fitting,
    generated_accounts,
    in_process,
    losses,
    ranker,
    rows,
    siamese,
    story,
    weighing,
)
from export.influencers.blocks import Pairs
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

BRANDS: Final = 12
INFLUENCERS: Final = 36
PICTURES: Final = 2
"""Of an account. With more of all it would find more, and take longer than the demo should."""
OPTIONS: Final = FitOptions(folds=2)
_SEED: Final = 99
"""Other accounts than those of the demo."""
_MODULES: Final = (
    blocks, collected, descent, fitting, generated_accounts, generated_creatives, in_process, losses, ranker,
    rows, siamese, stories, story, weighing,
)  # fmt: skip
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
    """Folder of a ranker that has learned from generated accounts; kept in the cache folder.

    Raises:
        DatasetError: it has too little to learn from.
    """
    key = hashlib.sha256("".join(map(sha256, _code())).encode()).hexdigest()[:12]
    folder = cache_folder() / "starter" / key / contract.BRAND_TOWER
    if not (folder / RANKER_FILE).exists():
        learned = fit_ranker(generated_pairs(), OPTIONS)
        told = f"{BRANDS} brands and {INFLUENCERS} influencers that are generated, by their drawn pictures"
        save_ranker(learned, RankerStory(OURS, told, True, shape_of(learned)), folder)
    return folder


def generated_pairs() -> Pairs:
    """Generated accounts, described by their pictures."""
    with TemporaryDirectory() as folder:
        accounts = generated_accounts.write_accounts(
            Path(folder, "accounts"), BRANDS, INFLUENCERS, PICTURES, _SEED
        )
        return replace(in_process.described_pairs(accounts, Path(folder, "described")), made_by={})


def sources() -> list[Path]:
    """Files on which what ``load`` gives depends."""
    own = cached_ranker() / RANKER_FILE
    return [*_code(), *([own] if own.exists() else [])]


def _code() -> list[Path]:
    """Of what a starter is learned by, with the weights that its accounts are described by."""
    return [Path(__file__), *(Path(str(each.__file__)) for each in _MODULES), *describing.sources()]
