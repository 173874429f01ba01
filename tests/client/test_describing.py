"""Accounts described by a server and pooled: what comes of them, what fails alone, and how a run goes on."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from adlens import contract, described, describing
from adlens.accounts import POSTS, Account, AccountPost, Unused, find_accounts
from adlens.contract import ModelCard
from adlens.described import DescribedAccount, DescribedFolder
from adlens.describing import PICTURES, WORDS, Describer, Outcome, describe_accounts
from adlens.errors import GalleryBusy, InvalidConfiguration
from adlens.history import PLAIN, Weighting
from adlens.towers import PLAIN as PLAIN_MEAN
from adlens.transport import Connection, Endpoint
from adlens.words import WordVectors
from tests.client.fake_triton import FakeTriton

LENGTH = contract.POST_FEATURES_LENGTH
DAY_S = 86_400


def feature(grey: int) -> np.ndarray[Any, Any]:
    """What the fake server says of a picture of that grey."""
    return (grey + np.arange(LENGTH) % 7).astype(np.float32)


def serve(triton: FakeTriton, weights: str = "a" * 16) -> None:
    """Have the fake server describe pictures by their grey."""
    card = np.frombuffer(ModelCard(contract.DESCRIBE_POST, weights, starter=False).to_bytes(), np.uint8)[None]

    def describe(inputs: dict[str, Any]) -> dict[str, Any]:
        image = Image.open(io.BytesIO(inputs[contract.IMAGE].tobytes())).convert("L")
        return {
            contract.PICTURE_SIZE: np.array([[image.height, image.width]], np.int32),
            contract.POST_FEATURES: feature(int(np.asarray(image)[0, 0]))[None],
            contract.card_output(contract.DESCRIBE_POST): card,
        }

    triton.models = {
        contract.DESCRIBE_POST: lambda inputs: {contract.CARD: card},
        contract.DESCRIBE_POSTS: describe,
    }


def account(
    folder: Path,
    name: str,
    greys: list[int | None],
    followers: int | None = 1000,
    mentioning: Collection[int] = (),
) -> list[Any]:
    """An account with a post for each grey; those without have a caption alone, some mention Ada."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    posts = []
    for number, grey in enumerate(greys):
        post = {
            "caption": f"shoe {number}" + (" @Ada" if number in mentioning else ""),
            "likes": 10 * number,
            "timestamp": 1_700_000_000 + number * DAY_S,
        }
        if grey is not None:
            post["image"] = f"{number}.jpg"
            Image.new("L", (16, 16), grey).save(folder / name / f"{number}.jpg", quality=100)
        posts.append(post)
    (folder / name / POSTS).write_text("\n".join(map(json.dumps, posts)))
    (folder / name / "account.json").write_text(
        json.dumps({"followers": followers, "brand": name == "brand"})
    )
    return posts


@pytest.fixture
def connection(triton: FakeTriton) -> Iterator[Connection]:
    serve(triton)
    with Connection(Endpoint(triton.url, timeout_s=10, retries=0)) as made:
        yield made


def run(connection: Connection, source: Path, out: Path, **options: Any) -> Outcome:
    found = find_accounts(source, Unused())
    return describe_accounts(found, Describer(connection), out, **{"workers": 2, **options})


def read(out: Path) -> dict[str, DescribedAccount]:
    return {each.id: each for each in DescribedFolder(out).read()}


def test_vectors_are_the_weighted_means_of_an_accounts_posts(connection: Connection, tmp_path: Path) -> None:
    posts = account(tmp_path / "in", "brand", [40, 120, None, 200])
    account(tmp_path / "in", "ada", [])
    vectors = WordVectors(["shoe", "3"], np.array([[1, 0], [0, 1]], np.float32))
    outcome = run(connection, tmp_path / "in", tmp_path / "out", words=vectors)
    assert (outcome.accounts, outcome.pictures, outcome.unfinished) == (2, 3, 0)
    found = read(tmp_path / "out")
    weights = Weighting().weights(
        [post["likes"] for post in posts], [float(post["timestamp"]) for post in posts]
    )
    pictures = np.average([feature(40), feature(120), feature(200)], axis=0, weights=weights[[0, 1, 3]])
    np.testing.assert_allclose(found["brand"].vectors[PICTURES], pictures, rtol=1e-5)
    words = np.average([[1, 0], [1, 0], [1, 0], [0.5, 0.5]], axis=0, weights=weights)
    np.testing.assert_allclose(found["brand"].vectors[WORDS], words, rtol=1e-5)
    assert found["brand"].engagement == pytest.approx(0.015)
    assert (found["brand"].posts, found["brand"].pictures, found["brand"].brand) == (4, 3, True)
    first = found["brand"].heaviest[0]
    assert (first.line, first.image, first.caption) == (4, "3.jpg", "shoe 3")
    assert first.weight == pytest.approx(weights[3])
    assert found["brand"].made_by == {PICTURES: "a" * 16, WORDS: vectors.digest}
    assert np.isnan(found["ada"].vectors[PICTURES]).all()
    assert np.isnan(found["ada"].vectors[WORDS]).all()
    assert np.isnan(found["ada"].engagement)


