"""Parts of a folder of described accounts: some accounts each, written whole and checked when they are read.

``part-00000.jsonl`` tells of one account a line, ``part-00000.npz`` holds their vectors and
``posts-00000.npz`` those of their heaviest posts; see ``adlens.described``.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from adlens.errors import InvalidConfiguration

Vector: TypeAlias = npt.NDArray[np.float32]
Vectors: TypeAlias = Mapping[str, Vector]
"""By the name of the block."""
Record: TypeAlias = dict[str, Any]
UNREADABLE: Final = (
    OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error
)  # fmt: skip
"""What numpy raises of a file that is no archive of arrays, or a torn one."""


def find(folder: Path) -> list[Path]:
    """The parts in ``folder``, by their ``.npz``, the oldest first."""
    return sorted(folder.glob("part-*.npz"))


def append(
    folder: Path, records: Sequence[Record], vectors: Sequence[Vectors], posts: Sequence[Vectors]
) -> None:
    """Write one more part.

    Args:
        folder: of the parts.
        records: JSON objects, as ``read_records`` gives them.
        vectors: of each account; written as float32.
        posts: of the heaviest posts of all of them, one account's behind the other's; as float16.
    """
    number = max((int(part.stem.rpartition("-")[2]) for part in find(folder)), default=-1) + 1
    path = folder / f"part-{number:05}.npz"
    lines = "".join(json.dumps(record) + "\n" for record in records)
    blocks, of_posts = _stacked(vectors, np.float32), _stacked(posts, np.float16)
    write(path.with_suffix(".jsonl"), lambda file: file.write(lines.encode()))
    write(_posts(path), lambda file: np.savez_compressed(file, **of_posts))
    write(path, lambda file: np.savez(file, **blocks))  # last: without it there is no such part


def read_records(path: Path) -> list[Record]:
    """What is said of the accounts of the part ``path``: objects, each with its id and heaviest posts.

    Raises:
        InvalidConfiguration: it cannot be read.
    """
    told = path.with_suffix(".jsonl")
    try:
        records = [json.loads(line) for line in told.read_bytes().splitlines()]
    except (OSError, ValueError) as error:
        raise damaged(told, error) from error
    for number, record in enumerate(records, 1):
        if not (
            isinstance(record, dict)
            and isinstance(record.get("id"), str)
            and isinstance(record.get("heaviest"), list)
        ):
            raise damaged(told, f"line {number} tells of no account")
    return records


def read(
    path: Path, records: Sequence[Record], *, posts: bool
) -> Iterator[tuple[Record, Vectors, list[Vectors]]]:
    """Each of the ``records`` of the part ``path``, with its vectors and those of its heaviest posts.

    Args:
        path: of the part.
        records: all of it, as ``read_records`` gives them.
        posts: whether the heaviest posts are wanted; else they are left out of the records, too.

    Raises:
        InvalidConfiguration: the files of the part cannot be read, or disagree.
    """
    told = [record if posts else record | {"heaviest": []} for record in records]
    blocks, of_posts = _load(path), _load(_posts(path)) if posts else {}
    heaviest = sum(len(record["heaviest"]) for record in told)
    for file, arrays, expected in ((path, blocks, len(told)), (_posts(path), of_posts, heaviest)):
        counts = {len(array) if array.ndim else 0 for array in arrays.values()} or {0}
        if counts != {expected}:
            rows = " and ".join(map(str, sorted(counts)))
            said = path.with_suffix(".jsonl").name
            raise damaged(file, f"{rows} rows, where {said} tells of {expected}")
    of_heaviest = _rows(of_posts)
    for record, vectors in zip(told, _rows(blocks), strict=True):
        yield record, vectors, list(islice(of_heaviest, len(record["heaviest"])))


def damaged(path: Path, error: object) -> InvalidConfiguration:
    """What to raise where the file ``path`` of a part is not what was written."""
    number = path.stem.rpartition("-")[2]
    return InvalidConfiguration(
        f"{path} cannot be read ({error}); remove part-{number}.npz, part-{number}.jsonl and "
        f"posts-{number}.npz there, and describe the accounts again"
    )


def write(path: Path, write_to: Callable[[BinaryIO], object]) -> None:
    """Write so that a reader sees the old file or the new one, never half of it."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        write_to(file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _posts(part: Path) -> Path:
    """Where the posts of a part are."""
    return part.with_name(part.name.replace("part-", "posts-"))


def _load(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except UNREADABLE as error:
        raise damaged(path, error) from error


def _rows(blocks: Mapping[str, npt.NDArray[Any]]) -> Iterator[Vectors]:
    for row in range(len(next(iter(blocks.values()), ()))):
        yield {name: block[row].astype(np.float32) for name, block in blocks.items()}


def _stacked(vectors: Sequence[Vectors], dtype: type) -> dict[str, npt.NDArray[Any]]:
    return {name: np.stack([each[name] for each in vectors]).astype(dtype) for name in (vectors or ({},))[0]}
