"""How popular a post will be, against responses made by hand: the answer, what it says of itself, ranks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from adlens import contract
from adlens.answers import Failure
from adlens.contract import EngagementCard, ModelCard
from adlens.engagement import EngagementAnswer, EngagementRanking
from adlens.errors import BadImage, BadPost, InvalidConfiguration, ServerFault
from adlens.jobs import engagement
from adlens.pictures import Picture
from adlens.transport import InferResponse
from tests.client.engagement_responses import CARD, Said

PICTURE = Picture(b"\xff\xd8jpeg", 240, 320, "post.jpg")
ALL = {
    "hour": 18.5,
    "weekday": "Friday",
    "caption_length": 17,
    "hashtags": 1,
    "followers": 52_000,
    "advertised": False,
}


def answer(
    figures: Sequence[float] = (0.1, 0.3, 0.6),
    card: ModelCard = CARD,
    context: Any = None,
    path: str = "post.jpg",
    **changes: Any,
) -> EngagementAnswer:
    said = Said(figures=lambda _: figures, card=card, changes=changes)
    outputs = said.predicted(engagement.request(PICTURE, context))
    return engagement.interpret(InferResponse(contract.PREDICT_ENGAGEMENT, "1", outputs), path, context)


def test_the_answer_is_the_most_probable_class_and_the_class_to_be_expected() -> None:
    seen = answer()
    assert (seen.label, seen.path, seen.height, seen.width) == ("high", "post.jpg", 240, 320)
    assert list(seen.probabilities) == ["low", "neutral", "high"]
    assert seen.expected == pytest.approx(0.3 + 2 * 0.6)
    assert seen.title == "High engagement: 60 % (neutral 30 %, low 10 %)"
    assert (seen.signal, seen.warnings, seen.starter) == (True, (), ())
    assert seen.model_versions == {contract.ENGAGEMENT_MODEL: CARD.weights}
    assert answer((0.4, 0.4, 0.2)).label == "low"


def test_the_request_holds_the_picture_and_what_is_known() -> None:
    inputs = engagement.request(PICTURE, {"caption": "New in! #sneakers"})
    assert inputs.keys() == contract.MODELS[contract.PREDICT_ENGAGEMENT].inputs.keys()
    post = inputs[contract.POST]
    assert (post.shape, post.dtype) == ((1, len(contract.POST_FIELDS)), np.float32)
    assert dict(zip(contract.POST_FIELDS, post[0].tolist(), strict=True)) == pytest.approx(
        dict.fromkeys(contract.POST_FIELDS, np.nan) | {"caption_length": 17, "hashtags": 1}, nan_ok=True
    )
    with pytest.raises(BadPost, match="hour: 25"):
        engagement.request(PICTURE, {"hour": 25})


def test_what_was_not_known_is_said_in_words() -> None:
    some = answer(context={"followers": 52_000, "caption": "#a"})
    assert some.missing == ("hour", "weekday", "advertised")
    assert some.notes[0] == "not known of the post: hour, weekday, whether it is advertised"
    assert some.known == {"caption_length": 2, "hashtags": 1, "followers": 52_000}
    assert answer().notes[0].startswith("nothing was known of the post (hour, weekday, length of the caption")
    assert answer().notes[0].endswith("judged by the picture alone")
    assert answer(context=ALL).missing == ()
    assert answer(context=ALL).notes[0].startswith("all that this model reads of a post was known: hour")


def test_a_model_that_reads_one_of_both_says_so() -> None:
    blind = replace(CARD, reads=("context",))
    assert "judged without the picture" in answer(card=blind, context=ALL).notes[0]
    assert "the answer is that for any post" in answer(card=blind).notes[1]
    alone = replace(CARD, reads=("image",))
    assert answer(card=alone).missing == ()
    assert answer(card=alone).notes[0] == "judged by the picture alone, as this model reads nothing else"
    assert "counts for nothing" in answer(card=alone, context=ALL).notes[0]


def test_what_counts_as_high_is_said() -> None:
    assert answer().notes[-1] == "low: fewer than 7,000 likes and comments together; high: more than 11,000"
    assert "each account's own past posts" in answer(card=replace(CARD, boundaries=())).notes[-1]


def test_without_signal_every_surface_says_so() -> None:
    card = replace(CARD, signal=False, accuracy=0.414, majority=0.413)
    seen = answer(card=card, context=ALL)
    assert seen.title.startswith("Not enough signal")
    assert seen.warnings == (
        "not enough signal: on posts it had not seen, this model was right in 41.4 % of cases, and always "
        "saying the most frequent class in 41.3 %",
    )
    row = seen.to_json()
    assert (row["signal"], row["accuracy"], row["majority"]) == (False, 0.414, 0.413)
    ranking = EngagementRanking.of([seen, answer(path="other.jpg", context=ALL)])
    assert (ranking.signal, ranking.to_json()["best"]) == (False, None)
    assert ranking.title == "Not enough signal to say which of 2 pictures is best"


BLIND = replace(CARD, picture_signal=False, picture_accuracy=0.43)
"""Of a model whose signal lies in the context alone."""
UNSEEN = (
    "not enough signal: on posts it had not seen, this model was right in 43 % of cases by the picture "
    "alone, and always saying the most frequent class in 42 %"
)


def test_without_context_it_is_the_signal_of_the_picture_alone_that_counts() -> None:
    assert answer(card=BLIND, context={"hour": 18}).signal
    seen = answer(card=BLIND)
    assert (seen.signal, seen.accuracy, seen.warnings) == (False, 0.43, (UNSEEN,))
    reads_no_context = replace(BLIND, reads=("image",))
    assert answer(card=reads_no_context).signal, "there is nothing that it misses"


def test_pictures_of_one_context_are_ranked_only_where_the_picture_tells() -> None:
    """What all have in common cannot rank them; where it differs, it can."""
    one, other = (answer(card=BLIND, path=path, context=ALL) for path in ("1.jpg", "2.jpg"))
    assert one.signal
    ranking = EngagementRanking.of([one, other])
    assert (ranking.signal, ranking.warnings) == (False, (UNSEEN,))
    assert EngagementRanking.of([one]).signal
    later = answer((0.1, 0.1, 0.8), card=BLIND, path="2.jpg", context={**ALL, "hour": 9})
    ranking = EngagementRanking.of([one, later])
    assert (ranking.decided, ranking.warnings) == (True, ())


def test_starter_weights_and_classes_that_are_not_told_apart_are_warned_of() -> None:
    (warning,) = answer(card=replace(CARD, starter=True, skill=(0, 0, 0))).warnings
    assert "python -m export.train_engagement" in warning
    assert answer(card=replace(CARD, starter=True)).starter == (contract.ENGAGEMENT_MODEL,)
    (warning,) = answer(card=replace(CARD, skill=(0.5, 0.5, 0))).warnings
    assert warning.startswith("high: told from the other classes no better than by chance")
    assert not answer((0.6, 0.3, 0.1), card=replace(CARD, skill=(0.5, 0.5, 0))).warnings


def test_json_has_all_of_it() -> None:
    row = json.loads(json.dumps(answer((1 / 8, 3 / 8, 0.5), context={"hour": 18.5}).to_json()))
    assert row["probabilities"] == {"low": 0.125, "neutral": 0.375, "high": 0.5}
    assert (row["label"], row["expected"], row["boundaries"]) == ("high", 1.375, [7000, 11000])
    assert (row["known"], row["missing"][0], row["reads"]) == (
        {"hour": 18.5},
        "weekday",
        ["image", "context"],
    )
    assert len(row["notes"]) == 2
    assert answer(card=replace(CARD, boundaries=())).to_json()["boundaries"] is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({contract.ENGAGEMENT: np.array([[0.2, 0.2, 0.2]], np.float32)}, "does not sum to 1"),
        ({contract.ENGAGEMENT: np.array([[-0.2, 0.2, 1]], np.float32)}, "does not sum to 1"),
        ({contract.ENGAGEMENT: np.array([[np.nan, 0, 1]], np.float32)}, "not finite"),
        ({contract.ENGAGEMENT: np.array([[0.5, 0.5]], np.float32)}, r"is \[1, 2\], not \[1, 3\]"),
        ({contract.PICTURE_SIZE: np.array([3], np.int32)}, "PICTURE_SIZE"),
    ],
)
def test_an_answer_that_breaks_the_contract_is_the_servers_fault(
    changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ServerFault, match=reason):
        answer(**changes)


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        (ModelCard(CARD.model, "e" * 16, False, CARD.labels, CARD.skill), "not a model card"),
        (replace(CARD, labels=("high", "neutral", "low")), "labels high, neutral, low, not low, neutral"),
        (replace(CARD, labels=(), skill=()), "labels none"),
        (replace(CARD, skill=(0.5,)), "3 labels and skills"),
        (replace(CARD, boundaries=(11_000.0, 7_000.0)), "two are needed, or none"),
        (replace(CARD, boundaries=(1.0,)), "two are needed, or none"),
        (replace(CARD, boundaries=(1.0, float("nan"))), "two are needed, or none"),
        (replace(CARD, reads=("sound",)), "it reads sound"),
        (replace(CARD, reads=()), "it reads nothing"),
        (replace(CARD, accuracy=float("nan")), "accuracy nan"),
        (replace(CARD, majority=41.3), "majority 41.3"),
    ],
)  # fmt: skip
def test_a_card_that_is_none_of_such_a_model_is_the_servers_fault(card: EngagementCard, reason: str) -> None:
    with pytest.raises(ServerFault, match=reason):
        answer(card=card)


def three(*middle: float) -> list[EngagementAnswer]:
    """Answers whose class to be expected is ``middle``, 0 to 2."""
    return [
        answer((1 - each / 2, 0, each / 2), path=f"{number}.jpg") for number, each in enumerate(middle, 1)
    ]


def test_candidates_are_ranked_by_the_class_to_be_expected() -> None:
    ranking = EngagementRanking.of(three(0.5, 1.5, 1))
    assert [each.path for each in ranking.ranked] == ["2.jpg", "3.jpg", "1.jpg"]
    assert ranking.best is ranking.ranked[0]
    assert (ranking.decided, ranking.title) == (True, "Post 2.jpg: high engagement 75 %, the next best 50 %")
    assert ranking.to_json()["best"] == "2.jpg"


def test_of_equals_the_one_given_first_comes_first_and_none_is_the_best() -> None:
    ranking = EngagementRanking.of(three(1, 1.5, 1.5 + 1e-6, 1))
    assert [each.path for each in ranking.ranked] == ["2.jpg", "3.jpg", "1.jpg", "4.jpg"]
    assert not ranking.decided
    assert ranking.title.startswith("The best 2 pictures cannot be told apart: high engagement: 75 %")
    assert EngagementRanking.of(three(1, 1)).title.startswith("The 2 pictures cannot be told apart")
    assert ranking.to_json()["best"] is None


def test_one_candidate_or_none_is_ranked_as_well() -> None:
    (alone,) = three(1.5)
    assert EngagementRanking.of([alone]).title == alone.title
    failure = Failure.of("bad.jpg", BadImage("no picture"))
    nothing = EngagementRanking.of([failure])
    assert (nothing.best, nothing.failures, nothing.signal) == (None, (failure,), False)
    assert nothing.title == "None of the pictures could be judged"
    assert nothing.to_json()["failures"][0]["path"] == "bad.jpg"
    assert (nothing.notes, nothing.warnings) == ((), ())


def test_what_holds_for_all_candidates_is_said_once_and_a_replaced_model_is_noticed() -> None:
    one, other = answer(context={"hour": 3}), answer((0.6, 0.3, 0.1), context=ALL, path="other.jpg")
    ranking = EngagementRanking.of([one, other])
    assert ranking.notes == (one.notes[-1],)
    assert not ranking.warnings
    newer = answer((0.6, 0.3, 0.1), card=replace(CARD, weights="f" * 16))
    assert EngagementRanking.of([one, newer]).warnings == ("the model was replaced meanwhile; rank again",)


def test_candidates_are_named_by_as_little_as_tells_them_apart() -> None:
    paths = ["a/x/1.jpg", "a/y/1.jpg", "2.jpg", "b/y/1.jpg"]
    ranking = EngagementRanking.of([answer(path=path) for path in paths])
    assert [ranking.named(each) for each in ranking.ranked] == ["x/1.jpg", "a/y/1.jpg", "2.jpg", "b/y/1.jpg"]


def test_each_picture_has_its_context_or_all_have_the_same() -> None:
    assert [each.context for each in engagement.candidates(["a", "b"], None)] == [None, None]
    assert [each.context for each in engagement.candidates(["a", "b"], {"hour": 1})] == [{"hour": 1}] * 2
    own = [{"hour": 1}, None]
    assert [each.context for each in engagement.candidates(["a", "b"], own)] == own
    for images, number in ((["a"], 1), (["a", "b", "c"], 2)):
        with pytest.raises(InvalidConfiguration, match=f"{number} .*give one context a picture, or None"):
            list(engagement.candidates(images, own))
    with pytest.raises(BadPost, match="hour: 25"):
        engagement.candidates(["a"], {"hour": 25})
