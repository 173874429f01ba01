"""The decision for one picture, against cases worked out by hand."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest

from adlens import contract
from adlens.answers import Outcome, PictureAnswer
from adlens.catalogue import Catalogue
from adlens.contract import ModelCard
from adlens.errors import ServerFault
from adlens.jobs import products
from adlens.jobs.products import combine
from tests.client.fake_triton import CARDS, LABELS, Faces, outputs_for, response

BIG = (100.0, 100.0, 180.0, 200.0)
OTHER = (300.0, 100.0, 380.0, 200.0)
NEEDED = contract.MIN_CROP / min(contract.CROP_WIDTH, contract.CROP_ABOVE + 1 + contract.CROP_BELOW)
"""Height, in canvas pixels, of a box whose crop's shorter side is MIN_CROP."""
CROWDED = json.dumps(
    {
        "model": "attributes_dlib",
        "weights": "a" * 16,
        "starter": False,
        "labels": [f"label {number}" for number in range(contract.MAX_LABELS + 1)],
        "skill": [0.5] * (contract.MAX_LABELS + 1),
    }
).encode()
"""A card of one label more than PROBABILITIES has columns."""
SMALL = (10.0, 10.0, 34.0, 10.0 + NEEDED - 0.1)


def answer(
    faces: Faces, size: tuple[int, int] = (480, 640), catalogue: Catalogue | None = None, **options: object
) -> PictureAnswer:
    outputs = outputs_for(size, faces, **options)  # type: ignore[arg-type]
    return products.interpret(response(outputs), "photo.jpg", catalogue or Catalogue.default())


