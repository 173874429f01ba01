"""What is known of a post besides its picture: POST of ``contract.py``, from words that people use.

A context is a mapping, such as one of these; whatever is not known is left out, or None::

    {"timestamp": "2026-11-20T18:30:00+01:00", "caption": "New in! #sneakers", "followers": 52000}
    {"timestamp": 1795195800, "timezone": "Europe/Berlin"}
    {"hour": 18.5, "weekday": "Friday", "caption_length": 17, "hashtags": 1, "advertised": False}

A field that is given beside what it could be derived from counts as it is given. Training derives its columns
by ``derive`` as well, so that both sides count alike.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, tzinfo
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt

from adlens import contract
from adlens.errors import BadPost
from adlens.features import SHOWN, Number, brief, guess, listed

Context: TypeAlias = Mapping[str, object]
"""What is known of a post, by name."""

DERIVED: Final = {"timestamp": ("hour", "weekday"), "caption": ("caption_length", "hashtags")}
"""What a context may hold besides fields, and the fields that it gives."""
TIMEZONE: Final = "timezone"
"""In which a timestamp in UTC, or in seconds, is told: hours are those of where the account lives."""
NAMES: Final = (*DERIVED, TIMEZONE, *contract.POST_FIELDS)
"""All that a context may hold."""
WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
SPOKEN: Final = dict(zip(contract.POST_FIELDS, (
    "hour", "weekday", "length of the caption", "number of hashtags", "followers", "whether it is advertised",
), strict=True))  # fmt: skip
"""Fields in words to be shown."""
_HASHTAG: Final = re.compile(r"#\w+")
_YEARS: Final = (2000, 2100)
"""Years of a timestamp: seconds that are milliseconds, or no seconds at all, fall out of them."""


def derive(caption: str | None, timestamp: datetime | None) -> dict[str, float]:
    """The fields ``hour``, ``weekday``, ``caption_length`` and ``hashtags``; NaN where not known.

    Args:
        caption: its length counts characters (code points, composed as by Unicode's NFC; a line break is
            one) but blanks around it, its hashtags are # followed by letters, digits or underscores of any
            script. An empty one is known to be empty.
        timestamp: hour, with minutes as its fraction, and weekday are those of the zone that it is in, which
            has to be the account's own.
    """
    fields = dict.fromkeys((*DERIVED["timestamp"], *DERIVED["caption"]), math.nan)
    if timestamp is not None:
        seconds = 3600 * timestamp.hour + 60 * timestamp.minute + timestamp.second
        fields |= {"hour": seconds / 3600, "weekday": float(timestamp.weekday())}
    if caption is not None:
        text = unicodedata.normalize("NFC", caption.strip().replace("\r\n", "\n"))
        fields |= {"caption_length": float(len(text)), "hashtags": float(len(_HASHTAG.findall(text)))}
    return fields


def read_timestamp(value: object, zone: tzinfo | None = None) -> datetime:
    """When a post is, or was, published.

    Args:
        value: a datetime; ISO 8601, as written in its own zone or in none; or seconds since 1970.
        zone: where the account lives. Times in UTC, as seconds and those that end in Z are, are told in it;
            unless given, as they are. Times in another zone, or in none, are local already.

    Raises:
        ValueError: it is none of these, lacks the time of day, or lies before 2000 or after 2099.
    """
    wanted = "write it as 2026-11-20T18:30:00+01:00"
    if isinstance(value, datetime):
        read = value
    elif isinstance(value, str):
        text = value.strip()
        if _is_day(text):
            raise ValueError(f"{brief(value)} lacks the time of day; {wanted}")
        try:
            read = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{brief(value)} is no time in ISO 8601; {wanted}") from None
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            read = datetime.fromtimestamp(value, UTC)
        except (ValueError, OverflowError, OSError):
            raise ValueError(f"{brief(value)} is no number of seconds since 1970; {wanted}") from None
    else:
        raise ValueError(f"{brief(value)} is no time; {wanted}")
    first, end = _YEARS
    if not first <= read.year < end:
        raise ValueError(f"{brief(value)} lies in the year {read.year}; {wanted} (numbers count seconds)")
    if zone is not None and read.tzinfo is not None and not read.utcoffset():
        return read.astimezone(zone)
    return read


def read_zone(value: object) -> tzinfo:
    """A time zone by its name in the IANA database.

    Raises:
        ValueError: there is none of that name.
    """
    try:
        return ZoneInfo(str(value))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{brief(value)} is no time zone; name one such as Europe/Berlin") from error


def encode(context: Context | None) -> npt.NDArray[np.float32]:
    """POST of one picture, float32 [len(POST_FIELDS)]: NaN where a field is not known.

    Raises:
        BadPost: a name is unknown, or a value cannot be; the message tells all that is wrong.
    """
    if context is not None and not isinstance(context, Mapping):
        raise BadPost(f"context {brief(context)}; give a mapping such as {{'hour': 18.5}}")
    given = {name: value for name, value in (context or {}).items() if value is not None}
    faults = [*_faults_of_names(given)]
    fields: dict[str, float] = dict.fromkeys(contract.POST_FIELDS, math.nan)
    zone: tzinfo | None = None
    for name in (TIMEZONE, *_READERS):
        if name in given:
            try:
                if name == TIMEZONE:
                    zone = read_zone(given[name])
                elif name == "timestamp":
                    fields |= _timestamp(given[name], zone)
                else:
                    fields |= _READERS[name](given[name])
            except ValueError as error:
                faults.append(f"{name}: {error}")
    if faults:
        more = f"; and {len(faults) - SHOWN} more faults" if len(faults) > SHOWN else ""
        raise BadPost(f"context: {'; '.join(faults[:SHOWN])}{more}")
    return np.array([fields[name] for name in contract.POST_FIELDS], np.float32)


def known(post: npt.NDArray[np.float32]) -> dict[str, float]:
    """The fields of POST, float32 [len(POST_FIELDS)], that are known."""
    fields = zip(contract.POST_FIELDS, post.tolist(), strict=True)
    return {name: value for name, value in fields if math.isfinite(value)}


def _is_day(text: str) -> bool:
    """Whether ``text`` is a date without a time of day."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _faults_of_names(given: Context) -> Iterator[str]:
    for name in given:
        if name not in NAMES:
            yield f"unknown {brief(name)}{guess(str(name), NAMES)}; known: {listed(NAMES, len(NAMES))}"


