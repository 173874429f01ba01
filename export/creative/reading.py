"""Folders of pictures of any format, read as the server reads them: its gate, its decoder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adlens import contract, pictures
from adlens.errors import BadImage
from export.datasets import DatasetError
from export.faces import Decoder


class Canvases(NamedTuple):
    """Some pictures of a list, decoded."""

    rows: NDArray[np.int64]
    """[n], their places in the list."""
    pixels: Tensor
    """PIXELS uint8 [n, S, S, 3]."""
    sizes: Tensor
    """PICTURE_SIZE int32 [n, 2]."""


@dataclass(frozen=True)
class Catalogue:
    """Pictures below a folder, and which of them show one product."""

    folder: Path
    paths: tuple[Path, ...]
    groups: tuple[str, ...]
    """One a picture: its sub-folder, which stands for a product model; its own name where it has none."""

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.folder.resolve().name

    def shares(self) -> NDArray[np.float64]:
        """Where each group falls in an order that its name alone decides, [pictures] in [0, 1)."""
        names = sorted(set(self.groups), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        place = {name: number / len(names) for number, name in enumerate(names)}
        return np.array([place[group] for group in self.groups])


def find_catalogue(folder: Path) -> Catalogue:
    """All picture files below ``folder``, by name.

    Raises:
        DatasetError: there is none.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no folder; give one of pictures")
    paths = [path for holder in pictures.find_users(folder) for path in pictures.find_pictures(holder)]
    if not paths:
        raise DatasetError(f"{folder}: no picture in it; give a folder of pictures")
    relative = [path.relative_to(folder) for path in paths]
    groups = [str(path.parent if len(path.parts) > 1 else path) for path in relative]
    return Catalogue(folder, tuple(paths), tuple(groups))


def read_canvases(paths: Sequence[Path], batch: int = contract.MAX_BATCH) -> Iterator[Canvases]:
    """Read and decode ``paths`` a few at a time; one that cannot be read is named, and left out.

    Yields:
        At most ``batch`` pictures, in the order of ``paths``; maybe none.
    """
    decoder = Decoder(batch)
    for start in range(0, len(paths), batch):
        files: dict[int, NDArray[np.uint8]] = {}
        for row in range(start, min(start + batch, len(paths))):
            try:
                files[row] = np.frombuffer(pictures.load(paths[row]).jpeg, np.uint8)
            except BadImage as error:
                click.echo(f"left out: {error}", err=True)
        try:
            yield _canvases(decoder, files)
        except RuntimeError:
            # One of them passed the gate and is broken all the same. Which one, each alone tells.
            for row, file in files.items():
                try:
                    yield _canvases(Decoder(1), {row: file})
                except RuntimeError as error:
                    click.echo(f"left out: {paths[row]}: {str(error).splitlines()[0]}", err=True)
            decoder = Decoder(batch)


def _canvases(decoder: Decoder, files: dict[int, NDArray[np.uint8]]) -> Canvases:
    if not files:
        side = contract.CANVAS
        return Canvases(
            np.zeros(0, np.int64),
            torch.zeros(0, side, side, 3, dtype=torch.uint8),
            torch.zeros(0, 2, dtype=torch.int32),
        )
    pixels, sizes = decoder.run(list(files.values()))
    return Canvases(np.fromiter(files, np.int64), pixels, torch.from_numpy(sizes))
