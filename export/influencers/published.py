"""The published data set of brands and micro-influencers, as its authors' programs read it, for our ranker.

Source: the programs beside Gan et al., "Seeking Micro-influencers for Brand Promotion" (ACM Multimedia 2019),
``code/mir_k4.py`` of 2019. They read parts 0, 1, 2, ... of five arrays, in which a row is a pair::

    brand_text_test_0.npy  [n, 300]      in_text_test_0.npy  [n, 300]      Word2Vec, of each account
    brand_pic_test_0.npy   [n, 25088]    in_pic_test_0.npy   [n, 25088]    VGG16, rows, columns, channels
    label_test_0.npy       [n]           competence, normalised within a list; 0 of a pair that is none

and a sheet with a row a pair, in the order of all parts, without a header: brand, influencer, 1 or 0 (whether
they were a pair). Sheets are read as CSV. The parts themselves name no accounts: without a sheet, rows that
hold the same numbers are one account's.

``python -m export.influencers.published FOLDER --out FILE.npz`` writes what ``export.influencers.blocks``
reads.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from export.datasets import DatasetError
from export.influencers.blocks import Floats, Pairs, write_pairs

BLOCKS: Final = {"pic": "pictures", "text": "text"}
"""Their name of a modality, and ours; words of another training than ours are another block."""
MADE_BY: Final = dict.fromkeys(BLOCKS.values(), "Gan et al. 2019")
"""Which weights their VGG16 had is not said: so named, their features are not taken for those of ours."""
SIDES: Final = ("brand", "in")
_LABELS: Final = re.compile(r"label_(\w*?)_?(\d+)\.npy")
_SPREADSHEETS: Final = (".xls", ".xlsx", ".ods")


@dataclass
class _Side:
    """Accounts of one side as they are met."""

    rows: dict[str, int] = field(default_factory=dict)
    blocks: dict[str, list[Floats]] = field(default_factory=lambda: {name: [] for name in BLOCKS.values()})

    def place(self, name: str, vectors: dict[str, Floats]) -> int:
        """The row of the account ``name``, which is kept where it is new."""
        if name not in self.rows:
            self.rows[name] = len(self.rows)
            for block, vector in vectors.items():
                self.blocks[block].append(np.array(vector))
        return self.rows[name]

    def stacked(self) -> dict[str, Floats]:
        """The blocks, float32 [accounts, dimension]."""
        return {name: np.stack(vectors) for name, vectors in self.blocks.items() if vectors}


def read_published(
    folder: Path, sheet: Path | None = None, categories: Path | None = None
) -> tuple[Pairs, list[str], list[str]]:
    """The pairs in the parts of ``folder``; one row at a time is in memory, and each account once.

    Args:
        folder: of the parts.
        sheet: names the accounts of each row; None knows them by their numbers.
        categories: CSV without a header: an account, and its category.

    Returns:
        The pairs, labelled with the highest competence that a pair has anywhere, and the names of brands and
        influencers in their order.

    Raises:
        DatasetError: files are missing, cannot be read, or do not fit together.
    """
    named = None if sheet is None else _sheet(sheet, 3)
    sides = tuple(_Side() for _ in SIDES)
    labels: dict[tuple[int, int], float] = {}
    number = -1
    for number, (vectors, found) in enumerate(_rows(folder)):
        names, label = _named(named, number, vectors, found)
        pair = tuple(side.place(name, its) for side, name, its in zip(sides, names, vectors, strict=True))
        labels[pair[0], pair[1]] = max(label, labels.get((pair[0], pair[1]), 0.0))
    if named is not None and len(named) != number + 1:
        raise DatasetError(f"{sheet} has {len(named)} rows, and the parts {number + 1}; it belongs to others")
    matrix = np.zeros([len(side.rows) for side in sides], np.float32)
    for place, competence in labels.items():
        matrix[place] = competence
    known = dict(_sheet(categories, 2)) if categories else {}
    kinds = [np.array([known.get(name, "") for name in side.rows]) if known else None for side in sides]
    brands, influencers = sides
    pairs = Pairs(folder.name, brands.stacked(), influencers.stacked(), matrix, kinds[0], kinds[1], MADE_BY)
    return pairs, list(brands.rows), list(influencers.rows)


def _named(
    named: list[list[str]] | None, number: int, vectors: tuple[dict[str, Floats], ...], label: float
) -> tuple[list[str], float]:
    """Brand and influencer of a row, and its label, which is 0 where the sheet says that they are no pair."""
    if named is None:
        return [_digest(its) for its in vectors], label
    if number >= len(named):
        raise DatasetError(f"the sheet has {len(named)} rows, and the parts have more; it belongs to others")
    brand, influencer, flag = named[number]
    if flag not in ("0", "1", "0.0", "1.0"):
        raise DatasetError(f"the sheet, row {number + 1}: {flag!r} in the third column; 0 or 1 is needed")
    positive = float(flag) > 0
    return [brand, influencer], (label if label > 0 else 1.0) if positive else 0.0


def _rows(folder: Path) -> Iterator[tuple[tuple[dict[str, Floats], ...], float]]:
    """Of each pair the vectors of either side by block, and the label."""
    parts = {
        int(match[2]): match[1]
        for path in folder.glob("label_*.npy")
        if (match := _LABELS.fullmatch(path.name))
    }
    if not parts:
        raise DatasetError(f"{folder} has no label_..._0.npy; give the folder of the published parts")
    if missing := sorted(set(range(max(parts))) - set(parts)):
        raise DatasetError(f"{folder}: part {missing[0]} is missing")
    for number in tqdm(sorted(parts), unit=" parts", disable=None, leave=False):
        end = f"{parts[number]}_{number}".lstrip("_")
        labels = _array(folder / f"label_{end}.npy").reshape(-1)
        arrays = [
            {ours: _array(folder / f"{side}_{theirs}_{end}.npy") for theirs, ours in BLOCKS.items()}
            for side in SIDES
        ]
        for blocks in arrays:
            for name, array in blocks.items():
                if array.ndim != 2 or len(array) != len(labels):
                    raise DatasetError(
                        f"{folder}, part {number}: {name} has shape {array.shape}, and there are "
                        f"{len(labels)} labels"
                    )
        for row, label in enumerate(labels.tolist()):
            yield tuple({name: array[row] for name, array in blocks.items()} for blocks in arrays), label


def _array(path: Path) -> NDArray[Any]:
    """An array that stays on the disk until it is looked at."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    return array


