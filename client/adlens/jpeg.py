"""The JPEG gate: is this file whole, of a kind that the decoder reads, and within the limits?

Walks the marker segments of a JPEG stream (ITU-T Recommendation T.81, annex B) without decoding it.
The client asks before it sends, and the server before it decodes, as a single bad file makes DALI
fail the whole batch. What lies between the markers (entropy-coded data) is not looked at: damage
in there costs pixels, not the picture.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from adlens import contract
from adlens.errors import BadImage, TooLarge

# Marker codes, T.81 table B.1: the second byte, after 0xFF.
_SOF0: Final = 0xC0
_SOF2: Final = 0xC2
_SOF15: Final = 0xCF
_DHT, _JPG, _DAC = 0xC4, 0xC8, 0xCC  # within SOF0..SOF15, but no frame headers
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_APP1: Final = 0xE1

_MARKER: Final = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")
"""The next marker that opens a segment, or is SOI or EOI.

Skips, within entropy-coded data, 0xFF stuffed with 0x00 and restart markers (T.81 B.1.1.5); fill
bytes (B.1.1.2); TEM, which stands alone (B.1.1.3); and, as libjpeg does, stray bytes between segments.
"""

_MAX_SEGMENTS: Final = 4096
"""Bounds the time that a hostile file takes: 64 scans with tables of their own need a tenth of it."""

_EXIF: Final = b"Exif\x00\x00"
_RESAVE: Final = "save it again as a baseline or progressive JPEG"


@dataclass(frozen=True)
class JpegHeader:
    """What the marker segments say.

    ``height`` and ``width`` are those of the frame, in pixels, before any EXIF rotation. ``exif`` is
    the payload of the first EXIF segment, beginning with its TIFF header, or empty.
    """

    height: int
    width: int
    components: int
    progressive: bool
    scans: int
    exif: bytes = b""


class _Frame(NamedTuple):
    height: int
    width: int
    components: int
    progressive: bool


def inspect(data: bytes) -> JpegHeader:
    """Check a JPEG file from its marker segments, without decoding it.

    Bytes after the end-of-image marker are fine; cameras and editors leave them there.

    Args:
        data: a whole JPEG file.

    Returns:
        The header of a picture that is within the limits of ``adlens.contract``.

    Raises:
        BadImage: not a JPEG, truncated, or of a kind that is not read (lossless, arithmetic,
            hierarchical, 12 bit, two components).
        TooLarge: more than ``MAX_IMAGE_BYTES``, ``MAX_PIXELS`` or ``MAX_SCANS``.
    """
    if not data:
        raise BadImage("empty: 0 bytes; give a picture file")
    if data[:2] != b"\xff\xd8":
        raise BadImage(f"not a JPEG: begins with {data[:4].hex(' ')}, not with ff d8")
    if len(data) > contract.MAX_IMAGE_BYTES:
        limit = contract.MAX_IMAGE_BYTES
        raise TooLarge(f"{len(data)} bytes, and at most {limit} are taken; save it smaller")
    frame: _Frame | None = None
    scans = 0
    exif = b""
    position = 2
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None:
            raise _truncated(data, "no end-of-image marker" if scans else "no picture data")
        marker, position = found[1][0], found.end()
        if marker == _EOI:
            break
        if marker == _SOI:
            raise BadImage(f"broken: a second start-of-image marker at byte {found.start()}; {_RESAVE}")
        segment = _segment(data, position)
        position += 2 + len(segment)
        if marker == _SOS:
            scans += 1
            if frame is None:
                raise BadImage(f"broken: picture data before any frame header; {_RESAVE}")
            if scans > contract.MAX_SCANS:
                limit = contract.MAX_SCANS
                raise TooLarge(f"more than {limit} scans, which is the limit; {_RESAVE}")
        elif _SOF0 <= marker <= _SOF15 and marker not in (_DHT, _JPG, _DAC):
            if frame is not None:
                raise BadImage(f"broken: a second frame header at byte {found.start()}; {_RESAVE}")
            frame = _read_frame(marker, segment)
        elif marker == _APP1 and not exif and segment.startswith(_EXIF):
            exif = segment[len(_EXIF) :]
    else:
        raise TooLarge(f"more than {_MAX_SEGMENTS} marker segments, which is the limit; {_RESAVE}")
    if frame is None or not scans:
        raise BadImage(f"broken: ends at byte {position} before any picture data; {_RESAVE}")
    return JpegHeader(*frame, scans, exif)


def _segment(data: bytes, position: int) -> bytes:
    """Parameters of the segment whose two length bytes lie at ``position`` (T.81 B.1.1.4)."""
    length = int.from_bytes(data[position : position + 2], "big")
    if position + max(length, 2) > len(data):
        raise _truncated(data, f"a segment at byte {position} reaches beyond the end")
    if length < 2:
        raise BadImage(f"broken: a segment of length {length} at byte {position}; {_RESAVE}")
    return data[position + 2 : position + length]


def _read_frame(marker: int, segment: bytes) -> _Frame:
    """Read a frame header (T.81 B.2.2): precision, height, width, number of components."""
    if marker > _SOF2:
        kind = "lossless" if marker & 3 == 3 else "arithmetic-coded or hierarchical"
        raise BadImage(f"a {kind} JPEG (SOF{marker - _SOF0}), which decoders do not read; {_RESAVE}")
    if len(segment) < 6:
        raise BadImage(f"broken: a frame header of {len(segment)} bytes; {_RESAVE}")
    precision, components = segment[0], segment[5]
    height, width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
    if precision != 8:
        raise BadImage(f"{precision} bits a sample, and only 8 are read; {_RESAVE} of 8 bits")
    if components not in (1, 3, 4):
        raise BadImage(f"{components} components, and only 1, 3 or 4 are read; {_RESAVE}")
    if not height or not width:
        raise BadImage(f"a picture of {width} x {height} pixels; {_RESAVE}")
    if height * width > contract.MAX_PIXELS:
        raise TooLarge(too_many_pixels(height, width))
    return _Frame(height, width, components, marker == _SOF2)


def too_many_pixels(height: int, width: int) -> str:
    """The message for a picture of ``height`` x ``width`` pixels that is over ``MAX_PIXELS``."""
    return (
        f"{width} x {height} = {height * width} pixels, and at most {contract.MAX_PIXELS} are taken; "
        "make it smaller"
    )


def _truncated(data: bytes, what: str) -> BadImage:
    return BadImage(f"truncated: {what} in {len(data)} bytes; copy or download it again")
