"""Galleries change while they are searched: the supervisor loads new versions, and no call fails."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from adlens import contract
from adlens.contract import GalleryCard
from adlens.galleries.contents import Contents
from adlens.galleries.files import GalleryFolder
from adlens.galleries.records import Record
from adlens.transport import Connection, Endpoint
from server.galleries import FIRST_PAUSE_S
from tests.server.callers import Callers
from tests.server.launched import CHECKOUT, Launched, wait_until

DIMENSION = contract.EMBEDDERS["dlib"]
TOKEN = "open sesame"  # noqa: S105 - opens a server of these tests only
Launch = Callable[..., Launched]


@pytest.fixture
def gallery(tmp_path: Path) -> GalleryFolder:
    """An empty gallery in a repository of its own."""
    folder = tmp_path / "repository" / "gallery"
    folder.mkdir(parents=True)
    shutil.copy(CHECKOUT / "model_repository" / "gallery" / "config.pbtxt", folder)
    found = GalleryFolder(folder)
    assert found.ensure("dlib", DIMENSION)
    return found


@pytest.fixture
def server(gallery: GalleryFolder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launched]:
    """A server of that gallery alone."""
    monkeypatch.setenv("ADLENS_SERVER_ADMIN_TOKEN", TOKEN)
    launched = Launched("--model-repository", str(gallery.folder.parent))
    yield launched
    launched.kill()


def person(number: int) -> Record:
    """Always the same vector for the same number."""
    vector = np.random.default_rng(number).standard_normal(DIMENSION).astype(np.float32)
    return Record(f"person-{number}", vector / np.linalg.norm(vector))


def people(numbers: range) -> Contents:
    return Contents.empty("dlib", DIMENSION).with_records(map(person, numbers), "w1", replace_ids=False)


def search(connection: Connection, number: int) -> tuple[str, float, GalleryCard]:
    """Id and similarity of who is most similar to the person of that number, and the card."""
    faces = np.zeros((1, contract.MAX_FACES, DIMENSION), np.float32)
    faces[0, 0] = person(number).vector
    answer = connection.infer(
        contract.gallery_model("dlib"),
        {
            contract.FACE_EMBEDDING: faces,
            contract.FACE_COUNT: np.ones((1, 1), np.int32),
            contract.FILTER: np.zeros((1, contract.MAX_CLAUSES, contract.MAX_ALTERNATIVES), np.int64),
        },
    ).outputs
    name = answer[contract.MATCH_IDS][0, 0, 0].tobytes().rstrip(b"\0").decode()
    card = GalleryCard.from_bytes(answer[contract.CARD].tobytes())
    return name, float(answer[contract.MATCH_SCORES][0, 0, 0]), card


def publish(gallery: GalleryFolder, contents: Contents) -> None:
    with gallery.locked():
        gallery.publish(contents)


def test_five_changes_under_load_and_no_call_fails(gallery: GalleryFolder, server: Launched) -> None:
    with Connection(Endpoint(server.until_ready(), retries=0)) as connection:
        publish(gallery, people(range(1)))
        assert wait_until(lambda: search(connection, 0)[2].photos == 1)

        def call() -> None:
            name, score, card = search(connection, 0)
            assert (name, score) == ("person-0", pytest.approx(1, abs=1e-5)), card

        with Callers(call) as callers:
            for number in range(2, 7):
                publish(gallery, people(range(number)))
                began = time.monotonic()
                assert wait_until(lambda number=number: search(connection, 0)[2].photos == number)
                assert time.monotonic() - began < 5
                assert callers.wait_for_answers()
                assert gallery.wipe_old(10) == []
                assert callers.wait_for_answers()
        assert callers.failures == []
        assert search(connection, 5)[0] == "person-5"
    assert [version.name for version in gallery.versions()] == ["7"]
    assert "starting again" not in server.said


def test_a_version_that_cannot_be_loaded_changes_nothing(gallery: GalleryFolder, server: Launched) -> None:
    with Connection(Endpoint(server.until_ready(), retries=0)) as connection:
        publish(gallery, people(range(3)))
        assert wait_until(lambda: search(connection, 0)[2].photos == 3)
        with gallery.locked():
            broken = gallery.publish(people(range(4)))
            (broken / "vectors.bin").write_bytes(b"short")
        assert wait_until(lambda: "cannot load version 3 of gallery" in server.said), server.said
        assert search(connection, 2)[0] == "person-2"
        publish(gallery, people(range(5)))
        assert wait_until(lambda: search(connection, 0)[2].photos == 5)


def test_a_version_that_could_not_be_loaded_is_tried_again_and_complained_of_once(
    gallery: GalleryFolder, server: Launched
) -> None:
    with Connection(Endpoint(server.until_ready(), retries=0)) as connection:
        publish(gallery, people(range(3)))
        assert wait_until(lambda: search(connection, 0)[2].photos == 3)
        with gallery.locked():
            vectors = gallery.publish(people(range(4))) / "vectors.bin"
            content = vectors.read_bytes()
            vectors.write_bytes(b"short")
        assert wait_until(lambda: "cannot load version 3 of gallery" in server.said), server.said
        with Callers(lambda: search(connection, 0)) as callers:
            time.sleep(2 * FIRST_PAUSE_S)  # in which it is tried in vain once more
            assert callers.wait_for_answers()
        assert callers.failures == []
        vectors.write_bytes(content)
        assert wait_until(lambda: search(connection, 0)[2].photos == 4)
    assert server.said.count("cannot load") == 1


def test_a_gallery_that_has_changed_outlives_its_processes(gallery: GalleryFolder, server: Launched) -> None:
    with Connection(Endpoint(server.until_ready(), timeout_s=30)) as connection:
        publish(gallery, people(range(3)))
        assert wait_until(lambda: search(connection, 0)[2].photos == 3)
        assert gallery.wipe_old(10) == []
        assert wait_until(lambda: len(server.model_processes()) == 1)
        server.model_processes()[0].kill()
        assert wait_until(lambda: "serving again" in server.said), server.said
        assert search(connection, 2)[0] == "person-2"
        publish(gallery, people(range(4)))
        assert wait_until(lambda: search(connection, 0)[2].photos == 4)


def test_callers_still_cannot_load_and_unload(server: Launched) -> None:
    with triton.InferenceServerClient(server.until_ready()) as client:
        for change in (client.load_model, client.unload_model):
            with pytest.raises(InferenceServerException, match="start the server with --model-control"):
                change("gallery", headers={"triton-grpc-protocol-admin": TOKEN})
