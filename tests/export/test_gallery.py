"""``python -m export`` gives a fresh checkout empty galleries, and never touches one that is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from adlens.galleries.files import GalleryFolder
from adlens.galleries.kinds import GALLERIES, kind_of
from adlens.galleries.records import Record
from export.__main__ import main


def build(name: str, repository: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [name, *arguments, "--repository", str(repository)])


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("name", GALLERIES)
def test_an_empty_gallery_is_made_where_there_is_none(tmp_path: Path, name: str) -> None:
    result = build(name, tmp_path)
    assert (result.exit_code, result.stderr) == (0, f"{name}: empty\n")
    found = GalleryFolder(tmp_path / name).manifest()
    assert (found.embedder, found.dimension, found.photos) == (*GALLERIES[name], 0)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("name", GALLERIES)
def test_photos_of_users_survive(tmp_path: Path, name: str) -> None:
    build(name, tmp_path)
    gallery = GalleryFolder(tmp_path / name)
    embedder, dimension = GALLERIES[name]
    with gallery.locked():
        payload = np.zeros(kind_of(embedder).width, np.float32)
        record = Record("someone", np.eye(dimension, dtype=np.float32)[0], payload=payload)
        gallery.publish(gallery.read().with_records([record], "w1", replace_ids=False))
    result = build(name, tmp_path, "--force")
    assert (result.exit_code, result.stderr) == (0, f"{name}: is there\n")
    assert gallery.read().ids == ("someone",)
