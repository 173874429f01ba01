"""Past sends: which version of which picture went out, in which campaign, and what came of it.

A CSV names pictures below a folder in ``relative_im_path``, with ``shoe_brand``, ``shoe_gender`` and
``shoe_name`` as a shop lists them. A campaign adds ``campaign_type``, ``industry`` and the four targets, and
``variant`` where another version than the original was sent. Everything that could mislead a model is
refused, with the record and the remedy; a picture that cannot be read is left out alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from numpy.typing import NDArray

from adlens import contract
from export.creative.reading import Catalogue
from export.datasets import DatasetError
from export.tables import read_table

PATH: Final = "relative_im_path"
BRAND: Final = "shoe_brand"
NAME: Final = "shoe_name"
VARIANT: Final = "variant"
TYPE: Final = contract.CONTEXT_NAMES[2]
COLUMN_OF_TYPE: Final = "shoe_gender"
"""Says the type where no column is called so."""
MAX_VALUES: Final = 100
"""Of one part of the context; a column with more is an id, or text."""
_OUTCOMES: Final[Mapping[str, float]] = {"0": 0.0, "1": 1.0, "": np.nan}


@dataclass(frozen=True)
class Sends:
    """What is known of ``n`` sends.

    Attributes:
        catalogue: the pictures that were sent.
        pictures: int64 [n], place among these.
        variants: text [n], label of the version that was sent.
        context: text [n, 3], in the order of CONTEXT_NAMES.
        outcomes: float32 [n, 4] of 0, 1, and NaN where unknown, in the order of TARGETS.
        truth: float32 [n, 4], the probabilities behind them; known where outcomes are generated.
    """

    catalogue: Catalogue
    pictures: NDArray[np.int64]
    variants: NDArray[np.str_]
    context: NDArray[np.str_]
    outcomes: NDArray[np.float32]
    truth: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """Count the sends."""
        return len(self.pictures)

    @property
    def products(self) -> NDArray[np.str_]:
        """Text [n], the product that each showed."""
        return np.array(self.catalogue.groups, np.str_)[self.pictures]

    def subset(self, rows: NDArray[Any]) -> Sends:
        """Some of the sends; the catalogue stays that of all."""
        return replace(
            self,
            pictures=self.pictures[rows],
            variants=self.variants[rows],
            context=self.context[rows],
            outcomes=self.outcomes[rows],
            truth=None if self.truth is None else self.truth[rows],
        )


def read_catalogue(file: Path, images: Path | None = None) -> tuple[Catalogue, tuple[str, ...]]:
    """The pictures that a CSV lists, each once, whatever else it tells.

    Args:
        file: the CSV.
        images: folder of the pictures; that of the CSV unless given.

    Returns:
        The pictures, grouped by product, and the type of each; no types where one is missing.

    Raises:
        DatasetError: the file cannot be read, or lacks a path.
    """
    table = read_table(file, "picture")
    catalogue, pictures = _catalogue(file, images, table)
    types = table.get(TYPE, table.get(COLUMN_OF_TYPE, [""]))
    if "" in types:
        return catalogue, ()
    of_picture = dict(zip(pictures.tolist(), types, strict=True))
    return catalogue, tuple(of_picture[place] for place in range(len(catalogue.paths)))


def read_sends(file: Path, images: Path | None = None, variants: Sequence[str] = ()) -> Sends:
    """A campaign from a CSV, one send a record.

    Args:
        file: the CSV.
        images: folder of the pictures; that of the CSV unless given.
        variants: labels that ``variant`` may say.

    Raises:
        DatasetError: anything in the file is missing, wrong, or too much.
    """
    table = read_table(file, "send")
    type_column = TYPE if TYPE in table else COLUMN_OF_TYPE
    contexts = (*contract.CONTEXT_NAMES[:2], type_column)
    if missing := [name for name in (*contexts, *contract.TARGETS) if name not in table]:
        raise DatasetError(f"{file}: no column {', '.join(missing)}; it has {', '.join(table)}")
    catalogue, pictures = _catalogue(file, images, table)
    sends = Sends(
        catalogue,
        pictures,
        _variants(file, table.get(VARIANT, [contract.ORIGINAL] * len(pictures)), variants),
        np.column_stack([_context(file, name, table[name]) for name in contexts]),
        np.column_stack([_outcomes(file, name, table[name]) for name in contract.TARGETS]),
    )
    return sends.subset(pictures >= 0)


def check_outcomes(sends: Sends, part: str, least: int, least_each: int) -> None:
    """Whether there is enough to learn every target from, or to judge it by.

    Args:
        sends: some.
        part: what they are, for the message.
        least: sends whose outcome has to be known.
        least_each: of these, with either outcome.

    Raises:
        DatasetError: there is not.
    """
    for target, column in zip(contract.TARGETS, sends.outcomes.T, strict=True):
        known, ones = int(np.isfinite(column).sum()), int(np.nansum(column))
        if known < least or not least_each <= ones <= known - least_each:
            raise DatasetError(
                f"{sends.catalogue.name}: of {part}, {target} is known of {known}, and 1 for {ones} of them; "
                f"at least {least} are needed, with {least_each} of either outcome: gather more, of more "
                "products"
            )


def _catalogue(
    file: Path, images: Path | None, table: Mapping[str, Sequence[str]]
) -> tuple[Catalogue, NDArray[np.int64]]:
    """The pictures of a table, each once, and for every record its picture's place among them, or -1."""
    if PATH not in table:
        raise DatasetError(f"{file}: no column {PATH}; it has {', '.join(table)}")
    if "" in table[PATH]:
        raise DatasetError(
            f"{file}, record {table[PATH].index('') + 2}: {PATH} is empty; name the picture, or leave the "
            "record out"
        )
    folder = images or file.parent
    firsts: dict[str, int] = {}
    for row, path in enumerate(table[PATH]):
        firsts.setdefault(path, row)
    there = {path: row for path, row in firsts.items() if (folder / path).is_file()}
    for path in firsts:
        if path not in there:
            click.echo(f"left out: {folder / path}: no such file; correct {PATH} in {file}", err=True)
    if not there:
        raise DatasetError(f"{file}: none of its pictures is in {folder}; name their folder by --images")
    place = {path: number for number, path in enumerate(there)}
    products = tuple(_product(table, row) for row in there.values())
    catalogue = Catalogue(folder, tuple(folder / path for path in there), products)
    return catalogue, np.array([place.get(path, -1) for path in table[PATH]], np.int64)


