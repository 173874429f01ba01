"""A gallery of pictures: searched by the graph that searches faces, and each picture brings its logits."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from adlens import contract, errors, filters
from adlens.contract import GalleryCard
from adlens.filters import Filter
from adlens.galleries.contents import Contents
from adlens.galleries.files import GalleryFolder
from adlens.galleries.graph import BLOCK, CHUNK
from adlens.galleries.journal import Journal
from adlens.galleries.records import Embedding, Record, Vectors
from adlens.responses import matches
from tests.client.vectors import people

TYPES = ("boy", "girl", "men", "women")
BRANDS = ("A", "B", "C")
DIMENSION = contract.CREATIVE_DIMENSION
EMPTY = Contents.empty(contract.VARY_CREATIVE, DIMENSION)
TOLERANCE = 1e-5
"""Of a cosine: sums of 512 float32 products in another order."""
OF_BEFORE = Path(__file__).parent / "data" / "gallery_of_faces.zip"
"""Of five people, by an adlens that knew no other galleries."""


def shoes(count: int, seed: int = 0) -> list[Record]:
    """Pictures that do not exist: type by turns of four, brand by turns of three."""
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((count, DIMENSION), np.float32)
    logits = random.standard_normal((count, contract.MAX_VARIANTS), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        Record(f"shoe-{row}.jpg", vectors[row], {"type": TYPES[row % 4], "brand": BRANDS[row % 3]},
               f"/shoes/{row}.jpg", logits[row])
        for row in range(count)
    ]  # fmt: skip


def publish(folder: Path, contents: Contents) -> Path:
    gallery = GalleryFolder(folder)
    with gallery.locked():
        return gallery.publish(contents)


def session(version: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(version / "model.onnx"), providers=["CPUExecutionProvider"])


class Search:
    """A gallery of ``count`` pictures in ONNX Runtime, and beside it the comparison with all of them."""

    def __init__(self, folder: Path, count: int) -> None:
        self.records = shoes(count)
        self._admitted: dict[str, tuple[list[Record], Vectors]] = {}
        self.contents = EMPTY.with_records(self.records, "w1", replace_ids=False)
        self.session = session(publish(folder, self.contents))

    def __call__(self, queries: Vectors, chosen: list[Filter | None]) -> dict[str, npt.NDArray[Any]]:
        """The graph's outputs for ``queries``, float32 [N, D]."""
        names = [output.name for output in self.session.get_outputs()]
        feed = {
            contract.CREATIVE_EMBEDDING: queries,
            contract.FILTER: np.concatenate([filters.encode(each) for each in chosen]),
        }
        return dict(zip(names, self.session.run(names, feed), strict=True))

    def _passing(self, chosen: Filter | None) -> tuple[list[Record], Vectors]:
        """The pictures that a filter admits, and their vectors; collected once."""
        if str(chosen) not in self._admitted:
            wanted = filters.alternatives(chosen)
            passing = [
                record for record in self.records
                if all(record.attributes[name] in wanted[name] for name in wanted)
            ]  # fmt: skip
            vectors = np.array([record.vector for record in passing], np.float32).reshape(-1, DIMENSION)
            self._admitted[str(chosen)] = passing, vectors
        return self._admitted[str(chosen)]

    def agree(self, queries: Vectors, chosen: list[Filter | None]) -> None:
        """Hold all outputs against numpy's."""
        found = self(queries, chosen)
        for row, (query, each) in enumerate(zip(queries, chosen, strict=True)):
            passing, vectors = self._passing(each)
            assert found[contract.ALTERNATE_COUNT][row].tolist() == [len(passing)]
            cosines = vectors @ query
            best = np.argsort(-cosines)[: min(len(passing), contract.MATCHES)]
            named = matches(found[contract.ALTERNATE_SCORES][row], found[contract.ALTERNATE_IDS][row])
            assert [match.id for match in named] == [passing[n].id for n in best]
            np.testing.assert_allclose([match.score for match in named], cosines[best], atol=TOLERANCE)
            logits = np.zeros((contract.MATCHES, contract.MAX_VARIANTS), np.float32)
            for place, n in enumerate(best):
                logits[place] = passing[n].payload
            np.testing.assert_array_equal(found[contract.ALTERNATE_LOGITS][row], logits)
            assert not found[contract.ALTERNATE_IDS][row, len(best) :].any()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Search:
    """So many pictures that most blocks are never compared twice."""
    return Search(tmp_path_factory.mktemp("many"), 10_000)


