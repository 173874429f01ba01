"""Answers of the server, judged on labelled pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adlens.answers import Box, Failure, JudgedFace, Outcome, PictureAnswer
from export.datasets import LabelledPictures
from export.evaluate_products import COMBINED, figures, scores

LABELS = ("hat", "beard")


def face(box: tuple[float, float, float, float], hat: float, beard: float) -> JudgedFace:
    evidence = {"dlib": {"hat": hat / 2, "beard": beard / 2}, "vgg16": {"hat": 0.5}}
    return JudgedFace(
        Box(*box), 0.99, ((0.0, 0.0),) * 5, {"hat": hat, "beard": beard, "other": 0.3}, evidence
    )


def answer(*faces: JudgedFace) -> PictureAnswer:
    return PictureAnswer("some.jpg", Outcome.NO_ITEMS, None, None, None, None, "none", 400, 600, faces=faces)


def test_the_main_face_answers_for_its_picture() -> None:
    aside, middle = face((0, 0, 110, 110), 0.9, 0.9), face((250, 150, 350, 250), 0.2, 0.6)
    found, without_face, failures = scores([answer(aside, middle)], LABELS, 1)
    np.testing.assert_allclose(found[COMBINED], [[0.2, 0.6]], rtol=1e-6)
    np.testing.assert_allclose(found["dlib"], [[0.1, 0.3]], rtol=1e-6)
    # A backbone that does not know a label says no.
    np.testing.assert_allclose(found["vgg16"], [[0.5, 0]], rtol=1e-6)
    assert (without_face, failures) == (0, [])


def test_a_picture_without_a_face_and_a_failed_one_score_nothing() -> None:
    failure = Failure("bad.jpg", "bad_image", "not a JPEG", server=False, ends_run=False)
    only = face((250, 150, 350, 250), 0.9, 0.8)
    found, without_face, failures = scores([answer(), failure, answer(only)], LABELS, 3)
    np.testing.assert_allclose(found[COMBINED], [[0, 0], [0, 0], [0.9, 0.8]], rtol=1e-6)
    assert without_face == 1
    assert failures == ["bad.jpg: not a JPEG"]


def test_a_missed_face_costs_what_it_should() -> None:
    """A hat that is not seen is ranked below every picture, so half of the pairs are out of order."""
    labels = np.array([[1, 0], [1, 0], [0, 1], [0, np.nan]], np.float32)
    pictures = LabelledPictures("some", (Path("some.jpg"),) * 4, LABELS, labels)
    table = np.array([[0, 0.1], [0.9, 0.2], [0.3, 0.3], [0.2, 0.9]], np.float32)
    found = figures({COMBINED: table}, pictures)[COMBINED]
    assert found["hat"]["auc"] == pytest.approx(0.5)
    assert found["beard"]["auc"] == pytest.approx(1.0)
    assert found["beard"]["standard_error"] == pytest.approx(0.0)
