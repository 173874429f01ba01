"""A campaign is checked against what the conversion model knows, before anything is sent."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from adlens import contract
from adlens.errors import BadContext, CallerError
from adlens.vocabulary import Vocabulary

VOCABULARY = Vocabulary(
    {"campaign_type": ("email", "social"), "industry": ("retail", "Zoë & Söhne"), "type": ("men", "women")},
    ("brighter", "original"),
    "a" * 16,
    dict.fromkeys(contract.TARGETS, "none"),
)


def test_it_travels_as_the_schema_tensor_and_comes_back() -> None:
    data = VOCABULARY.to_bytes()
    assert len(data) == contract.SCHEMA_BYTES
    assert Vocabulary.from_bytes(data) == VOCABULARY
    newer = json.loads(data) | {"invented later": 1}
    assert Vocabulary.from_bytes(json.dumps(newer).encode()) == VOCABULARY


def test_a_campaign_becomes_places_in_the_order_of_the_contract() -> None:
    places = VOCABULARY.encode("social", "Zoë & Söhne", "men")
    assert (places.dtype, places.tolist()) == (np.int32, [1, 1, 0])
    assert places.shape == contract.TENSORS[contract.CONTEXT].shape
    turned = replace(VOCABULARY, context=dict(reversed(VOCABULARY.context.items())))
    assert turned.encode("social", "Zoë & Söhne", "men").tolist() == [1, 1, 0]


def test_all_that_is_unknown_is_told_at_once_with_what_is_known() -> None:
    with pytest.raises(BadContext) as caught:
        VOCABULARY.encode("Social", "", "child")
    assert str(caught.value) == (
        "campaign: campaign_type: unknown 'Social', did you mean 'social'?; known: email, social; "
        "industry: none given; known: retail, Zoë & Söhne; type: unknown 'child'; known: men, women"
    )
    assert isinstance(caught.value, CallerError)
    assert caught.value.ends_run


def test_what_is_no_text_is_refused_too() -> None:
    with pytest.raises(BadContext, match="type: 3 is no text; known: men, women"):
        VOCABULARY.encode("email", "retail", 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"context": {"type": ["men"]}}, "context of .'type'., not of .'campaign_type', 'industry', 'type'."),
        ({"context": {**VOCABULARY.context, "type": []}}, "type: nothing; at least one is needed"),
        ({"variants": ["original", "original"]}, "variants: original, original; .* each once"),
        ({"variants": [str(number) for number in range(9)]}, "9 variants; at most 8 travel"),
        ({"context": ["email"]}, "not a vocabulary of campaigns"),
        ({"variants": None}, "not a vocabulary of campaigns"),
    ],
)
def test_a_schema_that_is_no_vocabulary_is_refused(changes: dict[str, Any], reason: str) -> None:
    raw = json.loads(VOCABULARY.to_bytes()) | changes
    with pytest.raises(ValueError, match=reason):
        Vocabulary.from_bytes(json.dumps(raw).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff\xfe", b'{"context": 1}'])
def test_bytes_that_are_no_schema_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a vocabulary|Expecting value"):
        Vocabulary.from_bytes(data)


def test_one_too_long_to_travel_is_refused_where_it_is_made() -> None:
    many = tuple(f"industry number {number}" for number in range(2000))
    with pytest.raises(ValueError, match="bytes; at most 16384 travel: merge rare values"):
        replace(VOCABULARY, context={**VOCABULARY.context, "industry": many}).to_bytes()
