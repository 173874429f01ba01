"""JPEG files made to cost more than they weigh. Each is small, or of the largest size that is taken."""

from __future__ import annotations

from adlens import contract
from tests.hostile.corpus import bases


def bombs() -> dict[str, bytes]:
    """Files that must be refused, by what is too much in them."""
    data = bases()["cat-baseline"]
    full = contract.MAX_IMAGE_BYTES - len(data)
    scan = data[data.index(b"\xff\xda") : -2]
    small = scan[:14] + b"\x00"
    return {
        "400 megapixels": _sized(data, 20_000, 20_000),
        "65,500 px square": _sized(data, 65_500, 65_500),
        "65,500 px wide": _sized(data, 8, 65_500),
        "height defined twice": _behind_soi(data, 0xDC, b"\xff\xff"),
        "1,000 scans": data[:-2] + small * 999 + data[-2:],
        "1,000 scans, 16 MiB": data[:-2] + (small + bytes(16 * 1024)) * 999 + data[-2:],
        "100,000 comments": data[:2] + b"\xff\xfe\x00\x02" * 100_000 + data[2:],
        "100,000 tables": data[:2] + _segment(0xDB, bytes(65)) * 100_000 + data[2:],
        "giant ICC": data[:2] + _segment(0xE2, b"ICC_PROFILE\0".ljust(0xFFFD)) * 300 + data[2:],
        "giant EXIF": data[:2] + _segment(0xE1, b"Exif\0\0II*\0".ljust(0xFFFD)) * 300 + data[2:],
        "fill bytes": data[:2] + b"\xff" * (full - 2) + b"\xff\xda" + data[2:],
        "restart markers": data[:-2] + b"\xff\xd0" * (full // 2 - 2) + b"\xff\xda",
        "no end": data[:-2] + bytes(full),
        "one byte too many": data + bytes(full + 1),
    }


def harmless() -> dict[str, bytes]:
    """Files that look dangerous and are answered like any other, by what is odd in them."""
    data = bases()["cat-baseline"]
    loop = b"Exif\0\0II*\0\x08\0\0\0" + b"\0\0" + b"\x08\0\0\0"
    orient = b"\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00"
    many = b"Exif\0\0II*\0\x08\0\0\0" + (5000).to_bytes(2, "little") + orient * 5000
    beyond = b"Exif\0\0II*\0\xff\xff\xff\xff"
    return {
        "EXIF directory that leads to itself": _behind_soi(data, 0xE1, loop),
        "EXIF directory of 5,000 entries": _behind_soi(data, 0xE1, many),
        "EXIF directory beyond the end": _behind_soi(data, 0xE1, beyond),
        "900 comments": data[:2] + _segment(0xFE, b"comment") * 900 + data[2:],
        "7 MiB of metadata": data[:2] + _segment(0xE2, bytes(0xFFFD)) * 112 + data[2:],
    }


def _segment(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(payload) + 2).to_bytes(2, "big") + payload


def _behind_soi(data: bytes, marker: int, payload: bytes) -> bytes:
    return data[:2] + _segment(marker, payload) + data[2:]


def _sized(data: bytes, height: int, width: int) -> bytes:
    """``data`` with other sides in its frame header."""
    frame = data.index(b"\xff\xc0")
    return data[: frame + 5] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + data[frame + 9 :]
