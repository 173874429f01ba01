"""A seeded corpus of hostile JPEGs: whole pictures, each damaged in one of many ways.

The pictures are those that packages carry (scikit-image, scikit-learn) and those that ``export``
paints, saved in every form that JPEG writers use. The same seed gives the same files.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import numpy as np
import skimage.data
import sklearn.datasets
from PIL import Image

from export import generated

SIDE = 200
"""Longest side of the pictures in pixels: small, as it is the damage that counts."""
FORMS: dict[str, dict[str, Any]] = {
    "baseline": {"quality": 80},
    "progressive": {"quality": 80, "progressive": True},
    "restarts": {"quality": 60, "restart_marker_blocks": 4},
    "full": {"quality": 95, "subsampling": 0, "optimize": True},
    "grey": {"quality": 75, "mode": "L"},
    "cmyk": {"quality": 75, "mode": "CMYK"},
    "thumbnail": {"quality": 75, "exif": True},
}
"""Ways of saving: Pillow's options, the colour mode, and whether EXIF with a thumbnail goes along."""
LENGTHS = (0, 1, 2, 3, 8, 17, 255, 0x7FFF, 0xFFFF)
"""For length fields: what parsers stumble over."""
SEGMENT = re.compile(rb"\xff([\xc0-\xcf\xda-\xfe])", re.DOTALL)


@dataclass(frozen=True)
class Hostile:
    """A file, and how it was made."""

    kind: str
    base: str
    data: bytes


def corpus(count: int, seed: int) -> Iterator[Hostile]:
    """``count`` files, every kind of damage in turn; every third is damaged in two ways."""
    random = Random(seed)
    names = list(bases())
    kinds = list(DAMAGES)
    for number in range(count):
        kind, base = kinds[number % len(kinds)], random.choice(names)
        data = DAMAGES[kind](random, bases()[base])
        if number % 3 == 2:
            data = DAMAGES[random.choice(kinds)](random, data)
        yield Hostile(kind, base, data)


@cache
def bases() -> dict[str, bytes]:
    """The whole pictures by subject and form."""
    random = Random(5)
    subjects = {
        "astronaut": generated.astronaut(),
        "painted": generated.paint(generated.LABELS, random),
        "cat": Image.fromarray(skimage.data.cat()),
        "coffee": Image.fromarray(skimage.data.coffee()),
        "temple": Image.fromarray(sklearn.datasets.load_sample_image("china.jpg")),
        "noise": Image.fromarray(np.random.default_rng(5).integers(0, 256, (48, 64, 3), np.uint8)),
    }
    for picture in subjects.values():
        picture.thumbnail((SIDE, SIDE))
    return {
        f"{name}-{form}": saved(picture, **options)
        for name, picture in subjects.items()
        for form, options in FORMS.items()
    }


def saved(picture: Image.Image, *, mode: str = "RGB", exif: bool = False, **options: Any) -> bytes:
    """``picture`` as a JPEG file."""
    if exif:
        tags = Image.Exif()
        tags[0x0112] = 6
        thumbnail = saved(picture.resize((16, 16)), quality=30)
        options["exif"] = tags.tobytes() + thumbnail
    file = io.BytesIO()
    picture.convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def segments(data: bytes) -> list[tuple[int, int]]:
    """Begin and end of each marker segment, as far as they can be followed."""
    found = []
    position = 2
    while match := SEGMENT.search(data, position):
        end = match.end() + int.from_bytes(data[match.end() : match.end() + 2], "big")
        found.append((match.start(), min(end, len(data))))
        position = max(end, match.end())
    return found


def _segment(random: Random, data: bytes) -> tuple[int, int]:
    return random.choice(segments(data) or [(0, len(data))])


def _put(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def _bit_flips(random: Random, data: bytes) -> bytes:
    flipped = bytearray(data)
    for _ in range(random.choice((1, 2, 8, 64)) if flipped else 0):
        flipped[random.randrange(len(flipped))] ^= 1 << random.randrange(8)
    return bytes(flipped)


def _header_flips(random: Random, data: bytes) -> bytes:
    """Bits flipped within the first kilobyte, where tables and headers are."""
    return _bit_flips(random, data[:1024]) + data[1024:]


def _truncation(random: Random, data: bytes) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _closed_truncation(random: Random, data: bytes) -> bytes:
    """Cut, but with an end-of-image marker, so that it looks whole."""
    return _truncation(random, data) + b"\xff\xd9"


def _hole(random: Random, data: bytes) -> bytes:
    begin = random.randrange(len(data) + 1)
    return data[:begin] + data[begin + random.choice((1, 2, 16, 512)) :]


def _splice(random: Random, data: bytes) -> bytes:
    """The head of one picture on the tail of another."""
    other = random.choice(list(bases().values()))
    return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other)) :]


def _swapped_segments(random: Random, data: bytes) -> bytes:
    (a, b), (c, d) = sorted((_segment(random, data), _segment(random, data)))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:] if b <= c else data


