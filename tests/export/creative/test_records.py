"""Any CSV of past sends is read, and whatever could mislead a model is refused with the remedy."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adlens import contract
from export.creative.records import check_outcomes, read_catalogue, read_sends
from export.datasets import DatasetError
from tests.export.creative.synthetic import VARIANTS

Table = dict[str, list[Any]]
ROWS = 12


def table() -> Table:
    """Two pictures of each of three products, each sent twice."""
    shoes = [row % 6 for row in range(ROWS)]
    return {
        "relative_im_path": [f"shoes/{shoe // 2}/{shoe}.jpg" for shoe in shoes],
        "shoe_brand": ["Ährenfeld"] * ROWS,
        "shoe_gender": [("men", "women", "girl")[shoe // 2] for shoe in shoes],
        "shoe_name": [f"Läufer {shoe // 2}" for shoe in shoes],
        "campaign_type": ["email" if row % 2 else "sms" for row in range(ROWS)],
        "industry": ["retail, fashion"] * ROWS,
        "open_rate": [row % 2 for row in range(ROWS)],
        "click_through": ["" if row == 3 else 1 for row in range(ROWS)],
        "abandoned_cart": [0] * ROWS,
        "unsubscribed": [""] * ROWS,
    }


def write(folder: Path, columns: Table) -> Path:
    for path in columns.get("relative_im_path", []):
        if path:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(folder / path)
    file = folder / "sends.csv"
    with file.open("w", newline="", encoding="utf-8-sig") as out:
        writer = csv.writer(out)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return file


def test_sends_are_read_with_their_pictures_once_and_products_together(tmp_path: Path) -> None:
    sends = read_sends(write(tmp_path, table()), variants=VARIANTS)
    assert len(sends) == ROWS
    assert len(sends.catalogue.paths) == 6
    assert sends.catalogue.paths[3] == tmp_path / "shoes/1/3.jpg"
    assert sends.pictures.tolist() == [0, 1, 2, 3, 4, 5] * 2
    assert set(sends.products.tolist()) == {f"Ährenfeld Läufer {number}" for number in range(3)}
    assert sends.context[0].tolist() == ["sms", "retail, fashion", "men"]
    assert set(sends.variants.tolist()) == {contract.ORIGINAL}
    assert sends.outcomes[:2, 0].tolist() == [0, 1]
    assert np.isnan(sends.outcomes[3, 1])
    assert np.isnan(sends.outcomes[:, 3]).all()
    assert sends.truth is None


def test_a_variant_that_was_sent_and_a_type_of_another_name_are_heeded(tmp_path: Path) -> None:
    columns = table() | {"variant": ["sketch", ""] * 6, "type": ["boy"] * ROWS}
    sends = read_sends(write(tmp_path, columns), variants=VARIANTS)
    assert sends.variants.tolist() == ["sketch", "original"] * 6
    assert set(sends.context[:, 2].tolist()) == {"boy"}


def test_pictures_may_lie_elsewhere_and_folders_stand_for_products(tmp_path: Path) -> None:
    columns = table()
    for name in ("shoe_name", "shoe_brand"):
        del columns[name]
    file = write(tmp_path / "pictures", columns)
    moved = file.rename(tmp_path / "sends.csv")
    sends = read_sends(moved, tmp_path / "pictures", VARIANTS)
    assert set(sends.products.tolist()) == {"shoes/0", "shoes/1", "shoes/2"}


def test_a_missing_picture_is_named_and_left_out_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, table())
    (tmp_path / "shoes/0/1.jpg").unlink()
    sends = read_sends(file, variants=VARIANTS)
    assert len(sends) == ROWS - 2
    assert [path.name for path in sends.catalogue.paths] == ["0.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg"]
    assert sends.products[0] == "Ährenfeld Läufer 0"
    assert "shoes/0/1.jpg: no such file; correct relative_im_path" in capsys.readouterr().err


def test_a_catalogue_without_outcomes_gives_pictures_and_types(tmp_path: Path) -> None:
    columns = {name: table()[name] for name in ("relative_im_path", "shoe_gender", "shoe_name")}
    catalogue, types = read_catalogue(write(tmp_path, columns))
    assert types == ("men", "men", "women", "women", "girl", "girl")
    assert catalogue.groups[::2] == ("Läufer 0", "Läufer 1", "Läufer 2")
    columns["shoe_gender"][4] = ""
    assert read_catalogue(write(tmp_path, columns))[1] == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"open_rate": ["yes"] * ROWS}, r"record 2: open_rate is 'yes'; write 0 or 1, or nothing where"),
        ({"click_through": [1, 1, 0.3] + [0] * 9}, r"record 4: click_through is '0.3'; write 0 or 1"),
        ({"industry": ["retail", ""] * 6}, r"record 3: industry is empty; write a word"),
        (
            {"variant": ["", "upside down"] * 6},
            r"record 3: variant is 'upside down'; write one of brighter, ",
        ),
        ({"relative_im_path": ["a.jpg", ""] * 6}, r"record 3: relative_im_path is empty; name the picture"),
        ({"campaign_type": None, "unsubscribed": None}, r"no column campaign_type, unsubscribed; it has rel"),
        ({"relative_im_path": None}, r"no column relative_im_path"),
        ({"shoe_gender": None}, r"no column shoe_gender"),
    ],
)
def test_what_could_mislead_is_refused(change: Table, reason: str, tmp_path: Path) -> None:
    columns = {name: cells for name, cells in (table() | change).items() if cells is not None}
    with pytest.raises(DatasetError, match=rf"sends\.csv.*{reason}"):
        read_sends(write(tmp_path, columns), variants=VARIANTS)


def test_an_id_is_no_context(tmp_path: Path) -> None:
    columns = {name: cells * 9 for name, cells in table().items()}
    columns["industry"] = [f"customer {row}" for row in range(9 * ROWS)]
    with pytest.raises(DatasetError, match=r"industry has 108 different values, such as 'customer 0'"):
        read_sends(write(tmp_path, columns), variants=VARIANTS)


def test_a_folder_that_holds_none_of_the_pictures_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, table())
    with pytest.raises(DatasetError, match=r"none of its pictures is in .*; name their folder by --images"):
        read_sends(file, tmp_path / "shoes", VARIANTS)


def test_too_few_outcomes_are_told_with_their_number(tmp_path: Path) -> None:
    sends = read_sends(write(tmp_path, table()), variants=VARIANTS)
    with pytest.raises(DatasetError, match=r"of all, click_through is known of 11, and 1 for 11 of them"):
        check_outcomes(sends, "all", ROWS - 1, 1)
