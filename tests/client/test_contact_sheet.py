"""The sheet of a picture's variants and alternates: all there, the best framed, of any shape and number."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adlens import contact_sheet, sheets
from adlens.creatives import Alternate, CreativeAnswer, Version
from tests.client.creative_responses import CAMPAIGN, LABELS

TILE = 264


def version(label: str, probability: float) -> Version:
    return Version(label, probability, {"click_through": probability})


def alternate(number: int) -> Alternate:
    return Alternate(f"shoes/{number}.jpg", 0.9, 0.5 - number / 100, {})


ANSWER = CreativeAnswer(
    "shoe.jpg", "click_through", CAMPAIGN, version("original", 0.2),
    tuple(version(label, 0.5 - place / 100) for place, label in enumerate(LABELS) if label != "original"),
    tuple(map(alternate, range(10))), 480, 640,
)  # fmt: skip
COLOURS = {label: (0, 40 * place, 200) for place, label in enumerate(LABELS)}
GREEN = (20, 160, 20)
PICTURES = {label: Image.new("RGB", (320, 240), colour) for label, colour in COLOURS.items()}
ALTERNATES = {each.id: Image.new("RGB", (100, 300), GREEN) for each in ANSWER.alternates}


def near(pixels: Any, colour: tuple[int, ...]) -> Any:
    return np.asarray((np.abs(pixels.astype(int) - colour[:3]) < 12).all(-1))


def drawn(answer: CreativeAnswer = ANSWER, alternates: Any = ALTERNATES, versions: Any = PICTURES) -> Any:
    return np.asarray(contact_sheet.draw(answer, versions, alternates))


def test_all_versions_stand_in_a_row_as_they_are_ranked() -> None:
    pixels = drawn()
    order = ["original", *(each.label for each in ANSWER.variants)]
    places = [np.nonzero(near(pixels, COLOURS[label]))[1].mean() for label in order]
    assert places == sorted(places)
    # Each on paper of its own colour: the tile less its round corners and frame.
    assert all(near(pixels, COLOURS[label]).sum() > 0.97 * TILE**2 for label in order)


def test_as_many_alternates_are_shown_as_there_are_versions() -> None:
    pixels = drawn()
    assert near(pixels, GREEN).sum() == pytest.approx(6 * TILE**2, rel=0.03)
    few = replace(ANSWER, alternates=ANSWER.alternates[:2])
    assert near(drawn(few), GREEN).sum() == pytest.approx(2 * TILE**2, rel=0.03)


def framed(pixels: Any, frame: tuple[int, ...], inside: tuple[int, ...]) -> bool:
    """Whether the first tile of colour ``inside`` has a frame around it."""
    rows, columns = np.nonzero(near(pixels, inside))
    line = near(pixels, frame)[rows.min() + TILE // 2]
    left, right = columns.min() - 6, columns.min() + TILE
    return bool(line[left : left + 5].all() and line[right + 1 : right + 5].all())


def test_the_best_version_and_the_best_alternate_are_framed() -> None:
    pixels = drawn()
    assert framed(pixels, sheets.DECIDING, COLOURS["brighter"])
    assert framed(pixels, sheets.OTHER, GREEN)
    others = COLOURS.keys() - {"brighter"}
    assert not any(framed(pixels, sheets.DECIDING, COLOURS[label]) for label in others)


def test_a_picture_that_is_best_as_it_is_is_framed() -> None:
    pixels = drawn(replace(ANSWER, original=version("original", 0.9)))
    assert framed(pixels, sheets.DECIDING, COLOURS["original"])
    assert not framed(pixels, sheets.DECIDING, COLOURS["brighter"])


def test_an_alternate_that_is_not_at_hand_leaves_its_place_empty() -> None:
    pixels = drawn(alternates=dict(list(ALTERNATES.items())[1:]))
    assert near(pixels, GREEN).sum() == pytest.approx(5 * TILE**2, rel=0.03)
    assert near(pixels, sheets.TRACK).sum() > 0.8 * TILE**2


def test_without_alternates_there_is_one_row() -> None:
    alone = drawn(replace(ANSWER, alternates=()))
    assert len(drawn()) - len(alone) > TILE


@pytest.mark.parametrize("number", [1, 4, 6, 7, 8])
def test_any_number_of_variants_has_its_place(number: int) -> None:
    variants = tuple(version(f"variant {place}", 0.5) for place in range(number - 1))
    answer = replace(ANSWER, variants=variants, alternates=())
    pictures = {each.label: Image.new("RGB", (10, 10), GREEN) for each in answer.versions}
    assert near(drawn(answer, {}, pictures), GREEN).sum() == pytest.approx(number * TILE**2, rel=0.03)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_pictures_of_any_shape_are_drawn(size: tuple[int, int]) -> None:
    pictures = {label: Image.new("RGB", size, GREEN) for label in LABELS}
    assert drawn(versions=pictures, alternates={}).shape == drawn().shape


def test_starter_weights_are_told_on_the_sheet() -> None:
    assert (drawn(replace(ANSWER, starter=("conversion",))) != drawn()).any()
