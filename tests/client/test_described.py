"""Described accounts on disk: those that are wanted are read, and no part that holds none of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adlens.described import PART, DescribedAccount, DescribedFolder, DescribedPost
from adlens.errors import InvalidConfiguration

COUNT = 2 * PART + 3


def account(number: int, version: int = 0) -> DescribedAccount:
    vectors = {"words": np.array([number, version], np.float32)}
    post = DescribedPost(1, "1.jpg", "caption", 0.5, {"words": np.array([version, number], np.float32)})
    return DescribedAccount(
        f"a-{number}", "s", "", 9.0, 0.1, "", "", False, 2, 2, (post,) * (number % 3), {"words": 1.0}, vectors
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> DescribedFolder:
    """Two parts, and three accounts in the journal, of which one was in the first part before."""
    found = DescribedFolder(tmp_path)
    with found.locked({}):
        for number in range(COUNT - 1):
            found.append(account(number))
        found.append(account(7, version=1))
    return found


def test_all_are_read_each_once_and_as_it_was_last(folder: DescribedFolder) -> None:
    found = {each.id: each for each in folder.read()}
    assert len(found) == len([*folder.read()]) == COUNT - 1
    assert found["a-7"].vectors["words"].tolist() == [7, 1]
    assert found["a-40"].heaviest[0].vectors["words"].tolist() == [0, 40]
    assert [len(found[f"a-{number}"].heaviest) for number in range(6)] == [0, 1, 2, 0, 1, 2]


def test_those_that_are_wanted_are_read_with_the_posts_that_are_theirs(folder: DescribedFolder) -> None:
    wanted = {"a-7", "a-33", "a-40", f"a-{COUNT - 2}", "nobody"}
    found = [*folder.read(wanted)]
    assert {each.id for each in found} == wanted - {"nobody"}
    assert found == [each for each in folder.read() if each.id in wanted]
    for each in found:
        for post in each.heaviest:
            assert post.vectors["words"][1] == int(each.id[2:])
    assert [*folder.read(set())] == []


def test_accounts_are_read_without_posts(folder: DescribedFolder) -> None:
    found, whole = [*folder.read(posts=False)], [*folder.read()]
    assert [each.id for each in found] == [each.id for each in whole]
    for each, other in zip(found, whole, strict=True):
        np.testing.assert_array_equal(each.vectors["words"], other.vectors["words"])
    assert not any(each.heaviest for each in found[:PART])


def test_a_part_that_holds_nobody_wanted_is_not_opened(folder: DescribedFolder) -> None:
    for name in ("part-00000.npz", "posts-00000.npz"):
        (folder.folder / name).write_bytes(b"damaged")
    assert [each.id for each in folder.read({"a-40", "a-41"})] == ["a-40", "a-41"]
    with pytest.raises(InvalidConfiguration, match="describe the accounts again"):
        [*folder.read({"a-3", "a-40"})]


def test_files_of_a_part_that_disagree_are_told_with_the_remedy(folder: DescribedFolder) -> None:
    """As after a copy that was cut off; other parts can be read all the same."""
    told, blocks, posts = (
        folder.folder / name for name in ("part-00000.jsonl", "part-00000.npz", "posts-00000.npz")
    )
    lines = told.read_bytes().splitlines(keepends=True)
    remedy = "remove part-00000.npz, part-00000.jsonl and posts-00000.npz there, and describe"
    few = np.zeros((7, 2), np.float32)
    for file, damaged, said in (
        (told, b"".join(lines[:-1]), f"part-00000.npz cannot be read.*{PART} rows.*of {PART - 1}"),
        (told, b"".join([*lines, lines[0]]), f"{PART} rows, where part-00000.jsonl tells of {PART + 1}"),
        (told, b"".join([b'{"id": 7}\n', *lines[1:]]), "line 1 tells of no account"),
        (told, b"".join([*lines[:-1], b"[]\n"]), f"line {PART} tells of no account"),
        (told, b"".join([b'{"id": "a-0", "heaviest": []}\n', *lines[1:]]), "missing .* required"),
        (blocks, b"", "No data left"),
        (blocks, blocks.read_bytes()[:-40], "part-00000.npz cannot be read"),
        (blocks, rows_of(few), "part-00000.npz cannot be read.*7 rows"),
        (posts, rows_of(few), "posts-00000.npz cannot be read.*7 rows"),
    ):
        whole = file.read_bytes()
        file.write_bytes(damaged)
        with pytest.raises(InvalidConfiguration, match=f"{said}.*{remedy}"):
            [*folder.read()]
        file.write_bytes(whole)
    assert len([*folder.read()]) == COUNT - 1


def rows_of(rows: np.ndarray[Any, Any]) -> bytes:
    """A file of vectors."""
    file = io.BytesIO()
    np.savez(file, words=rows)
    return file.getvalue()


def test_who_reads_is_not_disturbed_by_accounts_that_come_meanwhile(folder: DescribedFolder) -> None:
    before = [each.id for each in folder.read()]
    reading = folder.read()
    found = [next(reading).id]
    with folder.locked({}):
        folder.settle()
        folder.append(account(COUNT))
    found += [each.id for each in reading]
    assert found == before