def _timestamp(value: object, zone: tzinfo | None = None) -> dict[str, float]:
    """Hour and weekday; of a day without its time, the weekday alone."""
    if isinstance(value, str) and _is_day(value.strip()):
        return {"weekday": float(date.fromisoformat(value.strip()).weekday())}
    fields = derive(None, read_timestamp(value, zone))
    return {name: fields[name] for name in DERIVED["timestamp"]}


def _caption(value: object) -> dict[str, float]:
    if not isinstance(value, str):
        raise ValueError(f"{brief(value)} is no text")
    fields = derive(value, None)
    return {name: fields[name] for name in DERIVED["caption"]}


def _hour(value: object) -> dict[str, float]:
    hour = Number("hour", 18.5, 24).encode(value)
    if not 0 <= hour <= 24:
        raise ValueError(f"{brief(value)}; a day has hours 0 to 24, such as 18.5 for half past six")
    return {"hour": hour}


def _weekday(value: object) -> dict[str, float]:
    wanted = "give 0 (Monday) to 6 (Sunday), or a name such as Friday"
    if isinstance(value, str):
        name = value.strip().casefold()
        for place, day in enumerate(WEEKDAYS):
            if name in (day.casefold(), day[:3].casefold()):
                return {"weekday": float(place)}
        raise ValueError(f"unknown {brief(value)}{guess(value, WEEKDAYS)}; {wanted}")
    number = Number("weekday", 4, 6).encode(value)
    if not 0 <= number < len(WEEKDAYS) or number % 1:
        raise ValueError(f"{brief(value)}; {wanted}")
    return {"weekday": number}


def _count(name: str, such: int) -> Callable[[object], dict[str, float]]:
    """Reader of the field ``name``, a whole number such as ``such``."""

    def read(value: object) -> dict[str, float]:
        count = Number(name, such, such).encode(value)
        if count < 0 or count % 1:
            raise ValueError(f"{brief(value)}; give a whole number from 0 on, such as {such}")
        return {name: count}

    return read


def _advertised(value: object) -> dict[str, float]:
    if isinstance(value, bool | np.bool_) or (isinstance(value, int | float) and value in (0, 1)):
        return {"advertised": float(value)}
    raise ValueError(f"{brief(value)}; give true or false")


_READERS: Final[Mapping[str, Callable[[object], dict[str, float]]]] = {
    "timestamp": _timestamp,
    "caption": _caption,
    "hour": _hour,
    "weekday": _weekday,
    "caption_length": _count("caption_length", 120),
    "hashtags": _count("hashtags", 5),
    "followers": _count("followers", 52_000),
    "advertised": _advertised,
}
"""From the value of each of NAMES to the fields that it gives; of one that comes twice, the later holds.
TIMEZONE gives none."""
