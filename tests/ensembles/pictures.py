"""Generated pictures of every kind that a camera or an editor writes, and what decoding must give."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from adlens.contract import CANVAS, letterbox_scale


def scene(height: int, width: int) -> Image.Image:
    """A smooth colourful picture without symmetry, so that any wrong turn shows."""
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    channels = [255 * rows, 255 * columns, 127 * (1 + np.sin(6 * rows * columns + 3 * rows))]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def jpeg(picture: Image.Image, orientation: int = 1, **options: Any) -> bytes:
    """``picture`` as a JPEG file; ``options`` are Pillow's."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", exif=exif, quality=95, **options)
    return buffer.getvalue()


KINDS = {
    "small": jpeg(scene(120, 160)),
    "as large as the canvas": jpeg(scene(480, 640)),
    "one pixel too wide": jpeg(scene(300, 641)),
    "large": jpeg(scene(960, 1280)),
    "large portrait": jpeg(scene(1280, 853)),
    "thin": jpeg(scene(40, 2000)),
    "one pixel": jpeg(scene(1, 1)),
    "grey": jpeg(scene(200, 300).convert("L")),
    "CMYK": jpeg(scene(200, 300).convert("CMYK")),
    "progressive": jpeg(scene(200, 300), progressive=True),
    "whole colour": jpeg(scene(200, 300), subsampling=0),
    "one pixel high, shrunk": jpeg(scene(1, 4000)),
    "one pixel wide, shrunk": jpeg(scene(4000, 1)),
    **{f"EXIF orientation {turn}": jpeg(scene(200, 300), turn) for turn in range(1, 9)},
    "large, EXIF orientation 6": jpeg(scene(900, 1200), 6),
}


def expected(data: bytes) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
    """The picture as it lies on the canvas, and the size of the original, by Pillow."""
    with Image.open(io.BytesIO(data)) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    height, width = picture.height, picture.width
    scale = letterbox_scale(height, width)
    if scale < 1:
        fitted = [max(1, int(side * scale + 0.5)) for side in (width, height)]
        picture = picture.resize((fitted[0], fitted[1]), Image.Resampling.BILINEAR)
    return np.asarray(picture), (height, width)


def assert_decoded(data: bytes, pixels: npt.NDArray[np.uint8], size: npt.NDArray[np.int32]) -> None:
    """``pixels`` and ``size`` are what Pillow gives, but for the rounding of decoder and resizer."""
    picture, picture_size = expected(data)
    assert tuple(size) == picture_size
    assert (pixels.dtype, pixels.shape) == (np.uint8, (CANVAS, CANVAS, 3))
    height, width = picture.shape[:2]
    difference = np.abs(pixels[:height, :width].astype(int) - picture)
    assert difference.mean() < 1
    assert np.quantile(difference, 0.999) <= 8
    assert not pixels[height:].any(), "not black below the picture"
    assert not pixels[:, width:].any(), "not black beside the picture"
