"""Fixtures of the export tests: one thread, an empty cache folder, networks that are slow to build."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from export import generated
from export.networks import mtcnn
from export.networks.backbones import Backbone
from export.weights import load_backbone


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Where other work has the cores, torch's threads wait for each other at every small operator."""
    torch.set_num_threads(1)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, in place of the user's."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ADLENS_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def detector() -> mtcnn.Mtcnn:
    """The face detector with its real weights."""
    return mtcnn.load_mtcnn()


@pytest.fixture(scope="session")
def dlib_backbone() -> Backbone:
    """The face ResNet of dlib with its real weights; not to be changed."""
    return load_backbone("dlib")[0]


@pytest.fixture(scope="session")
def astronaut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JPEG file of 512x512 pixels with one face, at about (179, 62) to (266, 173)."""
    path = tmp_path_factory.mktemp("astronaut") / "astronaut.jpg"
    generated.astronaut().save(path, quality=95)
    return path
