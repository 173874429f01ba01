"""Accounts' vectors on disk, written as they are finished: a run that is killed goes on where it was.

A folder holds ``blocks.json``, which says what the vectors were made by, and parts of some ``PART`` accounts:
``part-00000.jsonl``, one account a line; ``part-00000.npz``, an array a block, float32 [accounts, dimension],
NaN where a block is not known; and ``posts-00000.npz``, likewise of their heaviest posts, float16. What is
finished and in no part yet lies in the journal, one line each, and how far the next account has come in a
checkpoint. Of an account that comes again the last counts.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np

from adlens import described_parts as parts
from adlens.described_parts import Vector, Vectors
from adlens.errors import InvalidConfiguration
from adlens.history import Pool
from adlens.locks import only_writer
from adlens.towers import PLAIN

PART: Final = 32
"""Accounts of a part: some 20 MiB in memory, with what pictures show."""
_SETTINGS, _JOURNAL, _CHECKPOINT = "blocks.json", ".journal", ".checkpoint.npz"
_PROGRESS: Final = ("id", "stamp", "plan", "line", "seen", "described")
"""Of a checkpoint, what is no array."""
_NOTHING: Final = 1e-6
"""Of all weights, what is none but for rounding."""


@dataclass(frozen=True)
class DescribedPost:
    """A post, and what it counts in its account's vectors.

    Attributes:
        line: of its file, from 1.
        image: its picture as seen from the account's folder; empty where there is none.
        caption: its beginning.
        weight: share among all posts of the account.
        vectors: by the name of the block, [dimension]; NaN where the post has none. On disk in 16 bits.
    """

    line: int
    image: str
    caption: str
    weight: float
    vectors: Vectors = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class DescribedAccount:
    """An account as its posts describe it.

    Attributes:
        id: the folder's name.
        stamp: of its files; with another one it is to be described anew.
        name: to be shown.
        followers: NaN where not known.
        engagement: likes and comments of a post over followers, the mean of what is known; NaN likewise.
        category: empty where not known.
        language: likewise.
        brand: whether it is one.
        posts: that it has.
        pictures: of them, that could be described.
        heaviest: the posts that weigh most, the first the most.
        weights: by the name of the block, what the posts that have it weigh together.
        vectors: by the name of the block, float32 [dimension]; NaN where it is not known.
        made_by: by the name of the block, what made its numbers: weights, or word vectors, by their digests.
            Of a block that is not named, nothing is known.
        set_aside: posts that are in no vector, as they tell with whom the account works (``history.plan``).
    """

    id: str
    stamp: str
    name: str
    followers: float
    engagement: float
    category: str
    language: str
    brand: bool
    posts: int
    pictures: int
    heaviest: tuple[DescribedPost, ...]
    weights: Mapping[str, float]
    vectors: Vectors = field(default_factory=dict, compare=False)
    made_by: Mapping[str, str] = field(default_factory=dict)
    set_aside: int = 0

    def without(self, post: DescribedPost) -> Vectors:
        """The vectors of the account if it had not published ``post``, one of the heaviest."""
        return {name: self._without(name, vector, post) for name, vector in self.vectors.items()}

    def _without(self, name: str, vector: Vector, post: DescribedPost) -> Vector:
        its, weight = post.vectors[name.removesuffix(PLAIN)], 1.0 if name.endswith(PLAIN) else post.weight
        rest = self.weights[name] - weight
        if np.isnan(its).any():
            return vector
        if rest <= _NOTHING * self.weights[name]:
            return np.full_like(vector, np.nan)
        return ((self.weights[name] * vector - weight * its) / rest).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, without the vectors; what is not known is null."""
        record = _without_vectors(self)
        return record | {"heaviest": [_without_vectors(post) for post in self.heaviest]}

    @classmethod
    def of(cls, record: Mapping[str, Any], vectors: Vectors, posts: Sequence[Vectors]) -> DescribedAccount:
        """From a JSON object, and the vectors of the account and of its heaviest posts."""
        known: dict[str, Any] = {name: math.nan if value is None else value for name, value in record.items()}
        heaviest = zip(record["heaviest"], posts, strict=True)
        known["heaviest"] = tuple(DescribedPost(**post, vectors=its) for post, its in heaviest)
        return cls(**known, vectors=vectors)