def test_posts_of_a_brand_that_mention_somebody_are_in_no_vector(
    connection: Connection, tmp_path: Path
) -> None:
    """They tell with whom it works, which a ranking is to find."""
    account(tmp_path / "in", "brand", [40, 120, None, 200], mentioning=[1, 2])
    account(tmp_path / "in", "ben", [40, 120], mentioning=[1])
    vectors = WordVectors(["shoe", "1", "2"], np.eye(3, dtype=np.float32))
    outcome = run(connection, tmp_path / "in", tmp_path / "out", words=vectors, weighting=PLAIN)
    assert outcome.pictures == 2 + 2
    found = read(tmp_path / "out")
    np.testing.assert_allclose(found["brand"].vectors[PICTURES], (feature(40) + feature(200)) / 2)
    np.testing.assert_allclose(found["brand"].vectors[WORDS], [1, 0, 0])
    assert {post.line for post in found["brand"].heaviest} == {1, 4}
    assert (found["brand"].posts, found["brand"].pictures, found["brand"].set_aside) == (4, 2, 2)
    assert found["brand"].engagement == pytest.approx(0.015)  # of all posts
    np.testing.assert_allclose(found["ben"].vectors[PICTURES], (feature(40) + feature(120)) / 2)
    assert found["ben"].set_aside == 0


def test_a_brand_that_mentions_somebody_in_all_posts_is_described_by_these(
    connection: Connection, tmp_path: Path
) -> None:
    posts = account(tmp_path / "in", "brand", [40, 120], mentioning=[0, 1])
    run(connection, tmp_path / "in", tmp_path / "out", weighting=PLAIN)
    (found,) = read(tmp_path / "out").values()
    np.testing.assert_allclose(found.vectors[PICTURES], (feature(40) + feature(120)) / 2)
    assert (found.set_aside, found.posts) == (0, 2)
    posts[1]["mentions"] = ["BRAND"]  # itself
    (tmp_path / "in" / "brand" / POSTS).write_text("\n".join(map(json.dumps, posts)))
    run(connection, tmp_path / "in", tmp_path / "out", weighting=PLAIN)
    (found,) = read(tmp_path / "out").values()
    np.testing.assert_allclose(found.vectors[PICTURES], feature(120))
    assert found.set_aside == 1


def test_what_an_account_is_without_one_of_its_heaviest_posts_is_known(
    connection: Connection, tmp_path: Path
) -> None:
    account(tmp_path / "in", "ada", [40, None, 120, 200])
    vectors = WordVectors(["shoe", "3"], np.array([[1, 0], [0, 1]], np.float32))
    run(connection, tmp_path / "in", tmp_path / "out", words=vectors, weighting=PLAIN)
    found = read(tmp_path / "out")["ada"]
    by_line = {post.line: post for post in found.heaviest}
    without = found.without(by_line[4])
    np.testing.assert_allclose(without[PICTURES], (feature(40) + feature(120)) / 2, rtol=1e-3)
    np.testing.assert_allclose(without[WORDS], [1, 0], atol=1e-3)
    np.testing.assert_array_equal(found.without(by_line[2])[PICTURES], found.vectors[PICTURES])
    account(tmp_path / "in", "ben", [40])
    run(connection, tmp_path / "in", tmp_path / "out", words=vectors, weighting=PLAIN)
    alone = read(tmp_path / "out")["ben"]
    assert np.isnan(alone.without(alone.heaviest[0])[PICTURES]).all()


def test_the_plain_means_are_kept_beside_the_weighted_where_wanted(
    connection: Connection, tmp_path: Path
) -> None:
    account(tmp_path / "in", "ada", [40, 80, 120])
    vectors = WordVectors(["shoe"], np.ones((1, 2), np.float32))
    run(connection, tmp_path / "in", tmp_path / "out", words=vectors, plain=True)
    found = read(tmp_path / "out")["ada"]
    assert set(found.vectors) == {PICTURES, PICTURES + PLAIN_MEAN, WORDS, WORDS + PLAIN_MEAN}
    np.testing.assert_allclose(found.vectors[PICTURES + PLAIN_MEAN], feature(80))
    assert (found.vectors[PICTURES] > feature(80)).all()  # the newest is liked the most, and the brightest
    newest = found.heaviest[0]
    np.testing.assert_allclose(found.without(newest)[PICTURES + PLAIN_MEAN], feature(60), rtol=1e-3)


