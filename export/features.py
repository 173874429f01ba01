"""What a frozen trunk gives its tails, computed once per picture and pass, kept on disk, resumed.

Heads need many passes over the data and trunks never change, so a trunk runs once over the pictures as
they are (pass 0) and once for every augmented pass. An interrupted run continues with the first pass
that it did not finish. Features by former weights are removed (``export.caches``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from adlens import contract
from export.augmentation import Augmentation, plain_chips
from export.caches import CacheFolder, pictures_of
from export.faces import PIPELINE, decode
from export.networks.attributes import digest
from export.networks.backbones import Backbone, Shared


class FeatureStore:
    """The shared tensors of ``pictures`` x ``passes`` rows, float16 on disk, pass by pass.

    float16 keeps three digits, far more than the heads can use.
    """

    def __init__(self, folder: Path, passes: int, held: CacheFolder | None = None) -> None:
        self._held = held  # so that no other run removes what is read here
        self._arrays = [
            [np.load(file, mmap_mode="r") for file in sorted(_pass_folder(folder, number).glob("*.npy"))]
            for number in range(passes)
        ]
        self.passes = passes

    def rows(self, number: int, pictures: NDArray[np.int64]) -> Shared:
        """The shared tensors of some pictures in one pass, float32 [len(pictures), ...] each."""
        return tuple(_float32(array[pictures]) for array in self._arrays[number])

    def wide(self, number: int, pictures: NDArray[np.int64]) -> Tensor:
        """The wide features alone, float32 [len(pictures), wide]."""
        return _float32(self._arrays[number][0][pictures])


def _float32(rows: NDArray[np.float16]) -> Tensor:
    """By torch, which takes a third of numpy's time for it."""
    return torch.from_numpy(rows).float()


def compute_features(
    backbone: Backbone,
    paths: Sequence[Path],
    boxes: Tensor,
    passes: int,
    augmentation: Augmentation,
    cache: Path,
    seed: int,
) -> FeatureStore:
    """Run the trunk over ``paths``, plain once and augmented ``passes - 1`` times.

    Args:
        backbone: in evaluation mode.
        paths: JPEG files.
        boxes: float32 [len(paths), 4], the face of each in canvas pixels.
        passes: at least 1.
        augmentation: for every pass but the first.
        cache: folder for the finished passes; a sub-folder is named after all that went in.
        seed: of the augmentation; each pass adds its number.
    """
    recipe = [
        digest(backbone),
        *map(str, paths),
        boxes.numpy().tobytes().hex(),
        repr((augmentation, seed)),
        repr((contract.CROP_ABOVE, contract.CROP_BELOW, contract.CROP_WIDTH)),
        PIPELINE.read_text(),
    ]
    key = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]
    held = CacheFolder(cache / "features", key, pictures_of(paths, backbone.name))
    with held.only_writer():
        for number in range(passes):
            if not _pass_folder(held.path, number).exists():
                _compute_pass(
                    backbone, paths, boxes, augmentation if number else None, held.path, number, seed
                )
    return FeatureStore(held.path, passes, held)


def _compute_pass(
    backbone: Backbone,
    paths: Sequence[Path],
    boxes: Tensor,
    augmentation: Augmentation | None,
    folder: Path,
    number: int,
    seed: int,
) -> None:
    random = torch.Generator().manual_seed(seed + number)
    partial = folder / f"partial-{number}"
    partial.mkdir(parents=True, exist_ok=True)
    arrays: list[NDArray[np.float16]] = []
    row = 0
    with tqdm(total=len(paths), desc=f"{backbone.name} pass {number}", unit="face", disable=None) as progress:
        for pixels, _ in decode(paths):
            some = boxes[row : row + len(pixels)]
            with torch.no_grad():
                if augmentation is None:
                    chips = plain_chips(pixels, some, backbone.size)
                else:
                    chips = augmentation.chips(pixels, some, backbone.size, random)
                shared = backbone.trunk(chips)
            if not arrays:
                arrays = [_new_array(partial, i, len(paths), value) for i, value in enumerate(shared)]
            for array, value in zip(arrays, shared, strict=True):
                array[row : row + len(pixels)] = value.numpy().astype(np.float16)
            row += len(pixels)
            progress.update(len(pixels))
    for array in arrays:
        array.flush()  # type: ignore[attr-defined]
    partial.rename(_pass_folder(folder, number))


def _new_array(folder: Path, index: int, rows: int, value: Tensor) -> NDArray[np.float16]:
    shape = (rows, *value.shape[1:])
    array: NDArray[np.float16] = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
        folder / f"{index}.npy", mode="w+", dtype=np.float16, shape=shape
    )
    return array


def _pass_folder(folder: Path, number: int) -> Path:
    return folder / f"pass-{number}"