def _repeated_segment(random: Random, data: bytes) -> bytes:
    begin, end = _segment(random, data)
    return data[:end] + data[begin:end] * random.choice((1, 1, 3, 100)) + data[end:]


def _dropped_segment(random: Random, data: bytes) -> bytes:
    begin, end = _segment(random, data)
    return data[:begin] + data[end:]


def _wrong_length(random: Random, data: bytes) -> bytes:
    begin, _ = _segment(random, data)
    return _put(data, begin + 2, random.choice(LENGTHS).to_bytes(2, "big"))


def _wrong_segment(random: Random, data: bytes) -> bytes:
    """Bytes within one segment made random."""
    begin, end = _segment(random, data)
    for _ in range(random.choice((1, 2, 8))):
        data = _put(data, random.randrange(begin + 4, max(end, begin + 5)), random.randbytes(1))
    return data


def _wrong_frame(random: Random, data: bytes) -> bytes:
    """Kind of the frame, precision, height, width, components or sampling factors made others."""
    frames = [begin for begin, _ in segments(data) if data[begin + 1] in (0xC0, 0xC2)]
    if not frames:
        return data
    offset, value = random.choice(
        [
            (1, bytes([random.randrange(0xC0, 0xD0)])),
            (4, random.choice((b"\x0c", b"\x10", b"\x01"))),
            (5, random.choice((b"\x00\x00", b"\xff\xff", b"\x00\x01", b"\x10\x00"))),
            (7, random.choice((b"\x00\x00", b"\xff\xff", b"\x00\x01", b"\x10\x00"))),
            (9, bytes([random.randrange(6)])),
            (11, random.choice((b"\x11", b"\x41", b"\x44", b"\x21", b"\x00", b"\xff"))),
        ]
    )
    return _put(data, frames[0] + offset, value)


def _injected_marker(random: Random, data: bytes) -> bytes:
    """A marker over, or between, any bytes."""
    at = random.randrange(2, max(len(data), 3))
    marker = b"\xff" + bytes([random.randrange(256)])
    return _put(data, at, marker) if random.random() < 0.5 else data[:at] + marker + data[at:]


def _foreign_segment(random: Random, data: bytes) -> bytes:
    """A whole segment of any kind with random content, behind SOI."""
    content = random.randbytes(random.choice((0, 1, 16, 64, 4096)))
    marker = bytes([0xFF, random.randrange(0xC0, 0xFF)])
    return data[:2] + marker + (len(content) + 2).to_bytes(2, "big") + content + data[2:]


def _random_exif(random: Random, data: bytes) -> bytes:
    """EXIF whose directory is random, or leads back to itself."""
    offset = random.choice((8, 8, 0, 0xFFFF, 0xFFFFFFFF))
    entries = random.choice((1, 3, 200, 5000))
    directory = entries.to_bytes(2, "little") + random.randbytes(12 * min(entries, 200))
    content = b"Exif\0\0II*\0" + offset.to_bytes(4, "little") + directory + (8).to_bytes(4, "little")
    return data[:2] + b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content + data[2:]


def _resaved(random: Random, data: bytes) -> bytes:
    """Any size, also extremes, in any mode and form; unharmed."""
    picture = Image.open(io.BytesIO(random.choice(list(bases().values()))))
    size = random.choice(((1, 1), (1, 700), (700, 1), (8, 8), (17, 33), (640, 640), (641, 5)))
    return saved(picture.convert("RGB").resize(size), **random.choice(list(FORMS.values())))


def _other_format(random: Random, data: bytes) -> bytes:
    """No JPEG at all."""
    picture = Image.open(io.BytesIO(random.choice(list(bases().values())))).convert("RGB")
    file = io.BytesIO()
    picture.save(file, random.choice(("PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")))
    return file.getvalue()


def _noise(random: Random, data: bytes) -> bytes:
    """Random bytes behind a true beginning."""
    return data[: random.choice((0, 2, 4, 20, 400, 700))] + random.randbytes(random.randrange(4000))


def _random_scan(random: Random, data: bytes) -> bytes:
    """All headers true, all entropy-coded data random."""
    scans = [end for begin, end in segments(data) if data[begin + 1] == 0xDA]
    if not scans:
        return data
    noise = random.randbytes(random.choice((0, 10, 3000))).replace(b"\xff", b"\xff\x00")
    return data[: scans[0]] + noise + b"\xff\xd9"


DAMAGES: dict[str, Callable[[Random, bytes], bytes]] = {
    damage.__name__.strip("_"): damage
    for damage in (
        _bit_flips, _header_flips, _truncation, _closed_truncation, _hole, _splice, _swapped_segments,
        _repeated_segment, _dropped_segment, _wrong_length, _wrong_segment, _wrong_frame, _injected_marker,
        _foreign_segment, _random_exif, _resaved, _other_format, _noise, _random_scan,
    )
}  # fmt: skip
"""Kinds of damage by name."""
