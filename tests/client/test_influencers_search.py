"""The gallery of influencers: the product of vectors of any length, within ranges, as numpy finds it."""

from __future__ import annotations

from collections.abc import Sequence
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
from adlens.galleries.records import AccountRecord, Record, Vectors

CATEGORIES = ("food", "shoes", "travel")
LANGUAGES = ("de", "en")
DIMENSION, FOUND = contract.ACCOUNT_DIMENSION, contract.RANKED
EMPTY = Contents.empty(contract.INFLUENCER_TOWER, DIMENSION)
TOLERANCE = 1e-4
"""Of a product of about 100: sums of 512 float32 products in another order."""
INFINITE = float("inf")
OPEN = ((-INFINITE, INFINITE),) * 2
Ranges = Sequence[tuple[float, float]]
Outputs = dict[str, npt.NDArray[Any]]


def accounts(count: int, seed: int = 0) -> list[AccountRecord]:
    """Influencers who do not exist; followers and engagement of each seventh and fifth are not known."""
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((count, DIMENSION), np.float32) * random.uniform(0.1, 4, (count, 1))
    numbers = np.column_stack([random.integers(1_000, 200_000, count), random.uniform(0, 0.1, count)])
    numbers[::7, 0], numbers[::5, 1] = np.nan, np.nan
    return [
        AccountRecord(
            f"account-{row}", vectors[row].astype(np.float32),
            {"category": CATEGORIES[row % 3], "language": LANGUAGES[row % 2]}, "accounts.npz",
            numbers[row].astype(np.float32),
        )
        for row in range(count)
    ]  # fmt: skip


def publish(folder: Path, contents: Contents) -> Path:
    gallery = GalleryFolder(folder)
    with gallery.locked():
        return gallery.publish(contents)


class Search:
    """A gallery in ONNX Runtime, and beside it the comparison with all of it."""

    def __init__(self, folder: Path, records: Sequence[Record]) -> None:
        self.contents = EMPTY.with_records(records, "w1", replace_ids=False)
        version = publish(folder, self.contents)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(version / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, brands: Vectors, chosen: Sequence[Filter | None], ranges: Sequence[Ranges]) -> Outputs:
        """The graph's outputs for ``brands``, float32 [N, D]."""
        names = [output.name for output in self.session.get_outputs()]
        feed = {
            contract.ACCOUNT_VECTOR: brands,
            contract.FILTER: np.concatenate([filters.encode(each) for each in chosen]),
            contract.RANGES: np.array(ranges, np.float32),
        }
        return dict(zip(names, self.session.run(names, feed), strict=True))

    def passing(self, chosen: Filter | None, ranges: Ranges) -> npt.NDArray[np.int64]:
        """Rows that pass both."""
        wanted, numbers = filters.alternatives(chosen), self.contents.payload
        attributes = self.contents.attributes_of
        rows = [
            row
            for row in range(len(self.contents.ids))
            if all(attributes(row)[name] in wanted[name] for name in wanted)
            and all(
                low <= number <= high or (low, high) == OPEN[0]
                for number, (low, high) in zip(numbers[row], np.array(ranges, np.float32), strict=True)
            )
        ]
        return np.array(rows, np.int64)

    def agree(self, brands: Vectors, chosen: Sequence[Filter | None], ranges: Sequence[Ranges]) -> None:
        """Hold all outputs against numpy's."""
        found = self(brands, chosen, ranges)
        for n, brand in enumerate(brands):
            passing = self.passing(chosen[n], ranges[n])
            assert found[contract.INFLUENCER_COUNT][n].tolist() == [len(passing)]
            products = self.contents.vectors[passing].astype(np.float64) @ brand
            best = passing[np.argsort(-products, kind="stable")[:FOUND]]
            count = len(best)
            assert ids_of(found, n) == [self.contents.ids[row] for row in best]
            scores = found[contract.INFLUENCER_SCORES][n]
            np.testing.assert_allclose(scores[:count], self.contents.vectors[best] @ brand, atol=TOLERANCE)
            assert (scores[count:] == contract.NO_SCORE).all()
            vectors, numbers = found[contract.INFLUENCER_VECTORS][n], found[contract.INFLUENCER_NUMBERS][n]
            np.testing.assert_array_equal(vectors[:count], self.contents.vectors[best])
            np.testing.assert_array_equal(numbers[:count], self.contents.payload[best])
            assert not vectors[count:].any()
            assert np.isnan(numbers[count:]).all()