def _digest(vectors: dict[str, Floats]) -> str:
    total = hashlib.sha256()
    for name in sorted(vectors):
        total.update(np.asarray(vectors[name], np.float32).tobytes())
    return total.hexdigest()[:16]


def _sheet(path: Path, columns: int) -> list[list[str]]:
    """Rows of a CSV without a header, each of so many cells or more."""
    if path.suffix.lower() in _SPREADSHEETS:
        raise DatasetError(f"{path} is a spreadsheet; save it as CSV, and name that file")
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            rows = [[cell.strip() for cell in row[:columns]] for row in csv.reader(lines, strict=True) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    if wrong := next((number for number, row in enumerate(rows, 1) if len(row) < columns), None):
        raise DatasetError(f"{path}, row {wrong}: {len(rows[wrong - 1])} cells; {columns} are needed")
    return rows


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--sheet", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="As CSV.")
@click.option("--categories", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="As CSV.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="An .npz file.")
def main(folder: Path, sheet: Path | None, categories: Path | None, out: Path) -> None:
    """Write what a ranker learns from, out of the published parts in FOLDER."""
    try:
        pairs, brands, influencers = read_published(folder, sheet, categories)
        write_pairs(pairs, out)
    except (DatasetError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(
        f"{out}: {len(brands)} brands, {len(influencers)} influencers, {int(pairs.positive.sum())} pairs",
        err=True,
    )


if __name__ == "__main__":
    main()
