"""What was computed of data goes when it is replaced, and never under the eyes of a run that uses it."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from export.caches import KEPT, OF, CacheFolder, pictures_of


def fill(kind: Path, key: str, of: str, second: int) -> Path:
    """A folder that was last opened in that second."""
    folder = CacheFolder(kind, key, of).path
    (folder / "0.npy").write_bytes(b"numbers")
    os.utime(folder / OF, (second, second))
    return folder


def keys(kind: Path) -> set[str]:
    return {entry.name for entry in kind.iterdir()}


def test_the_last_few_keys_of_the_same_data_stay(tmp_path: Path) -> None:
    for second, key in enumerate("abcdef"):
        fill(tmp_path, key, "shoes", second)
    assert keys(tmp_path) == set("abcdef"[-KEPT:])
    fill(tmp_path, "other", "faces", 9)
    assert len(keys(tmp_path)) == KEPT + 1
    fill(tmp_path, "d", "shoes", 10)  # used anew
    fill(tmp_path, "g", "shoes", 11)
    assert keys(tmp_path) == {"d", "f", "g", "other"}


def test_what_a_run_has_open_stays(tmp_path: Path) -> None:
    used = CacheFolder(tmp_path, "used", "shoes")
    (used.path / "0.npy").write_bytes(b"numbers")
    os.utime(used.path / OF, (0, 0))
    again = CacheFolder(tmp_path, "used", "shoes")  # by two
    os.utime(used.path / OF, (0, 0))
    for second, key in enumerate("abcdef"):
        fill(tmp_path, key, "shoes", 1 + second)
    assert (used.path / "0.npy").read_bytes() == b"numbers"
    del used
    fill(tmp_path, "g", "shoes", 9)
    assert "used" in keys(tmp_path)
    del again
    fill(tmp_path, "h", "shoes", 10)
    assert "used" not in keys(tmp_path)


def test_what_was_left_by_others_and_half_removed_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    (tmp_path / "checkpoint.safetensors").write_bytes(b"weights")
    (tmp_path / ".removed-x").mkdir()
    (tmp_path / ".removed-x" / "0.npy").write_bytes(b"numbers")
    for second, key in enumerate("abcdef"):
        fill(tmp_path, key, "shoes", second)
    assert keys(tmp_path) == {*"abcdef"[-KEPT:], "foreign", "checkpoint.safetensors"}


def _work(kind: Path, number: int) -> int:
    """Open one key after the other, write, and read it back; how often that failed."""
    failed = 0
    for turn in range(30):
        folder = CacheFolder(kind, f"key-{(number * 7 + turn) % 11}", "shoes")
        with folder.only_writer():
            file = folder.path / "0.npy"
            if not file.exists():
                file.write_bytes(b"numbers")
        failed += file.read_bytes() != b"numbers"
    return failed


def test_runs_at_the_same_time_do_not_harm_each_other(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert pool.starmap(_work, [(tmp_path, number) for number in range(3)]) == [0, 0, 0]
    fill(tmp_path, "last", "shoes", 2_000_000_000)
    assert len(keys(tmp_path)) == KEPT


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "unmounted").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError, match="unmounted"):
        CacheFolder(tmp_path, "unmounted", "shoes")


def test_a_second_run_waits_until_the_first_has_written(tmp_path: Path) -> None:
    first, second = (CacheFolder(tmp_path, "a", "shoes") for _ in range(2))
    written = []

    def write(name: str, folder: CacheFolder) -> None:
        with folder.only_writer():
            written.append(name)

    with ThreadPoolExecutor(1) as others:
        with first.only_writer():
            waiting = others.submit(write, "second", second)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.2)
            written.append("first")
        waiting.result(timeout=10)
    assert written == ["first", "second"]


def test_pictures_are_told_by_where_they_lie_and_who_looks(tmp_path: Path) -> None:
    pictures = [tmp_path / "a" / "1.jpg", tmp_path / "b" / "c" / "2.jpg"]
    assert pictures_of(pictures, "resnet50") == f"resnet50 of pictures in {tmp_path}\n"
    assert pictures_of(pictures[:1], "vgg16") == f"vgg16 of pictures in {tmp_path / 'a'}\n"
