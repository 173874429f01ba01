"""Fixtures of the client's tests: a fake Triton, and pictures of people in its colours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.client.fake_triton import COLOURS, FakeTriton

Paint = Callable[..., Path]
Album = Callable[..., Path]


@pytest.fixture
def triton() -> Iterator[FakeTriton]:
    """A fake Triton that listens."""
    with FakeTriton() as fake:
        yield fake


@pytest.fixture
def paint(tmp_path: Path) -> Paint:
    """Writes a picture of someone who shows ``what``, as ``name`` below the temporary folder."""

    def write(name: str, what: str, size: tuple[int, int] = (320, 240)) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, COLOURS[what]).save(path)
        return path

    return write


@pytest.fixture
def album(paint: Paint) -> Album:
    """Writes a folder ``name`` with a picture of each of ``whats``, and gives the folder."""

    def write(name: str, *whats: str) -> Path:
        return [paint(f"{name}/{number:02}.jpg", what) for number, what in enumerate(whats, 1)][-1].parent

    return write
