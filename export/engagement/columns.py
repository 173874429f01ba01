"""Which column of an export is what: people's exports call likes, captions and times by many names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from adlens.features import guess, listed
from export.datasets import DatasetError

ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "image": (
        "image", "image_path", "image_file", "picture", "path", "file", "filename", "file_path", "file_name",
        "media", "media_path", "photo", "uri", "display_url", "image_url", "media_url", "url",
    ),
    "likes": ("number_likes", "likes_count", "like_count", "num_likes", "likes"),
    "comments": ("number_comments", "comments_count", "comment_count", "num_comments", "comments"),
    "timestamp": (
        "timestamp", "taken_at_timestamp", "taken_at", "creation_timestamp", "created_time", "created_at",
        "published_at", "posted_at", "datetime", "date_time", "date", "time",
    ),
    "caption": ("caption", "text", "description", "title"),
    "followers": ("followers", "followers_count", "follower_count", "number_followers", "num_followers"),
    "advertised": (
        "advertised", "is_advertised", "is_sponsored", "sponsored", "is_paid_partnership", "promoted",
    ),
    "account": ("account", "account_name", "owner_username", "username", "user_name", "owner", "user"),
    "hour": ("hour",),
    "weekday": ("weekday", "day_of_week"),
    "caption_length": ("caption_length",),
    "hashtags": ("hashtags", "hashtags_count", "hashtag_count", "number_hashtags", "num_hashtags"),
}  # fmt: skip
"""Of each field, the columns that may hold it, the surest first; case, blanks and underscores do not count.

``numberLikes`` and ``numberComments`` are those of the seed document, others those of common exporters. A web
address is no picture: such columns come last, and their rows are left out with that reason.
"""
REQUIRED: Final = ("image", "likes", "comments")


def find_columns(path: Path, there: Sequence[str], own: Mapping[str, str]) -> dict[str, str]:
    """The column of each field that an export has.

    Args:
        path: the export, for messages.
        there: its columns.
        own: columns of fields that have names of their own.

    Raises:
        DatasetError: ``own`` names an unknown field or column, or a required one is not there.
    """
    for field, column in own.items():
        if field not in ALIASES:
            raise DatasetError(
                f"no field {field!r}{guess(field, list(ALIASES))}; there are {', '.join(ALIASES)}"
            )
        if column not in there:
            raise DatasetError(f"{path}: no column {column!r}; it has {listed(there, len(there))}")
    by_fold: dict[str, str] = {}
    for column in there:
        by_fold.setdefault(_fold(column), column)
    found = dict(own)
    for field, aliases in ALIASES.items():
        known = [by_fold[_fold(alias)] for alias in aliases if _fold(alias) in by_fold]
        if known and field not in found:
            found[field] = known[0]
    if missing := [field for field in REQUIRED if field not in found]:
        raise DatasetError(
            f"{path}: which column says {' and '.join(missing)}? It has {listed(there, len(there))}; name it "
            f"by --column {missing[0]}=NAME"
        )
    return found


def _fold(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
