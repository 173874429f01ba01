"""A generated telecom campaign whose effects are known: ``python -m export.uplift.telecom FILE.csv``.

Customers (residence, age, phone, tariff, ...) were given one of three offers or none, at random: 40 %
none, 20 % each offer. Without an offer a customer buys a new phone with a probability that rises with
the age of the phone, from about 10 to 40 %. What an offer adds to that probability is planted:

================  ===========================================  =======================================
offer             raises it                                    lowers it (who would better be let sleep)
================  ===========================================  =======================================
data_upgrade      by up to 0.36, evenly from 5 to 25 GB a      by 0.20 on prepaid; by 0.10 in villages,
                  month; by 0.10 below 35 years                where there is no coverage
handset_discount  by up to 0.34, evenly from phones of 6       by up to 0.24, evenly from 0 to 24 months
                  months to those of 36                        of contract left: reminded of the market
loyalty_bonus     by 0.26 for owners of Apple and Samsung;     by 0.10 for each support call, up to 3:
                  by up to 0.14, evenly to 20 years of tenure  reminded of their trouble
================  ===========================================  =======================================

less 0.06 each (clutter). The probability stays within 2 to 98 %, and the true uplift is the difference
after that. Buyers stay with their phone's manufacturer as ``LOYALTY`` says, whatever the offer.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from numpy.typing import NDArray

from export.uplift.records import Campaign, Columns, campaign

OFFERS: Final = ("data_upgrade", "handset_discount", "loyalty_bonus")
CONTROL: Final = "none"
SHARES: Final = (0.4, 0.2, 0.2, 0.2)
"""Of customers without an offer, and with each."""
LOYALTY: Final = {
    "Apple": 0.87,
    "Samsung": 0.74,
    "Xiaomi": 0.58,
    "Google": 0.55,
    "Motorola": 0.42,
    "Huawei": 0.31,
}
"""Probability that an owner's next phone is of the same manufacturer."""
MANUFACTURER: Final = "phone_manufacturer"
SIZE: Final = 40_000
SEED: Final = 20
_OWNERS: Final = (0.31, 0.29, 0.15, 0.08, 0.09, 0.08)
_BILLS: Final = {"prepaid": 12, "basic": 19, "plus": 32, "unlimited": 48}
_CLUTTER: Final = 0.06


def generate(size: int = SIZE, seed: int = SEED) -> Campaign:
    """``size`` customers, their offers, what they did, and ``true_uplift`` float32 [size, offers]."""
    columns, given, bought, following, uplift = _draw(size, seed)
    return campaign(
        "generated",
        columns,
        treatment=np.array([CONTROL, *OFFERS])[given],
        outcome=bought,
        control=CONTROL,
        phones=(MANUFACTURER, following),
        true_uplift=uplift,
    )


def _draw(
    size: int, seed: int
) -> tuple[Columns, NDArray[np.int64], NDArray[np.bool_], NDArray[np.str_], NDArray[np.float64]]:
    random = np.random.default_rng(seed)
    makers = np.array(list(LOYALTY))
    tariff = random.choice(list(_BILLS), size, p=(0.25, 0.3, 0.3, 0.15))
    bill = np.array([_BILLS[name] for name in tariff]) * random.lognormal(0, 0.15, size)
    customers: dict[str, NDArray[Any]] = {
        "residence": random.choice(["city", "suburb", "town", "village"], size, p=(0.35, 0.25, 0.25, 0.15)),
        "age": random.integers(18, 86, size),
        MANUFACTURER: random.choice(makers, size, p=_OWNERS),
        "phone_age_months": random.integers(0, 49, size),
        "tariff": tariff,
        "monthly_bill_eur": bill.round(2),
        "data_gb_a_month": random.lognormal(2.6, 0.8, size).round(1),
        "contract_months_left": np.where(tariff == "prepaid", 0, random.integers(0, 25, size)),
        "tenure_years": random.integers(0, 21, size),
        "support_calls": random.poisson(1.2, size),
    }
    base = _base(customers)
    offered = np.clip(base[:, None] + _effects(customers), 0.02, 0.98)
    given = random.choice(len(SHARES), size, p=SHARES)
    probability = np.column_stack([base, offered])[np.arange(size), given]
    bought = random.random(size) < probability
    stays = random.random(size) < np.array([LOYALTY[name] for name in customers[MANUFACTURER]])
    # Those who leave take any other manufacturer alike.
    present = np.searchsorted(np.sort(makers), customers[MANUFACTURER])
    other = np.sort(makers)[(present + random.integers(1, len(makers), size)) % len(makers)]
    following = np.where(bought, np.where(stays, customers[MANUFACTURER], other), "")
    return customers, given, bought, following, offered - base[:, None]


def _base(customers: Columns) -> NDArray[np.float64]:
    """Probability to buy without an offer, [customers]."""
    base = 0.1 + 0.22 * (customers["phone_age_months"] / 48) + 0.04 * (customers["monthly_bill_eur"] > 30)
    return np.asarray(base + 0.04 * (customers["residence"] == "city"), np.float64)


def _effects(customers: Columns) -> NDArray[np.float64]:
    """What each offer adds before clipping, [customers, offers]; the table above."""
    data = (
        0.36 * np.clip((customers["data_gb_a_month"] - 5) / 20, 0, 1)
        + 0.10 * (customers["age"] < 35)
        - 0.20 * (customers["tariff"] == "prepaid")
        - 0.10 * (customers["residence"] == "village")
    )
    handset = (
        0.34 * np.clip((customers["phone_age_months"] - 6) / 30, 0, 1)
        - 0.24 * customers["contract_months_left"] / 24
    )
    bonus = (
        0.26 * np.isin(customers[MANUFACTURER], ("Apple", "Samsung"))
        + 0.14 * customers["tenure_years"] / 20
        - 0.10 * np.minimum(customers["support_calls"], 3)
    )
    return np.column_stack([data, handset, bonus]) - _CLUTTER


@click.command(context_settings={"show_default": True})
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--size", default=SIZE, help="Customers.")
@click.option("--seed", default=SEED)
def main(file: Path, size: int, seed: int) -> None:
    """Write the campaign to FILE, as a CSV such as `python -m export.train_uplift --data` takes."""
    columns, given, bought, following, _ = _draw(size, seed)
    table = {
        **columns,
        "offer": np.array([CONTROL, *OFFERS])[given],
        "purchase": bought.astype(int),
        "next_manufacturer": following,
    }
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(table)
        writer.writerows(zip(*(column.tolist() for column in table.values()), strict=True))


if __name__ == "__main__":
    main()
