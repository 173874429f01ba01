"""The JPEG gate: is this file whole, of a kind that the decoder reads, and within the limits?

Walks the marker segments of a JPEG stream (ITU-T Recommendation T.81, annex B) without decoding it.
The client asks before it sends, and the server before it decodes, as a single bad file makes DALI
fail the whole batch. So whatever makes libjpeg, or the parser of DALI before it, give up is refused
here, with a reason. What lies between the markers (entropy-coded data) is not looked at: damage in
there costs pixels, not the picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from adlens import contract
from adlens.errors import BadImage, TooLarge

# Marker codes, T.81 table B.1: the second byte, after 0xFF.
_SOF0, _SOF2, _SOF15 = 0xC0, 0xC2, 0xCF
_DHT, _JPG, _DAC = 0xC4, 0xC8, 0xCC  # within SOF0..SOF15, but no frame headers
_RST0, _SOI, _EOI, _SOS, _DQT, _DRI = 0xD0, 0xD8, 0xD9, 0xDA, 0xDB, 0xDD
_APP0, _APP1, _APP15, _COM = 0xE0, 0xE1, 0xEF, 0xFE

_MARKER: Final = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")
"""The next marker that opens a segment, or is SOI or EOI.

Skips, within entropy-coded data, 0xFF stuffed with 0x00 and restart markers (T.81 B.1.1.5); fill
bytes (B.1.1.2); TEM, which stands alone (B.1.1.3); and, as libjpeg does, stray bytes between segments.
"""
_FILL: Final = re.compile(rb"\xff*")

_WINDOW: Final = 96 * 1024
"""Bytes searched at a time; small enough for a core's cache, and not to be mapped anew each time."""

_MAX_SEGMENTS: Final = 1024
"""Bounds the time that a hostile file takes: 64 scans with tables of their own need a third of it."""

_MAX_MCU_BLOCKS: Final = 10
"""Blocks of an interleaved scan's MCU (T.81 B.2.3)."""
_MAX_DC_CATEGORY: Final = 15
"""Largest symbol of a Huffman table for DC differences, as libjpeg checks it."""

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


class _Component(NamedTuple):
    horizontal: int  # sampling factors
    vertical: int
    quantisation: int  # which table


class _Frame(NamedTuple):
    height: int
    width: int
    components: dict[int, _Component]
    progressive: bool


def inspect(data: bytes | memoryview) -> JpegHeader:
    """Check a JPEG file from its marker segments, without decoding it.

    Bytes after the end-of-image marker are fine; cameras and editors leave them there. Takes some
    0.05 ms, and 0.2 ms a megabyte.

    Args:
        data: a whole JPEG file.

    Returns:
        The header of a picture that is within the limits of ``adlens.contract``.

    Raises:
        BadImage: not a JPEG, truncated, of a kind that is not read (lossless, arithmetic,
            hierarchical, 12 bit, two components), or with headers and tables that do not fit together.
        TooLarge: more than ``MAX_IMAGE_BYTES``, ``MAX_PIXELS``, ``MAX_SIDE``, ``MAX_SCANS`` or
            ``MAX_METADATA_BYTES``.
    """
    if not data:
        raise BadImage("empty: 0 bytes; give a picture file")
    if data[:2] != b"\xff\xd8":
        raise BadImage(f"not a JPEG: begins with {data[:4].hex(' ')}, not with ff d8")
    if len(data) > contract.MAX_IMAGE_BYTES:
        raise _too_much(f"{len(data)} bytes", contract.MAX_IMAGE_BYTES)
    frame: _Frame | None = None
    tables: set[tuple[int, int]] = set()
    scans = metadata = 0
    exif = b""
    for marker, start, segment in _segments(memoryview(data)):
        if marker == _SOS:
            scans += 1
            if frame is None:
                raise _broken("picture data before any frame header")
            if scans > contract.MAX_SCANS:
                raise _too_much(f"{scans} scans or more", contract.MAX_SCANS)
            _check_scan(segment, frame, tables)
        elif marker == _DHT:
            tables |= _huffman_tables(segment)
        elif marker == _DQT:
            tables |= _quantisation_tables(segment)
        elif marker == _DRI:
            if len(segment) != 2:
                raise _broken(f"a restart interval of {len(segment)} bytes")
        elif _APP0 <= marker <= _APP15 or marker == _COM:
            metadata += len(segment)
            if metadata > contract.MAX_METADATA_BYTES:
                raise _too_much(f"{metadata} bytes of metadata or more", contract.MAX_METADATA_BYTES)
            if marker == _APP1 and not exif and segment[: len(_EXIF)].tobytes() == _EXIF:
                exif = bytes(segment[len(_EXIF) :])
        elif _SOF0 <= marker <= _SOF15 and marker not in (_JPG, _DAC):
            if frame is not None:
                raise _broken(f"a second frame header at byte {start}")
            frame = _read_frame(marker, segment)
        else:
            # Reserved; or of arithmetic or hierarchical coding; or DNL, by which two decoders could
            # see two heights.
            raise _broken(f"an unknown marker ff {marker:02x} at byte {start}")
    if frame is None or not scans:
        raise _broken("ends before any picture data")
    return JpegHeader(frame.height, frame.width, len(frame.components), frame.progressive, scans, exif)