def ids_of(found: Outputs, row: int) -> list[str]:
    texts = [each.tobytes().rstrip(b"\0").decode() for each in found[contract.INFLUENCER_IDS][row]]
    return [text for text in texts if text]


def brands(count: int, seed: int = 9) -> Vectors:
    return np.random.default_rng(seed).standard_normal((count, DIMENSION), np.float32)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Search:
    """More than a chunk, and most blocks are never compared twice."""
    return Search(tmp_path_factory.mktemp("many"), accounts(CHUNK + 2_000))


CASES: dict[str, tuple[Filter | None, Ranges]] = {
    "all": (None, OPEN),
    "micro-influencers": (None, ((5_000, 100_000), OPEN[1])),
    "at least so much engagement": (None, (OPEN[0], (0.05, INFINITE))),
    "both ranges": (None, ((5_000, 100_000), (0.02, 0.05))),
    "a filter": ({"category": ["food", "travel"], "language": "en"}, OPEN),
    "a filter and ranges": ({"category": "shoes"}, ((-INFINITE, 50_000), (0.01, INFINITE))),
    "few": (None, ((5_000, 6_000), (0.04, 0.06))),
    "nobody": ({"category": "gardens"}, OPEN),
    "a range within which nobody is": (None, ((7.0, 6.0), OPEN[1])),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_ranks_as_numpy_does(many: Search, case: tuple[Filter | None, Ranges]) -> None:
    many.agree(brands(2), [case[0]] * 2, [case[1]] * 2)


def test_each_brand_of_a_batch_has_its_own_filter_and_ranges(many: Search) -> None:
    chosen, ranges = zip(*list(CASES.values())[: contract.MAX_BATCH], strict=True)
    many.agree(brands(len(chosen), 3), chosen, ranges)


@pytest.mark.parametrize("count", [0, 1, 49, 51, BLOCK * FOUND - 1, BLOCK * FOUND + 1, CHUNK + 1])
def test_padding_is_never_found(tmp_path: Path, count: int) -> None:
    """Though all products are negative, and padding's would be 0."""
    (brand,) = brands(1)
    records = [
        AccountRecord(each.id, -each.vector if each.vector @ brand > 0 else each.vector,
                      each.attributes, "", each.payload)
        for each in accounts(count)
    ]  # fmt: skip
    Search(tmp_path, records).agree(brand[np.newaxis], [None], [OPEN])


def test_of_equal_ones_the_first_that_was_added_comes_first(tmp_path: Path) -> None:
    """Also where a better one lies in a later block, and where the places end among the equal ones."""
    (vector,), better = brands(1), [70, 1_500, 1_501]
    records = [
        AccountRecord(str(row), vector * (2 if row in better else 1), {}, "", np.zeros(2, np.float32))
        for row in range(1_600)
    ]
    found = Search(tmp_path, records)(brands(1), [None], [OPEN])
    others = [row for row in range(FOUND) if row not in better][: FOUND - len(better)]
    assert ids_of(found, 0) == [str(row) for row in [*better, *others]]


def test_who_is_not_known_is_within_an_open_range_alone(tmp_path: Path) -> None:
    nan = float("nan")
    known = {"both": (10, 0.5), "followers": (10, nan), "engagement": (nan, 0.5), "neither": (nan, nan)}
    records = [
        AccountRecord(id_, brands(1)[0], {}, "", np.array(numbers, np.float32))
        for id_, numbers in known.items()
    ]
    search = Search(tmp_path, records)

    def found(*ranges: tuple[float, float]) -> list[str]:
        return ids_of(search(brands(1), [None], [ranges]), 0)

    assert found(*OPEN) == [*known]
    assert found((0, INFINITE), OPEN[1]) == ["both", "followers"]
    assert found((-INFINITE, 10), OPEN[1]) == ["both", "followers"]
    assert found(OPEN[0], (0.5, 0.5)) == ["both", "engagement"]
    assert found((0, 99), (0, 1)) == ["both"]
    assert found((nan, nan), OPEN[1]) == []


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e30, 0])
def test_what_is_no_vector_finds_nobody_and_harms_no_neighbour(many: Search, number: float) -> None:
    asked = brands(3)
    asked[1] = number
    found = many(asked, [None] * 3, [OPEN] * 3)
    alone = many(asked[[0, 2]], [None] * 2, [OPEN] * 2)
    assert [len(ids_of(found, row)) for row in range(3)] == [FOUND, 0, FOUND]
    assert (found[contract.INFLUENCER_SCORES][1] == contract.NO_SCORE).all()
    assert [ids_of(found, row) for row in (0, 2)] == [ids_of(alone, row) for row in (0, 1)]


