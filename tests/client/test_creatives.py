"""Which version of a picture converts best, against responses made by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from adlens import contract
from adlens.creatives import CreativeAnswer
from adlens.errors import BadContext, BadFilter, ServerFault, WrongEmbedder
from adlens.jobs import creatives
from adlens.jobs.creatives import Known, Question
from adlens.pictures import Picture
from adlens.transport import InferResponse
from tests.client.creative_responses import (
    CAMPAIGN,
    CATALOGUE,
    CONVERSION,
    LABELS,
    NETWORK,
    ORIGINAL,
    VOCABULARY,
    Said,
    grey,
)

PICTURE = Picture(b"\xff\xd8jpeg", 480, 640, "shoe.jpg")


def question(target: str = "open_rate", **options: Any) -> Question:
    return Question(target, **{**CAMPAIGN, **options})


def answer(said: Said | None = None, target: str = "open_rate", **options: Any) -> CreativeAnswer:
    said = said or Said()
    response = InferResponse(contract.OPTIMISE_CREATIVE, "1", said.optimised())
    return creatives.interpret(response, "shoe.jpg", question(target, **options), Known(said.vocabulary))


def test_the_five_outputs_best_first() -> None:
    seen = answer()
    assert seen.probability == pytest.approx(0.21)
    assert [version.label for version in seen.variants] == [
        "brighter",
        "rotate",
        "darker",
        "sketch",
        "swivel",
    ]
    assert seen.best is not None
    assert (seen.best.label, seen.best.probability) == ("brighter", pytest.approx(0.78))
    assert [each.id for each in seen.alternates] == ["gazelle", "samba"]
    assert seen.best_alternate is not None
    assert seen.best_alternate.similarity == pytest.approx(0.84)
    assert (seen.recommended.label, seen.warnings, seen.starter) == ("brighter", (), ())
    assert seen.title == "Send it brighter: 78 % open it, the picture as it is 21 %"


@pytest.mark.parametrize("target", sorted(contract.LOWER_IS_BETTER))
def test_of_what_nobody_wants_the_lowest_is_best_and_the_title_says_so(target: str) -> None:
    seen = answer(target=target)
    assert seen.lower_is_better
    assert [version.label for version in seen.versions] == [
        "swivel", "sketch", "original", "darker", "rotate", "brighter",
    ]  # fmt: skip
    assert [each.id for each in seen.alternates] == ["samba", "gazelle"]
    assert seen.title.startswith("Send it swivelled: 2")
    assert "(lower is better), the picture as it is 2" in seen.title


def test_each_version_tells_all_targets() -> None:
    seen = answer(target="click_through")
    expected = dict(zip(contract.TARGETS, (0.21, 0.22, 0.23, 0.24), strict=True))
    assert seen.original.conversions == pytest.approx(expected)
    assert seen.probability == pytest.approx(0.22)
    assert seen.alternates[0].conversions["unsubscribed"] == pytest.approx(0.83)


def test_a_picture_that_no_variant_beats_is_kept() -> None:
    seen = answer(Said(variants=(0.6, 0.2, 0.8, 0.7, 0.1, 0.1)))
    assert (seen.recommended.label, seen.best and seen.best.label) == ("original", "rotate")
    assert seen.title == "Keep the picture as it is: 80 % open it, turned by 90 degrees 70 %"
    equal = answer(Said(variants=(0.80001, 0.2, 0.8, 0.7, 0.1, 0.1)))
    assert equal.recommended.label == "original"
    assert equal.title == "Keep the picture as it is: 80 % open it, and no variant does better"


def test_figures_that_round_to_the_same_are_told_apart() -> None:
    seen = answer(Said(variants=(0.803, 0.2, 0.8, 0.7, 0.1, 0.1)))
    assert seen.title == "Send it brighter: 80.3 % open it, the picture as it is 80.0 %"


def test_a_network_that_knows_the_picture_as_it_is_alone_has_nothing_to_recommend() -> None:
    alone = replace(NETWORK, labels=("original",), skill=(0.5,))
    said = Said(variants=(0.3,), network=alone, vocabulary=replace(VOCABULARY, variants=("original",)))
    seen = answer(said)
    assert (seen.best, seen.variants, seen.recommended.label) == (None, (), "original")
    assert seen.title == "Keep the picture as it is: 30 % open it"
    assert seen.to_json()["best"] is None


def test_a_variant_that_this_client_has_never_heard_of_is_shown_by_its_label() -> None:
    labels = (*LABELS, "mirror")
    said = Said(
        variants=(0.1, 0.1, 0.2, 0.1, 0.1, 0.1, 0.9),
        network=replace(NETWORK, labels=labels, skill=(0.9,) * 7),
        vocabulary=replace(VOCABULARY, variants=labels),
    )
    assert answer(said).title.startswith("Send it as its variant 'mirror': 90 %")


def test_the_picture_itself_is_no_alternate() -> None:
    seen = answer(Said(found=[("itself", 0.99999, 0.9), ("twin", 0.9998, 0.3), ("samba", 0.5, 0.7)]))
    assert [each.id for each in seen.alternates] == ["samba", "twin"]


def test_of_equally_good_alternates_the_most_similar_comes_first() -> None:
    seen = answer(Said(found=[("near", 0.9, 0.5), ("far", 0.2, 0.5), ("best", 0.1, 0.6)]))
    assert [each.id for each in seen.alternates] == ["best", "near", "far"]


def test_without_alternates_nothing_is_said_of_the_catalogue() -> None:
    other = replace(CATALOGUE, embedder_weights="0" * 16)
    seen = answer(Said(catalogue=other), alternates=False)
    assert (seen.alternates, seen.best_alternate, seen.warnings) == ((), None, ())
    assert contract.ALTERNATES not in seen.model_versions


def test_an_empty_catalogue_says_so_whatever_the_filter_and_the_weights() -> None:
    empty = replace(CATALOGUE, photos=0, embedder_weights="", attributes=())
    seen = answer(Said(catalogue=empty, found=(), passing=0), filter={"brand": "puma"})
    assert seen.alternates == ()
    assert seen.warnings == ("the catalogue of alternates is empty; fill it (`adlens alternates build`)",)


def test_a_filter_that_nothing_passes_is_told_with_the_type() -> None:
    seen = answer(Said(found=(), passing=0), filter={"brand": ["puma", "vans"]})
    assert seen.warnings == ("no picture of the catalogue passes type=women, brand=puma or vans",)


def test_an_attribute_that_the_catalogue_lacks_is_refused_with_those_it_has() -> None:
    with pytest.raises(BadFilter, match="no attribute colour to filter by; it has brand, type"):
        answer(filter={"colour": "red"})


def test_a_catalogue_of_other_weights_is_refused_with_the_remedy() -> None:
    other = replace(CATALOGUE, embedder_weights="0" * 16)
    with pytest.raises(WrongEmbedder, match=r"weights 0{16} of .* runs weights a{16}; .*adlens alternates"):
        answer(Said(catalogue=other))


def test_what_stands_against_an_answer_is_told() -> None:
    def warnings(**said: Any) -> str:
        return " ".join(answer(Said(**said)).warnings)

    starter = replace(CONVERSION, starter=True, skill=(0.0,) * 4)
    assert "learned from generated pictures and outcomes, not yours" in warnings(conversion=starter)
    assert "told apart by starter weights" in warnings(network=replace(NETWORK, starter=True))
    chance = replace(CONVERSION, skill=(0.0, 0.6, 0.6, 0.6))
    assert "open_rate: held-out pictures were ranked no better than by chance" in warnings(conversion=chance)
    assert answer(Said(conversion=chance), target="click_through").warnings == ()
    assert answer(Said(conversion=starter)).starter == (contract.CONVERSION,)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (Said(vocabulary=replace(VOCABULARY, variants_weights="0" * 16)), "weights 0{16}, .*train it again"),
        (Said(vocabulary=replace(VOCABULARY, variants=LABELS[::-1])), "swivel, sketch, .*train it again"),
        (Said(network=replace(NETWORK, labels=LABELS[:2], skill=(1, 1))), "'original' is one"),
        (Said(network=replace(NETWORK, labels=LABELS * 2, skill=(1,) * 12)), "at most 8 travel, each once"),
        (Said(conversion=replace(CONVERSION, labels=contract.TARGETS[::-1])), "card of conversion: labels"),
        (Said(variants=(1.2,) * 6), "VARIANT_CONVERSION lies in 0 to 1.23, not 0 to 1"),
        (Said(found=[("samba", 0.9, -0.1)]), "ALTERNATE_CONVERSION lies in -0.1"),
        (Said(variants=(np.nan,) * 6), "not finite"),
        (Said(changes={contract.PICTURE_SIZE: np.zeros((1, 3), np.int32)}), "PICTURE_SIZE is"),
        (Said(changes={"CARD_ALTERNATES": np.zeros((1, 2048), np.uint8)}), "CARD_ALTERNATES"),
    ],
)
def test_an_answer_that_breaks_the_contract_is_the_servers_fault(said: Said, reason: str) -> None:
    with pytest.raises(ServerFault, match=reason):
        answer(said)


def test_the_request_holds_the_picture_all_variants_the_type_and_the_campaign() -> None:
    inputs = creatives.request(PICTURE, question(filter={"brand": "puma"}), Known(VOCABULARY))
    assert inputs.keys() == {contract.IMAGE, contract.WANTED, contract.FILTER, contract.CONTEXT}
    assert inputs[contract.WANTED].tolist() == [[1] * 6 + [0] * 2]
    assert inputs[contract.CONTEXT].tolist() == [[1, 0, 1]]
    assert inputs[contract.FILTER][0, :3, 0].tolist() == [
        contract.filter_code("type", "women"), contract.filter_code("brand", "puma"), 0,
    ]  # fmt: skip
    for name in inputs.keys() - {contract.IMAGE}:
        assert inputs[name].shape[1:] == contract.TENSORS[name].shape
        assert {"UINT8": "u1", "INT32": "i4", "INT64": "i8"}[contract.TENSORS[name].datatype] in str(
            inputs[name].dtype.str
        )


def test_the_caller_s_filter_decides_on_the_type_where_it_names_it() -> None:
    inputs = creatives.request(PICTURE, question(filter={"type": "men"}), Known(VOCABULARY))
    assert inputs[contract.FILTER][0, :2, 0].tolist() == [contract.filter_code("type", "men"), 0]


def test_a_target_that_is_none_is_refused_with_the_four() -> None:
    with pytest.raises(BadContext) as caught:
        question("clickthrough")
    assert str(caught.value) == (
        "target 'clickthrough', did you mean 'click_through'?; give one of open_rate, click_through, "
        "abandoned_cart, unsubscribed"
    )


def conversation(
    known: Known | None, *replies: Said, **options: Any
) -> tuple[CreativeAnswer, Known, list[str]]:
    """What ``creatives.ask`` returns when servers like ``replies`` answer one by one, and whom it asked."""
    steps, asked = creatives.ask(PICTURE, question(**options), known), []
    model, _ = next(steps)
    for said in replies:
        asked.append(model)
        outputs = said.models[model]()
        try:
            model, _ = steps.send(InferResponse(model, "1", outputs))
        except StopIteration as end:
            return *end.value, asked
    raise AssertionError(f"it asks for more: {model}")


PROBE, JOB = contract.CONVERSION, contract.OPTIMISE_CREATIVE
NEW = replace(VOCABULARY, context={**VOCABULARY.context, "type": ("boy", "girl", "women")})


def test_the_vocabulary_is_asked_for_once() -> None:
    seen, known, asked = conversation(None, Said(), Said())
    assert (seen.title[:16], known, asked) == ("Send it brighter", Known(VOCABULARY), [PROBE, JOB])
    assert conversation(known, Said())[2] == [JOB]


def test_a_model_that_was_replaced_is_asked_again_by_its_own_vocabulary() -> None:
    fresh = Said(vocabulary=NEW, variants=(0.1, 0.9, 0.2, 0.1, 0.1, 0.1))
    # Its places are others, so what it answered first was NaN.
    stale = replace(fresh, variants=(np.nan,) * 6)
    seen, known, asked = conversation(Known(VOCABULARY), stale, fresh)
    assert (seen.recommended.label, known.vocabulary, asked) == ("darker", NEW, [JOB, JOB])
    # The campaign fits the new model alone: it is asked for its vocabulary before anything else.
    assert conversation(Known(VOCABULARY), fresh, fresh, type="girl")[2] == [PROBE, JOB]


def test_a_campaign_that_no_model_knows_is_refused_by_the_one_that_answers() -> None:
    with pytest.raises(BadContext, match=r"type: unknown 'men', .*; known: boy, girl, women"):
        conversation(Known(VOCABULARY), Said(vocabulary=NEW), type="men")
    with pytest.raises(BadContext, match="type: unknown 'child'; known: men, women"):
        conversation(None, Said(), type="child")


def test_a_catalogue_without_types_is_searched_without_and_says_so() -> None:
    untyped = Said(catalogue=replace(CATALOGUE, attributes=("brand",)))
    seen, known, asked = conversation(None, untyped, replace(untyped, found=(), passing=0), untyped)
    assert asked == [PROBE, JOB, JOB]
    assert (known.typed, len(seen.alternates)) == (False, 2)
    assert seen.warnings == (
        "the catalogue does not say of which type its pictures are: alternates may be of any",
    )
    # From then on without; until it has types again.
    assert conversation(known, untyped)[2] == [JOB]
    seen, known, asked = conversation(known, Said(), Said())
    assert (asked, known.typed, seen.warnings) == ([JOB, JOB], True, ())


def test_an_empty_catalogue_tells_nothing_of_types() -> None:
    empty = Said(catalogue=replace(CATALOGUE, photos=0, attributes=()), found=(), passing=0)
    assert conversation(Known(VOCABULARY), empty)[1].typed


def test_json_begins_with_the_question_and_the_five_outputs() -> None:
    row = json.loads(json.dumps(answer().to_json()))
    assert list(row)[:9] == [
        "path", "target", "lower_is_better", "context", "probability", "variants", "best", "alternates",
        "best_alternate",
    ]  # fmt: skip
    assert row["probability"] == 0.21
    assert row["context"] == CAMPAIGN
    assert row["best"] == {
        "label": "brighter", "probability": 0.78,
        "conversions": dict(zip(contract.TARGETS, (0.78, 0.79, 0.8, 0.81), strict=True)),
    }  # fmt: skip
    assert row["best_alternate"]["id"] == "gazelle"
    assert row["model_versions"].keys() == {contract.VARY_CREATIVE, contract.CONVERSION, contract.ALTERNATES}


def test_rendered_variants_come_without_their_canvas() -> None:
    images = creatives.read_rendered(InferResponse(contract.RENDER_CREATIVE, "1", Said().rendered()))
    assert tuple(images) == LABELS
    assert images["original"].size == (640, 480)
    assert images["rotate"].size == (480, 640)
    assert images["original"].getcolors() == [(640 * 480, (grey(ORIGINAL),) * 3)]


@pytest.mark.parametrize("box", [(0, 0, 0, 10), (0, 0, 641, 10), (-1, 0, 5, 5), (5, 0, 3, 5)])
def test_a_box_that_is_none_is_the_servers_fault(box: tuple[int, ...]) -> None:
    boxes = np.tile(np.array(box, np.int32), (1, contract.MAX_VARIANTS, 1))
    said = Said(changes={contract.RENDERED_BOXES: boxes})
    with pytest.raises(ServerFault, match="RENDERED_BOXES of brighter is"):
        creatives.read_rendered(InferResponse(contract.RENDER_CREATIVE, "1", said.rendered()))
