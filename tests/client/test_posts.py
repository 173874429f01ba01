"""What is known of a post: what is counted and how, and what is refused with the remedy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from adlens import contract, posts
from adlens.errors import BadContext, BadPost

ROME = timezone(timedelta(hours=1))
WHOLE = {
    "timestamp": "2026-11-20T18:30:00+01:00",
    "caption": "New in! #sneakers",
    "followers": 52_000,
    "advertised": False,
}


def test_hour_and_weekday_are_those_of_the_accounts_own_clock() -> None:
    late = datetime(2026, 11, 20, 0, 15, 36, tzinfo=ROME)
    assert posts.derive(None, late)["hour"] == pytest.approx(0.26)
    assert posts.derive(None, late)["weekday"] == 4
    assert posts.derive(None, late.astimezone(UTC))["weekday"] == 3
    assert posts.derive(None, late.replace(tzinfo=None)) == pytest.approx(
        posts.derive(None, late), nan_ok=True
    )


@pytest.mark.parametrize(
    ("caption", "length", "hashtags"),
    [
        ("", 0, 0),
        ("New in! #sneakers", 17, 1),
        ("#a#b ##c # d #1 #_", 18, 5),
        ("#schöne_Schuhe #सड़क #靴", 23, 3),
        ("one\r\ntwo\nthree", 13, 0),
        (" \n café ", 4, 0),
        ("cafe\u0301", 4, 0),
        ("\N{SPARKLES}#\N{SPARKLES}", 3, 0),
    ],
)
def test_captions_are_counted_by_characters_and_hashtags_in_any_script(
    caption: str, length: int, hashtags: int
) -> None:
    fields = posts.derive(caption, None)
    assert (fields["caption_length"], fields["hashtags"]) == (length, hashtags)


def test_what_is_not_known_is_nan() -> None:
    fields = posts.derive(None, None)
    assert fields.keys() == {"hour", "weekday", "caption_length", "hashtags"}
    assert all(map(math.isnan, fields.values()))
    for nothing in (None, {}, dict.fromkeys(posts.NAMES)):
        assert np.isnan(posts.encode(nothing)).all()


def test_a_context_in_words_becomes_the_fields_of_the_contract() -> None:
    row = posts.encode(WHOLE)
    assert (row.dtype, row.shape) == (np.float32, contract.TENSORS[contract.POST].shape)
    said = {
        "hour": 18.5,
        "weekday": 4,
        "caption_length": 17,
        "hashtags": 1,
        "followers": 52_000,
        "advertised": 0,
    }
    assert posts.known(row) == said
    assert np.array_equal(posts.encode(said), row)
    assert posts.known(posts.encode({"caption": "no #tag", "hour": 0})) == {
        "hour": 0, "caption_length": 7, "hashtags": 1,
    }  # fmt: skip


@pytest.mark.parametrize("day", ["Friday", "friday", " FRI ", 4, 4.0, np.int64(4)])
def test_a_weekday_is_a_number_or_a_name(day: object) -> None:
    assert posts.known(posts.encode({"weekday": day})) == {"weekday": 4}


@pytest.mark.parametrize(
    "timestamp",
    ["2026-11-20T17:30:00Z", "2026-11-20 17:30", "20261120T173000", 1_795_195_800, 1_795_195_800.0,
     datetime(2026, 11, 20, 17, 30, tzinfo=UTC), datetime(2026, 11, 20, 17, 30)],
)  # fmt: skip
def test_a_timestamp_comes_in_any_usual_form(timestamp: object) -> None:
    assert posts.known(posts.encode({"timestamp": timestamp})) == {"hour": 17.5, "weekday": 4}


@pytest.mark.parametrize(
    ("context", "reason"),
    [
        ({"hour": 25}, "hour: 25; a day has hours 0 to 24"),
        ({"hour": -0.5}, "hour: -0.5; "),
        ({"hour": "18:30"}, "hour: '18:30' is no number; one such as 18.5"),
        ({"hour": True}, "hour: True is no number"),
        ({"hour": math.nan}, "hour: nan is not finite"),
        ({"weekday": 7}, r"weekday: 7; give 0 \(Monday\) to 6 \(Sunday\)"),
        ({"weekday": 1.5}, "weekday: 1.5; give 0"),
        ({"weekday": "Fryday"}, "unknown 'Fryday', did you mean 'Friday'"),
        ({"followers": -3}, "followers: -3; give a whole number from 0 on"),
        ({"followers": "52,000"}, "followers: '52,000' is no number; one such as 52000"),
        ({"followers": 10**60}, "too large for 32 bits"),
        ({"hashtags": 1.5}, "hashtags: 1.5; give a whole number"),
        ({"caption_length": math.inf}, "caption_length: inf is not finite"),
        ({"advertised": 2}, "advertised: 2; give true or false"),
        ({"advertised": "no"}, "advertised: 'no'; give true or false"),
        ({"caption": 3}, "caption: 3 is no text"),
        ({"timestamp": "Friday, half past six"}, "no time in ISO 8601; write it as 2026-11-20T18:30:00"),
        ({"timestamp": 1_795_195_800_000}, "no number of seconds since 1970"),
        ({"timestamp": 18}, r"18 lies in the year 1970; .* \(numbers count seconds\)"),
        ({"timestamp": math.nan}, "nan is no number of seconds"),
        ({"timestamp": True}, "True is no time"),
        ({"timezone": "Mars/Olympus"}, "'Mars/Olympus' is no time zone; name one such as Europe/Berlin"),
        (
            {"folowers": 3},
            "unknown 'folowers', did you mean 'followers'.; known: timestamp, caption, timezone, ",
        ),
        ({3: 4}, "unknown 3; known: "),
        ([18.5], r"context \[18.5\]; give a mapping such as"),
        ("hour=18", "context 'hour=18'; give a mapping"),
    ],
)
def test_what_cannot_be_is_refused_with_the_value_and_the_remedy(context: Any, reason: str) -> None:
    with pytest.raises(BadPost, match=reason) as caught:
        posts.encode(context)
    assert isinstance(caught.value, BadContext)
    assert not caught.value.ends_run


def test_of_a_day_without_its_time_the_weekday_is_known() -> None:
    assert posts.known(posts.encode({"timestamp": "2026-11-20"})) == {"weekday": 4}
    with pytest.raises(ValueError, match="'2026-11-20' lacks the time of day"):
        posts.read_timestamp("2026-11-20")


def test_a_field_counts_as_it_is_given_whatever_it_could_be_derived_from() -> None:
    fields = posts.known(
        posts.encode({"hour": 3, "timestamp": "2026-11-20T18:30", "hashtags": 9, "caption": "#a"})
    )
    assert fields == {"hour": 3, "weekday": 4, "caption_length": 2, "hashtags": 9}


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(BadPost) as caught:
        posts.encode({"hour": 25, "followers": -1, "when": 3})
    assert all(name in str(caught.value) for name in ("hour: 25", "followers: -1", "unknown 'when'"))
    many: Mapping[Any, object] = dict.fromkeys(range(12), 0)
    with pytest.raises(BadPost, match="and 4 more faults"):
        posts.encode(many)


def test_what_is_in_utc_is_told_where_the_account_lives() -> None:
    """Its hours are what training learned from; a time of another zone is local already."""
    for timestamp, hour in (
        (1_795_195_800, 18.5),
        ("2026-11-20T17:30Z", 18.5),
        ("2026-11-20T09:00-05:00", 9),
    ):
        found = posts.known(posts.encode({"timestamp": timestamp, "timezone": "Europe/Berlin"}))
        assert found == {"hour": hour, "weekday": 4}
