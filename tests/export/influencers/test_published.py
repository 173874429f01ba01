"""The published parts, written by hand as their programs read them, become brands, influencers and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from export.datasets import DatasetError
from export.influencers.blocks import read_pairs
from export.influencers.published import main, read_published

PAIRS = [
    ("nike", "ada", 0.5),
    ("nike", "ben", 0.0),
    ("puma", "ada", 0.2),
    ("nike", "ada", 0.7),
    ("puma", "cy", 0),
]
"""Rows of two parts, three and two; one pair comes twice."""


def vector(name: str, length: int) -> list[float]:
    """Numbers of an account."""
    return np.random.default_rng(list(name.encode())).normal(size=length).astype(np.float32).tolist()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, rows in enumerate((PAIRS[:3], PAIRS[3:])):
        for side, place in (("brand", 0), ("in", 1)):
            for block, length in (("text", 3), ("pic", 8)):
                values = np.array([vector(row[place] + block, length) for row in rows], np.float32)
                np.save(tmp_path / f"{side}_{block}_test_{number}.npy", values)
        np.save(tmp_path / f"label_test_{number}.npy", np.array([row[2] for row in rows], np.float32))
    return tmp_path


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.csv"
    path.write_text("".join(f"{brand},{name},{int(label > 0)}\n" for brand, name, label in PAIRS))
    return path


def test_a_sheet_names_the_accounts_of_all_parts(folder: Path, sheet: Path) -> None:
    pairs, brands, influencers = read_published(folder, sheet)
    assert (brands, influencers) == (["nike", "puma"], ["ada", "ben", "cy"])
    np.testing.assert_allclose(pairs.labels, [[0.7, 0, 0], [0.2, 0, 0]])
    np.testing.assert_allclose(pairs.brands["pictures"][1], vector("pumapic", 8))
    np.testing.assert_allclose(pairs.influencers["text"][2], vector("cytext", 3))
    assert pairs.brand_category is None


def test_without_a_sheet_accounts_are_known_by_their_numbers(folder: Path, sheet: Path) -> None:
    pairs, brands, influencers = read_published(folder)
    named, _, _ = read_published(folder, sheet)
    assert (len(set(brands)), len(set(influencers))) == (2, 3)
    np.testing.assert_allclose(pairs.labels, named.labels)
    np.testing.assert_allclose(pairs.brands["text"], named.brands["text"])


def test_a_sheet_says_who_is_no_pair_and_who_is(folder: Path, sheet: Path) -> None:
    sheet.write_text("nike,ada,0\nnike,ben,1.0\npuma,ada,1\nnike,ada,0\npuma,cy,0\n")
    np.testing.assert_allclose(read_published(folder, sheet)[0].labels, [[0, 1, 0], [0.2, 0, 0]])


def test_the_command_writes_what_the_ranker_reads(folder: Path, sheet: Path, tmp_path: Path) -> None:
    kinds, out = tmp_path / "kinds.csv", tmp_path / "out" / "pairs.npz"
    kinds.write_text("nike,shoes\nada,food\n")
    ran = CliRunner().invoke(
        main, [str(folder), "--sheet", str(sheet), "--categories", str(kinds), "--out", str(out)]
    )
    assert ran.exit_code == 0, ran.output
    assert "2 brands, 3 influencers, 2 pairs" in ran.stderr
    pairs = read_pairs(out)
    assert pairs.brand_category is not None
    assert pairs.brand_category.tolist() == ["shoes", ""]
    assert pairs.block_names == ("pictures", "text")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nike,ada,1\n", "has 1 rows, and the parts have more"),
        ("nike,ada,1\n" * 6, "has 6 rows, and the parts 5"),
        ("nike,ada\n" * 5, "row 1: 2 cells; 3 are needed"),
        ("nike,ada,yes\n" * 5, "row 1: 'yes' in the third column"),
    ],
)
def test_a_sheet_of_other_parts_is_refused(folder: Path, sheet: Path, text: str, message: str) -> None:
    sheet.write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_published(folder, sheet)


def test_a_spreadsheet_is_refused_with_the_remedy(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="save it as CSV"):
        read_published(folder, tmp_path / "pairs.xlsx")


@pytest.mark.parametrize("missing", ["label_test_0.npy", "in_pic_test_1.npy"])
def test_parts_that_are_missing_are_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(DatasetError, match=r"part 0 is missing|in_pic_test_1\.npy cannot be read"):
        read_published(folder)


def test_parts_that_do_not_fit_together_are_refused(folder: Path) -> None:
    np.save(folder / "in_text_test_1.npy", np.zeros((1, 3), np.float32))
    with pytest.raises(DatasetError, match=r"part 1: text has shape \(1, 3\), and there are 2 labels"):
        read_published(folder)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="give the folder of the published parts"):
        read_published(tmp_path)