def _product(table: Mapping[str, Sequence[str]], row: int) -> str:
    """Brand and name; else the picture's folder; else the picture itself."""
    if name := table.get(NAME, [""] * (row + 1))[row]:
        return " ".join((*table.get(BRAND, [""] * (row + 1))[row].split(), name))
    path = Path(table[PATH][row])
    return str(path if path.parent == Path() else path.parent)


def _variants(file: Path, cells: Sequence[str], known: Sequence[str]) -> NDArray[np.str_]:
    """Labels; an empty cell is the original."""
    for record, cell in enumerate(cells, start=2):
        if cell and cell not in known:
            raise DatasetError(
                f"{file}, record {record}: {VARIANT} is {cell!r}; write one of {', '.join(known)}, or "
                f"nothing for the {contract.ORIGINAL}"
            )
    return np.array([cell or contract.ORIGINAL for cell in cells], np.str_)


def _context(file: Path, column: str, cells: Sequence[str]) -> NDArray[np.str_]:
    if "" in cells:
        raise DatasetError(
            f"{file}, record {cells.index('') + 2}: {column} is empty; write a word for what is missing"
        )
    values = set(cells)
    if len(values) > MAX_VALUES:
        raise DatasetError(
            f"{file}: {column} has {len(values)} different values, such as {cells[0]!r}, and at most "
            f"{MAX_VALUES} are taken; group them"
        )
    return np.array(cells, np.str_)


def _outcomes(file: Path, column: str, cells: Sequence[str]) -> NDArray[np.float32]:
    for record, cell in enumerate(cells, start=2):
        if cell not in _OUTCOMES:
            raise DatasetError(
                f"{file}, record {record}: {column} is {cell!r}; write 0 or 1, or nothing where it is unknown"
            )
    return np.array([_OUTCOMES[cell] for cell in cells], np.float32)
