"""The decision for a folder of one user's pictures."""

from __future__ import annotations

import pytest

from adlens.answers import Failure, Outcome, PictureAnswer
from adlens.catalogue import Catalogue
from adlens.errors import BadImage
from adlens.jobs import products
from adlens.jobs.users import KEPT_FAILURES, UserTally
from tests.client.fake_triton import Faces, outputs_for, response

CATALOGUE = Catalogue.default()
BOXES = [(100.0, 100.0, 180.0, 200.0), (300.0, 100.0, 380.0, 200.0)]
SMALL = (10.0, 10.0, 30.0, 35.0)


def picture(path: str, *faces: tuple[float, float, float]) -> PictureAnswer:
    slots: Faces = [(box, {"dlib": face}) for box, face in zip(BOXES, faces, strict=False)]
    return products.interpret(response(outputs_for((480, 640), slots)), path, CATALOGUE)


def small_face(path: str) -> PictureAnswer:
    outputs = outputs_for((480, 640), [(SMALL, {"dlib": (0.9, 0.9, 0.9)})])
    return products.interpret(response(outputs), path, CATALOGUE)


def tally(*answers: PictureAnswer | Failure) -> UserTally:
    counted = UserTally("anna", CATALOGUE)
    for answer in answers:
        counted.add(answer)
    return counted


def test_the_label_with_the_highest_share_wins_over_a_higher_score() -> None:
    user = tally(
        picture("1", (0.99, 0.1, 0.1)), picture("2", (0.1, 0.6, 0.1)), picture("3", (0.1, 0.7, 0.1))
    ).answer()
    assert (user.product, user.picture, user.outcome) == ("beard-care", "3", Outcome.RECOMMENDED)
    assert user.share == pytest.approx(2 / 3)
    assert user.score == pytest.approx(0.7)
    assert user.shares == pytest.approx({"hat": 1 / 3, "beard": 2 / 3, "eyewear": 0})


def test_the_share_is_of_the_pictures_with_a_face_that_can_be_judged() -> None:
    user = tally(picture("1", (0.9, 0.1, 0.1)), picture("2"), small_face("3")).answer()
    assert (user.share, user.pictures, user.pictures_with_face) == (1.0, 3, 1)


def test_two_faces_with_a_hat_make_one_picture_with_a_hat() -> None:
    user = tally(
        picture("1", (0.9, 0.1, 0.1), (0.95, 0.1, 0.1)),
        picture("2", (0.1, 0.1, 0.6)),
        picture("3", (0.1, 0.1, 0.6)),
    ).answer()
    assert user.label == "eyewear"


def test_a_tie_goes_to_the_higher_score() -> None:
    user = tally(picture("1", (0.6, 0.1, 0.1)), picture("2", (0.1, 0.1, 0.9))).answer()
    assert user.label == "eyewear"


def test_the_face_shown_is_the_one_with_the_label_not_the_pictures_own_winner() -> None:
    user = tally(picture("1", (0.1, 0.99, 0.1), (0.9, 0.1, 0.1)), picture("2", (0.7, 0.1, 0.1))).answer()
    assert (user.label, user.picture, user.face) == ("hat", "1", 1)


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ([picture("1", (0.1, 0.1, 0.1)), picture("2")], Outcome.NO_ITEMS),
        ([picture("1"), small_face("2")], Outcome.FACES_TOO_SMALL),
        ([picture("1")], Outcome.NO_FACE),
        ([Failure.of("1", BadImage("1: empty"))], Outcome.NOT_ANSWERED),
    ],
)
def test_without_a_product_the_outcome_says_why(answers: list[PictureAnswer], outcome: Outcome) -> None:
    user = tally(*answers).answer()
    assert (user.outcome, user.product, user.shown) == (outcome, None, None)


def test_failures_are_counted_and_only_the_first_ones_kept() -> None:
    counted = tally(picture("ok", (0.9, 0.1, 0.1)))
    for number in range(2 * KEPT_FAILURES):
        counted.add(Failure.of(f"{number}.jpg", BadImage(f"{number}.jpg: empty")))
    user = counted.answer()
    assert (user.failed, len(user.failures), user.product) == (200, KEPT_FAILURES, "hat")
    assert user.warnings[0].startswith("200 of 201 pictures were not answered; the first: 0.jpg: empty")
    assert user.to_json()["user"] == "anna"