def inspect_all(pictures: npt.NDArray[np.uint8]) -> None:
    """Check the JPEG files of one request, uint8 ``[pictures, bytes]``.

    Raises:
        BadImage, TooLarge: see ``inspect``; the message says which one of several it is.
    """
    for number, picture in enumerate(pictures, 1):
        try:
            inspect(np.ascontiguousarray(picture).data)
        except BadImage as error:
            if len(pictures) == 1:
                raise
            raise type(error)(f"picture {number} of {len(pictures)}: {error}") from error


def _segments(data: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Marker code, offset and parameters of each marker segment (T.81 B.1.1.4), up to EOI.

    Raises:
        BadImage: no EOI, a second SOI, stray bytes before the first scan, or a segment that is too
            short or reaches beyond the end.
        TooLarge: more than ``_MAX_SEGMENTS``.
    """
    markers = _Markers(data)
    position, in_scan = 2, False
    for _ in range(_MAX_SEGMENTS):
        start = markers.next(position)
        if start is None:
            raise _truncated(data, "no end-of-image marker")
        if start != position and not in_scan and _fill_end(data, position) <= start:
            raise _broken(f"{start - position} stray bytes at byte {position}")
        marker, position = data[start + 1], start + 2
        if marker == _EOI:
            return
        if marker == _SOI:
            raise _broken(f"a second start-of-image marker at byte {start}")
        length = int.from_bytes(data[position : position + 2], "big")
        if position + max(length, 2) > len(data):
            raise _truncated(data, f"a segment at byte {start} reaches beyond the end")
        if length < 2:
            raise _broken(f"a segment of length {length} at byte {start}")
        yield marker, start, data[position + 2 : position + length]
        position += length
        in_scan = in_scan or marker == _SOS
    raise _too_much(f"{_MAX_SEGMENTS} marker segments or more", _MAX_SEGMENTS)


def _fill_end(data: memoryview, position: int) -> int:
    """Where the run of 0xFF at ``position`` ends."""
    run = _FILL.match(data, position)
    return run.end() if run else position


class _Markers:
    """Finds the markers of a file one after the other.

    The regular expression takes 0.1 us for each 0xFF that it passes, of which entropy-coded data has
    thousands; so that is searched with numpy, a window at a time.
    """

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._values = np.frombuffer(data, np.uint8)
        self._end = 0
        self._found: npt.NDArray[np.intp] = np.empty(0, np.intp)

    def next(self, position: int) -> int | None:
        """Where the next ``_MARKER`` from ``position`` on begins, None where there is none."""
        if found := _MARKER.match(self._data, position):
            return found.start()
        while position < len(self._data) - 1:
            if position >= self._end:
                self._search(position)
            index = int(self._found.searchsorted(position))
            if index < len(self._found):
                return int(self._found[index])
            position = self._end
        return None

    def _search(self, begin: int) -> None:
        """Find all that begin in the window at ``begin``."""
        second = self._values[begin + 1 : begin + 1 + _WINDOW]
        self._end = begin + len(second)
        candidates = self._values[begin : self._end] == 0xFF
        candidates &= second != 0x00
        if candidates.any():
            candidates &= (second & 0xF8) != _RST0
            candidates &= second + 1 > 2  # neither 0xFF, which wraps to 0, nor 0x01
        self._found = np.flatnonzero(candidates) + begin


def _read_frame(marker: int, segment: memoryview) -> _Frame:
    """Read a frame header (T.81 B.2.2)."""
    if marker > _SOF2:
        kind = "lossless" if marker & 3 == 3 else "arithmetic-coded or hierarchical"
        raise BadImage(f"a {kind} JPEG (SOF{marker - _SOF0}), which decoders do not read; {_RESAVE}")
    if len(segment) < 6:
        raise _broken(f"a frame header of {len(segment)} bytes")
    precision, count = segment[0], segment[5]
    height, width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
    if precision != 8:
        raise BadImage(f"{precision} bits a sample, and only 8 are read; {_RESAVE} of 8 bits")
    if count not in (1, 3, 4):
        raise BadImage(f"{count} components, and only 1, 3 or 4 are read; {_RESAVE}")
    if not height or not width:
        raise BadImage(f"a picture of {width} x {height} pixels; {_RESAVE}")
    if height * width > contract.MAX_PIXELS:
        raise TooLarge(too_many_pixels(height, width))
    if max(height, width) > contract.MAX_SIDE:
        raise _too_much(f"a side of {max(height, width)} pixels", contract.MAX_SIDE)
    if len(segment) != 6 + 3 * count:
        raise _broken(f"a frame header of {len(segment)} bytes for {count} components")
    components = {}
    for name, sampling, table in zip(segment[6::3], segment[7::3], segment[8::3], strict=True):
        horizontal, vertical = sampling >> 4, sampling & 15
        if not 1 <= horizontal <= 4 or not 1 <= vertical <= 4:
            raise _broken(f"sampling factors {horizontal} x {vertical}")
        components[name] = _Component(horizontal, vertical, table)
    if len(components) != count:
        raise _broken("two components of one name")
    most = [max(factors) for factors in zip(*components.values(), strict=True)]
    if any(most[0] % each.horizontal or most[1] % each.vertical for each in components.values()):
        raise _broken("sampling factors that do not divide the largest")
    return _Frame(height, width, components, marker == _SOF2)


def _quantisation_tables(segment: memoryview) -> set[tuple[int, int]]:
    """Which tables a DQT segment (T.81 B.2.4.1) defines, as pairs of _DQT and number."""
    defined = set()
    position = 0
    while position < len(segment):
        precision, number = segment[position] >> 4, segment[position] & 15
        position += 1 + 64 * (precision + 1)
        if precision > 1 or number > 3 or position > len(segment):
            raise _broken(f"a quantisation table {number} of precision {precision}")
        defined.add((_DQT, number))
    return defined


def _huffman_tables(segment: memoryview) -> set[tuple[int, int]]:
    """Which tables a DHT segment (T.81 B.2.4.2) defines, as pairs of class, 0 DC or 1 AC, and number."""
    defined = set()
    position = 0
    while position < len(segment):
        kind, number = segment[position] >> 4, segment[position] & 15
        lengths = segment[position + 1 : position + 17]
        symbols = segment[position + 17 : position + 17 + sum(lengths)]
        position += 17 + sum(lengths)
        free = 1 << 16  # codes of 16 bits that no shorter code begins
        for bits, count in enumerate(lengths, 1):
            free -= count << (16 - bits)
        if (
            kind > 1 or number > 3 or position > len(segment) or len(symbols) > 256 or free < 0
            or (kind == 0 and max(symbols, default=0) > _MAX_DC_CATEGORY)
        ):  # fmt: skip
            raise _broken(f"a Huffman table {number} of class {kind} that is none")
        defined.add((kind, number))
    return defined


def _check_scan(segment: memoryview, frame: _Frame, tables: set[tuple[int, int]]) -> None:
    """Hold a scan header (T.81 B.2.3) against its frame and the tables defined before it."""
    count = segment[0] if segment else 0
    if not 1 <= count <= len(frame.components) or len(segment) != 4 + 2 * count:
        raise _broken(f"a scan header of {len(segment)} bytes for {count} components")
    names, huffman = segment[1 : 1 + 2 * count : 2], segment[2 : 2 + 2 * count : 2]
    first, last, approximation = segment[-3:]
    if len(set(names)) != count or not set(names) <= frame.components.keys():
        raise _broken("a scan of components that the frame has not")
    scanned = [frame.components[name] for name in names]
    blocks = sum(each.horizontal * each.vertical for each in scanned)
    if count > 1 and blocks > _MAX_MCU_BLOCKS:
        raise _broken(f"{blocks} blocks interleaved, where {_MAX_MCU_BLOCKS} are the most")
    high, low = approximation >> 4, approximation & 15
    in_order = first == last == 0 or (1 <= first <= last <= 63 and count == 1)
    if frame.progressive and not (in_order and low <= 13 and high in (0, low + 1)):
        raise _broken(f"progression parameters {first}, {last}, {high}, {low}")
    needed = {(_DQT, each.quantisation) for each in scanned}
    if not frame.progressive or (first == 0 and high == 0):
        needed |= {(0, selector >> 4) for selector in huffman}
    if not frame.progressive or first > 0:
        needed |= {(1, selector & 15) for selector in huffman}
    if not needed <= tables:
        raise _broken("a table that a scan needs is not defined before it")


def too_many_pixels(height: int, width: int) -> str:
    """The message for a picture of ``height`` x ``width`` pixels that is over ``MAX_PIXELS``."""
    return (
        f"{width} x {height} = {height * width} pixels, and at most {contract.MAX_PIXELS} are taken; "
        "make it smaller"
    )


def _too_much(what: str, limit: int) -> TooLarge:
    return TooLarge(f"{what}, and at most {limit} are taken; save it again, smaller and without metadata")


def _broken(what: str) -> BadImage:
    return BadImage(f"broken: {what}; {_RESAVE}")


def _truncated(data: memoryview, what: str) -> BadImage:
    return BadImage(f"truncated: {what} in {len(data)} bytes; copy or download it again")
