"""Galleries of people who do not exist, and the search for one of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from adlens import contract
from adlens.contract import GalleryCard
from adlens.galleries.contents import Contents
from adlens.galleries.files import GalleryFolder
from adlens.galleries.records import Record
from adlens.transport import Connection
from tests.server.launched import CHECKOUT

DIMENSION = contract.EMBEDDERS["dlib"]


def add_gallery(repository: Path) -> GalleryFolder:
    """An empty gallery in ``repository``, which is made."""
    folder = repository / "gallery"
    folder.mkdir(parents=True)
    shutil.copy(CHECKOUT / "model_repository" / "gallery" / "config.pbtxt", folder)
    found = GalleryFolder(folder)
    assert found.ensure("dlib", DIMENSION)
    return found


def person(number: int) -> Record:
    """Always the same vector for the same number."""
    vector = np.random.default_rng(number).standard_normal(DIMENSION).astype(np.float32)
    return Record(f"person-{number}", vector / np.linalg.norm(vector))


def people(numbers: range) -> Contents:
    """The persons of these numbers."""
    return Contents.empty("dlib", DIMENSION).with_records(map(person, numbers), "w1", replace_ids=False)


def search(
    connection: Connection, number: int, model: str = contract.gallery_model("dlib")
) -> tuple[str, float, GalleryCard]:
    """Id and similarity of who is most similar to the person of that number, and the card."""
    faces = np.zeros((1, contract.MAX_FACES, DIMENSION), np.float32)
    faces[0, 0] = person(number).vector
    answer = connection.infer(
        model,
        {
            contract.FACE_EMBEDDING: faces,
            contract.FACE_COUNT: np.ones((1, 1), np.int32),
            contract.FILTER: np.zeros((1, contract.MAX_CLAUSES, contract.MAX_ALTERNATIVES), np.int64),
        },
    ).outputs
    name = answer[contract.MATCH_IDS][0, 0, 0].tobytes().rstrip(b"\0").decode()
    card = GalleryCard.from_bytes(answer[contract.CARD].tobytes())
    return name, float(answer[contract.MATCH_SCORES][0, 0, 0]), card


def publish(gallery: GalleryFolder, contents: Contents) -> Path:
    """Make ``contents`` the next version, and leave the former; the new folder."""
    with gallery.locked():
        return gallery.publish(contents)
