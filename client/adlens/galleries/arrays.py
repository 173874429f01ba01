"""The contents of a gallery as the initializers of its search graph."""

from __future__ import annotations

import numpy as np

from adlens import contract
from adlens.galleries.contents import Contents
from adlens.galleries.graph import Array, padded
from adlens.galleries.kinds import kind_of


def initializers(contents: Contents) -> dict[str, Array]:
    """The initializers, padded; see ``graph.build``."""
    photos, dimension = contents.vectors.shape
    kind = kind_of(contents.embedder)
    chunks, rows = padded(photos, kind.found)
    vectors = np.zeros((chunks * rows, dimension), np.float32)
    vectors[:photos] = contents.vectors
    ids = np.zeros((chunks * rows, contract.ID_BYTES), np.uint8)
    text = b"".join(each.encode().ljust(contract.ID_BYTES, b"\0") for each in contents.ids)
    ids[:photos] = np.frombuffer(text, np.uint8).reshape(photos, contract.ID_BYTES)
    # Values and groups by the places at which they come first; place 0 is what the padding has.
    values: dict[tuple[str, str], int] = {}
    groups: dict[tuple[int, ...], int] = {}
    of_rows = np.zeros(chunks * rows, np.int32)
    for row, texts in enumerate(contents.values):
        pairs = zip(contents.attributes, texts, strict=True)
        group = tuple(values.setdefault(pair, len(values) + 1) for pair in pairs) or (0,)
        of_rows[row] = groups.setdefault(group, len(groups) + 1)
    width = max(1, len(contents.attributes))
    found: dict[str, Array] = {}
    if kind.payload:
        payload = np.full((chunks * rows, kind.width), kind.payload.none, np.float32)
        payload[:photos] = contents.payload
        found[kind.payload.name] = payload
    if not kind.ranges:  # else counted row by row
        counts = np.bincount(of_rows[:photos], minlength=len(groups) + 1)
        found["sizes"] = counts.astype(np.int32)[:, np.newaxis]
    return found | {
        "vectors": vectors.reshape(chunks, rows, dimension),
        "ids": ids,
        "groups": of_rows.reshape(chunks, rows),
        "group_values": np.array([(0,) * width, *groups], np.int64),
        "values": np.array([0, *(contract.filter_code(*pair) for pair in values)], np.int64),
        "is_real": np.arange(len(groups) + 1) > 0,
        "card": np.frombuffer(contents.card.to_bytes(), np.uint8)[np.newaxis],
    }