@dataclass
class Checkpoint:
    """How far the pictures of an account have come.

    Attributes:
        id: of the account.
        stamp: of its files.
        plan: digest of what its posts count.
        line: of the last post whose picture was answered for, or could not be described.
        seen: such pictures.
        described: of them, those that are in the pool.
        pools: of the others' features, by the name of the block.
        kept: features of those of them that are among the heaviest, by line.
    """

    id: str
    stamp: str
    plan: str
    line: int
    seen: int
    described: int
    pools: dict[str, Pool]
    kept: dict[int, Vector] = field(default_factory=dict)


class DescribedFolder:
    """The folder; to be changed while it is ``locked``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._noted = 0

    @contextmanager
    def locked(self, settings: Mapping[str, str]) -> Iterator[None]:
        """Keep other writers out; what was made with other ``settings`` is refused.

        Raises:
            GalleryBusy: another program is at work.
            InvalidConfiguration: the folder cannot be written to, or was made with other settings.
        """
        with only_writer(self.folder):
            self._agree(dict(settings))
            self._noted = sum(1 for _ in self._journal())
            yield

    def _agree(self, settings: dict[str, str]) -> None:
        path = self.folder / _SETTINGS
        if not path.exists():
            parts.write(path, lambda file: file.write(json.dumps(settings, indent=2).encode() + b"\n"))
        elif (found := self.settings()) != settings:
            differ = [
                f"{name} {found.get(name)!r}, and now {settings.get(name)!r}"
                for name in sorted({*found, *settings})
                if found.get(name) != settings.get(name)
            ]
            raise InvalidConfiguration(
                f"{self.folder} was made with {'; '.join(differ)}; name another folder, or remove this one"
            )

    def settings(self) -> dict[str, str]:
        """What the vectors were made with.

        Raises:
            InvalidConfiguration: it cannot be read.
        """
        path = self.folder / _SETTINGS
        try:
            return dict(json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise InvalidConfiguration(
                f"{path} cannot be read ({error}); describe the accounts first"
            ) from error

    def stamps(self) -> dict[str, str]:
        """The stamp of every account that is finished, by id."""
        return {record["id"]: record["stamp"] for record in self._records()}

    def append(self, account: DescribedAccount) -> None:
        """Note a finished account; of ``PART`` of them becomes a part."""
        record = account.to_json() | {
            "vectors": _texts(account.vectors, np.float32),
            "post_vectors": [_texts(post.vectors, np.float16) for post in account.heaviest],
        }
        with (self.folder / _JOURNAL).open("ab") as file:
            # In one call, and on a line of its own even behind a torn one.
            file.write(b"\n" + json.dumps(record).encode())
        (self.folder / _CHECKPOINT).unlink(missing_ok=True)
        self._noted += 1
        if self._noted >= PART:
            self.settle()

    def settle(self) -> None:
        """Make a part of what is in the journal."""
        self._noted = 0
        accounts = list(self._journal())
        if not accounts:
            return
        parts.append(
            self.folder,
            [account.to_json() for account in accounts],
            [account.vectors for account in accounts],
            [post.vectors for account in accounts for post in account.heaviest],
        )
        (self.folder / _JOURNAL).unlink()

    def read(self, ids: Collection[str] | None = None, *, posts: bool = True) -> Iterator[DescribedAccount]:
        """Finished accounts, of whom one part at a time is in memory; none that come meanwhile.

        Args:
            ids: of those that are wanted; None for all. Parts that hold none of them are passed over.
            posts: whether the heaviest posts are wanted, which are most of what is read.

        Raises:
            InvalidConfiguration: a part cannot be read.
        """
        # In this order: what becomes a part in between is then in both, and counts once.
        journal, paths = list(self._journal()), parts.find(self.folder)
        noted = (record["id"] for path in paths for record in parts.read_records(path))
        last = {id_: number for number, id_ in enumerate(chain(noted, (each.id for each in journal)))}
        number = 0
        for path in paths:
            records = parts.read_records(path)
            if ids is not None and not any(record["id"] in ids for record in records):
                number += len(records)
                continue
            for record, vectors, heaviest in parts.read(path, records, posts=posts):
                if last[record["id"]] == number and (ids is None or record["id"] in ids):
                    yield _account(path, record, vectors, heaviest)
                number += 1
        for account in journal:
            if last[account.id] == number and (ids is None or account.id in ids):
                yield account
            number += 1

    def save(self, checkpoint: Checkpoint) -> None:
        """Note how far an account has come, in place of what was noted before."""
        weights = {name: pool.weight for name, pool in checkpoint.pools.items()}
        about = {name: getattr(checkpoint, name) for name in _PROGRESS} | {"weights": weights}
        text = np.frombuffer(json.dumps(about).encode(), np.uint8)
        arrays: dict[str, Any] = {f"sum_{name}": pool.sum for name, pool in checkpoint.pools.items()}
        arrays |= {f"kept_{line}": vector for line, vector in checkpoint.kept.items()}
        parts.write(self.folder / _CHECKPOINT, lambda file: np.savez(file, about=text, **arrays))

    def checkpoint(self) -> Checkpoint | None:
        """What was noted last; None where nothing was."""
        try:
            with np.load(self.folder / _CHECKPOINT, allow_pickle=False) as file:
                about = json.loads(file["about"].tobytes())
                weights = about.pop("weights")
                pools = {name: Pool(0) for name in weights}
                for name, pool in pools.items():
                    pool.sum, pool.weight = file[f"sum_{name}"], weights[name]
                lines = [int(name[5:]) for name in file.files if name.startswith("kept_")]
                kept = {line: file[f"kept_{line}"] for line in lines}
                return Checkpoint(**about, pools=pools, kept=kept)
        except (*parts.UNREADABLE, KeyError):  # most often there is none
            return None

    def _records(self) -> Iterator[dict[str, Any]]:
        """What is said of the finished accounts, in the order of ``read``."""
        for path in parts.find(self.folder):
            yield from parts.read_records(path)
        for account in self._journal():
            yield account.to_json()

    def _journal(self) -> Iterator[DescribedAccount]:
        try:
            file = (self.folder / _JOURNAL).open("rb")
        except FileNotFoundError:
            return
        with file:
            for line in file:
                try:
                    record = json.loads(line)
                except ValueError:  # torn, or the empty first line
                    continue
                vectors = _arrays(record.pop("vectors"), np.float32)
                posts = [_arrays(texts, np.float16) for texts in record.pop("post_vectors")]
                yield DescribedAccount.of(record, vectors, posts)


def _without_vectors(about: DescribedAccount | DescribedPost) -> dict[str, Any]:
    known = {name: value for name, value in vars(about).items() if name != "vectors"}
    return {name: None if value != value else value for name, value in known.items()}


def _account(
    path: Path, record: Mapping[str, Any], vectors: Vectors, posts: Sequence[Vectors]
) -> DescribedAccount:
    """As ``DescribedAccount.of``, out of the part ``path``."""
    try:
        return DescribedAccount.of(record, vectors, posts)
    except TypeError as error:
        raise parts.damaged(path.with_suffix(".jsonl"), error) from error


def _texts(vectors: Vectors, dtype: type) -> dict[str, str]:
    return {
        name: base64.b64encode(vector.astype(dtype).tobytes()).decode() for name, vector in vectors.items()
    }


def _arrays(texts: Mapping[str, str], dtype: type) -> dict[str, Vector]:
    return {
        name: np.frombuffer(base64.b64decode(text), dtype).astype(np.float32) for name, text in texts.items()
    }