FILTERS: list[Filter | None] = [
    None,
    {"type": "women"},
    {"type": ["boy", "girl"]},
    {"type": ["boy", "girl"], "brand": "B"},
    {"type": "grown-up"},
]


def test_searches_equal_numpys_with_the_logits(many: Search) -> None:
    queries = np.array([record.vector for record in shoes(400, seed=1)])
    for start in range(0, len(queries), contract.MAX_BATCH):
        batch = queries[start : start + contract.MAX_BATCH]
        many.agree(batch, [FILTERS[(start + row) % len(FILTERS)] for row in range(len(batch))])


@pytest.mark.parametrize("count", [0, 1, 9, BLOCK, 321, CHUNK + 1])
def test_padding_is_never_found(tmp_path: Path, count: int) -> None:
    search = Search(tmp_path, count)
    queries = np.array([record.vector for record in shoes(2, seed=2)])
    search.agree(queries, [None, {"type": "men"}] if count else [None, None])


@pytest.mark.parametrize("number", [0, np.nan, np.inf, 1e30])
def test_what_is_no_embedding_finds_nothing_and_harms_no_neighbour(many: Search, number: float) -> None:
    queries = np.array([record.vector for record in shoes(3)])
    queries[1] = number
    found = many(queries, [None] * 3)
    assert (found[contract.ALTERNATE_SCORES][1] == contract.NO_MATCH).all()
    assert not found[contract.ALTERNATE_IDS][1].any()
    assert not found[contract.ALTERNATE_LOGITS][1].any()
    assert found[contract.ALTERNATE_SCORES][[0, 2], 0] == pytest.approx(1, abs=1e-5)


def test_nothing_at_all_is_no_special_case(many: Search) -> None:
    found = many(np.zeros((2, DIMENSION), np.float32), [None, {"type": "men"}])
    assert (found[contract.ALTERNATE_SCORES] == contract.NO_MATCH).all()
    assert found[contract.ALTERNATE_COUNT].tolist() == [[10_000], [2_500]]


def test_the_outputs_are_the_contracts(many: Search) -> None:
    signature = contract.MODELS[contract.ALTERNATES]
    shapes = {each.name: tuple(each.shape[1:]) for each in many.session.get_outputs()}
    assert shapes == {name: tensor.shape for name, tensor in signature.outputs.items()}
    assert {each.name for each in many.session.get_inputs()} == signature.inputs.keys()


def test_the_card_says_what_is_in_it(many: Search) -> None:
    found = many(np.zeros((1, DIMENSION), np.float32), [None])
    assert GalleryCard.from_bytes(found[contract.CARD][0].tobytes()) == GalleryCard(
        contract.ALTERNATES, many.contents.digest[:16], starter=False, embedder=contract.VARY_CREATIVE,
        embedder_weights="w1", photos=10_000, attributes=("type", "brand"),
    )  # fmt: skip


