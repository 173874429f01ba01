"""Features of a frozen trunk are computed once, resumed after an interruption, and read back as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from export import generated
from export.augmentation import Augmentation, plain_chips
from export.caches import KEPT
from export.faces import decode
from export.features import FeatureStore, compute_features
from export.networks.backbones import Backbone, Shared, Tail

PICTURES = 10
BOXES = torch.tensor([[100.0, 80.0, 180.0, 180.0]]).repeat(PICTURES, 1)
ALL = np.arange(PICTURES)


class Counting(Backbone):
    """Looks at the chip itself, counts the chips, and breaks down at one of them if told so."""

    name = "counting"
    size = 12
    wide = 3 * 12 * 12

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self.breaks_at: int | None = None

    def trunk(self, chips: Tensor) -> Shared:
        self.seen += len(chips)
        if self.breaks_at is not None and self.seen >= self.breaks_at:
            raise KeyboardInterrupt
        return chips.flatten(1).sqrt(), chips[:, :2]

    def new_tail(self) -> Tail:
        return Tail(self.wide, None, None)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """More pictures than a batch of the decoder."""
    return generated.write_dataset(tmp_path_factory.mktemp("pictures"), PICTURES, seed=5).paths


def compute(backbone: Backbone, paths: tuple[Path, ...], passes: int, cache: Path) -> FeatureStore:
    return compute_features(backbone, paths, BOXES, passes, Augmentation(), cache, seed=1)


def assert_same(ours: Shared, theirs: Shared) -> None:
    for our, their in zip(ours, theirs, strict=True):
        assert torch.equal(our, their)


def test_a_finished_pass_is_not_computed_again(paths: tuple[Path, ...], tmp_path: Path) -> None:
    backbone = Counting()
    first = compute(backbone, paths, 2, tmp_path).rows(1, ALL)
    assert backbone.seen == 2 * PICTURES
    assert_same(compute(backbone, paths, 2, tmp_path).rows(1, ALL), first)
    assert backbone.seen == 2 * PICTURES
    compute(backbone, paths, 3, tmp_path)
    assert backbone.seen == 3 * PICTURES


def test_an_interrupted_pass_is_computed_again_and_gives_the_same(
    paths: tuple[Path, ...], tmp_path: Path
) -> None:
    expected = compute(Counting(), paths, 2, tmp_path / "in one go")
    backbone = Counting()
    backbone.breaks_at = PICTURES + 9
    with pytest.raises(KeyboardInterrupt):
        compute(backbone, paths, 2, tmp_path / "twice")
    backbone.breaks_at, backbone.seen = None, 0
    resumed = compute(backbone, paths, 2, tmp_path / "twice")
    assert backbone.seen == PICTURES
    for number in (0, 1):
        assert_same(resumed.rows(number, ALL), expected.rows(number, ALL))


def test_rows_come_back_within_float16(paths: tuple[Path, ...], tmp_path: Path) -> None:
    backbone = Counting()
    store = compute(backbone, paths, 1, tmp_path)
    pixels = torch.cat([pixels for pixels, _ in decode(paths)])
    expected = backbone.trunk(plain_chips(pixels, BOXES, backbone.size))
    rows = np.array([7, 0, 9])
    for found, want in zip(store.rows(0, rows), expected, strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, want[rows], rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(store.wide(0, rows).numpy(), store.rows(0, rows)[0].numpy())


def test_only_the_first_pass_is_plain(paths: tuple[Path, ...], tmp_path: Path) -> None:
    store = compute(Counting(), paths, 3, tmp_path)
    plain, second, third = (store.wide(number, ALL).numpy() for number in range(3))
    assert np.abs(plain - second).mean() > 0.1
    assert np.abs(second - third).mean() > 0.1


def test_other_faces_get_other_features(paths: tuple[Path, ...], tmp_path: Path) -> None:
    compute(Counting(), paths, 1, tmp_path)
    backbone = Counting()
    compute_features(backbone, paths, BOXES + 1, 1, Augmentation(), tmp_path, seed=1)
    assert backbone.seen == PICTURES


def test_features_that_were_replaced_are_removed_but_not_those_in_use(
    paths: tuple[Path, ...], tmp_path: Path
) -> None:
    used = compute(Counting(), paths, 1, tmp_path)
    for other in range(KEPT + 2):
        compute_features(Counting(), paths, BOXES + 1 + other, 1, Augmentation(), tmp_path, seed=1)
    assert len([*(tmp_path / "features").iterdir()]) == KEPT + 1
    again = Counting()
    assert_same(compute(again, paths, 1, tmp_path).rows(0, ALL), used.rows(0, ALL))
    assert again.seen == 0
