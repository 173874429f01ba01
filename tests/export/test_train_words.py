"""Word vectors: learned from posts, the same each time, or taken from a file of word2vec."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from random import Random

import numpy as np
import pytest
from click.testing import CliRunner
from gensim.models import KeyedVectors

from adlens.errors import InvalidConfiguration
from adlens.words import WordVectors
from export.train_words import EPOCHS, Captions, convert, enough, main, train

TOPICS = (
    ("run", "shoe", "track", "#marathon", "\U0001f45f"),
    ("cake", "oven", "flour", "#baking", "\U0001f370"),
)


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two accounts, each with words of its own."""
    random = Random(5)
    folder = tmp_path_factory.mktemp("accounts")
    for number, topic in enumerate(TOPICS):
        (folder / f"account{number}").mkdir()
        posts = [json.dumps({"caption": " ".join(random.choices(topic, k=8))}) for _ in range(60)]
        (folder / f"account{number}" / "posts.jsonl").write_text("\n".join([*posts, "{broken"]))
    return folder


@pytest.fixture(scope="module")
def learned(accounts: Path) -> WordVectors:
    return train(Captions(accounts), dimension=24, epochs=100)


def test_words_that_come_together_become_alike(learned: WordVectors) -> None:
    assert set(learned.words) == set(chain(*TOPICS))
    unit = learned.vectors / np.linalg.norm(learned.vectors, axis=1, keepdims=True)
    first, second = ([learned.words.index(word) for word in topic] for topic in TOPICS)
    within = min((unit[topic] @ unit[topic].T).min() for topic in (first, second))
    assert within > (unit[first] @ unit[second].T).max() + 0.1


def test_the_same_posts_give_the_same_vectors(accounts: Path, learned: WordVectors) -> None:
    again = train(Captions(accounts), dimension=24, epochs=100)
    assert again.digest == learned.digest
    assert train(Captions(accounts), dimension=24, epochs=8, seed=1).digest != learned.digest


def test_small_collections_are_gone_through_more_often_within_bounds() -> None:
    assert [enough(words) for words in (1, 20_000, 10**9)] == [EPOCHS[1], 100, EPOCHS[0]]


def test_without_a_number_of_passages_it_is_found(tmp_path: Path) -> None:
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada" / "posts.jsonl").write_text(json.dumps({"caption": "one two one two one two"}))
    assert set(train(Captions(tmp_path), dimension=4).words) == {"one", "two"}


def test_posts_that_cannot_be_used_are_named(accounts: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "words.npz"
    ran = CliRunner().invoke(
        main, ["--accounts", str(accounts), "--out", str(out), "--dimension", "8", "--epochs", "1"]
    )
    assert ran.exit_code == 0, ran.output
    assert "not used: 2 x no JSON object in UTF-8, such as account0/posts.jsonl line 61" in ran.stderr
    assert WordVectors.load(out).dimension == 8


def test_words_that_are_too_rare_are_refused_with_the_remedy(accounts: Path) -> None:
    with pytest.raises(InvalidConfiguration, match="--least"):
        train(Captions(accounts), dimension=8, least=10_000)


@pytest.mark.parametrize("name", ["given.txt", "given.bin"])
def test_given_vectors_are_taken_as_they_are(accounts: Path, tmp_path: Path, name: str) -> None:
    given = KeyedVectors(3)
    given.add_vectors(["Shoe", "shoe", "baking", "of_no_post"], np.arange(12, dtype=np.float32).reshape(4, 3))
    given.save_word2vec_format(str(tmp_path / name), binary=name.endswith(".bin"))
    found = convert(tmp_path / name, Captions(accounts))
    assert list(found.words) == ["shoe", "baking"]
    np.testing.assert_array_equal(found.vectors, [[0, 1, 2], [6, 7, 8]])
    assert found.place("#baking") == 1
    assert list(convert(tmp_path / name).words) == ["shoe", "baking", "of_no_post"]


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "given.txt").write_text("nothing\n")
    with pytest.raises(InvalidConfiguration, match="no file of word2vec"):
        convert(tmp_path / "given.txt")


def test_something_to_learn_from_has_to_be_given(tmp_path: Path) -> None:
    ran = CliRunner().invoke(main, ["--out", str(tmp_path / "words.npz")])
    assert ran.exit_code == 2
    assert "--accounts" in ran.stderr
