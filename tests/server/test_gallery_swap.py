"""Galleries change while they are searched: the supervisor loads new versions, and no call fails."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from adlens.galleries.files import GalleryFolder
from adlens.transport import Connection, Endpoint
from server.galleries import FIRST_PAUSE_S
from tests.server.callers import Callers
from tests.server.launched import Launched, wait_until
from tests.server.people import add_gallery, people, publish, search

TOKEN = "open sesame"  # noqa: S105 - opens a server of these tests only


@pytest.fixture
def gallery(tmp_path: Path) -> GalleryFolder:
    """An empty gallery in a repository of its own."""
    return add_gallery(tmp_path / "repository")


@pytest.fixture
def server(gallery: GalleryFolder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launched]:
    """A server of that gallery alone."""
    monkeypatch.setenv("ADLENS_SERVER_ADMIN_TOKEN", TOKEN)
    launched = Launched("--model-repository", str(gallery.folder.parent))
    yield launched
    launched.kill()


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
