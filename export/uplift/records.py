"""Past campaigns: customers, which offer each was given at random, and whether they bought.

``read_csv`` takes any CSV with a header, a column that says which offer was given (or none), a column
that says whether the customer bought (0 or 1), and features in the other columns: numbers, or
categories. Everything that could mislead a model is refused, with the line and the remedy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from adlens import contract
from adlens.customers import Category, Feature, Loyalty, Number, Schema
from export.datasets import DatasetError
from export.tables import read_table
from export.uplift.loyalty import loyalty_table

MIN_ARM: Final = 200
"""Customers that every offer, and no offer, needs: with fewer a Qini curve is noise."""
MIN_EACH: Final = 10
"""Of these, at least so many that bought and so many that did not."""
MAX_CATEGORIES: Final = 100
"""Values of one category; a column with more is an id, or text."""
_LARGEST: Final = float(np.finfo(np.float32).max)
CONTROLS: Final = ("none", "control", "0")
"""What no offer is called where nobody says; the first that is there."""

Columns = Mapping[str, NDArray[Any]]
"""Features by name: numbers, or texts where they are categories; one entry a customer."""


@dataclass(frozen=True)
class Campaign:
    """What a campaign tells of ``n`` customers.

    Attributes:
        name: of the data, as shown.
        schema: its features, and the loyalty seen.
        columns: float32 [n, features], as in CUSTOMER.
        offers: names; the columns of what is learned.
        given: int64 [n], 0 without an offer, k with ``offers[k - 1]``; drawn at random.
        bought: int64 [n], 0 or 1.
        true_uplift: float32 [n, offers], known where the data are generated.
    """

    name: str
    schema: Schema
    columns: NDArray[np.float32]
    offers: tuple[str, ...]
    given: NDArray[np.int64]
    bought: NDArray[np.int64]
    true_uplift: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """Count the customers."""
        return len(self.given)

    def subset(self, rows: NDArray[Any]) -> Campaign:
        """Some of the customers; the schema stays that of all."""
        truth = None if self.true_uplift is None else self.true_uplift[rows]
        return replace(
            self,
            columns=self.columns[rows],
            given=self.given[rows],
            bought=self.bought[rows],
            true_uplift=truth,
        )

    def trial(self, offer: int) -> Campaign:
        """Those who were given offer number ``offer`` (from 0) or none: ``given`` is 1 or 0 then."""
        with_offer = self.given == offer + 1
        part = self.subset(with_offer | (self.given == 0))
        truth = None if part.true_uplift is None else part.true_uplift[:, [offer]]
        offers = (self.offers[offer],)
        return replace(part, offers=offers, given=(part.given > 0).astype(np.int64), true_uplift=truth)


def campaign(
    name: str,
    columns: Columns,
    *,
    treatment: NDArray[np.str_],
    outcome: NDArray[Any],
    control: str,
    phones: tuple[str, NDArray[np.str_]] | None = None,
    true_uplift: NDArray[np.float64] | None = None,
) -> Campaign:
    """Put a campaign together, and check that a model can be learned from it.

    Args:
        name: of the data, as shown.
        columns: features by name.
        treatment: text [n], the offer given, or ``control``.
        outcome: [n] of 0 and 1, whether the customer bought.
        control: what no offer is called.
        phones: the feature that names the present phone's manufacturer, and text [n], the next one's,
            empty where unknown.
        true_uplift: [n, offers], offers in alphabetical order.

    Raises:
        DatasetError: there is too little, too much or something wrong.
    """
    offers = tuple(sorted(set(treatment.tolist()) - {control}))
    arms = (control, *offers)
    number = {arm: number for number, arm in enumerate(arms)}
    given = np.array([number[arm] for arm in treatment.tolist()], np.int64)
    bought = outcome.astype(np.int64)
    _check_arms(name, arms, given, bought)
    features, encoded = zip(*(_encode(name, *column) for column in columns.items()), strict=True)
    manufacturer: str | None = None
    loyalty: tuple[Loyalty, ...] = ()
    if phones:
        manufacturer, following = phones
        present = columns[manufacturer].tolist()
        loyalty = loyalty_table(pair for pair in zip(present, following.tolist(), strict=True) if pair[1])
    schema = Schema(features, manufacturer, loyalty)
    _check_wire(name, schema, offers)
    truth = None if true_uplift is None else true_uplift.astype(np.float32)
    return Campaign(name, schema, np.column_stack(encoded), offers, given, bought, truth)


def read_csv(
    file: Path,
    *,
    treatment: str,
    outcome: str,
    control: str | None = None,
    manufacturer: str | None = None,
    next_manufacturer: str | None = None,
    ignore: Sequence[str] = (),
    categories: Sequence[str] = (),
) -> Campaign:
    """A campaign from a CSV with a header, in UTF-8.

    Args:
        file: the CSV.
        treatment: column that names the offer given.
        outcome: column of 0 and 1.
        control: what no offer is called; by default the first of ``CONTROLS`` that is there.
        manufacturer: feature that names the present phone's manufacturer, for the loyalty table.
        next_manufacturer: column that names the next one's, empty where unknown; no feature.
        ignore: columns that are no features, such as ids and what was known only afterwards.
        categories: features that are categories though they look like numbers.

    Raises:
        DatasetError: the file cannot be read, or anything in it is missing, wrong or too much.
    """
    table = read_table(file, "customer")
    special = [column for column in (treatment, outcome, next_manufacturer) if column]
    for column in (*special, manufacturer, *ignore, *categories):
        if column is not None and column not in table:
            raise DatasetError(f"{file}: no column {column!r}; it has {', '.join(table)}")
    if (manufacturer is None) != (next_manufacturer is None):
        raise DatasetError("loyalty needs both the present and the next manufacturer's column")
    features = [column for column in table if column not in special and column not in ignore]
    if not features:
        raise DatasetError(f"{file}: no column is left as a feature")
    columns = {
        column: _texts(file, column, table[column])
        if column in categories or column == manufacturer
        else _typed(file, column, table[column])
        for column in features
    }
    if manufacturer is not None and manufacturer not in columns:
        raise DatasetError(f"{file}: the manufacturer {manufacturer!r} has to be a feature")
    offers = _texts(file, treatment, table[treatment])
    return campaign(
        file.name,
        columns,
        treatment=offers,
        outcome=_zeros_and_ones(file, outcome, table[outcome]),
        control=_control(file, treatment, offers, control),
        phones=(manufacturer, np.array(table[next_manufacturer]))
        if manufacturer is not None and next_manufacturer is not None
        else None,
    )


def _typed(file: Path, column: str, cells: Sequence[str]) -> NDArray[Any]:
    """Numbers where most cells are, so that a stray text among them is found; else texts."""
    if 2 * sum(map(_is_number, cells)) <= len(cells):
        return _texts(file, column, cells)
    for line, cell in enumerate(cells, start=2):
        if not _is_number(cell) or not abs(float(cell)) <= _LARGEST:
            raise DatasetError(
                f"{file}, record {line}: {column} is {cell!r}, which is no finite number; fill it in, leave "
                f"the column out (--ignore {column}), or take it as a category (--category {column})"
            )
    return np.array([float(cell) for cell in cells], np.float32)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _texts(file: Path, column: str, cells: Sequence[str]) -> NDArray[np.str_]:
    if "" in cells:
        line = cells.index("") + 2
        raise DatasetError(f"{file}, record {line}: {column} is empty; write a word for what is missing")
    return np.array(cells, np.str_)


def _zeros_and_ones(file: Path, column: str, cells: Sequence[str]) -> NDArray[np.int64]:
    for line, cell in enumerate(cells, start=2):
        if not _is_number(cell) or float(cell) not in (0, 1):
            raise DatasetError(f"{file}, record {line}: the outcome {column} is {cell!r}; write 0 or 1")
    return np.array([float(cell) for cell in cells]).astype(np.int64)


def _control(file: Path, column: str, offers: NDArray[np.str_], wanted: str | None) -> str:
    found = sorted(set(offers.tolist()))
    control = wanted if wanted is not None else next((name for name in CONTROLS if name in found), None)
    if control is None or control not in found:
        raise DatasetError(
            f"{file}: which value of {column} stands for no offer? Name it by --control; there are "
            f"{', '.join(map(repr, found[: contract.MAX_OFFERS + 1]))}"
        )
    return control


def _encode(name: str, column: str, values: NDArray[Any]) -> tuple[Feature, NDArray[np.float32]]:
    if values.dtype.kind != "U":
        numbers = values.astype(np.float32)
        return Number(column, float(numbers.min()), float(numbers.max())), numbers
    known, places = np.unique(values, return_inverse=True)
    if len(known) > MAX_CATEGORIES:
        raise DatasetError(
            f"{name}: {column} has {len(known)} different texts, such as {known[0]!r}, and at most "
            f"{MAX_CATEGORIES} are taken; leave it out (--ignore {column}) or group them"
        )
    return Category(column, tuple(known.tolist())), places.astype(np.float32)


def _check_arms(name: str, arms: Sequence[str], given: NDArray[np.int64], bought: NDArray[np.int64]) -> None:
    if len(arms) < 2:
        raise DatasetError(f"{name}: everybody was given {arms[0]!r}; the effect of an offer needs others")
    if len(arms) - 1 > contract.MAX_OFFERS:
        raise DatasetError(f"{name}: {len(arms) - 1} offers, and at most {contract.MAX_OFFERS} travel")
    for number, arm in enumerate(arms):
        outcomes = bought[given == number]
        buyers = int(outcomes.sum())
        if len(outcomes) < MIN_ARM:
            raise DatasetError(
                f"{name}: {len(outcomes)} customers with {arm!r}, and at least {MIN_ARM} are needed; gather "
                "more, or leave their lines out"
            )
        if not MIN_EACH <= buyers <= len(outcomes) - MIN_EACH:
            raise DatasetError(
                f"{name}: of {len(outcomes)} customers with {arm!r} {buyers} bought; at least {MIN_EACH} "
                f"who did and {MIN_EACH} who did not are needed"
            )


def _check_wire(name: str, schema: Schema, offers: tuple[str, ...]) -> None:
    """Whether schema and card will travel."""
    try:
        schema.to_bytes()
        contract.ModelCard(contract.UPLIFT_OFFER, "0" * 16, False, offers, (0.1234,) * len(offers)).to_bytes()
    except ValueError as error:
        raise DatasetError(f"{name}: {error}") from error