class TestFiles:
    """What is written, read, and removed."""

    def test_what_was_published_is_read_again(self, tmp_path: Path) -> None:
        contents = EMPTY.with_records(shoes(300), "w1", replace_ids=False)
        publish(tmp_path, contents)
        found = GalleryFolder(tmp_path).read()
        assert found.digest == contents.digest
        np.testing.assert_array_equal(found.payload, [record.payload for record in shoes(300)])

    def test_the_digest_tells_logits_apart(self) -> None:
        (one,) = shoes(1)
        other = Record(one.id, one.vector, one.attributes, one.path, one.payload + 1)
        digests = {EMPTY.with_records([each], "w1", replace_ids=False).digest for each in (one, other)}
        assert len(digests) == 2

    def test_damaged_logits_are_found(self, tmp_path: Path) -> None:
        file = publish(tmp_path, EMPTY.with_records(shoes(3), "w1", replace_ids=False)) / "logits.bin"
        file.write_bytes(b"\1" + file.read_bytes()[1:])
        with pytest.raises(errors.CorruptGallery, match=r"logits.bin is damaged"):
            GalleryFolder(tmp_path).read()

    def test_who_is_removed_is_in_no_file(self, tmp_path: Path) -> None:
        contents, gone = EMPTY.with_records(shoes(50), "w1", replace_ids=False), shoes(50)[7]
        publish(tmp_path, contents)
        traces = [gone.vector.tobytes(), gone.payload.tobytes(), f"{gone.id},".encode()]
        assert all(trace in bytes_of(tmp_path) for trace in traces)
        publish(tmp_path, contents.without([gone.id]))
        gallery = GalleryFolder(tmp_path)
        with gallery.locked():
            assert gallery.wipe_old(0) == []
        assert not any(trace in bytes_of(tmp_path) for trace in traces)
        assert shoes(50)[8].payload.tobytes() in bytes_of(tmp_path)

    def test_the_journal_keeps_logits(self, tmp_path: Path) -> None:
        (one,) = shoes(1)
        Journal(tmp_path, "w1").append(one.id, "stamp", Embedding(one.vector, one.payload))
        noted = Journal(tmp_path, "w1").read()[one.id, "stamp"]
        np.testing.assert_array_equal(noted.vector, one.vector)
        np.testing.assert_array_equal(noted.payload, one.payload)

    @pytest.mark.parametrize(
        "logits", [np.zeros(7, np.float32), np.zeros(0, np.float32)], ids=["seven", "none"]
    )
    def test_logits_of_another_number_are_refused(self, logits: Vectors) -> None:
        (one,) = shoes(1)
        wrong = Record("x", one.vector, payload=logits)
        with pytest.raises(errors.WrongEmbedder, match=f"it brings {len(logits)} numbers; .* have 8"):
            EMPTY.with_records([wrong], "w1", replace_ids=False)

    @pytest.mark.parametrize("logits", [np.full(8, np.nan), np.zeros((1, 8))], ids=["NaN", "two axes"])
    def test_logits_that_are_no_numbers_are_refused(self, logits: Vectors) -> None:
        with pytest.raises(errors.BadRecord, match="give finite numbers in a row"):
            Record("x", shoes(1)[0].vector, payload=logits)


def test_a_gallery_of_faces_from_before_is_read_searched_and_changed(tmp_path: Path) -> None:
    with zipfile.ZipFile(OF_BEFORE) as files:
        files.extractall(tmp_path)
    gallery = GalleryFolder(tmp_path)
    held = gallery.read()
    np.testing.assert_array_equal(held.vectors, [record.vector for record in people(5)])
    assert held.digest == gallery.manifest().digest
    assert first_found(tmp_path / "1", people(5)) == [record.id for record in people(5)]
    version = publish(tmp_path, held.with_records(people(7)[5:], "w1", replace_ids=False))
    assert first_found(version, people(7)) == [record.id for record in people(7)]
    assert not (version / "logits.bin").exists()


def first_found(version: Path, records: list[Record]) -> list[str]:
    """Who is most similar to each of ``records``, at most MAX_FACES."""
    faces = np.zeros((1, contract.MAX_FACES, contract.EMBEDDERS["dlib"]), np.float32)
    faces[0, : len(records)] = [record.vector for record in records]
    feed = {
        contract.FACE_EMBEDDING: faces,
        contract.FACE_COUNT: np.array([[len(records)]], np.int32),
        contract.FILTER: filters.encode(None),
    }
    scores, ids = session(version).run([contract.MATCH_SCORES, contract.MATCH_IDS], feed)
    return [matches(scores[0, slot], ids[0, slot])[0].id for slot in range(len(records))]


def bytes_of(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())
