"""Pictures and faces as the server sees them: the same decoding pipeline, the same detector.

Training reads pictures through this file, so that no head ever meets at serving what it did not meet in
training: there is one preprocessing, and it is the served one.
"""

from __future__ import annotations

import runpy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from adlens import contract
from adlens.jobs.faces import main_face

PIPELINE: Final = Path(__file__).parent.parent / "ensembles" / contract.DECODE / "1" / "dali.py"
_THREADS: Final = 2


def decode(
    paths: Sequence[Path], batch: int = contract.MAX_BATCH
) -> Iterator[tuple[Tensor, NDArray[np.int32]]]:
    """Run the served DALI pipeline over JPEG files.

    Yields:
        Canvases uint8 [n, S, S, 3] and picture sizes int32 [n, 2] (height, width), n <= ``batch``.
    """
    decoder = Decoder(batch)
    for start in range(0, len(paths), batch):
        yield decoder.run([np.fromfile(path, np.uint8) for path in paths[start : start + batch]])


class Decoder:
    """The served DALI pipeline, in this process."""

    def __init__(self, batch: int = contract.MAX_BATCH) -> None:
        """Build it, for at most ``batch`` files at a time."""
        self._pipeline = runpy.run_path(str(PIPELINE))[contract.DECODE](
            batch_size=batch, num_threads=_THREADS, device_id=None, prefetch_queue_depth=1,
            exec_pipelined=False, exec_async=False,
        )  # fmt: skip
        self._pipeline.build()

    def run(self, files: Sequence[NDArray[np.uint8]]) -> tuple[Tensor, NDArray[np.int32]]:
        """Decode JPEG files, uint8 [bytes] each.

        Returns:
            Canvases uint8 [n, S, S, 3] and picture sizes int32 [n, 2] (height, width).

        Raises:
            RuntimeError: DALI cannot decode one of them; the decoder is of no use from then on.
        """
        pixels, sizes = self._pipeline.run(**{contract.IMAGE: list(files)})
        return torch.from_numpy(np.array(pixels.as_array())), np.array(sizes.as_array(), dtype=np.int32)


def find_main_faces(paths: Sequence[Path], detector: nn.Module) -> Tensor:
    """Box of the main face of each picture.

    Returns:
        float32 [pictures, 4] in canvas pixels; NaN where there is no face.
    """
    boxes = torch.full((len(paths), 4), torch.nan)
    row = 0
    with tqdm(total=len(paths), desc="faces", unit="picture", disable=None) as progress:
        for pixels, sizes in decode(paths):
            with torch.no_grad():
                found, _, _, counts = detector(pixels)[:4]
            for picture in range(len(pixels)):
                faces = found[picture, : min(int(counts[picture]), contract.MAX_FACES)]
                if len(faces):
                    height, width = sizes[picture] * contract.letterbox_scale(*map(int, sizes[picture]))
                    boxes[row] = faces[main_face(faces.numpy(), height, width)]
                row += 1
            progress.update(len(pixels))
    return boxes
