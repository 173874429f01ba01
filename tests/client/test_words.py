"""Captions taken apart into words, and the mean of their vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adlens.errors import InvalidConfiguration
from adlens.words import WordVectors, tokens


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("New in! #Sneakers, don\u2019t wait", ["new", "in", "#sneakers", "don't", "wait"]),
        ("#a#b #_x ##y", ["#a", "#b", "x", "#y"]),
        ("cafe\u0301 CAF\u00c9", ["caf\u00e9", "caf\u00e9"]),
        (
            "\u6771\u4eac #\u6771\u4eac2020 \u041c\u043e\u0441\u043a\u0432\u0430",
            ["東京", "#東京2020", "москва"],
        ),
        ("with @Nike.us at http://x.org/a?b=c www.y.de me@z.com", ["with", "at"]),
        ("\U0001f44d\U0001f3fd\U0001f44d", ["\U0001f44d", "\U0001f44d"]),
        ("\u2764\ufe0f\u2764", ["\u2764", "\u2764"]),
        ("\U0001f469\u200d\U0001f469\u200d\U0001f467", ["\U0001f469\u200d\U0001f469\u200d\U0001f467"]),
        ("\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", ["\U0001f1e9\U0001f1ea", "\U0001f1eb\U0001f1f7"]),
        (" \n\t!?", []),
    ],
)
def test_words_hashtags_and_emoji_are_found_and_names_and_addresses_left_out(
    text: str, words: list[str]
) -> None:
    assert tokens(text) == words


@pytest.fixture
def vectors() -> WordVectors:
    return WordVectors(["shoe", "#run", "\U0001f45f"], np.array([[1, 0], [0, 1], [4, 4]], np.float32))


def test_a_caption_is_the_mean_of_its_known_words(vectors: WordVectors) -> None:
    found = vectors.mean("A shoe, a SHOE \U0001f45f")
    assert found is not None
    np.testing.assert_allclose(found, [2, 4 / 3], rtol=1e-6)
    assert found.dtype == np.float32


def test_a_hashtag_stands_for_its_word_and_the_word_for_its_hashtag(vectors: WordVectors) -> None:
    assert vectors.place("#shoe") == vectors.place("shoe") == 0
    assert vectors.place("run") == vectors.place("#run") == 1


def test_a_caption_without_a_known_word_has_no_vector(vectors: WordVectors) -> None:
    assert vectors.mean("nothing known") is None
    assert vectors.mean("") is None


def test_vectors_come_back_from_their_file_as_they_were(vectors: WordVectors, tmp_path: Path) -> None:
    path = tmp_path / "words.npz"
    vectors.save(path)
    read = WordVectors.load(path)
    assert list(read.words) == list(vectors.words)
    np.testing.assert_array_equal(read.vectors, vectors.vectors)
    assert read.digest == vectors.digest
    assert [entry.name for entry in tmp_path.iterdir()] == ["words.npz"]


def test_other_words_or_numbers_have_another_digest(vectors: WordVectors) -> None:
    other = WordVectors(vectors.words, vectors.vectors + 1)
    renamed = WordVectors(["boot", *list(vectors.words)[1:]], vectors.vectors)
    assert len({each.digest for each in (vectors, other, renamed)}) == 3


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ("a\nb", np.zeros((3, 2), np.float32)),
        ("a\na", np.zeros((2, 2), np.float32)),
        ("a\nb", np.full((2, 2), np.nan, np.float32)),
        ("a\nb", np.zeros((2, 2), np.float64)),
    ],
)
def test_a_file_that_holds_something_else_is_refused(words: str, numbers: object, tmp_path: Path) -> None:
    path = tmp_path / "words.npz"
    np.savez(path, words=np.frombuffer(words.encode(), np.uint8), vectors=np.asarray(numbers))
    with pytest.raises(InvalidConfiguration, match="each word has to come once"):
        WordVectors.load(path)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "words.npz"
    path.write_bytes(b"none")
    with pytest.raises(InvalidConfiguration, match="train_words"):
        WordVectors.load(path)
    with pytest.raises(InvalidConfiguration, match="train_words"):
        WordVectors.load(tmp_path / "missing.npz")
