"""The search graph of a gallery, by ONNX Runtime, gives what numpy gives by comparing with all photos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from adlens import contract, filters
from adlens.contract import GalleryCard
from adlens.filters import Filter
from adlens.galleries.contents import Contents
from adlens.galleries.files import GalleryFolder
from adlens.galleries.graph import BLOCK, CHUNK
from adlens.galleries.records import Record, Vectors
from tests.client.vectors import DIMENSION, people, unit

Outputs = dict[str, npt.NDArray[Any]]
TOLERANCE = 1e-5
"""Of a cosine: sums of 128 float32 products in another order."""


class Search:
    """A gallery of ``records`` in ONNX Runtime, and beside it the plain comparison with all of them."""

    def __init__(self, folder: Path, records: list[Record], embedder: str = "dlib") -> None:
        empty = Contents.empty(embedder, contract.EMBEDDERS[embedder])
        self.contents = empty.with_records(records, "w1", replace_ids=False)
        gallery = GalleryFolder(folder)
        with gallery.locked():
            version = gallery.publish(self.contents)
        providers = ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(str(version / "model.onnx"), providers=providers)

    def __call__(
        self, faces: Vectors, counts: list[int], chosen: list[Filter | None] | None = None
    ) -> Outputs:
        """The graph's outputs for ``faces``, float32 [N, MAX_FACES, D]."""
        names = [output.name for output in self.session.get_outputs()]
        feed = {
            contract.FACE_EMBEDDING: faces,
            contract.FACE_COUNT: np.array(counts, np.int32)[:, np.newaxis],
            contract.FILTER: np.concatenate([filters.encode(each) for each in chosen or [None] * len(faces)]),
        }
        return dict(zip(names, self.session.run(names, feed), strict=True))

    def passing(self, chosen: Filter | None) -> Passing:
        """The photos that the filter admits."""
        wanted = filters.alternatives(chosen)
        attributes = self.contents.attributes_of
        rows = [
            row for row in range(len(self.contents.ids))
            if all(attributes(row)[name] in wanted[name] for name in wanted)
        ]  # fmt: skip
        place_of = {self.contents.ids[row]: place for place, row in enumerate(rows)}
        return Passing(place_of, self.contents.vectors[rows])


@dataclass(frozen=True)
class Passing:
    """Photos by id, and where in ``vectors``, float32 [P, D], theirs is."""

    place_of: dict[str, int]
    vectors: Vectors

    def __len__(self) -> int:
        return len(self.vectors)

    def agree(self, query: Vectors, scores: Vectors, ids: npt.NDArray[np.uint8]) -> None:
        """Hold the answer for one face against all of them."""
        expected = self.vectors @ query
        count = min(contract.MATCHES, len(self))
        best = -np.sort(np.partition(-expected, count - 1)[:count]) if count else expected
        np.testing.assert_allclose(scores[: len(best)], best, atol=TOLERANCE)
        assert (scores[len(best) :] == contract.NO_MATCH).all()
        assert not ids[len(best) :].any()
        found = [row.tobytes().rstrip(b"\0").decode() for row in ids[: len(best)]]
        assert len(set(found)) == len(best)
        np.testing.assert_allclose([expected[self.place_of[name]] for name in found], best, atol=TOLERANCE)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Search:
    """So many photos that most blocks are never compared twice."""
    return Search(tmp_path_factory.mktemp("many"), people(20_000))


FILTERS: dict[str, Filter | None] = {
    "no filter": None,
    "one value": {"hair": "red"},
    "any of two values": {"hair": ["red", "grey"]},
    "two attributes": {"hair": ["red", "grey"], "season": "summer"},
    "a value that nobody has": {"season": "winter"},
}


@pytest.mark.parametrize("chosen", FILTERS.values(), ids=FILTERS)
def test_a_thousand_random_searches_equal_numpys(many: Search, chosen: Filter | None) -> None:
    batch, slots = contract.MAX_BATCH, contract.MAX_FACES
    queries = unit(1024, seed=1)
    passing = many.passing(chosen)
    assert (len(passing) == 0) == (chosen == {"season": "winter"})
    for start in range(0, len(queries), batch * slots):
        faces = queries[start : start + batch * slots].reshape(batch, slots, -1)
        found = many(faces, [slots] * batch, [chosen] * batch)
        assert found[contract.MATCH_COUNT].tolist() == [[len(passing)]] * batch
        for picture in range(batch):
            for slot in range(slots):
                passing.agree(
                    faces[picture, slot],
                    found[contract.MATCH_SCORES][picture, slot],
                    found[contract.MATCH_IDS][picture, slot],
                )


def test_each_picture_of_a_batch_has_its_own_filter(many: Search) -> None:
    chosen = list(FILTERS.values())
    faces = unit(len(chosen) * contract.MAX_FACES, seed=2).reshape(len(chosen), contract.MAX_FACES, -1)
    found = many(faces, [2] * len(chosen), chosen)
    for picture, each in enumerate(chosen):
        passing = many.passing(each)
        assert found[contract.MATCH_COUNT][picture, 0] == len(passing)
        for slot in range(2):
            scores, ids = (found[name][picture, slot] for name in (contract.MATCH_SCORES, contract.MATCH_IDS))
            passing.agree(faces[picture, slot], scores, ids)


