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
import os
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from adlens.errors import GalleryBusy, InvalidConfiguration
from adlens.history import Pool

PART: Final = 32
"""Accounts of a part: some 20 MiB in memory, with what pictures show."""
PLAIN: Final = "_plain"
"""Ends the name of a block in which all posts weigh 1, beside the one in which they do not."""
_SETTINGS, _JOURNAL, _CHECKPOINT, _LOCK = "blocks.json", ".journal", ".checkpoint.npz", ".lock"
_NOTHING: Final = 1e-6
"""Of all weights, what is none but for rounding."""
Vector = npt.NDArray[np.float32]
Vectors = Mapping[str, Vector]


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
        seen: pictures that were answered for, or could not be described.
        described: of them, those that are in the pool.
        pools: of the others' features, by the name of the block.
        kept: features of those of them that are among the heaviest, by line.
    """

    id: str
    stamp: str
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
        import fcntl  # not on Windows, where blocks can be read all the same

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / _LOCK).open("ab")
        except OSError as error:
            raise InvalidConfiguration(f"{self.folder} cannot be written to ({error.strerror})") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise GalleryBusy(
                    f"another program is at work in {self.folder}; wait until it is done"
                ) from error
            self._agree(dict(settings))
            self._noted = sum(1 for _ in self._journal())
            yield

    def _agree(self, settings: dict[str, str]) -> None:
        path = self.folder / _SETTINGS
        if not path.exists():
            _write(path, lambda file: file.write(json.dumps(settings, indent=2).encode() + b"\n"))
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
        number = max((int(part.stem.rpartition("-")[2]) for part in self._parts()), default=-1) + 1
        path = self.folder / f"part-{number:05}.npz"
        lines = "".join(json.dumps(account.to_json()) + "\n" for account in accounts)
        blocks = _stacked([account.vectors for account in accounts], np.float32)
        posts = _stacked([post.vectors for account in accounts for post in account.heaviest], np.float16)
        _write(path.with_suffix(".jsonl"), lambda file: file.write(lines.encode()))
        _write(_posts(path), lambda file: np.savez_compressed(file, **posts))
        _write(path, lambda file: np.savez(file, **blocks))  # last: without it there is no such part
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
        journal, parts = list(self._journal()), self._parts()
        noted = (record["id"] for path in parts for record in _records(path.with_suffix(".jsonl")))
        last = {id_: number for number, id_ in enumerate(chain(noted, (each.id for each in journal)))}
        number = 0
        for path in parts:
            records = _records(path.with_suffix(".jsonl"))
            if ids is not None and not any(record["id"] in ids for record in records):
                number += len(records)
                continue
            blocks, rows = _load(path), iter(_rows(_load(_posts(path)) if posts else {}))
            for record, vectors in zip(records, _rows(blocks), strict=True):
                told = record if posts else record | {"heaviest": []}
                heaviest = list(islice(rows, len(told["heaviest"])))
                if last[record["id"]] == number and (ids is None or record["id"] in ids):
                    yield DescribedAccount.of(told, vectors, heaviest)
                number += 1
        for account in journal:
            if last[account.id] == number and (ids is None or account.id in ids):
                yield account
            number += 1

    def save(self, checkpoint: Checkpoint) -> None:
        """Note how far an account has come, in place of what was noted before."""
        weights = {name: pool.weight for name, pool in checkpoint.pools.items()}
        about = [checkpoint.id, checkpoint.stamp, checkpoint.seen, checkpoint.described, weights]
        text = np.frombuffer(json.dumps(about).encode(), np.uint8)
        arrays: dict[str, Any] = {f"sum_{name}": pool.sum for name, pool in checkpoint.pools.items()}
        arrays |= {f"kept_{line}": vector for line, vector in checkpoint.kept.items()}
        _write(self.folder / _CHECKPOINT, lambda file: np.savez(file, about=text, **arrays))

    def checkpoint(self) -> Checkpoint | None:
        """What was noted last; None where nothing was."""
        try:
            with np.load(self.folder / _CHECKPOINT, allow_pickle=False) as file:
                id_, stamp, seen, described, weights = json.loads(file["about"].tobytes())
                pools = {name: Pool(0) for name in weights}
                for name, pool in pools.items():
                    pool.sum, pool.weight = file[f"sum_{name}"], weights[name]
                lines = [int(name[5:]) for name in file.files if name.startswith("kept_")]
                kept = {line: file[f"kept_{line}"] for line in lines}
                return Checkpoint(id_, stamp, seen, described, pools, kept)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # most often there is none
            return None

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.npz"))

    def _records(self) -> Iterator[dict[str, Any]]:
        """What is said of the finished accounts, in the order of ``read``."""
        for path in self._parts():
            yield from _records(path.with_suffix(".jsonl"))
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


def _records(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_bytes().splitlines()]
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"{path} cannot be read ({error}); remove its part, .npz and .jsonl, and describe the accounts again"
    )


def _write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write so that a reader sees the old file or the new one, never half of it."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _posts(part: Path) -> Path:
    """Where the posts of a part are."""
    return part.with_name(part.name.replace("part-", "posts-"))


def _load(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error


def _rows(blocks: Mapping[str, npt.NDArray[Any]]) -> Iterator[Vectors]:
    for row in range(len(next(iter(blocks.values()), ()))):
        yield {name: block[row].astype(np.float32) for name, block in blocks.items()}


def _stacked(vectors: Sequence[Vectors], dtype: type) -> dict[str, npt.NDArray[Any]]:
    return {name: np.stack([each[name] for each in vectors]).astype(dtype) for name in (vectors or ({},))[0]}


def _texts(vectors: Vectors, dtype: type) -> dict[str, str]:
    return {
        name: base64.b64encode(vector.astype(dtype).tobytes()).decode() for name, vector in vectors.items()
    }


def _arrays(texts: Mapping[str, str], dtype: type) -> dict[str, Vector]:
    return {
        name: np.frombuffer(base64.b64decode(text), dtype).astype(np.float32) for name, text in texts.items()
    }
