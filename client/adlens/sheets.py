"""What drawings of every job share: a sheet over the picture with frames, and a band with words above."""

from __future__ import annotations

from typing import Final, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from adlens.answers import Box

MIN_SIDE: Final = 720
MAX_SIDE: Final = 2048
"""The longer side of the drawing, in pixels: it is a picture to look at, not to measure in."""

_OVERSAMPLING: Final = 2
"""Pillow draws shapes without smooth edges, so they are drawn larger and then reduced."""

Colour = tuple[int, int, int, int]
INK: Final[Colour] = (17, 22, 31, 255)
PANEL: Final[Colour] = (17, 22, 31, 205)
_SHADOW: Final[Colour] = (0, 0, 0, 110)
WHITE: Final[Colour] = (255, 255, 255, 255)
MUTED: Final[Colour] = (160, 170, 186, 255)
TRACK: Final[Colour] = (62, 71, 86, 255)
DECIDING: Final[Colour] = (255, 196, 61, 255)
OTHER: Final[Colour] = (84, 190, 255, 255)
PASSIVE: Final[Colour] = (170, 178, 190, 255)


class Rectangle(NamedTuple):
    """A part of a sheet."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Rectangle) -> float:
        """Area in common, in square pixels."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)


class Sheet:
    """Lies over ``picture``; shapes and words are drawn on it, in its own, finer pixels.

    ``unit`` is the size of the small letters, from which all other sizes follow.
    """

    def __init__(self, picture: Image.Image, scale: float) -> None:
        """Lay a sheet over ``picture``, which was drawn at ``scale`` times the size that boxes refer to."""
        self._picture = picture
        self._scale = scale * _OVERSAMPLING
        self.width, self.height = (side * _OVERSAMPLING for side in picture.size)
        self.unit = max(self.width, self.height) / 48
        self._overlay = Image.new("RGBA", (self.width, self.height))
        self.draw = ImageDraw.Draw(self._overlay)

    def drawn(self) -> Image.Image:
        """The picture with what was drawn, RGB."""
        overlay = self._overlay.reduce(_OVERSAMPLING)
        return Image.alpha_composite(self._picture.convert("RGBA"), overlay).convert("RGB")

    def font(self, units: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        """Letters of that size."""
        return ImageFont.load_default(max(8, units * self.unit))

    def around(self, box: Box) -> Rectangle:
        """``box`` on the sheet."""
        return Rectangle(*(side * self._scale for side in box))

    def frame(self, box: Box, colour: Colour, thickness: float = 1.0) -> None:
        """Draw a rounded frame with a shadow, so that it stands out on bright and dark skin and walls."""
        frame = self.around(box)
        line = max(2, round(self.unit * 0.2 * thickness))
        radius = min(self.unit * 0.7, max(frame.right - frame.left, 1) / 5)
        frame = Rectangle(
            frame.left,
            frame.top,
            max(frame.right, frame.left + 2 * line),
            max(frame.bottom, frame.top + 2 * line),
        )
        self.draw.rounded_rectangle(
            (frame.left - line, frame.top - line, frame.right + line, frame.bottom + line),
            radius + line,
            outline=_SHADOW,
            width=3 * line,
        )
        self.draw.rounded_rectangle(frame, radius, outline=colour, width=line)


def with_band(picture: Image.Image, title: str, evidence: str, recommended: bool) -> Image.Image:
    """Put a band with ``title`` and ``evidence`` above ``picture``."""
    width = max(picture.width, MIN_SIDE // 2)
    unit = min(max(picture.size) / 48, width / 28)
    pad = unit * 1.3
    title, font = fitting(title, unit * 1.75, width - 3.2 * pad)
    evidence, small = fitting(evidence, max(9, unit), width - 3.2 * pad)
    title_height, evidence_height = unit * 2.2, unit * 1.3
    band = round(pad * 1.5 + title_height + evidence_height)
    sheet = Image.new("RGB", (width, band + picture.height), INK[:3])
    sheet.paste(picture, ((width - picture.width) // 2, band))
    pen = ImageDraw.Draw(sheet)
    accent = DECIDING if recommended else PASSIVE
    bar = (pad, pad * 0.8, pad + max(3, unit * 0.3), band - pad * 0.8)
    pen.rounded_rectangle(bar, unit * 0.15, fill=accent)
    start = pad * 2
    pen.text((start, pad * 0.75 + title_height / 2), title, WHITE, font, "lm")
    pen.text((start, pad * 0.75 + title_height + evidence_height / 2), evidence, MUTED, small, "lm")
    return sheet


def fitting(text: str, size: float, width: float) -> tuple[str, ImageFont.FreeTypeFont | ImageFont.ImageFont]:
    """Make ``text`` fit into ``width``: with smaller letters, and where they would be tiny, cut short."""
    font = ImageFont.load_default(size)
    if font.getlength(text) > width:
        font = ImageFont.load_default(max(size / 2, 0.96 * size * width / font.getlength(text)))
    whole = text
    while text and font.getlength(text) > width:
        whole = whole[:-1]
        text = f"{whole.rstrip()}\N{HORIZONTAL ELLIPSIS}" if whole else ""
    return text, font
