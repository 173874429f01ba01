"""The ad as a picture: both photos side by side, the main face framed, and words above."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adlens import comparison, sheets
from adlens.ads import AdAnswer, AdOutcome, MatchedFace
from adlens.answers import Box, Match
from adlens.errors import BadImage

MATCH = Match("anna", 0.95)
MAIN, OTHER = Box(140, 60, 200, 140), Box(20, 20, 60, 70)


def face(box: Box) -> MatchedFace:
    return MatchedFace(box, 0.99, ((box.x1, box.y1),) * 5, (MATCH,))


ANSWER = AdAnswer(
    "photo.jpg", AdOutcome.MATCHED, MATCH, 0.9, 1, None, "Campaign photo anna", 240, 320,
    (face(OTHER), face(MAIN)),
)  # fmt: skip
GREY, GREEN = Image.new("RGB", (320, 240), (90, 90, 90)), Image.new("RGB", (100, 200), (20, 160, 20))


def near(pixels: Any, colour: tuple[int, ...]) -> Any:
    return np.asarray((np.abs(pixels.astype(int) - colour[:3]) < 30).all(-1))


def drawn(answer: AdAnswer, campaign: Image.Image | None) -> Any:
    """The drawing less its band."""
    pixels = np.asarray(comparison.draw(GREY, answer, campaign))
    return pixels[len(pixels) - sheets.MIN_SIDE :]


def test_both_photos_stand_side_by_side_each_as_high_as_the_other() -> None:
    both = drawn(ANSWER, GREEN)
    assert both.shape[:2] == (720, 960 + 12 + 360)
    assert near(both, (20, 160, 20))[:, 980:].mean() > 0.99
    assert not near(both, (20, 160, 20))[:, :960].any()


def test_the_main_face_is_framed_and_stands_out() -> None:
    scale = 3
    frame = near(drawn(ANSWER, GREEN), sheets.DECIDING)
    rows, columns = np.nonzero(frame)
    box = [side / scale for side in (columns.min(), rows.min(), columns.max(), rows.max())]
    np.testing.assert_allclose(box, MAIN, atol=2)


def test_a_face_that_nobody_is_similar_to_is_framed_in_another_colour() -> None:
    seen = drawn(replace(ANSWER, outcome=AdOutcome.NO_SIMILAR_FACE), GREEN)
    assert not near(seen, sheets.DECIDING).any()
    assert near(seen, sheets.OTHER).any()


def test_without_a_campaign_photo_the_user_s_stands_alone() -> None:
    nobody = replace(ANSWER, outcome=AdOutcome.NO_FACE, nearest=None, face=None, faces=(), title="No face")
    assert drawn(nobody, None).shape[:2] == (720, 960)


@pytest.mark.parametrize("size", [(4000, 10), (10, 4000), (1, 1)])
def test_photos_of_any_shape_are_drawn(size: tuple[int, int]) -> None:
    picture = comparison.draw(GREY, ANSWER, Image.new("RGB", size))
    assert picture.width <= 2 * 1080 + 12
    assert picture.height < 1.5 * sheets.MIN_SIDE


def test_a_campaign_photo_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(BadImage):
        comparison.draw(GREY, ANSWER, b"no picture")
