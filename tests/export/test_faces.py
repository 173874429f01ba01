"""Training sees pictures as the server decodes them, and the face that each is about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from adlens.contract import CANVAS, MAX_BATCH
from export.faces import decode, find_main_faces
from export.networks.mtcnn import Mtcnn


def decoded(paths: list[Path]) -> tuple[Tensor, list[list[int]]]:
    batches = list(decode(paths))
    assert all(len(pixels) <= MAX_BATCH for pixels, _ in batches)
    sizes = [size for _, rows in batches for size in rows.tolist()]
    return torch.cat([pixels for pixels, _ in batches]), sizes


def test_pictures_are_laid_on_the_served_canvas(tmp_path: Path, astronaut: Path) -> None:
    large = tmp_path / "large.jpg"
    with Image.open(astronaut) as picture:
        upright = np.asarray(picture)
        picture.resize((1280, 960)).save(large, quality=95)
    # More than a batch, and the last batch not full.
    pixels, sizes = decoded([astronaut] * MAX_BATCH + [large])
    assert pixels.shape == (MAX_BATCH + 1, CANVAS, CANVAS, 3)
    assert pixels.dtype == torch.uint8
    assert sizes == [[512, 512]] * MAX_BATCH + [[960, 1280]]
    small = pixels[0].numpy().astype(int)
    assert np.abs(small[:512, :512] - upright).mean() < 1
    assert (small[512:] == 0).all()
    assert (small[:, 512:] == 0).all()
    assert (pixels[-1, 480:] == 0).all()
    assert (pixels[-1, 479] != 0).any()


def test_a_picture_without_a_face_gets_no_box(tmp_path: Path, astronaut: Path, detector: Mtcnn) -> None:
    blank = tmp_path / "blank.jpg"
    Image.new("RGB", (300, 200), (90, 120, 150)).save(blank)
    boxes = find_main_faces([blank, astronaut, blank], detector)
    assert boxes.shape == (3, 4)
    assert boxes[[0, 2]].isnan().all()
    torch.testing.assert_close(boxes[1], torch.tensor([179.0, 62, 266, 173]), atol=8, rtol=0)
