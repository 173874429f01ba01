"""Which photos may be found, as callers say it and as it travels."""

from __future__ import annotations

import re

import numpy as np
import pytest

from adlens import contract, filters
from adlens.errors import BadFilter


def test_pairs_of_one_attribute_are_alternatives() -> None:
    assert filters.parse(["campaign=spring", "hair=red", "campaign=summer", "note=a=b"]) == {
        "campaign": ["spring", "summer"],
        "hair": ["red"],
        "note": ["a=b"],
    }


@pytest.mark.parametrize("pair", ["campaign", "=summer", ""])
def test_what_is_no_pair_is_refused(pair: str) -> None:
    with pytest.raises(BadFilter, match=re.escape(f"filter {pair!r}; write ATTRIBUTE=VALUE")):
        filters.parse([pair])


@pytest.mark.parametrize("nothing", [None, {}])
def test_without_a_filter_every_clause_is_zero(nothing: dict[str, str] | None) -> None:
    codes = filters.encode(nothing)
    assert (codes.shape, codes.dtype) == ((1, *contract.TENSORS[contract.FILTER].shape), np.int64)
    assert not codes.any()


def test_each_attribute_is_a_clause_and_each_value_an_alternative() -> None:
    codes = filters.encode({"campaign": ["spring", "summer", "spring"], "hair": "red"})[0]
    code = contract.filter_code
    assert codes[0].tolist() == [code("campaign", "spring"), code("campaign", "summer"), 0, 0]
    assert codes[1].tolist() == [code("hair", "red"), 0, 0, 0]
    assert not codes[2:].any()


@pytest.mark.parametrize(
    ("filter_", "reason"),
    [
        ({"hair": ["a", "b", "c", "d", "e"]}, "filter on hair: 5 values; give 1 to 4"),
        ({"hair": []}, "filter on hair: 0 values"),
        ({str(number): "x" for number in range(9)}, "filter on 9 attributes; at most 8 travel"),
    ],
)
def test_what_does_not_travel_is_refused(filter_: filters.Filter, reason: str) -> None:
    with pytest.raises(BadFilter, match=reason):
        filters.encode(filter_)


def test_an_attribute_that_the_gallery_lacks_is_refused_with_those_it_has() -> None:
    filters.check({"hair": "red"}, ("campaign", "hair"))
    filters.check(None, ())
    with pytest.raises(BadFilter, match="no attribute colour to filter by; it has campaign, hair"):
        filters.check({"hair": "red", "colour": "red"}, ("campaign", "hair"))
