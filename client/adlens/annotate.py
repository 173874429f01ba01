"""Draws an answer into its picture: a title band, a frame for each face, and what each face shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from PIL import Image

from adlens import contract, pictures
from adlens.answers import Face, JudgedFace, PictureAnswer
from adlens.pictures import ImageLike
from adlens.sheets import (
    DECIDING,
    MAX_SIDE,
    MIN_SIDE,
    MUTED,
    OTHER,
    PANEL,
    PASSIVE,
    TRACK,
    WHITE,
    Colour,
    Rectangle,
    Sheet,
    with_band,
)

_CROWD: Final = 4
"""With more faces than this, panels show positive labels only."""


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
    return with_band(picture, title or answer.title, _evidence(answer, deciding), deciding is not None)


def _with_faces(
    picture: Image.Image, answer: PictureAnswer, deciding: int | None, scale: float
) -> Image.Image:
    sheet = Sheet(picture, scale)
    taken = [sheet.around(face.box) for face in answer.faces]
    # Drawn last, the deciding face lies on top of the others.
    order = sorted(range(len(answer.faces)), key=lambda index: index == deciding)
    for index in order:
        face = answer.faces[index]
        sheet.frame(face.box, _colour(face, index == deciding), thickness=0.5 if face.too_small else 1)
    for index in reversed(order):
        rows = _rows(answer.faces[index], crowd=len(answer.faces) > _CROWD)
        if rows:
            colour = _colour(answer.faces[index], index == deciding)
            taken.append(_draw_panel(sheet, answer.faces[index], rows, colour, taken))
    return sheet.drawn()


def _colour(face: JudgedFace, deciding: bool) -> Colour:
    if deciding:
        return DECIDING
    return PASSIVE if face.too_small else OTHER


def _rows(face: JudgedFace, *, crowd: bool) -> list[tuple[str, float]]:
    """What a panel says: labels and probabilities, in the order of the answer."""
    if face.too_small:
        return []
    return [
        (label, score) for label, score in face.attributes.items() if score >= contract.POSITIVE or not crowd
    ]


def _draw_panel(
    sheet: Sheet,
    face: Face,
    rows: Sequence[tuple[str, float]],
    colour: Colour,
    taken: Sequence[Rectangle],
) -> Rectangle:
    """Draw a label, a bar and a percentage for each row, where the panel hides least."""
    font, pad, row = sheet.font(1), sheet.unit * 0.55, sheet.unit * 1.5
    names = max(font.getlength(label) for label, _ in rows)
    bar, number = sheet.unit * 3.2, font.getlength("100 %")
    size = (names + bar + number + 4 * pad, len(rows) * row + pad)
    panel = _place(sheet, sheet.around(face.box), size, taken)
    sheet.draw.rounded_rectangle(panel, sheet.unit * 0.5, fill=PANEL)
    for index, (label, score) in enumerate(rows):
        positive = score >= contract.POSITIVE
        middle = panel.top + pad / 2 + row * (index + 0.5)
        start = panel.left + pad
        sheet.draw.text((start, middle), label, WHITE if positive else MUTED, font, "lm")
        start += names + pad
        thick = sheet.unit * 0.2
        track = (start, middle - thick, start + bar, middle + thick)
        sheet.draw.rounded_rectangle(track, thick, fill=TRACK)
        filled = (*track[:2], start + max(bar * score, 2 * thick), track[3])
        sheet.draw.rounded_rectangle(filled, thick, fill=colour if positive else MUTED)
        percent = f"{score * 100:.0f} %"
        sheet.draw.text((panel.right - pad, middle), percent, WHITE if positive else MUTED, font, "rm")
    return panel


def _place(
    sheet: Sheet, frame: Rectangle, size: tuple[float, float], taken: Sequence[Rectangle]
) -> Rectangle:
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
        places.append(Rectangle(left, top, left + width, top + height))
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
