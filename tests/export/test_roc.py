"""ROC curves as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.roc import draw_roc


def ink(path: Path) -> int:
    """Pixels that are neither white nor grey: those of curves."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"), dtype=int)
    return int((np.ptp(pixels, axis=2) > 60).sum())


def test_each_label_has_a_curve(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = (random.random((100, 2)) < 0.5).astype(np.float32)
    labels[:10, 1] = np.nan
    scores = (np.nan_to_num(labels) + random.normal(size=labels.shape)).astype(np.float32)
    draw_roc(scores, labels, ("hat", "beard"), "some", tmp_path / "both.png")
    draw_roc(scores[:, :1], labels[:, :1], ("hat",), "some", tmp_path / "one.png")
    assert ink(tmp_path / "both.png") > 1.5 * ink(tmp_path / "one.png") > 0


@pytest.mark.parametrize("value", [0, 1, np.nan], ids=["nobody", "everybody", "unknown"])
def test_a_label_of_one_class_has_no_curve(tmp_path: Path, value: float) -> None:
    labels = np.full((10, 1), value, np.float32)
    draw_roc(np.zeros((10, 1), np.float32), labels, ("hat",), "some", tmp_path / "none.png")
    assert ink(tmp_path / "none.png") == 0
