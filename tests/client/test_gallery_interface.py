"""Three calls, whoever keeps the gallery: the same behaviour of files behind a real server, and of Qdrant."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import QdrantClient

from adlens import errors
from adlens.filters import Filter
from adlens.galleries.contents import Contents
from adlens.galleries.files import GalleryFolder
from adlens.galleries.qdrant import QdrantGallery
from adlens.galleries.records import Gallery, Record, Vectors
from adlens.galleries.served import ServedGallery
from adlens.transport import Connection, Endpoint
from tests.client.vectors import DIMENSION, people, unit
from tests.server.launched import CHECKOUT, Launched

# Qdrant's local mode is always exact, and says so of each search that asks for it.
pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning")
EMPTY = Contents.empty("dlib", DIMENSION)
KEEPERS = ("a server", "Qdrant")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> GalleryFolder:
    """Of the served gallery."""
    folder = tmp_path_factory.mktemp("repository") / "gallery"
    folder.mkdir()
    shutil.copy(CHECKOUT / "model_repository" / "gallery" / "config.pbtxt", folder)
    gallery = GalleryFolder(folder)
    gallery.ensure("dlib", DIMENSION)
    return gallery


@pytest.fixture(scope="module")
def connection(folder: GalleryFolder) -> Iterator[Connection]:
    """To a real server that serves it."""
    launched = Launched("--model-repository", str(folder.folder.parent))
    with Connection(Endpoint(launched.until_ready())) as connection:
        yield connection
    launched.kill()


@pytest.fixture(params=KEEPERS)
def gallery(request: pytest.FixtureRequest) -> Iterator[Gallery]:
    """One of 100 people."""
    if request.param == "a server":
        folder: GalleryFolder = request.getfixturevalue("folder")
        served = ServedGallery(folder, request.getfixturevalue("connection"), "w1")
        hundred = EMPTY.with_records(people(100), "w1", replace_ids=False)
        if folder.read().digest != hundred.digest:  # a change takes the server a second or two
            with folder.locked():
                served.publish(hundred)()
        yield served
        return
    client = QdrantClient(":memory:")
    kept = QdrantGallery(client, "dlib", "w1", DIMENSION)
    kept.add(people(100))
    yield kept
    client.close()


def expected(records: list[Record], queries: Vectors, k: int) -> list[list[tuple[str, float]]]:
    """The ``k`` most similar of ``records``, by comparing with all."""
    scores = queries @ np.stack([record.vector for record in records]).T
    best = np.argsort(-scores, axis=1)[:, :k]
    return [[(records[n].id, float(row[n])) for n in each] for row, each in zip(scores, best, strict=True)]


FILTERS: list[Filter | None] = [
    None,
    {"hair": "red"},
    {"hair": ["red", "grey"], "season": ["summer"]},
    {"season": "winter"},
]


@pytest.mark.parametrize("chosen", FILTERS, ids=str)
@pytest.mark.parametrize("k", [1, 7, 10])
def test_search_is_exact(gallery: Gallery, chosen: Filter | None, k: int) -> None:
    queries = unit(200, seed=1)
    passing = [
        record
        for record in people(100)
        if all(record.attributes[name] in values for name, values in (chosen or {}).items())
    ]
    found = gallery.search(queries, k, chosen)
    if not passing:
        assert found == [[]] * len(queries)
        return
    for matches, wanted in zip(found, expected(passing, queries, k), strict=True):
        assert [match.id for match in matches] == [id_ for id_, _ in wanted]
        np.testing.assert_allclose([match.score for match in matches], [s for _, s in wanted], atol=1e-5)


def test_more_than_there_are_gives_what_there_are(gallery: Gallery) -> None:
    gallery.forget([f"person-{number}" for number in range(3, 100)])
    (found,) = gallery.search(unit(1), 10)
    assert sorted(match.id for match in found) == ["person-0", "person-1", "person-2"]


def test_nothing_is_found_in_an_empty_gallery_nor_for_nobody(gallery: Gallery) -> None:
    assert gallery.search(unit(1)[:0]) == []
    assert gallery.forget([f"person-{number}" for number in range(100)]) == 100
    assert gallery.search(unit(2)) == [[], []]


def test_who_is_forgotten_is_not_found_and_the_others_are(gallery: Gallery) -> None:
    gone = [f"person-{number}" for number in range(20)]
    assert gallery.forget([*gone, "nobody"]) == 20
    found = gallery.search(unit(100), 10)
    assert not {match.id for matches in found for match in matches} & {*gone}
    assert [matches[0].id for matches in found[20:]] == [f"person-{number}" for number in range(20, 100)]
    assert gallery.forget(gone) == 0


def test_a_known_id_is_refused_and_nothing_is_lost(gallery: Gallery) -> None:
    new = [Record("new", unit(1, seed=7)[0]), Record("person-5", unit(1, seed=8)[0])]
    with pytest.raises(errors.DuplicateId, match="'person-5' is in the gallery"):
        gallery.add(new)
    with pytest.raises(errors.DuplicateId, match="'new' is that of two photos"):
        gallery.add([new[0], new[0]], replace=True)
    assert [matches[0].id for matches in gallery.search(unit(6))][5] == "person-5"
    assert gallery.search(new[0].vector[np.newaxis], 1)[0][0].id != "new"


def test_a_known_id_is_replaced_where_that_is_asked_for(gallery: Gallery) -> None:
    new = Record("person-5", unit(1, seed=8)[0], {"hair": "blue"})
    gallery.add([new], replace=True)
    ((match,),) = gallery.search(new.vector[np.newaxis], 1, {"hair": "blue"})
    assert (match.id, match.score) == ("person-5", pytest.approx(1, abs=1e-5))
    assert gallery.search(unit(6)[5:], 1)[0][0].score < 0.9


def test_vectors_of_another_dimension_are_refused(gallery: Gallery) -> None:
    with pytest.raises(errors.WrongEmbedder, match="512 numbers"):
        gallery.add([Record("x", np.eye(512, dtype=np.float32)[0])])


def test_a_filter_by_an_attribute_that_nobody_has_is_refused(gallery: Gallery) -> None:
    with pytest.raises(errors.BadFilter, match="attribute age"):
        gallery.search(unit(1), 1, {"age": "18-25"})


def test_a_folder_of_qdrants_keeps_the_gallery_of_each_embedders_weights(tmp_path: Path) -> None:
    for opening in range(2):
        client = QdrantClient(path=str(tmp_path))
        kept, other = (QdrantGallery(client, "dlib", weights, DIMENSION) for weights in ("w1", "w2"))
        if opening == 0:
            kept.add(people(3))
        assert [matches[0].id for matches in kept.search(unit(3))] == ["person-0", "person-1", "person-2"]
        assert other.search(unit(3)) == [[], [], []]
        with pytest.raises(errors.WrongEmbedder, match="is of other vectors than dlib's 512"):
            QdrantGallery(client, "dlib", "w1", 512)
        client.close()


def test_the_server_finds_no_more_than_travels(folder: GalleryFolder, connection: Connection) -> None:
    for k in (0, 11):
        with pytest.raises(errors.BadRequest, match=f"k {k}; the server finds 1 to 10"):
            ServedGallery(folder, connection).search(unit(1), k)


def test_twenty_people_who_are_removed_are_in_no_file_and_in_no_answer(
    folder: GalleryFolder, connection: Connection
) -> None:
    served = ServedGallery(folder, connection, "w1")
    served.forget(folder.read().ids)
    served.add(people(1000))
    gone = people(1000)[100:120]
    traces = [
        trace
        for record in gone
        for trace in (record.vector.tobytes(), record.vector.tobytes()[64:128], f"{record.id},".encode())
    ]
    before = bytes_of(folder.folder)
    assert all(trace in before for trace in traces)
    assert served.forget([record.id for record in gone]) == 20
    after = bytes_of(folder.folder)
    assert not any(trace in after for trace in traces)
    assert people(1000)[120].vector.tobytes() in after
    found = served.search(np.stack([record.vector for record in gone]))
    assert not {match.id for matches in found for match in matches} & {record.id for record in gone}
    assert max(match.score for matches in found for match in matches) < 0.9


def bytes_of(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


def test_a_gallery_that_no_server_serves_is_changed_at_once(tmp_path: Path, connection: Connection) -> None:
    """Neither where nobody answers, nor where another gallery is served."""
    for number, url in enumerate((f"127.0.0.1:{free()}", connection.endpoint.url)):
        folder = GalleryFolder(tmp_path / str(number))
        folder.ensure("dlib", DIMENSION)
        with Connection(Endpoint(url, retries=0)) as to:
            served = ServedGallery(folder, to, "w1", swap_timeout_s=0)
            served.add(people(3))
            assert served.forget(["person-1"]) == 1
        assert folder.read().ids == ("person-0", "person-2")
        assert [version.name for version in folder.versions()] == ["3"]


def test_a_server_that_does_not_load_a_change_is_told_of(
    folder: GalleryFolder, connection: Connection
) -> None:
    served = ServedGallery(folder, connection, "w1", swap_timeout_s=0)
    with folder.locked():
        before = folder.read()
        settle = served.publish(EMPTY.with_records(people(7), "w1", replace_ids=False))
        with pytest.raises(errors.Timeout, match=r"is changed, but .* has not loaded it within 0 s"):
            settle()
        assert len(folder.versions()) == 2
    ServedGallery(folder, connection, "w1").forget(["nobody"])
    assert len(folder.versions()) == 1
    assert len(before.ids) != len(folder.read().ids) == 7


def free() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
