"""Draws an answer into its picture: a title band, a frame for each face, and what each face shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from adlens import contract, pictures
from adlens.answers import Face, JudgedFace, PictureAnswer
from adlens.pictures import ImageLike

MIN_SIDE: Final = 720
MAX_SIDE: Final = 2048
"""The longer side of the drawing, in pixels: it is a picture to look at, not to measure in."""

_OVERSAMPLING: Final = 2
"""Pillow draws shapes without smooth edges, so they are drawn larger and then reduced."""

_Colour = tuple[int, int, int, int]
_INK: Final[_Colour] = (17, 22, 31, 255)
_PANEL: Final[_Colour] = (17, 22, 31, 205)
_SHADOW: Final[_Colour] = (0, 0, 0, 110)
_WHITE: Final[_Colour] = (255, 255, 255, 255)
_MUTED: Final[_Colour] = (160, 170, 186, 255)
_TRACK: Final[_Colour] = (62, 71, 86, 255)
_DECIDING: Final[_Colour] = (255, 196, 61, 255)
_OTHER: Final[_Colour] = (84, 190, 255, 255)
_PASSIVE: Final[_Colour] = (170, 178, 190, 255)

_CROWD: Final = 4
"""With more faces than this, panels show positive labels only."""


class _Rectangle(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: _Rectangle) -> float:
        """Area in common, in square pixels."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)


