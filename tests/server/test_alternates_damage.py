"""A catalogue of alternates that a disk has damaged is not served, as with a gallery of faces."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from adlens import contract
from adlens.galleries.files import GalleryFolder
from adlens.galleries.records import Record
from server.damage import set_damaged_aside
from server.errors import DamagedGalleryError
from server.repository import read_models
from tests.server.launched import CHECKOUT


@pytest.fixture
def catalogue(tmp_path: Path) -> GalleryFolder:
    """One whose versions 1 and 2 hold nothing and one picture."""
    folder = tmp_path / "repository" / contract.ALTERNATES
    folder.mkdir(parents=True)
    shutil.copy(CHECKOUT / "model_repository" / contract.ALTERNATES / "config.pbtxt", folder)
    found = GalleryFolder(folder)
    found.ensure(contract.VARY_CREATIVE, contract.CREATIVE_DIMENSION)
    vector, logits = np.eye(contract.CREATIVE_DIMENSION)[0], np.ones(contract.MAX_VARIANTS)
    with found.locked():
        found.publish(
            found.read().with_records([Record("a", vector, {}, "", logits)], "w1", replace_ids=False)
        )
    return found


def checked(catalogue: GalleryFolder) -> list[str]:
    """What is said of the catalogue before a start."""
    said: list[str] = []
    set_damaged_aside(read_models([catalogue.folder.parent]).values(), said.append)
    return said


def test_damaged_logits_have_the_former_version_served(catalogue: GalleryFolder) -> None:
    assert checked(catalogue) == []
    file = catalogue.versions()[0] / "logits.bin"
    file.write_bytes(b"\1" + file.read_bytes()[1:])
    (said,) = checked(catalogue)
    assert said.startswith("goes back to version 1 of alternates")
    assert "logits.bin is damaged" in said
    assert [version.name for version in catalogue.versions()] == ["1"]


def test_a_catalogue_without_manifests_is_one_all_the_same(catalogue: GalleryFolder) -> None:
    for version in catalogue.versions():
        (version / contract.GALLERY_MANIFEST).unlink()
    (model,) = read_models([catalogue.folder.parent]).values()
    assert model.is_gallery
    with pytest.raises(DamagedGalleryError, match=r"gallery alternates: .*no former version is left"):
        checked(catalogue)
