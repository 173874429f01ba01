"""Pairs of face pictures, same person or not, in folds: what verification is judged on."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from export.datasets import DatasetError

FOLDS: Final = 10
"""Of LFW's protocol (Huang et al., Labeled Faces in the Wild, UMass 07-49, View 2)."""


@dataclass(frozen=True)
class Pair:
    """Two pictures, whether they show one person, and in which fold they are tested."""

    a: Path
    b: Path
    same: bool
    fold: int


def read_pairs(file: Path, images: Path) -> list[Pair]:
    """LFW's ``pairs.txt``, or a CSV table ``a,b,same`` with paths below ``images`` and 0 or 1.

    A table's pairs are dealt out to ``FOLDS`` folds in turn, of one person and of two each for itself.

    Raises:
        DatasetError: the file is neither, a picture is not there, or a fold has pairs of one kind only.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}: {error}") from error
    table = "," in (lines[0] if lines else "")
    pairs = list(_of_table(file, lines, images) if table else _of_lfw(file, lines, images))
    for path in {path for pair in pairs for path in (pair.a, pair.b)}:
        if not path.is_file():
            raise DatasetError(f"{file} names {path}, which is not there; correct --images")
    kinds = {(pair.fold, pair.same) for pair in pairs}
    folds = 1 + max((pair.fold for pair in pairs), default=0)
    if folds < 2 or len(kinds) < 2 * folds:
        raise DatasetError(
            f"{file}: {len(pairs)} pairs in {folds} folds; each needs pairs of one person and of two, "
            "and a threshold is chosen on the others"
        )
    return pairs


def _of_table(file: Path, lines: list[str], images: Path) -> Iterator[Pair]:
    rows = csv.DictReader(lines)
    if not {"a", "b", "same"} <= set(rows.fieldnames or ()):
        raise DatasetError(f"{file}: columns {rows.fieldnames}; a, b and same are needed")
    seen = {"0": 0, "1": 0}
    for row in rows:
        if row["same"] not in seen:
            raise DatasetError(f"{file}, line {rows.line_num}: same is {row['same']!r}, not 0 or 1")
        if not (row["a"] and row["b"]):
            raise DatasetError(f"{file}, line {rows.line_num}: a or b is empty; name two pictures")
        yield Pair(images / row["a"], images / row["b"], row["same"] == "1", seen[row["same"]] % FOLDS)
        seen[row["same"]] += 1


def _of_lfw(file: Path, lines: list[str], images: Path) -> Iterator[Pair]:
    """``folds count``; for each fold ``count`` lines ``name i j``, and as many ``name i name j``."""
    try:
        folds, count = map(int, lines[0].split())
        for number, line in enumerate(filter(str.strip, lines[1:])):
            words = line.split()
            fold, same = number // (2 * count), len(words) == 3
            if len(words) not in (3, 4) or fold >= folds:
                raise DatasetError(f"{file}, line {number + 2}: {line!r} is no pair of its {folds} folds")
            a, i, b, j = (words[0], words[1], words[0], words[2]) if same else words
            yield Pair(_picture(images, a, int(i)), _picture(images, b, int(j)), same, fold)
    except (IndexError, ValueError, ZeroDivisionError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{file}: neither LFW's pairs nor a CSV table: {error}") from error


def _picture(images: Path, name: str, number: int) -> Path:
    """In a folder a person as LFW has it, or all in one."""
    file = f"{name}_{number:04}.jpg"
    below = images / name / file
    return below if below.is_file() else images / file
