"""Vectors of the words in accounts' posts: ``python -m export.train_words --accounts DIR --out FILE.npz``.

Word2Vec (Mikolov et al., arXiv:1310.4546): skip-gram with negative sampling, as it learns rare words of small
collections better than its sibling. 300 numbers a word, as Gan et al. (ACM Multimedia 2019) took. One thread
and a seed: the same posts give the same vectors. Vectors that were made elsewhere, in the text or binary form
of word2vec, become the same kind of file by ``--given``; with ``--accounts`` only words of these are kept.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from gensim.models import KeyedVectors, Word2Vec
from gensim.models.callbacks import CallbackAny2Vec
from tqdm import tqdm

from adlens.accounts import Unused, find_accounts
from adlens.errors import InvalidConfiguration
from adlens.words import DIMENSION, WordVectors, tokens

ENOUGH: Final = 2_000_000
"""Words to go by, again and again, until the vectors of a small collection tell its topics apart."""
EPOCHS: Final = (5, 400)
"""Passages through the posts: at least gensim's default, at most so many."""
LEAST: Final = 3
"""How often a word has to come; one that comes once or twice teaches nothing."""
WINDOW: Final = 5
"""Words before and behind, as in word2vec's own default."""
SEED: Final = 20


class Captions:
    """The words of each post of all accounts of a folder; read anew each time, one post at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.unused = Unused()
        """What could not be used at the last reading."""

    def __iter__(self) -> Iterator[list[str]]:
        """The words of one post after the other; posts without any are left out."""
        self.unused = Unused()
        for account in find_accounts(self._folder, self.unused):
            for post in account.posts(self.unused):
                if words := tokens(post.caption):
                    yield words


class _Progress(CallbackAny2Vec):  # type: ignore[misc]
    """A bar on standard error that moves with each passage through the posts."""

    def __init__(self, epochs: int) -> None:
        self._bar = tqdm(total=epochs, unit=" passages", disable=None, leave=False)

    def on_epoch_end(self, model: Any) -> None:  # noqa: ANN401 - gensim's own
        """Move the bar."""
        self._bar.update()

    def on_train_end(self, model: Any) -> None:  # noqa: ANN401 - gensim's own
        """Remove it."""
        self._bar.close()


def train(
    captions: Captions,
    dimension: int = DIMENSION,
    epochs: int | None = None,
    least: int = LEAST,
    seed: int = SEED,
) -> WordVectors:
    """Vectors of the words that come ``least`` times or more, the most frequent first.

    Args:
        captions: to learn from.
        dimension: of the vectors.
        epochs: passages through the captions; by default as many as ``ENOUGH`` words take.
        least: how often a word has to come.
        seed: of all that is chance.

    Raises:
        InvalidConfiguration: there is no such word, or the folder cannot be read.
    """
    model = Word2Vec(
        vector_size=dimension, window=WINDOW, min_count=least, sg=1, negative=5, workers=1, seed=seed
    )  # fmt: skip
    model.build_vocab(captions)
    if not len(model.wv):
        raise InvalidConfiguration(
            f"no word comes {least} times in the captions; give more posts, or a lower --least"
        )
    passages = epochs or enough(model.corpus_total_words)
    model.train(captions, total_examples=model.corpus_count, epochs=passages, callbacks=[_Progress(passages)])
    return WordVectors(tuple(model.wv.index_to_key), np.asarray(model.wv.vectors, np.float32))


def enough(words: int) -> int:
    """Passages through a collection of so many words."""
    fewest, most = EPOCHS
    return min(max(round(ENOUGH / words), fewest), most)


def convert(file: Path, captions: Captions | None = None, limit: int | None = None) -> WordVectors:
    """Vectors out of a file of word2vec's, binary where its name ends in ``.bin`` or ``.bin.gz``.

    Words are taken as ``tokens`` gives them: in lower case, of two that are then the same the first.

    Args:
        file: of words and vectors.
        captions: only words that come in them are kept; None keeps all.
        limit: words read, from the first on, which are the most frequent in most files.

    Raises:
        InvalidConfiguration: it cannot be read, or has none of the words.
    """
    wanted = None if captions is None else {word for words in captions for word in words}
    binary = ".bin" in file.suffixes
    try:
        given = KeyedVectors.load_word2vec_format(str(file), binary=binary, limit=limit)
    except (OSError, ValueError, EOFError) as error:
        raise InvalidConfiguration(
            f"{file} is no file of word2vec, {'binary' if binary else 'text'} ({error}); a binary one has to "
            "end in .bin"
        ) from error
    places: dict[str, int] = {}
    for place, word in enumerate(given.index_to_key):
        if len(found := tokens(word)) == 1 and (wanted is None or _either(found[0]) & wanted):
            places.setdefault(found[0], place)
    if not places:
        raise InvalidConfiguration(f"{file} has no vector of any word in the captions; give another file")
    return WordVectors(tuple(places), np.asarray(given.vectors[list(places.values())], np.float32))


def _either(word: str) -> set[str]:
    """``word``, and its hashtag, for which it may stand."""
    return {word, f"#{word}"}


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_WORDS"})
@click.option("--accounts", type=click.Path(path_type=Path, file_okay=False), help="Folder of accounts.")
@click.option("--given", type=click.Path(path_type=Path, exists=True), help="Vectors by word2vec, instead.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="An .npz file.")
@click.option("--dimension", default=DIMENSION, type=click.IntRange(1))
@click.option(
    "--epochs", type=click.IntRange(1), help="Passages through the posts.  [default: by their number]"
)
@click.option("--least", default=LEAST, type=click.IntRange(1), help="How often a word has to come.")
@click.option("--limit", type=click.IntRange(1), help="Words read of --given.")
@click.option("--seed", default=SEED)
def main(
    accounts: Path | None,
    given: Path | None,
    out: Path,
    dimension: int,
    epochs: int | None,
    least: int,
    limit: int | None,
    seed: int,
) -> None:
    """Write vectors of words: learned from the posts of --accounts, or --given ones."""
    if accounts is None and given is None:
        raise click.UsageError("give --accounts DIR to learn from, or --given FILE, or both")
    logging.getLogger("gensim").setLevel(logging.ERROR)
    captions = Captions(accounts) if accounts else None
    try:
        if given:
            vectors = convert(given, captions, limit)
        elif captions:
            vectors = train(captions, dimension, epochs, least, seed)
        vectors.save(out)
    except (InvalidConfiguration, OSError) as error:
        raise click.ClickException(str(error)) from error
    for line in captions.unused.lines() if captions else ():
        click.echo(f"not used: {line}", err=True)
    first: Sequence[str] = vectors.words[:8]
    click.echo(
        f"{out}: {len(vectors.words)} words of {vectors.dimension} numbers ({', '.join(first)}, ...)",
        err=True,
    )


if __name__ == "__main__":
    main()
