"""What a frozen trunk says of all variants of many pictures, computed once, kept on disk by shards, resumed.

The trunk runs in ONNX Runtime, which is faster on a CPU than torch. A run that was killed goes on with the
first shard that it did not finish, and 60,000 pictures need no more memory than 64.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NoReturn

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from adlens import contract
from export.caches import CacheFolder, pictures_of
from export.creative import framing, network, variants
from export.creative.network import CreativeTrunk, FeatureNetwork
from export.creative.reading import Catalogue, read_canvases
from export.faces import PIPELINE
from export.graph import Signature, open_session, to_onnx
from export.networks.attributes import digest
from export.networks.card import Carded
from export.weights import sha256

SHARD: Final = 64
"""Pictures a file."""
_FEATURES: Final = "FEATURES"
_BATCH: Final = 2
"""Pictures at a time: their variants fill a batch, and more would only take memory."""


class FeatureStore:
    """Features of the variants of pictures, float16 on disk: three digits, far more than the head can use.

    As long as this object lives, no other run removes them.
    """

    def __init__(self, shards: Sequence[Path], held: CacheFolder | None = None) -> None:
        self._shards, self._held = tuple(shards), held
        rows = [np.load(_rows_file(path)) for path in shards]
        self.rows: NDArray[np.int64] = np.concatenate(rows) if rows else np.zeros(0, np.int64)
        """Places in the catalogue of the pictures that could be read."""
        self._starts = np.cumsum([0, *map(len, rows)])
        """Of each shard, and of what would come next."""

    def __len__(self) -> int:
        return len(self.rows)

    def chunks(self, chosen: NDArray[np.bool_]) -> Iterator[Tensor]:
        """Features of the chosen pictures, [len(self)] of them or not, as float32 [some, labels, wide]."""
        for shard, start, end in zip(self._shards, self._starts, self._starts[1:], strict=False):
            some = chosen[start:end]
            if some.any():
                # Opened anew each time: thousands of shards are more files than a process may hold open.
                yield torch.from_numpy(np.load(shard, mmap_mode="r")[some]).float()


def compute_features(
    trunk: CreativeTrunk, labels: Sequence[str], catalogue: Catalogue, cache: Path, threads: int = 0
) -> FeatureStore:
    """Run the trunk over all variants of all pictures.

    Args:
        trunk: in evaluation mode.
        labels: of the variants.
        catalogue: the pictures.
        cache: folder for the shards; a sub-folder is named after all that went in, and replaces older ones.
        threads: of ONNX Runtime; 0 takes all cores.
    """
    key = _key(trunk, labels, catalogue)
    held = CacheFolder(cache / "variants", key, pictures_of(catalogue.paths, f"{trunk.wide} features"))
    starts = range(0, len(catalogue.paths), SHARD)
    shards = [held.path / f"{start:08}.npy" for start in starts]
    with held.only_writer():
        missing = [(start, path) for start, path in zip(starts, shards, strict=True) if not path.exists()]
        if missing:
            session = _session(trunk, labels, threads)
            total = len(catalogue.paths)
            there = total - sum(min(SHARD, total - start) for start, _ in missing)
            with tqdm(total=total, initial=there, desc="variants", unit="picture", disable=None) as progress:
                for start, path in missing:
                    _write_shard(session, catalogue.paths, start, path, progress)
    return FeatureStore(shards, held)


def _write_shard(
    session: onnxruntime.InferenceSession,
    paths: Sequence[Path],
    start: int,
    file: Path,
    progress: tqdm[NoReturn],
) -> None:
    """The rows first, and the features under another name until they are whole."""
    some = paths[start : start + SHARD]
    rows, found = [], []
    done = 0
    for canvases in read_canvases(some, _BATCH):
        if len(canvases.rows):
            feed = {
                contract.PIXELS: canvases.pixels.numpy(),
                contract.PICTURE_SIZE: canvases.sizes.numpy(),
            }
            found.append(session.run([_FEATURES], feed)[0].astype(np.float16))
            rows.append(canvases.rows + start)
        step = min(_BATCH, len(some) - done)
        done += step
        progress.update(step)
    wide, kinds = session.get_outputs()[0].shape[2], session.get_outputs()[0].shape[1]
    np.save(_rows_file(file), np.concatenate([np.zeros(0, np.int64), *rows]))
    partial = file.with_name(f"partial-{file.name}")
    np.save(partial, np.concatenate([np.zeros((0, kinds, wide), np.float16), *found]))
    partial.rename(file)


def _rows_file(shard: Path) -> Path:
    return shard.with_suffix(".rows.npy")


def _session(trunk: CreativeTrunk, labels: Sequence[str], threads: int) -> onnxruntime.InferenceSession:
    side = contract.CANVAS
    example = (torch.zeros(2, side, side, 3, dtype=torch.uint8), torch.full((2, 2), side, dtype=torch.int32))
    card = contract.ModelCard(contract.VARY_CREATIVE, "", starter=True)
    signature = Signature((contract.PIXELS, contract.PICTURE_SIZE), (_FEATURES, contract.CARD))
    return open_session(to_onnx(Carded(FeatureNetwork(trunk, labels), card), signature, example), threads)


def _key(trunk: CreativeTrunk, labels: Sequence[str], catalogue: Catalogue) -> str:
    """Changes with the trunk, the code that makes its squares, and the pictures."""
    files = [path.stat() for path in catalogue.paths]
    recipe = [
        digest(trunk),
        *labels,
        *(sha256(Path(str(module.__file__))) for module in (framing, variants, network)),
        PIPELINE.read_text(),
        *map(str, catalogue.paths),
        *(f"{status.st_size} {status.st_mtime_ns}" for status in files),
    ]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]
