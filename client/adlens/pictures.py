"""Anything a caller has, a path, bytes, an array, a PIL image, becomes a JPEG for the server.

JPEG files pass through untouched once ``adlens.jpeg`` has let them in; everything else is decoded
here and encoded as JPEG. What a file is, its first bytes say, not its name.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from adlens import contract, jpeg
from adlens.errors import BadImage, NoPictures, TooLarge

ImageLike: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | npt.NDArray[Any] | Image.Image
)
"""A path; the bytes of a picture file; an array (HWC uint8 RGB or HW uint8 grey); a PIL image."""

_JPEG_SUFFIXES: Final = (".jpg", ".jpeg", ".jpe", ".jfif")
_OTHER_SUFFIXES: Final = (".png", ".webp", ".gif", ".tif", ".tiff", ".avif", ".bmp", ".ppm", ".pgm", ".jp2")
SUFFIXES: Final = frozenset(_JPEG_SUFFIXES + _OTHER_SUFFIXES)
"""Names by which ``find_pictures`` knows a picture file, in lower case."""

_FORMATS: Final = ("PNG", "WEBP", "GIF", "TIFF", "AVIF", "BMP", "DIB", "PPM", "ICO", "JPEG2000")
"""What Pillow may decode. Not all it can: its EPS plugin, say, starts Ghostscript on the file."""

_SOI: Final = b"\xff\xd8"
_JPEG_QUALITY: Final = 95
_ROTATED: Final = range(5, 9)
"""EXIF orientations that swap height and width (CIPA DC-008, tag 0x0112)."""


@dataclass(frozen=True)
class Picture:
    """A picture ready to be sent.

    ``jpeg`` is a file that ``adlens.jpeg.inspect`` accepts; ``height`` and ``width`` are in pixels,
    with its EXIF orientation applied; ``source`` names it in messages.
    """

    jpeg: bytes
    height: int
    width: int
    source: str


def load(image: ImageLike, source: str | None = None) -> Picture:
    """Make ``image`` ready to be sent.

    Args:
        image: see ``ImageLike``. Of several frames or pages the first counts; transparency is laid
            on white; 16 bit grey is brought to 8.
        source: its name in messages; the path, where there is one, unless given.

    Raises:
        BadImage: it cannot be read, or is no picture; the message names the source and the remedy.
        TooLarge: it is over the limits of ``adlens.contract``; found out before it is decoded.
    """
    name = source or describe(image)
    try:
        if isinstance(image, Image.Image):
            return _encode(image, name)
        if isinstance(image, np.ndarray):
            return _encode(_image_of_array(image), name)
        if isinstance(image, (bytes, bytearray, memoryview)):
            return _read(io.BytesIO(image), len(image), name)
        return _read_path(Path(image), name)
    except BadImage as error:
        raise type(error)(f"{name}: {error}") from error


def describe(image: ImageLike) -> str:
    """The name of ``image`` in messages and answers."""
    if isinstance(image, (str, os.PathLike)):
        return os.fspath(image)
    if isinstance(image, Image.Image):
        return str(getattr(image, "filename", "") or "<PIL image>")
    return "<array>" if isinstance(image, np.ndarray) else "<bytes>"


def open_upright(picture: Picture) -> Image.Image:
    """Decode ``picture`` to RGB, upright: the pixels that boxes and landmarks refer to."""
    with _pillow_errors():
        image = Image.open(io.BytesIO(picture.jpeg), formats=["JPEG"])
        return ImageOps.exif_transpose(image).convert("RGB")


def find_pictures(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """List the picture files that lie directly in ``folder``, by name; hidden ones are skipped.

    Raises:
        NoPictures: ``folder`` cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if _is_picture(entry))
    except OSError as error:
        raise NoPictures(
            f"{os.fspath(folder)}: cannot be listed ({error.strerror}); check the path"
        ) from error
    return (Path(folder, name) for name in names)


def find_users(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """List ``folder`` and those below it that directly hold picture files, parents first, by name.

    Hidden folders are skipped and links to folders not followed. One that cannot be listed is given
    too: whoever asks for its pictures gets the reason.
    """
    try:
        holds_pictures = next(find_pictures(folder), None) is not None
    except NoPictures:
        yield Path(folder)
        return
    if holds_pictures:
        yield Path(folder)
    with os.scandir(folder) as entries:
        below = sorted(entry.name for entry in entries if _is_folder(entry))
    for name in below:
        yield from find_users(Path(folder, name))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)


