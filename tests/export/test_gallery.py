"""``python -m export`` gives a fresh checkout an empty gallery, and never touches one that is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from adlens import contract
from adlens.galleries.files import GalleryFolder
from adlens.galleries.records import Record
from export.__main__ import main

NAME = contract.gallery_model(contract.EMBEDDER)


def build(repository: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [NAME, *arguments, "--repository", str(repository)])


@pytest.mark.usefixtures("cache")
def test_an_empty_gallery_is_made_where_there_is_none(tmp_path: Path) -> None:
    result = build(tmp_path)
    assert (result.exit_code, result.stderr) == (0, f"{NAME}: empty\n")
    found = GalleryFolder(tmp_path / NAME).manifest()
    assert (found.embedder, found.dimension, found.photos) == ("dlib", 128, 0)


@pytest.mark.usefixtures("cache")
def test_photos_of_users_survive(tmp_path: Path) -> None:
    build(tmp_path)
    gallery = GalleryFolder(tmp_path / NAME)
    with gallery.locked():
        record = Record("someone", np.eye(128, dtype=np.float32)[0])
        gallery.publish(gallery.read().with_records([record], "w1", replace_ids=False))
    result = build(tmp_path, "--force")
    assert (result.exit_code, result.stderr) == (0, f"{NAME}: is there\n")
    assert gallery.read().ids == ("someone",)
