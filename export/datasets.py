"""Labelled pictures for job 1, from the four kinds of source that people have.

A label is 1.0 (shown), 0.0 (not shown) or NaN (unknown: the picture trains the other labels only).
"""

from __future__ import annotations

import csv
import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

UNKNOWN: Final = math.nan
HELD_OUT: Final = 0.2
"""Share of the pictures on which heads are judged, and never trained."""
FOLDS: Final = 5
HBE_LABELS: Final = Path(__file__).parent / "labels" / "hbe.csv"
"""Our own labels of LFW faces, one a person: hat, eyewear, beard, moustache only, unsure."""
DEFAULT_LABELS: Final = ("hat", "beard", "eyewear")
SUFFIXES: Final = (".jpg", ".jpeg")


@dataclass(frozen=True)
class LabelledPictures:
    """Pictures and their labels.

    ``labels`` is float32 [pictures, len(names)] of 0, 1 and NaN.
    """

    name: str
    paths: tuple[Path, ...]
    names: tuple[str, ...]
    labels: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.paths)

    def subset(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> LabelledPictures:
        """The pictures of ``rows`` (mask or indices)."""
        indices = np.arange(len(self))[rows]
        return LabelledPictures(
            self.name, tuple(self.paths[i] for i in indices), self.names, self.labels[indices]
        )


class DatasetError(ValueError):
    """A data set that cannot be read."""


def read_csv(
    file: Path, images: Path | None = None, names: Sequence[str] = DEFAULT_LABELS
) -> LabelledPictures:
    """A table ``path,hat,beard,eyewear``; paths are relative to ``images`` (default: the table's folder).

    An empty cell is unknown. Two more columns are understood where they exist, as in our own labels:
    ``unsure`` = 1 leaves the picture out, and ``moustache`` = 1 makes a negative ``beard`` unknown, since a
    moustache alone is neither.

    Raises:
        DatasetError: a column is missing or a cell is not 0, 1 or empty.
    """
    images = images or file.parent
    paths, rows = [], []
    # Spreadsheets begin UTF-8 files with a byte order mark, and leave empty cells at the end of a line out.
    with file.open(newline="", encoding="utf-8-sig") as handle:
        reader = csv.DictReader(handle, restval="")
        missing = {"path", *names} - set(reader.fieldnames or ())
        if missing:
            raise DatasetError(f"{file}: no column {', '.join(sorted(missing))}; it has {reader.fieldnames}")
        for line in reader:
            if line.get("unsure") == "1":
                continue
            values = {name: _cell(line[name], file, reader.line_num, name) for name in names}
            if line.get("moustache") == "1" and values.get("beard") == 0:
                values["beard"] = UNKNOWN
            paths.append(images / line["path"])
            rows.append([values[name] for name in names])
    return _existing(file.name, paths, names, rows)


def read_folders(root: Path, names: Sequence[str] = DEFAULT_LABELS) -> LabelledPictures:
    """A folder per label set: ``hat/``, ``hat+eyewear/``, ``none/``; what is not named is not shown.

    Raises:
        DatasetError: a folder is named after no known label.
    """
    paths, rows = [], []
    for folder in sorted(child for child in root.iterdir() if child.is_dir()):
        shown = set() if folder.name == "none" else set(folder.name.split("+"))
        if not shown <= set(names):
            raise DatasetError(
                f"{folder}: not a label set; name it `none`, or labels of {', '.join(names)} joined by `+`"
            )
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in SUFFIXES:
                paths.append(path)
                rows.append([float(name in shown) for name in names])
    return _existing(root.name, paths, names, rows)


_CELEBA: Final = {"hat": ("Wearing_Hat", "1"), "eyewear": ("Eyeglasses", "1"), "beard": ("No_Beard", "-1")}
"""Column of ``list_attr_celeba.txt`` for each label, and the value that means it is shown."""


def read_celeba(file: Path, images: Path, names: Sequence[str] = DEFAULT_LABELS) -> LabelledPictures:
    """CelebA's ``list_attr_celeba.txt``: a count, 40 names, then a file and 40 times -1 or 1 a line.

    Raises:
        DatasetError: the file has another layout, or CelebA has no attribute for a label.
    """
    unknown = set(names) - set(_CELEBA)
    if unknown:
        raise DatasetError(f"CelebA has no attribute for {', '.join(sorted(unknown))}")
    with file.open(encoding="utf-8") as handle:
        handle.readline()
        header = handle.readline().split()
        try:
            columns = [header.index(_CELEBA[name][0]) + 1 for name in names]
        except ValueError as error:
            raise DatasetError(f"{file}: not CelebA's attribute file: {error}") from error
        lines = [line.split() for line in handle if line.strip()]
    for number, line in enumerate(lines, start=3):
        if len(line) != len(header) + 1:
            raise DatasetError(
                f"{file}, line {number}: {len(line) - 1} values for {len(header)} attributes; fetch it again"
            )
    rows = [
        [float(line[column] == _CELEBA[name][1]) for name, column in zip(names, columns, strict=True)]
        for line in lines
    ]
    return _existing("CelebA", [images / line[0] for line in lines], names, rows)


def read_lfw(names: Sequence[str] = DEFAULT_LABELS, images: Path | None = None) -> LabelledPictures:
    """LFW pictures with our own labels; without ``images`` scikit-learn's loader fetches them (200 MB).

    Raises:
        DatasetError: the pictures are not there and cannot be fetched.
    """
    if images is None:
        from sklearn.datasets import fetch_lfw_people, get_data_home

        try:
            # Only the download is wanted: the loader itself gives scaled arrays, not files.
            fetch_lfw_people(min_faces_per_person=500, color=True)
        except OSError as error:
            raise DatasetError(
                f"LFW cannot be fetched: {error}; name a folder that has it (--images)"
            ) from error
        images = Path(get_data_home()) / "lfw_home" / "lfw_funneled"
    return read_csv(HBE_LABELS, images, names)


def name_shares(pictures: LabelledPictures, fold: int = 0) -> NDArray[np.float64]:
    """A number in [0, 1) for each picture, from a checksum of its file name alone.

    Splits cut along it, so the same picture falls on the same side in every run and on every machine, and
    heads trained in one run may be judged in another: below ``HELD_OUT`` lie those held out. Each ``fold``
    from 0 to ``FOLDS - 1`` holds out others, and all folds together each picture once.
    """
    shares = np.array([zlib.crc32(path.name.encode()) / 2**32 for path in pictures.paths])
    return (shares - fold * HELD_OUT) % 1.0


def _cell(text: str, file: Path, line: int, name: str) -> float:
    values = {"": UNKNOWN, "0": 0.0, "1": 1.0}
    if text.strip() not in values:
        raise DatasetError(f"{file}, line {line}: {name} is {text!r}, not 0, 1 or empty")
    return values[text.strip()]


def _existing(
    name: str, paths: Sequence[Path], names: Sequence[str], rows: Iterable[Sequence[float]]
) -> LabelledPictures:
    labels = np.array(list(rows), dtype=np.float32).reshape(-1, len(names))
    there = np.array([path.is_file() for path in paths], dtype=bool)
    if not there.any():
        example = f", such as {paths[0]}" if paths else ""
        raise DatasetError(f"{name}: none of its {len(paths)} pictures is there{example}")
    return LabelledPictures(name, tuple(paths), tuple(names), labels).subset(there)
