"""Accounts out of an NPZ of features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adlens.errors import InvalidConfiguration
from adlens.feature_file import read_accounts

ARRAYS: dict[str, Any] = {
    "brand_lda": np.arange(6.0).reshape(2, 3),
    "brand_img": np.ones((2, 4), np.float16),
    "inf_lda": np.arange(9.0).reshape(3, 3),
    "inf_category": np.array(["food", "shoes", "travel"]),
    "label": np.zeros((2, 3)),
}


def written(path: Path, **changes: Any) -> Path:
    arrays = {name: array for name, array in (ARRAYS | changes).items() if array is not None}
    np.savez(path, **arrays)
    return path


def test_what_made_the_blocks_is_told(tmp_path: Path) -> None:
    told = written(tmp_path / "x.npz", made_by=np.array('{"img": "a1"}'))
    assert [each.made_by for each in read_accounts(told)] == [{"img": "a1"}] * 5
    for wrong in ("no JSON", "[1]", '{"img": 5}'):
        with pytest.raises(InvalidConfiguration, match="no NPZ of features"):
            [*read_accounts(written(tmp_path / "x.npz", made_by=np.array(wrong)))]


def test_both_sides_are_accounts(tmp_path: Path) -> None:
    found = [*read_accounts(written(tmp_path / "x.npz"))]
    assert [(each.id, each.brand, each.category) for each in found] == [
        ("brand-0", True, ""), ("brand-1", True, ""), ("influencer-0", False, "food"),
        ("influencer-1", False, "shoes"), ("influencer-2", False, "travel"),
    ]  # fmt: skip
    assert {name: vector.tolist() for name, vector in found[1].vectors.items()} == {
        "lda": [3, 4, 5], "img": [1, 1, 1, 1],
    }  # fmt: skip
    assert found[4].vectors["lda"].dtype == np.float32
    assert np.isnan(found[4].followers)
    assert found[4].heaviest == ()


def test_one_side_alone_will_do(tmp_path: Path) -> None:
    path = written(tmp_path / "x.npz", brand_lda=None, brand_img=None)
    assert [each.id for each in read_accounts(path)] == ["influencer-0", "influencer-1", "influencer-2"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inf_lda": np.zeros(3)}, "not all rows of numbers"),
        ({"inf_lda": np.array([["a"], ["b"], ["c"]])}, "not all rows of numbers"),
        ({"brand_img": np.ones((3, 4))}, "different numbers of rows"),
        ({"inf_category": np.array(["food"])}, r"categories of shape \(1,\), and 3 accounts"),
        ({"inf_lda": np.array([[None]])}, "no NPZ of features"),
        (dict.fromkeys(ARRAYS) | {"label": np.ones(1)}, "no brand_<block> and no inf_<block>, only label"),
    ],
)
def test_what_is_no_file_of_features_is_refused(tmp_path: Path, changes: Any, said: str) -> None:
    with pytest.raises(InvalidConfiguration, match=said):
        [*read_accounts(written(tmp_path / "x.npz", **changes))]


@pytest.mark.parametrize("data", [b"", b"PK\3\4", b"no archive at all"])
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(data)
    with pytest.raises(InvalidConfiguration, match="is no NPZ of features"):
        [*read_accounts(path)]
