"""What a frozen trunk says of the pictures of posts, each seen in several ways, once and for all.

A picture is seen as it is, and then cropped, mirrored and in other light, so that the head learns from more
than there are. Kept on disk by shards, as the features of creatives are: a run that was killed goes on with
the first shard that it did not finish, and 60,000 pictures need no more memory than 64.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
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
from export.creative import finetune, framing, reading
from export.creative import network as trunks
from export.creative.features import SHARD, FeatureStore
from export.creative.finetune import cropped
from export.creative.network import CreativeTrunk
from export.creative.reading import read_canvases
from export.engagement.network import FeatureNetwork
from export.faces import PIPELINE
from export.graph import Signature, open_session, to_onnx
from export.networks.attributes import digest
from export.networks.card import Carded
from export.weights import sha256

LIGHT: Final = 0.1
"""By how much a picture may be brighter or darker, as a share."""
TINT: Final = 0.04
"""The same of each colour."""
_FEATURES: Final = "FEATURES"
_SEED: Final = 20


def compute_features(
    trunk: CreativeTrunk, pictures: Sequence[Path], views: int, cache: Path, threads: int = 0
) -> FeatureStore:
    """Run the trunk over all views of all pictures; one that cannot be read is named, and left out.

    Args:
        trunk: in evaluation mode.
        pictures: files; ``FeatureStore.rows`` are places in this list.
        views: of each picture, at least 1; the first is the picture as it is.
        cache: folder for the shards; a sub-folder is named after all that went in, and replaces older ones.
        threads: of ONNX Runtime; 0 takes all cores.
    """
    held = CacheFolder(
        cache / "posts", _key(trunk, pictures, views), pictures_of(pictures, f"{trunk.wide} features")
    )
    starts = range(0, len(pictures), SHARD)
    shards = [held.path / f"{start:08}.npy" for start in starts]
    with held.only_writer():
        missing = [(start, path) for start, path in zip(starts, shards, strict=True) if not path.exists()]
        if missing:
            session = _session(trunk, threads)
            total = len(pictures)
            there = total - sum(min(SHARD, total - start) for start, _ in missing)
            with tqdm(total=total, initial=there, desc="features", unit="picture", disable=None) as progress:
                for start, path in missing:
                    _write_shard(session, pictures[start : start + SHARD], start, views, path, progress)
    return FeatureStore(shards, held)


def seen_anew(pixels: Tensor, sizes: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Pictures in other light, a part of each, mirrored or not.

    Args:
        pixels: uint8 [N, S, S, 3], as PIXELS.
        sizes: int32 [N, 2], as PICTURE_SIZE.
        random: says how.

    Returns:
        PIXELS and PICTURE_SIZE.
    """
    parts, part_sizes = cropped(pixels, sizes, random)
    light = random.uniform(1 - LIGHT, 1 + LIGHT, (len(sizes), 1))
    tint = random.uniform(1 - TINT, 1 + TINT, (len(sizes), 3))
    factors = torch.from_numpy(light * tint).float()[:, None, None, :]
    return (parts * factors + 0.5).clamp(0, 255).to(torch.uint8), part_sizes


def _write_shard(
    session: onnxruntime.InferenceSession,
    some: Sequence[Path],
    start: int,
    views: int,
    file: Path,
    progress: tqdm[NoReturn],
) -> None:
    """The rows first, and the features under another name until they are whole."""
    wide = session.get_outputs()[0].shape[1]
    found, rows = [np.zeros((0, views, wide), np.float16)], [np.zeros(0, np.int64)]
    random = np.random.default_rng((_SEED, start))
    done = 0
    for canvases in read_canvases(some):
        if len(canvases.rows):
            shown = [(canvases.pixels, canvases.sizes)]
            shown += [seen_anew(canvases.pixels, canvases.sizes, random) for _ in range(views - 1)]
            said = [_run(session, *view) for view in shown]
            found.append(np.stack(said, axis=1))
            rows.append(canvases.rows + start)
        step = min(contract.MAX_BATCH, len(some) - done)
        done += step
        progress.update(step)
    np.save(file.with_suffix(".rows.npy"), np.concatenate(rows))
    partial = file.with_name(f"partial-{file.name}")
    np.save(partial, np.concatenate(found))
    partial.rename(file)


def _run(session: onnxruntime.InferenceSession, pixels: Tensor, sizes: Tensor) -> NDArray[np.float16]:
    feed = {contract.PIXELS: pixels.numpy(), contract.PICTURE_SIZE: sizes.numpy()}
    return np.asarray(session.run([_FEATURES], feed)[0], np.float16)


def _session(trunk: CreativeTrunk, threads: int) -> onnxruntime.InferenceSession:
    side = contract.CANVAS
    example = (torch.zeros(2, side, side, 3, dtype=torch.uint8), torch.full((2, 2), side, dtype=torch.int32))
    card = contract.ModelCard(contract.ENGAGEMENT_MODEL, "", starter=True)
    signature = Signature((contract.PIXELS, contract.PICTURE_SIZE), (_FEATURES, contract.CARD))
    return open_session(to_onnx(Carded(FeatureNetwork(trunk), card), signature, example), threads)


def _key(trunk: CreativeTrunk, pictures: Sequence[Path], views: int) -> str:
    """Changes with the trunk, the views, the code that makes its squares, and the pictures."""
    files = [path.stat() for path in pictures]
    modules = (framing, trunks, reading, finetune)
    recipe = [
        digest(trunk),
        str(views),
        *(sha256(Path(str(module.__file__))) for module in modules),
        sha256(Path(__file__)),
        PIPELINE.read_text(),
        *(str(path.resolve()) for path in pictures),
        *(f"{status.st_size} {status.st_mtime_ns}" for status in files),
    ]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]
