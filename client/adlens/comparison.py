"""Draws the ad for a picture: the user's photo, its main face framed, beside the campaign photo found."""

from __future__ import annotations

from typing import Final

from PIL import Image, ImageOps

from adlens import pictures
from adlens.ads import AdAnswer, AdOutcome
from adlens.pictures import ImageLike
from adlens.sheets import DECIDING, INK, MIN_SIDE, OTHER, PASSIVE, Sheet, with_band

_PANEL: Final = (MIN_SIDE * 3 // 2, MIN_SIDE)
"""Widest and highest that each photo is drawn, in pixels."""
_GAP: Final = MIN_SIDE // 60


def draw(photo: ImageLike, answer: AdAnswer, campaign: ImageLike | None) -> Image.Image:
    """Draw the ad.

    Args:
        photo: the picture that ``answer`` is about.
        answer: the faces, the photo found, and the offer.
        campaign: the photo that was found, similar enough or not; None where there is none.

    Returns:
        RGB, upright; the photos side by side below a band with similarity, threshold, offer and uplift.

    Raises:
        BadImage: one of the photos cannot be read.
    """
    photos = [_framed(photo, answer)]
    if campaign is not None:
        photos.append(_fitted(pictures.open_upright(pictures.load(campaign))))
    width = sum(each.width for each in photos) + _GAP * (len(photos) - 1)
    both = Image.new("RGB", (width, max(each.height for each in photos)), INK[:3])
    left = 0
    for each in photos:
        both.paste(each, (left, (both.height - each.height) // 2))
        left += each.width + _GAP
    words = " · ".join(filter(None, (answer.evidence, answer.offer.title if answer.offer else "")))
    return with_band(both, answer.title, words, answer.outcome is AdOutcome.MATCHED)


def _framed(photo: ImageLike, answer: AdAnswer) -> Image.Image:
    """The user's photo, with all faces framed and the main one on top of the others."""
    picture = _fitted(pictures.open_upright(pictures.load(photo)))
    sheet = Sheet(picture, picture.height / answer.height)
    matched = DECIDING if answer.outcome is AdOutcome.MATCHED else OTHER
    for index in sorted(range(len(answer.faces)), key=lambda index: index == answer.face):
        main = index == answer.face
        sheet.frame(answer.faces[index].box, matched if main else PASSIVE, thickness=1 if main else 0.5)
    return sheet.drawn()


def _fitted(picture: Image.Image) -> Image.Image:
    return ImageOps.contain(picture, _PANEL, Image.Resampling.LANCZOS)
