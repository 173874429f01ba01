"""Accounts out of one file of features, where there are no posts: an NPZ, as rankers are trained on.

It holds ``brand_<block>`` [brands, values] and ``inf_<block>`` [influencers, values], and may hold
``brand_category`` and ``inf_category``, texts or numbers; ``made_by``, a JSON object in a text, may name what
made the numbers of each block; ``label`` is passed over. The published data set of micro-influencers comes
like this. Accounts have no names there: they are ``brand-0`` and on, and nobody's followers are known.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adlens.described import DescribedAccount, DescribedFolder
from adlens.errors import InvalidConfiguration

_SIDES: Final = {"brand": "brand_", "influencer": "inf_"}
_CATEGORY: Final = "category"
MADE_BY: Final = "made_by"
"""Name of the array that says what made the blocks."""


def read_accounts(
    path: Path, ids: Collection[str] | None = None, *, posts: bool = True
) -> Iterator[DescribedAccount]:
    """Accounts of a folder of described ones, or of a file of features; see ``DescribedFolder.read``.

    Raises:
        InvalidConfiguration: it cannot be read, or is neither.
    """
    if path.is_dir():
        return DescribedFolder(path).read(ids, posts=posts)
    return (account for account in _read_file(path) if ids is None or account.id in ids)


def read_made_by(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, str]:
    """What made the blocks of a file of features, by their names; of those left out it is not known.

    Raises:
        ValueError: it is told otherwise than as a JSON object of texts.
    """
    if MADE_BY not in arrays:
        return {}
    said = json.loads(str(arrays[MADE_BY]))
    if not isinstance(said, dict) or not all(isinstance(text, str) for text in said.values()):
        raise ValueError(f"{MADE_BY} is {said!r}, not what made each block by its name")
    return said


def _read_file(path: Path) -> Iterator[DescribedAccount]:
    try:
        # Opened here, as numpy leaves a file open that is no archive.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        sides = {side: _blocks(arrays, prefix) for side, prefix in _SIDES.items()}
        made_by = read_made_by(arrays)
        for side, blocks in sides.items():
            _check_categories(arrays.get(_SIDES[side] + _CATEGORY), blocks)
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise InvalidConfiguration(
            f"{path} is no NPZ of features ({error}); give a folder of described accounts, or such a file"
        ) from error
    if not any(sides.values()):
        raise InvalidConfiguration(
            f"{path} has no brand_<block> and no inf_<block>, only {', '.join(arrays) or 'nothing'}"
        )
    for side, blocks in sides.items():
        categories = arrays.get(_SIDES[side] + _CATEGORY)
        for row in range(len(next(iter(blocks.values()), ()))):
            name = f"{side}-{row}"
            category = "" if categories is None else str(categories[row])
            vectors = {block: values[row].astype(np.float32) for block, values in blocks.items()}
            yield DescribedAccount(
                name,
                "",
                name,
                math.nan,
                math.nan,
                category,
                "",
                side == "brand",
                0,
                0,
                (),
                {},
                vectors,
                made_by,
            )


def _blocks(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, npt.NDArray[Any]]:
    """Of one side, by name.

    Raises:
        ValueError: they are no rows of numbers, or are not of the same accounts.
    """
    found = {
        name.removeprefix(prefix): values
        for name, values in arrays.items()
        if name.startswith(prefix) and name != prefix + _CATEGORY
    }
    shapes = {name: values.shape for name, values in found.items()}
    if any(values.ndim != 2 or values.dtype.kind not in "fiu" for values in found.values()):
        raise ValueError(f"blocks {prefix}* are {shapes}, not all rows of numbers")
    if len({len(values) for values in found.values()}) > 1:
        raise ValueError(f"blocks {prefix}* have different numbers of rows: {shapes}")
    return found


def _check_categories(categories: npt.NDArray[Any] | None, blocks: Mapping[str, npt.NDArray[Any]]) -> None:
    """Raise ValueError where there is not one for each account of the side."""
    for values in blocks.values():
        if categories is not None and categories.shape != (len(values),):
            raise ValueError(f"categories of shape {categories.shape}, and {len(values)} accounts")
