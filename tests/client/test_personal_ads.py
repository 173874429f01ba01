"""The ad for one picture, against responses made by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from adlens import contract
from adlens.ads import AdAnswer, AdOutcome
from adlens.answers import Match
from adlens.contract import EmbedderCard, GalleryCard, ModelCard
from adlens.customers import OfferAnswer
from adlens.errors import BadFilter, ServerFault, WrongEmbedder
from adlens.jobs import personal_ads
from adlens.pictures import Picture
from adlens.transport import InferResponse
from tests.client.fake_triton import outputs_for

DIMENSION = contract.EMBEDDERS["dlib"]
EMBEDDER = EmbedderCard(
    "embed_dlib", "e" * 16, False, embedder="dlib", dimension=DIMENSION, threshold=0.9
)  # fmt: skip
GALLERY = GalleryCard(
    "gallery", "9" * 16, False,
    embedder="dlib", embedder_weights="e" * 16, photos=40, attributes=("campaign", "hair"),
)  # fmt: skip
DETECTOR = ModelCard("detect_faces", "d" * 16, False)
ASIDE, MIDDLE = (0.0, 0.0, 110.0, 110.0), (270.0, 190.0, 370.0, 290.0)
"""The second is smaller, but in the middle of 480 x 640 pixels."""
OFFER = OfferAnswer(
    "bonus", 0.03, {"bonus": 0.03}, "bonus: +3.0 points", None, ("little data",), {"uplift_offer": "f" * 16}
)

Boxes = Sequence[tuple[float, float, float, float]]
Found = Sequence[Sequence[tuple[str, float]]]


def outputs(
    boxes: Boxes,
    found: Found = (),
    *,
    passing: int = 40,
    cards: Sequence[ModelCard] = (DETECTOR, EMBEDDER, GALLERY),
) -> dict[str, np.ndarray[Any, Any]]:
    """Of ``match_faces`` for a picture of 480 x 640 pixels; ``found`` are ids and scores by face."""
    slots, most = contract.MAX_FACES, contract.MATCHES
    given = outputs_for((480, 640), [(box, {}) for box in boxes], cards={card.model: card for card in cards})
    scores = np.full((1, slots, most), contract.NO_MATCH, np.float32)
    ids = np.zeros((1, slots, most, contract.ID_BYTES), np.uint8)
    for slot, matches in enumerate(found):
        for place, (name, score) in enumerate(matches):
            scores[0, slot, place] = score
            ids[0, slot, place, : len(name.encode())] = list(name.encode())
    embeddings = np.zeros((1, slots, DIMENSION), np.float32)
    embeddings[0, np.arange(len(boxes)), np.arange(len(boxes))] = 1
    return given | {
        contract.FACE_EMBEDDING: embeddings,
        contract.MATCH_SCORES: scores,
        contract.MATCH_IDS: ids,
        contract.MATCH_COUNT: np.array([[passing]], np.int32),
    }


def read(given: dict[str, np.ndarray[Any, Any]], **options: Any) -> AdAnswer:
    return personal_ads.interpret(InferResponse("match_faces", "1", given), "photo.jpg", "dlib", **options)


def answer(
    boxes: Boxes, found: Found = (), *, options: dict[str, Any] | None = None, **made: Any
) -> AdAnswer:
    return read(outputs(boxes, found, **made), **(options or {}))


def test_the_most_similar_photo_is_shown_from_the_threshold_on() -> None:
    seen = answer([MIDDLE], [[("anna", 0.9000001), ("zoë", 0.4)]])
    assert (seen.outcome, seen.photo, seen.title) == (AdOutcome.MATCHED, "anna", "Campaign photo anna")
    assert seen.similarity == pytest.approx(0.9)
    assert seen.threshold == 0.9
    assert [match.id for match in seen.faces[0].matches] == ["anna", "zoë"]
    assert (seen.photos, seen.passing) == (40, 40)
    assert seen.evidence == "similarity 0.900, 0.900 needed, face 1 of 1"


def test_below_the_threshold_there_is_no_similar_face_and_the_nearest_is_told() -> None:
    seen = answer([MIDDLE], [[("anna", 0.899), ("zoë", 0.4)]])
    assert (seen.outcome, seen.photo, seen.title) == (AdOutcome.NO_SIMILAR_FACE, None, "No similar face")
    assert (seen.nearest, seen.similarity) == (Match("anna", pytest.approx(0.899)), pytest.approx(0.899))
    assert seen.evidence == "nearest anna, similarity 0.899, 0.900 needed, face 1 of 1"


def test_the_main_face_decides_and_all_are_in_the_answer() -> None:
    seen = answer([ASIDE, MIDDLE], [[("boss", 0.99)], [("anna", 0.95)]])
    assert (seen.photo, seen.face) == ("anna", 1)
    assert [face.matches[0].id for face in seen.faces] == ["boss", "anna"]


def test_a_picture_without_a_face_says_so() -> None:
    seen = answer([])
    assert (seen.outcome, seen.face, seen.nearest, seen.title) == (
        AdOutcome.NO_FACE, None, None, "No face detected",
    )  # fmt: skip
    assert seen.evidence == ""


def test_an_empty_gallery_says_so_whatever_the_filter_and_the_embedder() -> None:
    empty = replace(GALLERY, photos=0, embedder_weights="", attributes=())
    seen = answer(
        [MIDDLE], passing=0, cards=(DETECTOR, EMBEDDER, empty), options={"filter": {"campaign": "summer"}}
    )
    assert (seen.outcome, seen.photos) == (AdOutcome.EMPTY_GALLERY, 0)


def test_a_value_that_no_photo_has_says_so() -> None:
    seen = answer([MIDDLE], passing=0, options={"filter": {"campaign": "winter"}})
    assert (seen.outcome, seen.passing, seen.photos) == (AdOutcome.NONE_PASSES, 0, 40)


def test_a_face_that_could_not_be_embedded_is_similar_to_none() -> None:
    assert answer([MIDDLE]).outcome is AdOutcome.NO_SIMILAR_FACE


def test_an_attribute_that_the_gallery_lacks_is_refused_with_those_it_has() -> None:
    with pytest.raises(BadFilter, match="no attribute colour to filter by; it has campaign, hair"):
        answer([MIDDLE], passing=0, options={"filter": {"colour": "red"}})


def test_a_gallery_of_other_weights_is_refused_with_the_remedy() -> None:
    other = replace(GALLERY, embedder_weights="0" * 16)
    with pytest.raises(WrongEmbedder, match=r"0{16}, but embed_dlib runs weights e{16}; .*adlens gallery"):
        answer([MIDDLE], [[("anna", 0.99)]], cards=(DETECTOR, EMBEDDER, other))


def test_the_offer_comes_with_the_photo_and_without_one() -> None:
    for found in ([[("anna", 0.95)]], [[("anna", 0.2)]]):
        seen = answer([MIDDLE], found, options={"offer": OFFER})
        assert seen.offer == OFFER
        assert seen.warnings == ("little data",)
        assert seen.model_versions["uplift_offer"] == "f" * 16


def test_starter_weights_are_named_and_warned_of() -> None:
    cards = (replace(DETECTOR, starter=True), replace(EMBEDDER, starter=True), GALLERY)
    seen = answer([MIDDLE], [[("anna", 0.95)]], cards=cards)
    assert set(seen.starter) == {"detect_faces", "embed_dlib"}
    assert "faces are found at random" in seen.warnings[0]
    assert "similarities mean nothing" in seen.warnings[1]


def test_a_gallery_elsewhere_is_asked_instead_of_the_server_s() -> None:
    given = outputs([ASIDE, MIDDLE], cards=(DETECTOR, EMBEDDER))
    for name in (contract.MATCH_SCORES, contract.MATCH_IDS, contract.MATCH_COUNT):
        del given[name]
    vectors = personal_ads.embeddings(InferResponse("match_faces", "1", given), "dlib")
    np.testing.assert_array_equal(vectors, np.eye(2, DIMENSION))
    seen = read(given, elsewhere=[[], [Match("anna", 0.95)]])
    assert (seen.photo, seen.photos, seen.passing) == ("anna", None, None)
    assert read(given, elsewhere=[[], []]).outcome is AdOutcome.EMPTY_GALLERY
    nobody = read(given, elsewhere=[[], []], filter={"campaign": "winter"})
    assert nobody.outcome is AdOutcome.NONE_PASSES


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        (contract.MATCH_IDS, None, "no output MATCH_IDS"),
        ("CARD_GALLERY", None, "no output CARD_GALLERY"),
        ("CARD_EMBED_DLIB", "CARD_DETECT_FACES", "CARD_EMBED_DLIB: not a model card"),
        (contract.MATCH_SCORES, np.full((1, 16, 10), np.nan, np.float32), "not finite"),
        (contract.MATCH_IDS, np.full((1, 16, 10, 64), 255, np.uint8), "an id that is no UTF-8"),
    ],
)
def test_an_answer_that_breaks_the_contract_is_the_servers_fault(name: str, value: Any, reason: str) -> None:
    given = outputs([MIDDLE], [[("anna", 0.95)]])
    if value is None:
        del given[name]
    else:
        given[name] = given[value] if isinstance(value, str) else value
    with pytest.raises(ServerFault, match=reason):
        read(given)


def test_the_request_holds_the_picture_and_the_filter() -> None:
    inputs = personal_ads.request(Picture(b"\xff\xd8jpeg", 1, 1, "x"), {"campaign": "summer"})
    signature = contract.MODELS["match_faces"].inputs
    assert {name: (1, *tensor.shape) for name, tensor in signature.items()} == {
        contract.IMAGE: (1, -1),
        contract.FILTER: inputs[contract.FILTER].shape,
    }
    assert inputs.keys() == signature.keys()
    assert inputs[contract.FILTER][0, 0, 0] == contract.filter_code("campaign", "summer")


@pytest.mark.parametrize("outputs_of", [personal_ads.outputs, personal_ads.embedding_outputs])
def test_every_step_that_is_needed_has_an_output_that_is_asked_for(outputs_of: Any) -> None:
    """Or Triton 24.10 leaves the step out, though a later one needs it."""
    asked = set(outputs_of("dlib"))
    assert asked <= contract.MODELS["match_faces"].outputs.keys()
    assert {"PICTURE_SIZE", "CARD_DETECT_FACES", "CARD_EMBED_DLIB"} <= asked


def test_json_begins_with_the_keys_that_callers_rely_on() -> None:
    seen = answer([MIDDLE], [[("anna", 0.95)]], options={"offer": OFFER})
    row = json.loads(json.dumps(seen.to_json()))
    assert list(row)[:7] == ["path", "photo", "similarity", "threshold", "offer", "faces", "warnings"]
    assert row["faces"][0]["matches"] == [{"id": "anna", "similarity": 0.95}]
    assert row["nearest"] == {"id": "anna", "similarity": 0.95}
    assert (row["offer"]["offer"], row["offer"]["uplift"]) == ("bonus", 0.03)
