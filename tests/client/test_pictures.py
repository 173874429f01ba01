"""Whatever a caller has becomes a JPEG, or a message that names it and the remedy."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adlens import contract, jpeg, pictures
from adlens.errors import BadImage, NoPictures, TooLarge


def picture_file(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(picture: pictures.Picture) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(picture.jpeg)).convert("RGB")).astype(int)


RED = Image.new("RGB", (40, 20), (200, 30, 30))


def test_a_jpeg_passes_through_untouched_whatever_its_name(tmp_path: Path) -> None:
    data = picture_file(RED, "JPEG")
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    assert pictures.load(path) == pictures.Picture(data, 20, 40, str(path))
    assert pictures.load(str(path)).jpeg is not None
    assert pictures.load(data).source == "<bytes>"


def test_sizes_are_those_of_the_upright_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = pictures.load(picture_file(RED, "JPEG", exif=exif))
    assert (turned.height, turned.width) == (40, 20)
    assert pictures.open_upright(turned).size == (20, 40)
    assert (pictures.load(picture_file(RED, "PNG", exif=exif)).height) == 40


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "TIFF", "AVIF", "BMP", "PPM"])
def test_other_formats_become_jpegs_of_the_same_picture(kind: str) -> None:
    picture = pictures.load(picture_file(RED, kind))
    assert (picture.height, picture.width) == (20, 40)
    assert jpeg.inspect(picture.jpeg).components == 3
    assert np.abs(decoded(picture) - (200, 30, 30)).max() < 12


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK", "YCbCr", "HSV", "RGBA", "LA", "PA", "I;16"])
def test_every_mode_of_pillow_is_taken(mode: str) -> None:
    image = Image.new(mode, (8, 8)) if mode in ("I;16", "PA") else RED.convert(mode)
    assert jpeg.inspect(pictures.load(image).jpeg).width == image.width


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert decoded(pictures.load(clear)).min() > 250


def test_sixteen_bit_grey_keeps_its_shades() -> None:
    shades = np.full((8, 8), 128 * 257, np.uint16)
    assert np.abs(decoded(pictures.load(Image.fromarray(shades))) - 128).max() <= 1


def test_arrays_are_rgb_or_grey() -> None:
    array = np.zeros((20, 40, 3), np.uint8)
    array[..., 2] = 255
    blue = decoded(pictures.load(array))
    assert blue[..., 2].min() > 240
    assert blue[..., 0].max() < 15
    assert jpeg.inspect(pictures.load(array[..., 0]).jpeg).components == 1


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 2, 3), np.float32),
        np.zeros((2, 2, 4), np.uint8),
        np.zeros((3, 2, 2), np.uint8),
        np.zeros((0, 2, 3), np.uint8),
        np.zeros(5, np.uint8),
    ],
)
def test_an_array_of_another_kind_is_refused_with_its_shape(array: np.ndarray[Any, Any]) -> None:
    with pytest.raises(BadImage, match=r"array.*\[height, width, 3\]"):
        pictures.load(array)


def huge_png(side: int) -> bytes:
    """A PNG that says it has ``side`` x ``side`` pixels, and has none."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    body = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


@pytest.mark.parametrize("side", [8_000, 12_000, 20_000])
def test_a_bomb_is_refused_from_its_header_with_limit_and_size(side: int) -> None:
    with pytest.raises(TooLarge, match=rf"{side * side} pixels.*{contract.MAX_PIXELS}"):
        pictures.load(huge_png(side))


def test_a_side_longer_than_a_jpegs_is_refused() -> None:
    with pytest.raises(TooLarge, match="70000"):
        pictures.load(Image.new("L", (70_000, 2)))


def test_messages_name_the_file_and_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "cut.jpg").write_bytes(picture_file(RED, "JPEG")[:-40])
    (tmp_path / "cut.png").write_bytes(picture_file(Image.effect_noise((64, 64), 50), "PNG")[:-900])
    os.mkfifo(tmp_path / "pipe.jpg")
    for name, reason in {
        "empty.jpg": "empty: 0 bytes; give",
        "text.jpg": "not a picture.*save it as JPEG",
        "cut.jpg": "truncated.*again",
        "cut.png": "broken.*save it as JPEG",
        "pipe.jpg": "not a regular file; give",
        "missing.jpg": "cannot be read .No such file.*check the path",
        ".": "a folder.*recommend_for_user",
    }.items():
        path = tmp_path / name
        with pytest.raises(BadImage, match=f"(?s)^{path}: {reason}"):
            pictures.load(path)


def test_a_float_image_is_refused_rather_than_guessed() -> None:
    with pytest.raises(BadImage, match="floating-point"):
        pictures.load(Image.new("F", (4, 4)))


def test_a_folders_pictures_come_by_name_without_hidden_and_other_files(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "c.txt", ".hidden.jpg", "d.webp"):
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    assert [path.name for path in pictures.find_pictures(tmp_path)] == ["a.jpg", "b.PNG", "d.webp"]


def test_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoPictures, match="none: cannot be listed"):
        pictures.find_pictures(tmp_path / "none")


def test_users_are_the_folders_that_hold_pictures(tmp_path: Path) -> None:
    for name in ("zoe/1.jpg", "anna/2024/1.jpg", "anna/1.jpg", "empty/note.txt", ".git/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    users = [str(user.relative_to(tmp_path)) for user in pictures.find_users(tmp_path)]
    assert users == ["anna", "anna/2024", "zoe"]


def test_the_odd_photos_are_taken_or_refused_and_never_crash(test_data: Path) -> None:
    outcomes = {}
    for path in sorted((test_data / "photos" / "odd").iterdir()):
        try:
            pictures.open_upright(pictures.load(path))
            outcomes[path.name[:3]] = "taken"
        except BadImage as error:
            outcomes[path.name[:3]] = error.kind
    assert {name for name, outcome in outcomes.items() if outcome == "TooLarge"} == {"032", "096", "098"}
    refused = {name for name, outcome in outcomes.items() if outcome == "BadImage"}
    assert refused == {"035", "037", "039", "044", "058", "061", "063", "080", "086", "089", "101"}


def test_a_folder_that_cannot_be_listed_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    assert list(pictures.find_users(tmp_path / "none")) == [tmp_path / "none"]