def card_tensor(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.frombuffer(data.ljust(contract.CARD_BYTES), np.uint8)[np.newaxis]


def dlib(hat: float, beard: float, eyewear: float) -> dict[str, tuple[float, ...]]:
    return {"dlib": (hat, beard, eyewear), "vgg16": (0.99, 0.99, 0.99)}


def test_one_probability_stays_as_it_is() -> None:
    assert combine([0.3], [0.9]) == pytest.approx(0.3)


def test_backbones_are_weighted_by_skill_in_logit_space() -> None:
    # logit(.9) = 2.1972, logit(.2) = -1.3863; (3 x 2.1972 - 1 x 1.3863) / 4 = 1.3013 -> 0.7861
    assert combine([0.9, 0.2], [0.75, 0.25]) == pytest.approx(0.8628, abs=1e-4)


def test_a_backbone_without_skill_weighs_nothing() -> None:
    assert combine([0.3, 0.999], [0.5, 0.0]) == pytest.approx(0.3)


def test_without_any_skill_the_plain_mean_counts() -> None:
    assert combine([0.2, 0.8, 0.8], [0, 0, 0]) == pytest.approx(0.6)


def test_a_backbone_that_is_certain_does_not_silence_the_others() -> None:
    combined = combine([1.0, 0.0], [0.5, 0.5])
    assert combined == pytest.approx(0.5)
    assert math.isfinite(combine([1.0], [1.0]))


def test_the_positive_label_with_the_highest_score_is_recommended() -> None:
    found = answer([(BIG, dlib(0.6, 0.8, 0.7))])
    assert (found.outcome, found.label, found.product) == (Outcome.RECOMMENDED, "beard", "beard-care")
    assert found.score == pytest.approx(0.8)
    assert found.title == "We recommend beard-care products to this user!"


def test_every_face_counts_and_the_answer_names_the_one_it_comes_from() -> None:
    found = answer([(BIG, dlib(0.6, 0.1, 0.1)), (OTHER, dlib(0.9, 0.1, 0.1))])
    assert (found.label, found.face) == ("hat", 1)


def test_below_one_half_nothing_is_recommended() -> None:
    found = answer([(BIG, dlib(0.49, 0.3, 0.2))])
    assert (found.outcome, found.product, found.score, found.face) == (Outcome.NO_ITEMS, None, None, None)
    assert found.title == "No items detected"
    at_half = answer([(BIG, dlib(0.5, 0.3, 0.2))])
    assert at_half.product == "hat"


def test_a_picture_without_faces_says_so() -> None:
    found = answer([])
    assert (found.outcome, found.title, found.faces) == (Outcome.NO_FACE, "No face detected", ())


def test_faces_too_small_are_listed_with_their_size_and_decide_nothing() -> None:
    found = answer([(SMALL, dlib(0.9, 0.9, 0.9))], size=(960, 1280))
    assert found.outcome is Outcome.FACES_TOO_SMALL
    assert found.faces[0].too_small
    assert found.product is None
    assert found.warnings[0].startswith("1 of 1 faces too small")
    high, needed = map(int, re.findall(r"\d+", found.warnings[0])[2:])
    assert (high, needed) == (math.floor(2 * (NEEDED - 0.1)), math.ceil(2 * NEEDED))
    assert high < needed


def test_a_face_just_large_enough_decides() -> None:
    large_enough = (10.0, 10.0, 34.0, 10.0 + math.ceil(NEEDED))
    assert answer([(large_enough, dlib(0.9, 0.1, 0.1))]).product == "hat"


def test_a_small_face_beside_a_large_one_leaves_the_decision_to_it() -> None:
    found = answer([(BIG, dlib(0.1, 0.7, 0.1)), (SMALL, dlib(0.99, 0.1, 0.1))])
    assert (found.label, found.face) == ("beard", 0)
    assert found.warnings[0].startswith("1 of 2 faces too small")


def test_labels_come_from_the_cards_and_one_that_nobody_sells_is_shown_but_not_recommended() -> None:
    card = ModelCard("attributes_dlib", "c" * 16, False, ("scarf", "hat"), (0.9, 0.9))
    found = answer([(BIG, {"dlib": (0.99, 0.6)})], cards={"attributes_dlib": card})
    assert found.faces[0].attributes == pytest.approx({"scarf": 0.99, "hat": 0.6})
    assert found.label == "hat"
    sold = Catalogue.parse("title: 'Buy {product}'\nproducts: {scarf: silk scarf}", "own")
    found = answer([(BIG, {"dlib": (0.99, 0.6)})], cards={"attributes_dlib": card}, catalogue=sold)
    assert (found.product, found.title) == ("silk scarf", "Buy silk scarf")


def test_backbones_may_know_different_labels() -> None:
    cards = CARDS | {"attributes_vgg16": ModelCard("attributes_vgg16", "e" * 16, False, ("scarf",), (0.5,))}
    found = answer([(BIG, {"dlib": (0.1, 0.2, 0.3), "vgg16": (0.7,)})], cards=cards)
    assert found.faces[0].attributes == pytest.approx(
        {"hat": 0.1, "beard": 0.2, "eyewear": 0.3, "scarf": 0.7}
    )


def test_starter_weights_that_weigh_nothing_are_named_without_a_warning() -> None:
    found = answer([(BIG, dlib(0.9, 0.1, 0.1))])
    assert found.starter == ("attributes_vgg16",)
    assert found.warnings == ()
    assert found.model_versions["attributes_dlib"] == "a" * 16


def test_starter_weights_that_weigh_something_are_warned_of() -> None:
    cards = CARDS | {"attributes_vgg16": ModelCard("attributes_vgg16", "b" * 16, True, LABELS, (0, 0.2, 0))}
    assert (
        "starter weights (attributes_vgg16)" in answer([(BIG, dlib(0.9, 0.1, 0.1))], cards=cards).warnings[0]
    )
    assert answer([], cards=cards).warnings == ()


def test_labels_without_any_skill_are_warned_of() -> None:
    cards = {"attributes_dlib": ModelCard("attributes_dlib", "b" * 16, False, LABELS, (0.9, 0, 0.9))}
    warning = answer([(BIG, {"dlib": (0.9, 0.1, 0.1)})], cards=cards).warnings[0]
    assert warning.startswith("beard: no model has shown skill")


def test_a_detector_on_starter_weights_is_warned_of() -> None:
    cards = CARDS | {"detect_faces": ModelCard("detect_faces", "b" * 16, True)}
    assert "faces are found at random" in answer([], cards=cards).warnings[0]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("BOXES", None, "no output BOXES"),
        ("CARD_ATTRIBUTES_DLIB", None, "no card of the backbone dlib"),
        ("CARD_ATTRIBUTES_DLIB", card_tensor(b"[]"), "not a model card"),
        ("CARD_ATTRIBUTES_DLIB", card_tensor(b"")[:, :-1], r"CARD_ATTRIBUTES_DLIB is \[1, 2047\]"),
        ("CARD_ATTRIBUTES_DLIB", card_tensor(CROWDED), "33 labels"),
        ("PROBABILITIES_DLIB", np.zeros((1, 16, 3), np.float32), r"\[1, 16, 3\], not \[1, 16, 32\]"),
        ("PROBABILITIES_DLIB", np.full((1, 16, 32), np.nan, np.float32), "not finite"),
        ("PICTURE_SIZE", np.zeros((2, 2), np.int32), r"PICTURE_SIZE is \[2, 2\]"),
    ],
)
def test_an_answer_that_breaks_the_contract_is_the_servers_fault(
    name: str, value: np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None, reason: str
) -> None:
    outputs = outputs_for((480, 640), [(BIG, dlib(0.9, 0.1, 0.1))])
    if value is None:
        del outputs[name]
    else:
        outputs[name] = value
    with pytest.raises(ServerFault, match=reason):
        products.interpret(response(outputs), "photo.jpg", Catalogue.default())


def test_json_begins_with_the_keys_that_callers_rely_on() -> None:
    row = json.loads(json.dumps(answer([(BIG, dlib(0.9, 0.1, 0.123456))]).to_json()))
    assert list(row)[:5] == ["path", "product", "score", "faces", "warnings"]
    face = row["faces"][0]
    assert list(face)[:4] == ["box", "score", "attributes", "backbones"]
    assert face["attributes"] == {"hat": 0.9, "beard": 0.1, "eyewear": 0.1235}
    assert face["backbones"]["vgg16"] == {"hat": 0.99, "beard": 0.99, "eyewear": 0.99}
    assert list(face["landmarks"]) == list(contract.LANDMARK_NAMES)
