"""A caption becomes a vector: the mean of the vectors of its words.

Words are those of any script that puts blanks between them, in lower case and composed (Unicode NFC); a
hashtag is one of its own, and so is an emoji, whatever its skin tone. Names behind @ and addresses are left
out: who is mentioned is what a ranking of influencers is to find, and says nothing of what an account shows.
Training (``export.train_words``) takes captions apart by ``tokens`` as well.

A file of vectors is an ``.npz`` of plain arrays: ``words``, uint8, UTF-8 with a line feed between two words,
and ``vectors``, float32 [words, dimension].
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from adlens.errors import InvalidConfiguration

DIMENSION: Final = 300
"""As in Gan et al. (ACM Multimedia 2019)."""
_APOSTROPHE: Final = "\u2019"
"""As typesetters, and telephones, write it."""
_TONES: Final = "\U0001f3fb-\U0001f3ff"
_PICTOGRAPH: Final = (
    "[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d"
    "\u3297\u3299\U0001f000-\U0001f1e5\U0001f200-\U0001f3fa\U0001f400-\U0001faff]"
)
"""Blocks of Unicode that hold its emoji (UTS #51), without letters of flags and skin tones."""
_EMOJI: Final = (
    "[\U0001f1e6-\U0001f1ff]{2}"
    "|[0-9#*]\ufe0f?\u20e3"
    f"|{_PICTOGRAPH}\ufe0f?[{_TONES}]?(?:\u200d{_PICTOGRAPH}\ufe0f?[{_TONES}]?)*"
)
_TOKEN: Final = re.compile(
    r"(?P<left_out>https?://\S+|www\.\S+|\S+@\w+\.\w\S*|(?<!\w)@[\w.]+)"
    rf"|(?P<emoji>{_EMOJI})"
    rf"|(?P<word>#?[^\W_]\w*(?:['{_APOSTROPHE}]\w+)*)"
)
_MARKS: Final = re.compile(f"[\ufe0f{_TONES}]")
"""What makes variants of one emoji."""


def tokens(text: str) -> list[str]:
    """The words, hashtags and emoji of ``text``, in their order."""
    found = []
    for match in _TOKEN.finditer(unicodedata.normalize("NFC", text)):
        if match["word"]:
            found.append(match["word"].lower().replace(_APOSTROPHE, "'"))
        elif match["emoji"]:
            found.append(_MARKS.sub("", match["emoji"]))
    return found


@dataclass(frozen=True)
class WordVectors:
    """Vectors of words.

    Attributes:
        words: each once.
        vectors: float32 [words, dimension], finite.
    """

    words: Sequence[str]
    vectors: npt.NDArray[np.float32]

    @property
    def dimension(self) -> int:
        """Of the vectors."""
        return int(self.vectors.shape[1])

    @cached_property
    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 over words and vectors."""
        total = hashlib.sha256("\n".join(self.words).encode())
        total.update(self.vectors.tobytes())
        return total.hexdigest()[:16]

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {word: place for place, word in enumerate(self.words)}

    def place(self, word: str) -> int | None:
        """Row of ``word``; a hashtag that is not known counts as its word, and the other way round."""
        other = word[1:] if word.startswith("#") else f"#{word}"
        return self._places.get(word, self._places.get(other))

    def mean(self, text: str) -> npt.NDArray[np.float32] | None:
        """float32 [dimension], of the words of ``text`` that are known; None where none is."""
        places = [place for word in tokens(text) if (place := self.place(word)) is not None]
        return self.vectors[places].mean(axis=0, dtype=np.float64).astype(np.float32) if places else None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> WordVectors:
        """Read a file of vectors.

        Raises:
            InvalidConfiguration: it cannot be read, or is none.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                words = file["words"].tobytes().decode().split("\n")
                vectors = file["vectors"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InvalidConfiguration(
                f"{os.fspath(path)} holds no word vectors ({error}); write it by "
                "`python -m export.train_words`"
            ) from error
        if (
            vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != len(words)
            or len(set(words)) < len(words) or not np.isfinite(vectors).all()
        ):  # fmt: skip
            raise InvalidConfiguration(
                f"{os.fspath(path)}: {len(words)} words and vectors {vectors.dtype} {list(vectors.shape)}; "
                "each word has to come once, with finite float32 numbers"
            )
        return cls(words, vectors)

    def save(self, path: Path) -> None:
        """Write the file; whoever reads meanwhile sees the former one, or all of the new."""
        partial = path.with_name(f".{path.name}.partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            np.savez(
                file, words=np.frombuffer("\n".join(self.words).encode(), np.uint8), vectors=self.vectors
            )
        partial.replace(path)