def test_a_bad_picture_costs_that_picture_alone(connection: Connection, tmp_path: Path) -> None:
    account(tmp_path / "in", "ada", [40, 80, 120])
    (tmp_path / "in" / "ada" / "1.jpg").write_bytes(b"no picture")
    outcome = run(connection, tmp_path / "in", tmp_path / "out", weighting=PLAIN)
    assert outcome.unused.counts == {"a picture that cannot be described": 1}
    assert "ada/posts.jsonl line 2" in outcome.unused.lines()[0]
    found = read(tmp_path / "out")["ada"]
    np.testing.assert_allclose(found.vectors[PICTURES], (feature(40) + feature(120)) / 2)
    assert found.pictures == 2


def test_a_run_whose_server_dies_goes_on_where_it_was(
    connection: Connection, triton: FakeTriton, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(describing, "_OFTEN", 2)
    monkeypatch.setattr(described, "PART", 2)
    for name in "abcde":
        account(tmp_path / "in", name, [ord(name), ord(name) + 10, ord(name) + 20, ord(name) + 30])
    triton.die_after = 1 + 2 * 4 + 3  # the card, two accounts, and most of the third
    first = run(connection, tmp_path / "in", tmp_path / "out", workers=1, plain=True)
    assert first.failure
    assert first.failure.kind == "Unavailable"
    assert (first.accounts, first.unfinished) == (2, 3)
    with FakeTriton() as alive:
        serve(alive)
        with Connection(Endpoint(alive.url)) as again:
            second = run(again, tmp_path / "in", tmp_path / "out", plain=True)
            assert (second.before, second.accounts, second.unfinished) == (2, 3, 0)
            assert second.pictures == 3 * 4 - 2  # those before the checkpoint count
            calls = alive.calls
            third = run(again, tmp_path / "in", tmp_path / "out", plain=True)
            assert (third.before, third.accounts, alive.calls) == (5, 0, calls + 1)
            whole = run(again, tmp_path / "in", tmp_path / "whole", plain=True)
    assert whole.accounts == 5
    expected, found = read(tmp_path / "whole"), read(tmp_path / "out")
    assert list(found) == list("abcde")
    assert found == expected
    for name, each in expected.items():
        for block, vector in each.vectors.items():
            np.testing.assert_array_equal(found[name].vectors[block], vector)
        for post, other in zip(found[name].heaviest, each.heaviest, strict=True):
            np.testing.assert_array_equal(post.vectors[PICTURES], other.vectors[PICTURES])
    assert len(list((tmp_path / "out").glob("part-*.npz"))) >= 2


@pytest.mark.parametrize("gone", [0, 1, 3])
def test_a_picture_that_goes_before_a_run_is_taken_up_again_shifts_no_other(
    connection: Connection, triton: FakeTriton, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: int
) -> None:
    monkeypatch.setattr(describing, "_OFTEN", 1)
    account(tmp_path / "in", "ada", [40, 80, 120, 160, 200])
    triton.die_after = 1 + 3
    assert run(connection, tmp_path / "in", tmp_path / "out", workers=1).unfinished == 1
    (tmp_path / "in" / "ada" / f"{gone}.jpg").unlink()
    with FakeTriton() as alive:
        serve(alive)
        with Connection(Endpoint(alive.url)) as again:
            run(again, tmp_path / "in", tmp_path / "out")
            run(again, tmp_path / "in", tmp_path / "whole")
    (found,), (expected,) = read(tmp_path / "out").values(), read(tmp_path / "whole").values()
    assert found == expected
    np.testing.assert_array_equal(found.vectors[PICTURES], expected.vectors[PICTURES])
    assert found.pictures == 4


def test_a_picture_that_goes_while_it_is_waited_for_costs_that_picture_alone(
    connection: Connection, tmp_path: Path
) -> None:
    posts = account(tmp_path / "in", "ada", [40, 80, 120, 160])
    del posts[1]["caption"]  # without its picture nothing is left of the post
    (tmp_path / "in" / "ada" / POSTS).write_text("\n".join(map(json.dumps, posts)))
    weights = Weighting().weights([0, 10, 20, 30], [number * DAY_S for number in range(4)])
    (ada,) = find_accounts(tmp_path / "in", Unused())

    class Watched(Account):
        """Its second picture goes between the first reading of the posts and the second."""

        def posts(self, unused: Unused) -> Iterator[AccountPost]:
            yield from super().posts(unused)
            (self.folder / "1.jpg").unlink(missing_ok=True)

    watched = Watched(**vars(ada))
    describe_accounts([watched], Describer(connection), tmp_path / "out", workers=2)
    (found,) = read(tmp_path / "out").values()
    expected = np.average([feature(40), feature(120), feature(160)], axis=0, weights=weights[[0, 2, 3]])
    np.testing.assert_allclose(found.vectors[PICTURES], expected, rtol=1e-5)


def test_what_was_finished_before_a_kill_is_there_but_for_a_torn_line(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account(tmp_path / "in", "ada", [40])
    monkeypatch.setattr(DescribedFolder, "settle", lambda self: None)
    run(connection, tmp_path / "in", tmp_path / "out")
    monkeypatch.undo()
    journal = tmp_path / "out" / ".journal"
    journal.write_bytes(journal.read_bytes() + b'\n{"id": "ben", "st')
    account(tmp_path / "in", "ben", [80])
    again = run(connection, tmp_path / "in", tmp_path / "out")
    assert (again.before, again.accounts) == (1, 1)
    assert list(read(tmp_path / "out")) == ["ada", "ben"]
    assert not journal.exists()


def test_an_account_with_new_posts_is_described_anew_and_the_last_counts(
    connection: Connection, tmp_path: Path
) -> None:
    account(tmp_path / "in", "ada", [40])
    account(tmp_path / "in", "ben", [80])
    run(connection, tmp_path / "in", tmp_path / "out")
    account(tmp_path / "in", "ada", [40, 60])
    assert run(connection, tmp_path / "in", tmp_path / "out").before == 1
    found = list(DescribedFolder(tmp_path / "out").read())
    assert [(each.id, each.posts) for each in found] == [("ben", 1), ("ada", 2)]
    (tmp_path / "in").rename(tmp_path / "elsewhere")
    assert run(connection, tmp_path / "elsewhere", tmp_path / "out").before == 2
    account(tmp_path / "elsewhere", "ben", [80], followers=50_000)
    assert run(connection, tmp_path / "elsewhere", tmp_path / "out").before == 1
    assert read(tmp_path / "out")["ben"].followers == 50_000


def test_memory_does_not_grow_with_the_number_of_posts(connection: Connection, tmp_path: Path) -> None:
    account(tmp_path / "few", "ada", [40] * 30)
    account(tmp_path / "many", "ada", [40] * 240)
    peaks = []
    for name in ("few", "few", "many"):  # the first warms up
        describer = Describer(connection)
        tracemalloc.start()
        describe_accounts(
            find_accounts(tmp_path / name, Unused()), describer, tmp_path / f"out{len(peaks)}", workers=1
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < 10 * 4 * LENGTH  # 210 more posts, of 4 LENGTH bytes each


def test_other_weights_or_words_do_not_go_into_one_folder(
    connection: Connection, triton: FakeTriton, tmp_path: Path
) -> None:
    account(tmp_path / "in", "ada", [40])
    run(connection, tmp_path / "in", tmp_path / "out")
    with pytest.raises(InvalidConfiguration, match=r"weighting '.*', and now 'plain'; name another folder"):
        run(connection, tmp_path / "in", tmp_path / "out", weighting=PLAIN)
    serve(triton, "b" * 16)
    with pytest.raises(InvalidConfiguration, match="pictures 'aaaaaaaaaaaaaaaa', and now 'bbbbbbbbbbbbbbbb'"):
        run(connection, tmp_path / "in", tmp_path / "out")


def test_weights_that_change_meanwhile_end_the_run(
    connection: Connection, triton: FakeTriton, tmp_path: Path
) -> None:
    account(tmp_path / "in", "ada", [40])
    describer = Describer(connection)
    serve(triton, "b" * 16)
    outcome = describe_accounts(find_accounts(tmp_path / "in", Unused()), describer, tmp_path / "out")
    assert outcome.failure
    assert outcome.failure.kind == "WrongEmbedder"
    assert (outcome.accounts, outcome.unfinished) == (0, 1)


def test_two_programs_do_not_write_into_one_folder(connection: Connection, tmp_path: Path) -> None:
    account(tmp_path / "in", "ada", [40])
    run(connection, tmp_path / "in", tmp_path / "out")
    folder = DescribedFolder(tmp_path / "out")
    with folder.locked(folder.settings()), pytest.raises(GalleryBusy, match="another program is changing"):
        run(connection, tmp_path / "in", tmp_path / "out")


def test_one_failure_of_the_server_leaves_that_account_for_the_next_run(
    connection: Connection, triton: FakeTriton, tmp_path: Path
) -> None:
    account(tmp_path / "in", "ada", [40, 80])
    account(tmp_path / "in", "ben", [120])
    describer = Describer(connection)
    triton.failures.append((grpc.StatusCode.INTERNAL, "a fault"))
    outcome = describe_accounts(
        find_accounts(tmp_path / "in", Unused()), describer, tmp_path / "out", workers=1
    )
    assert (outcome.accounts, outcome.unfinished, list(read(tmp_path / "out"))) == (1, 1, ["ben"])
    assert run(connection, tmp_path / "in", tmp_path / "out").accounts == 1
    assert set(read(tmp_path / "out")) == {"ada", "ben"}