@dataclass(frozen=True)
class _Sheet:
    """What is drawn on: an overlay ``_OVERSAMPLING`` times the drawing, its unit, and the scale to it."""

    draw: ImageDraw.ImageDraw
    width: int
    height: int
    unit: float
    """Size of the small letters; all other sizes follow from it."""
    scale: float
    """Overlay pixels per picture pixel."""

    def font(self, units: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        return ImageFont.load_default(max(8, units * self.unit))

    def frame(self, face: Face) -> _Rectangle:
        box = face.box
        return _Rectangle(*(side * self.scale for side in (box.x1, box.y1, box.x2, box.y2)))


def draw(
    image: ImageLike, answer: PictureAnswer, *, title: str | None = None, face: int | None = None
) -> Image.Image:
    """Draw ``answer`` into ``image``.

    Args:
        image: the picture that ``answer`` is about.
        answer: the boxes, what each face shows, and the title.
        title: instead of the answer's own, such as that of the user whose best picture it is.
        face: the face to stand out, likewise.

    Returns:
        RGB, upright, the longer side within ``MIN_SIDE`` to ``MAX_SIDE``, plus the band above it.

    Raises:
        BadImage: ``image`` cannot be read.
    """
    picture = pictures.open_upright(pictures.load(image))
    longer = max(picture.size)
    scale = min(max(longer, MIN_SIDE), MAX_SIDE) / longer
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    picture = picture.resize((size[0], size[1]), Image.Resampling.LANCZOS, reducing_gap=3)
    deciding = answer.face if face is None else face
    picture = _with_faces(picture, answer, deciding, scale)
    return _with_band(picture, title or answer.title, _evidence(answer, deciding), deciding is not None)


def _with_faces(
    picture: Image.Image, answer: PictureAnswer, deciding: int | None, scale: float
) -> Image.Image:
    width, height = (side * _OVERSAMPLING for side in picture.size)
    overlay = Image.new("RGBA", (width, height))
    unit = max(width, height) / 48
    sheet = _Sheet(ImageDraw.Draw(overlay), width, height, unit, scale * _OVERSAMPLING)
    taken = [sheet.frame(face) for face in answer.faces]
    # Drawn last, the deciding face lies on top of the others.
    order = sorted(range(len(answer.faces)), key=lambda index: index == deciding)
    for index in order:
        _draw_frame(sheet, answer.faces[index], _colour(answer.faces[index], index == deciding))
    for index in reversed(order):
        rows = _rows(answer.faces[index], crowd=len(answer.faces) > _CROWD)
        if rows:
            colour = _colour(answer.faces[index], index == deciding)
            taken.append(_draw_panel(sheet, answer.faces[index], rows, colour, taken))
    overlay = overlay.reduce(_OVERSAMPLING)
    return Image.alpha_composite(picture.convert("RGBA"), overlay).convert("RGB")


def _colour(face: JudgedFace, deciding: bool) -> _Colour:
    if deciding:
        return _DECIDING
    return _PASSIVE if face.too_small else _OTHER


def _draw_frame(sheet: _Sheet, face: JudgedFace, colour: _Colour) -> None:
    """Draw a rounded frame with a shadow, so that it stands out on bright and dark skin and walls."""
    frame = sheet.frame(face)
    thin = 0.5 if face.too_small else 1.0
    line = max(2, round(sheet.unit * 0.2 * thin))
    radius = min(sheet.unit * 0.7, max(frame.right - frame.left, 1) / 5)
    frame = _Rectangle(
        frame.left,
        frame.top,
        max(frame.right, frame.left + 2 * line),
        max(frame.bottom, frame.top + 2 * line),
    )
    sheet.draw.rounded_rectangle(
        (frame.left - line, frame.top - line, frame.right + line, frame.bottom + line),
        radius + line,
        outline=_SHADOW,
        width=3 * line,
    )
    sheet.draw.rounded_rectangle(frame, radius, outline=colour, width=line)


def _rows(face: JudgedFace, *, crowd: bool) -> list[tuple[str, float]]:
    """What a panel says: labels and probabilities, in the order of the answer."""
    if face.too_small:
        return []
    return [
        (label, score) for label, score in face.attributes.items() if score >= contract.POSITIVE or not crowd
    ]


def _draw_panel(
    sheet: _Sheet,
    face: Face,
    rows: Sequence[tuple[str, float]],
    colour: _Colour,
    taken: Sequence[_Rectangle],
) -> _Rectangle:
    """Draw a label, a bar and a percentage for each row, where the panel hides least."""
    font, pad, row = sheet.font(1), sheet.unit * 0.55, sheet.unit * 1.5
    names = max(font.getlength(label) for label, _ in rows)
    bar, number = sheet.unit * 3.2, font.getlength("100 %")
    size = (names + bar + number + 4 * pad, len(rows) * row + pad)
    panel = _place(sheet, sheet.frame(face), size, taken)
    sheet.draw.rounded_rectangle(panel, sheet.unit * 0.5, fill=_PANEL)
    for index, (label, score) in enumerate(rows):
        positive = score >= contract.POSITIVE
        middle = panel.top + pad / 2 + row * (index + 0.5)
        start = panel.left + pad
        sheet.draw.text((start, middle), label, _WHITE if positive else _MUTED, font, "lm")
        start += names + pad
        thick = sheet.unit * 0.2
        track = (start, middle - thick, start + bar, middle + thick)
        sheet.draw.rounded_rectangle(track, thick, fill=_TRACK)
        filled = (*track[:2], start + max(bar * score, 2 * thick), track[3])
        sheet.draw.rounded_rectangle(filled, thick, fill=colour if positive else _MUTED)
        percent = f"{score * 100:.0f} %"
        sheet.draw.text((panel.right - pad, middle), percent, _WHITE if positive else _MUTED, font, "rm")
    return panel


def _place(
    sheet: _Sheet, frame: _Rectangle, size: tuple[float, float], taken: Sequence[_Rectangle]
) -> _Rectangle:
    """Find the place beside ``frame`` that covers least of faces and other panels."""
    width, height = size
    gap = sheet.unit * 0.6
    middle = (frame.left + frame.right - width) / 2
    corners = (
        (middle, frame.bottom + gap),
        (frame.right + gap, frame.top),
        (frame.left - gap - width, frame.top),
        (middle, frame.top - gap - height),
        (frame.right + gap, frame.bottom - height),
        (frame.left - gap - width, frame.bottom - height),
    )
    places = []
    for left, top in corners:
        left = min(max(left, 0), max(sheet.width - width, 0))
        top = min(max(top, 0), max(sheet.height - height, 0))
        places.append(_Rectangle(left, top, left + width, top + height))
    return min(places, key=lambda place: sum(place.overlap(other) for other in taken))


def _evidence(answer: PictureAnswer, deciding: int | None) -> str:
    """The line under the title."""
    if not answer.faces:
        return "nothing to judge in this picture"
    count = f"{len(answer.faces)} face{'s' if len(answer.faces) > 1 else ''}"
    small = sum(face.too_small for face in answer.faces)
    if deciding is None:
        return f"{count}, {small} too small to be judged" if small else count
    shown = [
        f"{label} {score * 100:.0f} %"
        for label, score in answer.faces[deciding].attributes.items()
        if score >= contract.POSITIVE
    ]
    return " · ".join([*shown, f"face {deciding + 1} of {len(answer.faces)}"])


def _with_band(picture: Image.Image, title: str, evidence: str, recommended: bool) -> Image.Image:
    """Put a band with ``title`` and ``evidence`` above ``picture``."""
    width = max(picture.width, MIN_SIDE // 2)
    unit = min(max(picture.size) / 48, width / 28)
    pad = unit * 1.3
    title, font = _fitting(title, unit * 1.75, width - 3.2 * pad)
    small = ImageFont.load_default(max(9, unit))
    title_height, evidence_height = unit * 2.2, unit * 1.3
    band = round(pad * 1.5 + title_height + evidence_height)
    sheet = Image.new("RGB", (width, band + picture.height), _INK[:3])
    sheet.paste(picture, ((width - picture.width) // 2, band))
    pen = ImageDraw.Draw(sheet)
    accent = _DECIDING if recommended else _PASSIVE
    bar = (pad, pad * 0.8, pad + max(3, unit * 0.3), band - pad * 0.8)
    pen.rounded_rectangle(bar, unit * 0.15, fill=accent)
    start = pad * 2
    pen.text((start, pad * 0.75 + title_height / 2), title, _WHITE, font, "lm")
    pen.text((start, pad * 0.75 + title_height + evidence_height / 2), evidence, _MUTED, small, "lm")
    return sheet


def _fitting(
    text: str, size: float, width: float
) -> tuple[str, ImageFont.FreeTypeFont | ImageFont.ImageFont]:
    """Make ``text`` fit into ``width``: with smaller letters, and where they would be tiny, cut short."""
    font = ImageFont.load_default(size)
    if font.getlength(text) > width:
        font = ImageFont.load_default(max(size / 2, 0.96 * size * width / font.getlength(text)))
    whole = text
    while text and font.getlength(text) > width:
        whole = whole[:-1]
        text = f"{whole.rstrip()}\N{HORIZONTAL ELLIPSIS}" if whole else ""
    return text, font
