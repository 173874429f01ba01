"""Brands, influencers and which of them went together: named blocks of features for either side.

A block is any set of features with a name: ``lda``, ``node``, ``img``, ``picture``, ``text``. Either side
has the blocks it has; a block of one side alone, and an account without one of its side's blocks, are
allowed.

On disk this is one NPZ without pickles: ``brand_<block>`` [B, d] and ``inf_<block>`` [I, d] of floats,
``label`` [B, I], and where they are known ``brand_category`` [B] and ``inf_category`` [I]. It is the layout
in which the training split of the published data set was prepared (Gan et al., "Seeking Micro-influencers
for Brand Promotion", ACM Multimedia 2019). ``made_by``, a JSON object in a text, names what made the numbers
of a block, where that is known.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from adlens.feature_file import MADE_BY, read_made_by
from export.datasets import DatasetError

Floats = NDArray[np.float32]
Rows = NDArray[np.int64] | NDArray[np.bool_]
Blocks = Mapping[str, Floats]
"""By name: [accounts, values]; a row that is not all finite is not known."""

BRAND: Final = "brand_"
INFLUENCER: Final = "inf_"
LABEL: Final = "label"
CATEGORY: Final = "category"
PLAIN: Final = "_plain"
"""Ends the name of a block whose history was pooled by a plain mean, where another was weighted."""


@dataclass(frozen=True)
class Pairs:
    """Accounts of both sides, and which influencers promoted which brand.

    Attributes:
        name: of the data, for messages and stories.
        brands: blocks of the brands.
        influencers: blocks of the influencers.
        labels: float32 [brands, influencers]: 0 for no pair, else its competence, or 1 where that is unknown.
        brand_category: [brands], or None where it is not known.
        influencer_category: [influencers], or None.
        made_by: what made the numbers of a block, by its name: weights, or word vectors. A block that is not
            named may be anybody's.
        planted: bool [brands, influencers]: which ought to be found, where accounts are generated and some
            pairs are mistakes; None where pairs are all that is known. Not kept on disk.
    """

    name: str
    brands: Blocks
    influencers: Blocks
    labels: Floats
    brand_category: NDArray[Any] | None = None
    influencer_category: NDArray[Any] | None = None
    made_by: Mapping[str, str] = field(default_factory=dict)
    planted: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        """Refuse what does not fit together.

        Raises:
            DatasetError: a side has no block, shapes differ, or a label is no competence.
        """
        if self.labels.ndim != 2:
            raise DatasetError(
                f"{self.name}: {LABEL} has shape {self.labels.shape}, not [brands, influencers]"
            )
        if not (np.isfinite(self.labels).all() and (self.labels >= 0).all()):
            raise DatasetError(f"{self.name}: {LABEL} holds values below 0 or that are not finite")
        for side, blocks, count in (
            (BRAND, self.brands, self.labels.shape[0]),
            (INFLUENCER, self.influencers, self.labels.shape[1]),
        ):
            if not blocks:
                raise DatasetError(f"{self.name} has no block {side}<name>")
            for block, values in blocks.items():
                if values.ndim != 2 or len(values) != count or not values.shape[1]:
                    raise DatasetError(
                        f"{self.name}: {side}{block} has shape {values.shape}; {LABEL} wants {count} rows"
                    )
        for category, count in (
            (self.brand_category, self.labels.shape[0]),
            (self.influencer_category, self.labels.shape[1]),
        ):
            if category is not None and category.shape != (count,):
                raise DatasetError(f"{self.name}: a category has shape {category.shape}, not [{count}]")

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Bool [brands, influencers]: which pairs were."""
        return self.labels > 0

    @property
    def relevant(self) -> NDArray[np.bool_]:
        """Bool [brands, influencers]: by which rankers are judged."""
        return self.positive if self.planted is None else self.planted

    def subset(self, brands: Rows, influencers: Rows) -> Pairs:
        """Those of ``brands`` and ``influencers`` (masks or indices)."""
        rows = np.arange(self.labels.shape[0])[brands]
        columns = np.arange(self.labels.shape[1])[influencers]
        return replace(
            self,
            brands={name: values[rows] for name, values in self.brands.items()},
            influencers={name: values[columns] for name, values in self.influencers.items()},
            labels=self.labels[np.ix_(rows, columns)],
            brand_category=None if self.brand_category is None else self.brand_category[rows],
            influencer_category=(
                None if self.influencer_category is None else self.influencer_category[columns]
            ),
            planted=None if self.planted is None else self.planted[np.ix_(rows, columns)],
        )

    def only(self, names: tuple[str, ...]) -> Pairs:
        """With the blocks of these names alone.

        Raises:
            DatasetError: a side has none of them.
        """
        brands = {name: self.brands[name] for name in names if name in self.brands}
        influencers = {name: self.influencers[name] for name in names if name in self.influencers}
        return replace(self, brands=brands, influencers=influencers)

    @property
    def block_names(self) -> tuple[str, ...]:
        """Of both sides, sorted, without those pooled plainly beside a weighted one."""
        names = {*self.brands, *self.influencers}
        return tuple(sorted(name for name in names if name.removesuffix(PLAIN) not in names - {name}))

    @property
    def shared(self) -> tuple[str, ...]:
        """Blocks that both sides have, with as many values, so that they may be compared as they are."""
        return tuple(
            name
            for name in self.block_names
            if name in self.brands
            and name in self.influencers
            and self.brands[name].shape[1] == self.influencers[name].shape[1]
        )


def read_pairs(path: Path) -> Pairs:
    """What an NPZ holds.

    Raises:
        DatasetError: it cannot be read, or is none of this layout.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            held = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path} is no NPZ of features: {error}") from error
    if LABEL not in held:
        raise DatasetError(f"{path} has no array {LABEL!r} [brands, influencers]; it has {sorted(held)}")
    categories = {side: held.pop(side + CATEGORY, None) for side in (BRAND, INFLUENCER)}
    sides: dict[str, dict[str, Floats]] = {BRAND: {}, INFLUENCER: {}}
    try:
        made_by = read_made_by(held)
        labels = held.pop(LABEL).astype(np.float32)
        for name, values in held.items():
            side = next((side for side in sides if name.startswith(side)), None)
            if side is not None:
                sides[side][name.removeprefix(side)] = values.astype(np.float32)
    except ValueError as error:
        raise DatasetError(f"{path}: a block holds no numbers: {error}") from error
    return Pairs(
        path.name, sides[BRAND], sides[INFLUENCER], labels, categories[BRAND], categories[INFLUENCER], made_by
    )


def write_pairs(pairs: Pairs, path: Path) -> None:
    """Leave ``pairs`` in the NPZ ``path``, as ``read_pairs`` reads them."""
    arrays: dict[str, NDArray[Any]] = {BRAND + name: values for name, values in pairs.brands.items()}
    arrays |= {INFLUENCER + name: values for name, values in pairs.influencers.items()}
    if pairs.brand_category is not None:
        arrays[BRAND + CATEGORY] = pairs.brand_category
    if pairs.influencer_category is not None:
        arrays[INFLUENCER + CATEGORY] = pairs.influencer_category
    if pairs.made_by:
        arrays[MADE_BY] = np.array(json.dumps(dict(pairs.made_by)))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"partial-{path.name}")
    with partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **{LABEL: pairs.labels}, **arrays)
    partial.rename(path)
