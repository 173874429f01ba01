"""Exports of posts as people have them, and posts that there is no file of."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adlens import contract
from export.engagement.posts import Posts

Rows = list[dict[str, Any]]


def rows(count: int = 4) -> Rows:
    """Usable rows with all that an export may tell, a day apart."""
    return [
        {
            "image": f"pictures/{number}.jpg",
            "likes": 8_000 + number,
            "comments": 80,
            "timestamp": f"2026-11-{20 + number}T18:30:00+01:00",
            "caption": "Neu: Café #straße #größe!",
            "followers": 52_000,
            "advertised": False,
            "account": "shop",
        }
        for number in range(count)
    ]


def write_pictures(folder: Path, count: int = 4) -> None:
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("RGB", (8, 8)).save(folder / "pictures" / f"{number}.jpg")


def write_csv(folder: Path, table: Rows, name: str = "posts.csv") -> Path:
    """As spreadsheets do, with a byte order mark."""
    write_pictures(folder)
    file = folder / name
    with file.open("w", newline="", encoding="utf-8-sig") as out:
        writer = csv.DictWriter(out, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return file


def context(count: int, **fields: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    """POST of ``count`` posts; what is not given is unknown."""
    found = np.full((count, len(contract.POST_FIELDS)), np.nan, np.float32)
    for name, value in fields.items():
        found[:, contract.POST_FIELDS.index(name)] = value
    return found


def posts(
    likes: Sequence[int],
    comments: Sequence[int] | int = 100,
    times: Sequence[float] | None = None,
    accounts: Sequence[str] | None = None,
    pictures: Sequence[str] | None = None,
    **fields: float,
) -> Posts:
    """Posts whose pictures need not exist."""
    count = len(likes)
    return Posts(
        tuple(Path(name) for name in pictures or [f"{number}.jpg" for number in range(count)]),
        tuple(accounts or [""] * count),
        np.array(likes, np.int64),
        np.broadcast_to(np.array(comments, np.int64), count).copy(),
        np.arange(count, dtype=np.float64) if times is None else np.array(times, np.float64),
        context(count, **fields),
    )
