"""The JPEG gate lets whole pictures through and says what is wrong with the others."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image

from adlens import contract, jpeg
from adlens.errors import BadImage, TooLarge


def encode(mode: str = "RGB", size: tuple[int, int] = (64, 48), **options: Any) -> bytes:
    noise = np.random.default_rng(7).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def with_segment(data: bytes, marker: int, payload: bytes, fill: int = 0) -> bytes:
    """Put a segment behind SOI."""
    length = (len(payload) + 2).to_bytes(2, "big")
    return data[:2] + b"\xff" * (1 + fill) + bytes([marker]) + length + payload + data[2:]


def patched_frame(data: bytes, offset: int, value: bytes) -> bytes:
    """Overwrite bytes of the frame header, ``offset`` bytes behind its marker."""
    at = data.index(b"\xff\xc0") + 2 + offset
    return data[:at] + value + data[at + len(value) :]


def patched_scan(data: bytes, offset: int, value: bytes) -> bytes:
    """Overwrite bytes of the first scan header, ``offset`` bytes behind its length."""
    at = data.index(b"\xff\xda") + 4 + offset
    return data[:at] + value + data[at + len(value) :]


def without(data: bytes, marker: int) -> bytes:
    """Drop the first segment of this kind."""
    at = data.index(bytes([0xFF, marker]))
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]


@pytest.mark.parametrize(
    ("mode", "options", "components"),
    [("RGB", {}, 3), ("L", {}, 1), ("CMYK", {}, 4), ("RGB", {"restart_marker_blocks": 1}, 3)],
)
def test_a_baseline_picture_passes(mode: str, options: dict[str, Any], components: int) -> None:
    header = jpeg.inspect(encode(mode, **options))
    assert (header.height, header.width, header.components) == (48, 64, components)
    assert (header.progressive, header.scans) == (False, 1)


def test_a_progressive_picture_passes_and_its_scans_are_counted() -> None:
    header = jpeg.inspect(encode(progressive=True))
    assert header.progressive
    assert header.scans > 1


def test_the_exif_segment_is_found_and_the_end_of_its_thumbnail_is_not_taken_for_the_pictures() -> None:
    thumbnail = encode(size=(16, 16))
    whole = with_segment(encode(), 0xE1, b"Exif\x00\x00" + b"II*\x00" + thumbnail)
    assert jpeg.inspect(whole).exif.startswith(b"II*\x00")
    cut = whole[: whole.index(b"\xff\xda", len(thumbnail) + 40)]
    with pytest.raises(BadImage, match="truncated"):
        jpeg.inspect(cut)


def test_fill_bytes_before_markers_and_trailing_bytes_are_fine() -> None:
    filled = with_segment(encode(), 0xFE, b"comment", fill=3)
    assert jpeg.inspect(filled + b"\x00trailing\xff\xd8\xff").width == 64


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_picture_is_refused(keep: float, progressive: bool) -> None:
    data = encode(progressive=progressive)
    with pytest.raises(BadImage, match="truncated"):
        jpeg.inspect(data[: int(len(data) * keep)])


def test_a_picture_of_too_many_pixels_is_refused_with_limit_and_number() -> None:
    bomb = patched_frame(encode(), 3, (20_000).to_bytes(2, "big") * 2)
    with pytest.raises(TooLarge, match=rf"400000000 pixels.*{contract.MAX_PIXELS}"):
        jpeg.inspect(bomb)


def test_a_file_of_too_many_bytes_is_refused() -> None:
    with pytest.raises(TooLarge, match=str(contract.MAX_IMAGE_BYTES)):
        jpeg.inspect(encode() + bytes(contract.MAX_IMAGE_BYTES))


def test_a_picture_of_too_many_scans_is_refused() -> None:
    data = encode()
    scan = data[data.index(b"\xff\xda") : -2]
    many = data[:-2] + scan * contract.MAX_SCANS + data[-2:]
    with pytest.raises(TooLarge, match="scans"):
        jpeg.inspect(many)


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (-1, b"\xc3", "lossless"),
        (-1, b"\xc9", "arithmetic"),
        (2, b"\x0c", "12 bits"),
        (3, b"\x00\x00", "64 x 0"),
        (5, b"\x00\x00", "0 x 48"),
        (7, b"\x02", "2 components"),
    ],
)
def test_a_frame_that_decoders_do_not_read_is_refused_with_reason_and_remedy(
    offset: int, value: bytes, reason: str
) -> None:
    with pytest.raises(BadImage, match=f"{reason}.*save it again"):
        jpeg.inspect(patched_frame(encode(), offset, value))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n", "not a JPEG"),
        (b"\xff\xd8", "truncated"),
        (b"\xff\xd8\xff\xd9", "before any picture data"),
        (b"\xff\xd8\xff\xd8", "second start-of-image"),
        (b"\xff\xd8\xff\xe0\x00\x01\x00", "segment of length 1"),
        (b"\xff\xd8\xff\xda\x00\x02\xff\xd9", "before any frame header"),
        (b"\xff\xd8" + b"\xff\xc0\x00\x03\x08" + b"\xff\xd9", "frame header of 1 bytes"),
    ],
)
def test_what_is_no_jpeg_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        jpeg.inspect(data)


def test_a_second_frame_header_is_refused() -> None:
    data = encode()
    frame = data.index(b"\xff\xc0")
    with pytest.raises(BadImage, match="second frame"):
        jpeg.inspect(data[:frame] + data[frame : frame + 19] + data[frame:])


def test_nothing_but_bad_image_is_raised_whatever_the_bytes() -> None:
    random = np.random.default_rng(11)
    whole = np.frombuffer(encode(progressive=True), np.uint8)
    for _ in range(2000):
        broken = whole.copy()
        places = random.integers(2, len(broken), 8)
        broken[places] = random.integers(0, 256, 8)
        try:
            jpeg.inspect(broken[: random.integers(1, len(broken) + 1)].tobytes())
        except BadImage:
            continue


def test_markers_are_found_wherever_they_lie_between_the_windows_that_are_searched() -> None:
    data = encode()
    begin = data.index(b"\xff\xda")
    head, scan = data[: begin + 14], b"\x5a\xff\x00\xff\xd0\x11"
    for length in range(96 * 1024 - 4, 96 * 1024 + 4):
        filling = (scan * length)[:length].rstrip(b"\xff")
        filling += b"\x11" * (length - len(filling))
        assert jpeg.inspect(head + filling + data[begin:]).scans == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:2] + b"\x00" + data[2:], "stray bytes at byte 2"),
        (lambda data: with_segment(data, 0xDC, b"\x40\x00"), "unknown marker ff dc"),
        (lambda data: with_segment(data, 0x41, b""), "unknown marker ff 41"),
        (lambda data: with_segment(data, 0xDB, b"\x04" + bytes(64)), "quantisation table 4"),
        (lambda data: with_segment(data, 0xDB, b"\x00" + bytes(63)), "quantisation table 0"),
        (lambda data: with_segment(data, 0xC4, b"\x04" + bytes(16)), "Huffman table 4 of class 0"),
        (lambda data: with_segment(data, 0xC4, b"\x10\x03" + bytes(18)), "Huffman table 0 of class 1"),
        (lambda data: with_segment(data, 0xC4, b"\x00\x01" + bytes(15) + b"\x10"), "Huffman table 0"),
        (lambda data: with_segment(data, 0xC4, b"\x00" + bytes(14)), "Huffman table 0"),
        (lambda data: with_segment(data, 0xDD, b"\x00"), "restart interval of 1 bytes"),
        (lambda data: patched_frame(data, 9, b"\x51"), "sampling factors 5 x 1"),
        (lambda data: patched_frame(data, 9, b"\x31\x01\x02\x21"), "do not divide the largest"),
        (lambda data: patched_frame(data, 9, b"\x44"), "18 blocks interleaved"),
        (lambda data: patched_frame(data, 8, b"\x02"), "two components of one name"),
        (lambda data: patched_frame(data, 10, b"\x03"), "a table that a scan needs"),
        (lambda data: without(data, 0xC4), "a table that a scan needs"),
        (lambda data: patched_scan(data, 0, b"\x02"), "scan header of 10 bytes for 2"),
        (lambda data: patched_scan(data, 1, b"\x07"), "components that the frame has not"),
        (lambda data: patched_scan(encode(progressive=True), 8, b"\x01"), "progression parameters 0, 1"),
    ],
)
def test_headers_and_tables_that_do_not_fit_together_are_refused(
    change: Callable[[bytes], bytes], reason: str
) -> None:
    with pytest.raises(BadImage, match=f"^broken: .*{reason}.*; save it again"):
        jpeg.inspect(change(encode()))


def test_a_picture_with_too_long_a_side_is_refused_though_it_has_few_pixels() -> None:
    with pytest.raises(TooLarge, match=f"side of 65500 pixels.*{contract.MAX_SIDE}"):
        jpeg.inspect(patched_frame(encode(), 3, (8).to_bytes(2, "big") + (65_500).to_bytes(2, "big")))


def test_much_metadata_passes_and_too_much_is_refused() -> None:
    segment = b"\xff\xe2\xff\xff" + b"ICC_PROFILE\x00" + bytes(0xFFFF - 14)
    data = encode()
    assert jpeg.inspect(data[:2] + segment * 120 + data[2:]).width == 64
    with pytest.raises(TooLarge, match=f"bytes of metadata.*{contract.MAX_METADATA_BYTES}"):
        jpeg.inspect(data[:2] + segment * 130 + data[2:])


def test_a_view_is_as_good_as_bytes() -> None:
    assert jpeg.inspect(memoryview(encode())) == jpeg.inspect(encode())


def test_of_several_pictures_the_bad_one_is_named() -> None:
    good = np.frombuffer(encode(), np.uint8)
    pictures = np.stack([good, good, np.zeros_like(good), good])
    with pytest.raises(BadImage, match=r"^picture 3 of 4: not a JPEG"):
        jpeg.inspect_all(pictures)
    with pytest.raises(BadImage, match=r"^not a JPEG"):
        jpeg.inspect_all(pictures[2:3])
    jpeg.inspect_all(pictures[:2])


@pytest.mark.alone
@pytest.mark.parametrize(
    "filling", [b"\xff\xd0", b"\xff\xfe\x00\x02", b"\xff", b"\x00", b"\xff\xd0\x11\x11\x11\x11"]
)
def test_hostile_filling_is_refused_in_no_time(filling: bytes) -> None:
    """The floods of 20 MiB take 5 to 15 ms, less than their way through the server."""
    began = time.process_time()
    head = encode()[:-2]
    with pytest.raises(BadImage):
        jpeg.inspect(head + filling * ((contract.MAX_IMAGE_BYTES - len(head)) // len(filling)))
    assert time.process_time() - began < 0.15


@pytest.mark.alone
def test_an_ordinary_photo_takes_less_than_a_fifth_of_a_millisecond() -> None:
    photo = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).save(photo, "JPEG", quality=95)
    times = []
    for _ in range(50):
        began = time.perf_counter()
        jpeg.inspect(photo.getvalue())
        times.append(time.perf_counter() - began)
    assert min(times) < 0.0002


def test_every_ordinary_photo_passes_as_pillow_reads_it(test_data: Path) -> None:
    for path in sorted((test_data / "photos").glob("[!o]*/*.jpg")):
        with Image.open(path) as image:
            header = jpeg.inspect(path.read_bytes())
            assert (header.width, header.height) == image.size, path


def test_odd_photos_pass_where_a_decoder_reads_them(test_data: Path) -> None:
    refused = {"037_truncated_jpeg", "061_truncated", "080_face_cut50", "063_cat-3449999_640_grayscale_8bit"}
    refused |= {"086_empty", "089_random", "039_truncated_app14"}
    for path in sorted((test_data / "photos" / "odd").glob("*.jpg")):
        if path.stem in refused:
            with pytest.raises(BadImage):
                jpeg.inspect(path.read_bytes())
        else:
            jpeg.inspect(path.read_bytes())
