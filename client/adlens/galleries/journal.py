"""Embeddings on their way into a gallery: kept so that an interrupted run goes on where it was.

One JSON object a line, appended as photos are embedded; a last line that was torn by a crash is left out.
The journal goes when its photos are in the gallery. To be used while the gallery is locked.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from adlens.galleries.files import wipe
from adlens.galleries.records import Embedding, Vectors


class Journal:
    """The journal of one gallery, for the embeddings of one embedder's weights."""

    def __init__(self, folder: Path, embedder_weights: str = "") -> None:
        """Prepare.

        Args:
            folder: of the gallery.
            embedder_weights: entries of others are left out.
        """
        self._path = folder / ".journal"
        self._weights = embedder_weights

    def read(self) -> dict[tuple[str, str], Embedding]:
        """The embeddings by photo: its id, and a stamp of its file."""
        return {
            (entry["id"], entry["stamp"]): Embedding(_array(entry["vector"]), _array(entry.get("logits", "")))
            for entry in self._entries()
            if entry["weights"] == self._weights
        }

    def append(self, id_: str, stamp: str, embedding: Embedding) -> None:
        """Note the embedding of a photo."""
        entry = {"id": id_, "stamp": stamp, "weights": self._weights, "vector": _text(embedding.vector)}
        self._write([entry | ({"logits": _text(embedding.payload)} if embedding.payload.size else {})])

    def forget(self, ids: Collection[str]) -> None:
        """Remove the photos of these ids for good."""
        self._rewrite(lambda entry: entry["id"] not in ids)

    def clear(self) -> None:
        """Remove all photos for good."""
        self._rewrite(lambda entry: False)

    def _rewrite(self, keeps: Callable[[dict[str, Any]], bool]) -> None:
        if self._path.exists():
            kept = [entry for entry in self._entries() if keeps(entry)]
            wipe(self._path)
            if kept:
                self._write(kept)

    def _write(self, entries: list[dict[str, Any]]) -> None:
        self._path.touch(0o600)  # no server reads it
        with self._path.open("ab") as file:
            # In one call, and on a line of its own even behind a torn one.
            file.write(b"".join(b"\n" + json.dumps(entry).encode() for entry in entries))

    def _entries(self) -> Iterator[dict[str, Any]]:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                except ValueError:  # torn, or the empty first line
                    continue
                yield entry


def _text(array: Vectors) -> str:
    return base64.b64encode(array.astype(np.float32).tobytes()).decode()


def _array(text: str) -> Vectors:
    return np.frombuffer(base64.b64decode(text), np.float32)


def stamp(path: Path) -> str:
    """Changes when the file does; empty where there is none."""
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{path}:{status.st_size}:{status.st_mtime_ns}"
