"""Influencers whose numbers a disk has damaged are not served, as with a gallery of faces."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from adlens import contract
from adlens.galleries.files import GalleryFolder
from adlens.galleries.records import AccountRecord
from server.damage import set_damaged_aside
from server.errors import DamagedGalleryError
from server.repository import read_models
from tests.server.launched import CHECKOUT


@pytest.fixture
def influencers(tmp_path: Path) -> GalleryFolder:
    """A gallery whose versions 1 and 2 hold nobody and one influencer."""
    folder = tmp_path / "repository" / contract.INFLUENCERS
    folder.mkdir(parents=True)
    shutil.copy(CHECKOUT / "model_repository" / contract.INFLUENCERS / "config.pbtxt", folder)
    found = GalleryFolder(folder)
    found.ensure(contract.INFLUENCER_TOWER, contract.ACCOUNT_DIMENSION)
    one = AccountRecord(
        "a", np.ones(contract.ACCOUNT_DIMENSION), {}, "", np.array([5_000, np.nan], np.float32)
    )
    with found.locked():
        found.publish(found.read().with_records([one], "w1", replace_ids=False))
    return found


def checked(influencers: GalleryFolder) -> list[str]:
    """What is said of the gallery before a start."""
    said: list[str] = []
    set_damaged_aside(read_models([influencers.folder.parent]).values(), said.append)
    return said


def test_damaged_numbers_have_the_former_version_served(influencers: GalleryFolder) -> None:
    assert checked(influencers) == []
    file = influencers.versions()[0] / "numbers.bin"
    file.write_bytes(b"\1" + file.read_bytes()[1:])
    (said,) = checked(influencers)
    assert said.startswith("goes back to version 1 of influencers")
    assert "numbers.bin is damaged" in said
    assert [version.name for version in influencers.versions()] == ["1"]


def test_influencers_without_manifests_are_a_gallery_all_the_same(influencers: GalleryFolder) -> None:
    for version in influencers.versions():
        (version / contract.GALLERY_MANIFEST).unlink()
    (model,) = read_models([influencers.folder.parent]).values()
    assert model.is_gallery
    with pytest.raises(DamagedGalleryError, match=r"gallery influencers: .*no former version is left"):
        checked(influencers)
