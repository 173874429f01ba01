"""The annotated picture: a band with the title, frames where the faces are, a size to look at."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adlens import annotate, sheets
from adlens.answers import Box, JudgedFace, Outcome, PictureAnswer

GREY = (90, 90, 90)


def face(x1: float, y1: float, x2: float, y2: float, hat: float = 0.9, too_small: bool = False) -> JudgedFace:
    return JudgedFace(Box(x1, y1, x2, y2), 0.99, ((x1, y1),) * 5, {"hat": hat, "beard": 0.1}, {}, too_small)


def answer(image: Image.Image, *faces: JudgedFace, deciding: int | None = 0) -> PictureAnswer:
    found = Outcome.RECOMMENDED if faces else Outcome.NO_FACE
    title = "We recommend hat products to this user!" if faces else found.wording
    return PictureAnswer(
        "x", found, "hat", "hat", 0.9, deciding, title, image.height, image.width, tuple(faces)
    )


def yellow(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Where the colour of the deciding face is."""
    return (np.abs(pixels.astype(int) - sheets.DECIDING[:3]) < 30).all(-1)


def test_the_deciding_face_is_framed_where_it_is() -> None:
    image = Image.new("RGB", (1000, 800), GREY)
    drawn = annotate.draw(image, answer(image, face(600, 100, 800, 350), face(100, 100, 300, 350)))
    band = drawn.height - 800
    rows, columns = np.nonzero(yellow(np.asarray(drawn)[band:]))
    assert rows.min() == pytest.approx(100, abs=4)
    assert columns.min() == pytest.approx(600, abs=4)
    assert columns.max() == pytest.approx(800, abs=4)
    assert (np.asarray(drawn)[:band] == sheets.INK[:3]).all(-1).mean() > 0.5


def test_frames_follow_the_upright_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.new("RGB", (1000, 800), GREY).save(file, "JPEG", exif=exif)
    upright = Image.new("RGB", (800, 1000))
    drawn = annotate.draw(file.getvalue(), answer(upright, face(100, 700, 300, 900, 0.1)))
    assert drawn.width == 800
    rows, columns = np.nonzero(yellow(np.asarray(drawn)[drawn.height - 1000 :]))
    assert (rows.min(), rows.max()) == pytest.approx((700, 900), abs=4)
    assert columns.min() == pytest.approx(100, abs=4)


@pytest.mark.parametrize("size", [(8, 8), (640, 480), (4000, 3000), (1, 4000), (4000, 2), (100, 900)])
def test_drawings_have_a_size_to_look_at(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, GREY)
    drawn = annotate.draw(image, answer(image, face(0, 0, *size)))
    assert max(drawn.size) >= annotate.MIN_SIDE
    assert drawn.width <= annotate.MAX_SIDE
    assert drawn.height <= annotate.MAX_SIDE * 1.3


def test_a_user_title_replaces_the_pictures_and_another_face_can_stand_out() -> None:
    image = Image.new("RGB", (1000, 800), GREY)
    found = answer(image, face(600, 100, 800, 350), face(100, 100, 300, 350))
    drawn = annotate.draw(image, found, title="For this user: beard-care", face=1)
    columns = np.nonzero(yellow(np.asarray(drawn)[drawn.height - 800 :]))[1]
    assert columns.min() == pytest.approx(100, abs=4)
    assert drawn.tobytes() != annotate.draw(image, replace(found, face=1)).tobytes()


def test_a_crowd_and_a_picture_of_nobody_are_drawn() -> None:
    image = Image.new("RGB", (1000, 800), GREY)
    crowd = [face(60 * n, 100, 60 * n + 50, 170, 0.9 if n % 2 else 0.1, n > 13) for n in range(16)]
    assert annotate.draw(image, answer(image, *crowd)).width == 1000
    nobody = annotate.draw(image, answer(image, deciding=None))
    assert not yellow(np.asarray(nobody)).any()


def test_a_very_long_title_fits() -> None:
    image = Image.new("RGB", (300, 400), GREY)
    found = replace(
        answer(image, face(50, 50, 100, 100)), title="We recommend " + "very " * 40 + "long things"
    )
    drawn = annotate.draw(image, found)
    band = np.asarray(drawn)[: drawn.height - 720 - 1]
    assert band.max() > 200
    assert band[:, -6:].max() < 50


@pytest.mark.parametrize("width", [330, 420, 500, 900])
def test_an_ordinary_title_is_made_smaller_rather_than_cut(width: int) -> None:
    title = "We recommend beard-care products to this user!"
    text, font = sheets.fitting(title, 26, width)
    assert text == title
    assert font.getlength(text) <= width