def _is_picture(entry: os.DirEntry[str]) -> bool:
    hidden = entry.name.startswith(".")
    return not hidden and Path(entry.name).suffix.lower() in SUFFIXES and not entry.is_dir()


def _read_path(path: Path, name: str) -> Picture:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise BadImage(
                "a folder, where a picture file is expected; name the files in it, or use recommend_for_user"
            )
        if not stat.S_ISREG(status.st_mode):
            raise BadImage("not a regular file; give a picture file")
        with path.open("rb") as file:
            return _read(file, status.st_size, name)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadImage(f"cannot be read ({reason}); check the path and its permissions") from error


def _read(file: BinaryIO, size: int, name: str) -> Picture:
    """Read a picture file of ``size`` bytes from its beginning."""
    if not size:
        raise BadImage("empty: 0 bytes; give a picture file")
    head = file.read(len(_SOI))
    file.seek(0)
    if head != _SOI:
        with _pillow_errors(), Image.open(file, formats=_FORMATS) as image:
            return _encode(image, name)
    if size > contract.MAX_IMAGE_BYTES:
        raise TooLarge(f"{size} bytes, and at most {contract.MAX_IMAGE_BYTES} are taken; save it smaller")
    data = file.read()
    header = jpeg.inspect(data)
    height, width = header.height, header.width
    if _orientation(header.exif) in _ROTATED:
        height, width = width, height
    return Picture(data, height, width, name)


def _orientation(exif: bytes) -> int:
    """EXIF orientation, 1 where there is none or it cannot be read."""
    tags = Image.Exif()
    try:
        tags.load(exif)
        return int(tags.get(ExifTags.Base.Orientation, 1))
    except Exception:  # Pillow raises nearly anything on broken tags, and says nowhere what.
        return 1


def _image_of_array(array: npt.NDArray[Any]) -> Image.Image:
    grey = array.ndim == 2
    if array.dtype != np.uint8 or not (grey or (array.ndim == 3 and array.shape[2] == 3)) or not array.size:
        raise BadImage(
            f"an array of {array.dtype} {list(array.shape)}; give uint8 in [0, 255], "
            "[height, width, 3] in RGB order or [height, width] for grey"
        )
    return Image.fromarray(np.ascontiguousarray(array))


def _encode(image: Image.Image, name: str) -> Picture:
    """Decode ``image``, unless it is over the limits, and encode it as JPEG, upright."""
    width, height = image.size
    if not height or not width:
        raise BadImage(f"a picture of {width} x {height} pixels; give one with pixels")
    if height * width > contract.MAX_PIXELS:
        raise TooLarge(jpeg.too_many_pixels(height, width))
    if max(height, width) > contract.MAX_SIDE:
        limit = contract.MAX_SIDE
        raise TooLarge(f"{width} x {height} pixels, and a side has at most {limit}; make it smaller")
    with _pillow_errors():
        upright = _eight_bit(ImageOps.exif_transpose(image))
        buffer = io.BytesIO()
        upright.save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    data = buffer.getvalue()
    jpeg.inspect(data)
    return Picture(data, upright.height, upright.width, name)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Bring any mode of Pillow to RGB or L."""
    if image.mode in ("RGB", "L") and not image.has_transparency_data:
        return image
    if image.mode.startswith("I"):  # 16 bit grey; Pillow's own conversion would clip it to white
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 65_535) // 257
        return Image.fromarray(grey.astype(np.uint8))
    if image.mode == "F":
        raise BadImage("floating-point pixels, whose range nobody knows; save it with 8 bits a channel")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("L" if image.mode == "1" else "RGB")


@contextmanager
def _pillow_errors() -> Iterator[None]:
    """Turn whatever Pillow raises on a broken or huge file into ``BadImage`` or ``TooLarge``."""
    try:
        yield
    except BadImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = re.search(r"\((\d+) pixels\)", str(error))
        size = f"{pixels[1]} pixels" if pixels else "too many pixels"
        raise TooLarge(f"{size}, and at most {contract.MAX_PIXELS} are taken; make it smaller") from error
    except UnidentifiedImageError as error:
        known = ", ".join(("JPEG", *_FORMATS))
        raise BadImage(f"not a picture, or a broken one (formats read: {known}); save it as JPEG") from error
    except Exception as error:  # Pillow's decoders raise nearly anything, and say nowhere what.
        raise BadImage(f"broken: {error}; open it in a picture editor and save it as JPEG") from error