def test_the_card_says_what_is_in_it(many: Search) -> None:
    found = many(brands(1), [None], [OPEN])
    assert GalleryCard.from_bytes(found[contract.CARD][0].tobytes()) == GalleryCard(
        "influencers", many.contents.digest[:16], starter=False, embedder="influencer_tower",
        embedder_weights="w1", photos=CHUNK + 2_000, attributes=("category", "language"),
    )  # fmt: skip


class TestFiles:
    """Of the gallery."""

    def test_what_is_read_is_what_was_written(self, tmp_path: Path) -> None:
        contents = EMPTY.with_records(accounts(100), "w1", replace_ids=False)
        publish(tmp_path, contents)
        found = GalleryFolder(tmp_path).read()
        assert found.digest == contents.digest
        np.testing.assert_array_equal(found.payload, [each.payload for each in accounts(100)])

    def test_damaged_numbers_are_found(self, tmp_path: Path) -> None:
        file = publish(tmp_path, EMPTY.with_records(accounts(3), "w1", replace_ids=False)) / "numbers.bin"
        file.write_bytes(b"\1" + file.read_bytes()[1:])
        with pytest.raises(errors.CorruptGallery, match=r"numbers.bin is damaged"):
            GalleryFolder(tmp_path).read()

    def test_who_is_removed_is_in_no_file_any_longer(self, tmp_path: Path) -> None:
        gone = accounts(50)[8]
        contents = EMPTY.with_records(accounts(50), "w1", replace_ids=False)
        publish(tmp_path, contents)
        gallery = GalleryFolder(tmp_path)
        with gallery.locked():
            gallery.publish(contents.without([gone.id]))
            assert gallery.wipe_old(5) == []
        left = b"".join(file.read_bytes() for file in sorted(tmp_path.rglob("*")) if file.is_file())
        for trace in (gone.vector.tobytes(), gone.payload.tobytes(), f"{gone.id},".encode()):
            assert trace not in left
        assert accounts(50)[9].payload.tobytes() in left


@pytest.mark.parametrize(
    ("vector", "numbers", "said"),
    [
        (np.full(DIMENSION, np.nan), [1, 1], "512 of its numbers are not finite"),
        (np.ones((2, 2)), [1, 1], r"has shape \[2, 2\]"),
        (np.ones(DIMENSION), [-1, 1], "followers and engagement are"),
        (np.ones(DIMENSION), [1, np.inf], "followers and engagement are"),
        (np.ones(DIMENSION), [1], "followers and engagement are"),
    ],
)
def test_what_cannot_be_is_no_account(vector: Vectors, numbers: list[float], said: str) -> None:
    with pytest.raises(errors.BadRecord, match=said):
        AccountRecord("x", vector, {}, "", np.array(numbers, np.float32))