@pytest.mark.parametrize("count", [0, 1, 9, 11, BLOCK, 319, 320, 321, CHUNK - 1, CHUNK, CHUNK + 1])
@pytest.mark.parametrize("chosen", [None, {"hair": ["black", "red"]}], ids=["no filter", "a filter"])
def test_padding_is_never_found(tmp_path: Path, count: int, chosen: Filter | None) -> None:
    """Though all similarities are negative, and padding's would be 0."""
    towards = unit(1)[0]
    records = [
        Record(each.id, -each.vector if each.vector @ towards > 0 else each.vector, each.attributes)
        for each in people(count)
    ]
    search = Search(tmp_path, records)
    faces = np.zeros((1, contract.MAX_FACES, DIMENSION), np.float32)
    faces[0, 0] = towards
    found = search(faces, [1], [chosen])
    passing = search.passing(chosen)
    assert found[contract.MATCH_COUNT][0, 0] == len(passing)
    passing.agree(towards, found[contract.MATCH_SCORES][0, 0], found[contract.MATCH_IDS][0, 0])


def test_slots_without_a_face_have_no_match(many: Search) -> None:
    faces = unit(4 * contract.MAX_FACES).reshape(4, contract.MAX_FACES, -1)
    found = many(faces, [0, 1, 20, -3])
    is_match = found[contract.MATCH_SCORES][:, :, 0] > contract.NO_MATCH
    assert is_match.sum(axis=1).tolist() == [0, 1, 16, 0]
    assert (found[contract.MATCH_IDS].any(axis=(2, 3)) == is_match).all()


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 0, 1e30])
def test_what_is_no_embedding_has_no_match_and_harms_no_neighbour(many: Search, number: float) -> None:
    faces = unit(contract.MAX_FACES, seed=3)[np.newaxis]
    faces[0, 3] = number
    found = many(faces, [contract.MAX_FACES])
    is_match = found[contract.MATCH_SCORES][0, :, 0] > contract.NO_MATCH
    assert is_match.tolist() == [slot != 3 for slot in range(contract.MAX_FACES)]


def test_nobody_at_all_is_no_special_case(many: Search) -> None:
    faces = np.zeros((2, contract.MAX_FACES, DIMENSION), np.float32)
    for chosen in FILTERS.values():
        found = many(faces, [0, 0], [chosen] * 2)
        assert (found[contract.MATCH_SCORES] == contract.NO_MATCH).all()
        assert found[contract.MATCH_COUNT].tolist() == [[len(many.passing(chosen))]] * 2


def test_an_alternative_that_is_not_given_fits_no_photo(tmp_path: Path) -> None:
    """Unused places of a clause hold code 0, as does what pads the table of values."""
    search = Search(tmp_path, [Record("plain", unit(1)[0])])
    faces = np.zeros((1, contract.MAX_FACES, DIMENSION), np.float32)
    faces[0, 0] = unit(1)[0]
    found = search(faces, [1], [{"hair": "red"}])
    assert found[contract.MATCH_COUNT][0, 0] == 0
    assert (found[contract.MATCH_SCORES] == contract.NO_MATCH).all()


def test_ids_travel_whole(tmp_path: Path) -> None:
    ids = ["ä" * (contract.ID_BYTES // 2), "x", "a b/c.jpg", "日本"]
    search = Search(tmp_path, [Record(*pair) for pair in zip(ids, unit(4), strict=True)])
    faces = np.zeros((1, contract.MAX_FACES, DIMENSION), np.float32)
    faces[0, :4] = unit(4)
    found = search(faces, [4])
    assert [row.tobytes().rstrip(b"\0").decode() for row in found[contract.MATCH_IDS][0, :4, 0]] == ids


def test_vectors_may_have_any_dimension(tmp_path: Path) -> None:
    """Those of other embedders have 512 numbers, and fill galleries of their own."""
    vectors = np.linalg.qr(np.random.default_rng(0).standard_normal((512, 512)))[0].astype(np.float32)
    records = [Record(str(number), vector) for number, vector in enumerate(vectors)]
    search = Search(tmp_path, records, "facenet")
    faces = np.stack([vectors[:16], vectors[-16:]])
    found = search(faces, [16, 16])[contract.MATCH_IDS][:, :, 0].reshape(32, -1)
    assert [row.tobytes().rstrip(b"\0").decode() for row in found] == [
        *map(str, [*range(16), *range(496, 512)])
    ]


def test_the_card_says_what_is_in_it(many: Search) -> None:
    card = GalleryCard.from_bytes(many(unit(16)[np.newaxis], [0])[contract.CARD][0].tobytes())
    assert card == GalleryCard(
        "gallery", many.contents.digest[:16], starter=False,
        embedder="dlib", embedder_weights="w1", photos=20_000, attributes=("hair", "season"),
    )  # fmt: skip


def test_the_vectors_are_mapped_and_not_copied(many: Search) -> None:
    """Otherwise two versions that are being swapped would take the memory of both."""
    regions = Path("/proc/self/maps").read_text().splitlines()
    assert any(region.endswith("vectors.bin") for region in regions)
