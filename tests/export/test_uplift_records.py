"""Any CSV of a campaign is read, and whatever could mislead a model is refused with the remedy."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from adlens import contract
from adlens.customers import Category, Number
from export.datasets import DatasetError
from export.uplift import telecom
from export.uplift.loyalty import loyalty_table, wilson_interval
from export.uplift.records import MAX_CATEGORIES, MIN_ARM, Campaign, read_csv

Table = dict[str, list[Any]]
ARM = MIN_ARM + 4
ROWS = 3 * ARM


def table() -> Table:
    """Three arms in turn; half of each bought."""
    return {
        "id": [f"customer {row}" for row in range(ROWS)],
        "age": [18.5 + row % 50 for row in range(ROWS)],
        "town": [("Köln", 'Sankt "Peter", Ording', "Rom")[row // 3 % 3] for row in range(ROWS)],
        "given": [("nothing", "gift", "call")[row % 3] for row in range(ROWS)],
        "bought": [row // 3 % 2 for row in range(ROWS)],
    }


def read(folder: Path, columns: Table, **options: Any) -> Campaign:
    file = folder / "campaign.csv"
    with file.open("w", newline="", encoding="utf-8-sig") as out:
        writer = csv.writer(out)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    chosen = {"treatment": "given", "outcome": "bought", "control": "nothing", "ignore": ["id"], **options}
    return read_csv(file, **chosen)


def test_types_are_found_and_a_row_is_as_on_the_wire(tmp_path: Path) -> None:
    found = read(tmp_path, table())
    assert found.schema.features == (
        Number("age", 18.5, 67.5),
        Category("town", ("Köln", "Rom", 'Sankt "Peter", Ording')),
    )
    assert found.offers == ("call", "gift")
    assert found.given[:6].tolist() == [0, 2, 1, 0, 2, 1]
    assert found.bought[:6].tolist() == [0, 0, 0, 1, 1, 1]
    assert found.columns[:7, 0].tolist() == [18.5, 19.5, 20.5, 21.5, 22.5, 23.5, 24.5]
    assert found.columns[[0, 3, 6], 1].tolist() == [0, 2, 1]
    assert found.true_uplift is None
    row = found.schema.encode({"town": "Rom", "age": 20.5})
    np.testing.assert_array_equal(row[:2], [20.5, 1])


def test_a_trial_holds_one_offer_and_those_without(tmp_path: Path) -> None:
    found = read(tmp_path, table()).trial(1)
    assert (found.offers, len(found)) == (("gift",), 2 * ARM)
    assert np.bincount(found.given).tolist() == [ARM, ARM]


def test_numbers_may_be_categories_and_no_offer_has_usual_names(tmp_path: Path) -> None:
    columns = table() | {"age": [row % 4 for row in range(ROWS)]}
    columns["given"] = [("0", "1", "1")[row % 3] for row in range(ROWS)]
    found = read(tmp_path, columns, control=None, categories=["age"])
    assert found.schema.features[0] == Category("age", ("0", "1", "2", "3"))
    assert found.offers == ("1",)


def test_the_next_manufacturer_is_no_feature_and_makes_the_loyalty_table(tmp_path: Path) -> None:
    columns = table() | {"maker": ["A", "B"] * (ROWS // 2), "next": ["A", "", "", ""] * (ROWS // 4)}
    found = read(tmp_path, columns, manufacturer="maker", next_manufacturer="next")
    assert [feature.name for feature in found.schema.features] == ["age", "town", "maker"]
    assert found.schema.manufacturer == "maker"
    (row,) = found.schema.loyalty
    assert (row.manufacturer, row.customers, row.stayed) == ("A", ROWS // 4, ROWS // 4)


def change(**columns: Callable[[list[Any]], list[Any]]) -> Callable[[Table], Table]:
    return lambda table: table | {name: changed(table.get(name, [])) for name, changed in columns.items()}


def put(value: object, row: int = 9) -> Callable[[list[Any]], list[Any]]:
    return lambda cells: [*cells[:row], value, *cells[row + 1 :]]


@pytest.mark.parametrize(
    ("changed", "options", "message"),
    [
        (change(age=put("nan")), {}, "record 11: age is 'nan', which is no finite number; fill it in"),
        (change(age=put("", 0)), {}, r"record 2: age is '', which is no finite number"),
        (change(age=put("inf")), {}, r"age is 'inf'.*\(--ignore age\), or take it as a category"),
        (change(age=put("1e39")), {}, "age is '1e39', which is no finite number"),
        (change(age=put("old")), {}, "age is 'old', which is no finite number"),
        (change(town=put(" ")), {}, "record 11: town is empty; write a word for what is missing"),
        (change(given=put("")), {}, "record 11: given is empty"),
        (change(bought=put("2")), {}, "record 11: the outcome bought is '2'; write 0 or 1"),
        (change(bought=put("yes")), {}, "the outcome bought is 'yes'; write 0 or 1"),
        (change(), {"outcome": "sold"}, "no column 'sold'; it has id, age, town, given, bought"),
        (change(), {"ignore": ["idd"]}, "no column 'idd'"),
        (
            change(),
            {"control": "none"},
            "stands for no offer.*--control; there are 'call', 'gift', 'nothing'",
        ),
        (change(), {"control": None}, "which value of given stands for no offer"),
        (change(), {"ignore": ["id", "age", "town"]}, "no column is left as a feature"),
        (change(), {"ignore": []}, "id has 612 different texts.*--ignore id"),
        (change(), {"manufacturer": "town"}, "loyalty needs both"),
        (change(given=lambda cells: ["nothing"] * len(cells)), {}, "everybody was given 'nothing'"),
        (change(given=put("letter")), {}, "1 customers with 'letter', and at least 200 are needed"),
        (change(bought=lambda cells: [0] * len(cells)), {}, "with 'nothing' 0 bought; at least 10"),
        (change(bought=lambda cells: [1] * len(cells)), {}, "with 'nothing' 204 bought; at least 10"),
        (
            change(given=lambda cells: [["nothing", *"abcdefghi"][row % 10] for row in range(len(cells))]),
            {},
            f"9 offers, and at most {contract.MAX_OFFERS} travel",
        ),
        (
            change(town=lambda cells: [str(row % (MAX_CATEGORIES + 1)) + "x" for row in range(len(cells))]),
            {},
            f"town has {MAX_CATEGORIES + 1} different texts, such as '0x', and at most {MAX_CATEGORIES}",
        ),
        (
            change(**{f"feature {number}": lambda _: [1] * ROWS for number in range(63)}),
            {},
            r"65 features; at most 16384 and 64 travel: leave features out",
        ),
        (
            change(given=lambda cells: [cell.replace("gift", "gift" * 600) for cell in cells]),
            {},
            "card of uplift_offer: 25.. bytes",
        ),
    ],
)
def test_what_could_mislead_a_model_is_refused(
    changed: Callable[[Table], Table], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=f"(?s){message}"):
        read(tmp_path, changed(table()), **options)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty; its first line has to name the columns"),
        (b"given,bought,age\n", "names columns, and holds no customer"),
        (b"given,bought,given\n1,2,3\n", "names a column twice, or not at all"),
        (b"given,bought,\n1,2,3\n", "names a column twice, or not at all"),
        (b"given,bought,age\n1,2,3\n1,2\n", "record 3: 2 cells, and the header has 3"),
        (b'given,bought,age\n1,2,"3\n', "cannot be read: unexpected end of data"),
        (b"given,bought,age\n\xff\xfe,2,3\n", "cannot be read"),
    ],
)
def test_a_file_that_is_no_table_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "campaign.csv"
    file.write_bytes(data)
    with pytest.raises(DatasetError, match=message):
        read_csv(file, treatment="given", outcome="bought")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_csv(tmp_path / "none.csv", treatment="given", outcome="bought")


def test_the_generated_campaign_comes_back_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "telecom.csv"
    result = CliRunner().invoke(telecom.main, [str(file), "--size", "2000", "--seed", "3"])
    assert result.exit_code == 0, result.output
    found = read_csv(
        file,
        treatment="offer",
        outcome="purchase",
        manufacturer="phone_manufacturer",
        next_manufacturer="next_manufacturer",
    )
    generated = telecom.generate(2000, seed=3)
    assert found.schema == generated.schema
    assert found.offers == generated.offers == telecom.OFFERS
    np.testing.assert_array_equal(found.columns, generated.columns)
    np.testing.assert_array_equal(found.given, generated.given)
    np.testing.assert_array_equal(found.bought, generated.bought)


def test_the_generated_campaign_does_what_its_planted_truth_says() -> None:
    """By differences of means over 400,000 customers; the standard error is about 0.004 of half of them."""
    campaign = telecom.generate(400_000, seed=1)
    assert campaign.true_uplift is not None
    np.testing.assert_allclose(np.bincount(campaign.given) / len(campaign), telecom.SHARES, atol=0.005)
    for number in range(len(telecom.OFFERS)):
        trial = campaign.trial(number)
        assert trial.true_uplift is not None
        truth = trial.true_uplift[:, 0]
        assert 0.2 < (truth < -0.02).mean() < 0.5  # sleeping dogs
        for half in (truth > np.median(truth), truth <= np.median(truth)):
            with_offer, without = (trial.bought[half & (trial.given == arm)].mean() for arm in (1, 0))
            assert with_offer - without == pytest.approx(truth[half].mean(), abs=0.015)


def test_the_planted_loyalty_lies_within_the_intervals_of_the_table() -> None:
    rows = telecom.generate(seed=2).schema.loyalty
    assert {row.manufacturer for row in rows} == set(telecom.LOYALTY)
    inside = [row.low <= telecom.LOYALTY[row.manufacturer] <= row.high for row in rows]
    assert sum(inside) >= len(rows) - 1


def test_wilson_s_interval_is_that_of_the_books() -> None:
    """Values by R's ``prop.test(correct = FALSE)``."""
    assert wilson_interval(8, 10) == (0.4902, 0.9433)
    assert wilson_interval(0, 20) == (0.0, 0.1611)
    assert wilson_interval(20, 20) == (0.8389, 1.0)
    assert loyalty_table([]) == ()
