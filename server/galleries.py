"""New versions of galleries are loaded while callers are served, and no call is lost.

A gallery is changed by writing its next version under another name and renaming it
(``adlens.galleries.files``), so a version that is there is whole. Triton loads it beside the one that
serves, and lets that one go when it has answered what it was asked; one that cannot be loaded changes
nothing (``ModelLifeCycle::AsyncLoad`` in model_lifecycle.cc of triton-inference-server/core), and is tried
again: memory may have been short for a moment, or a file is put right.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import tritonclient.grpc as triton

from server.repository import Model

FIRST_PAUSE_S: Final = 1.0
"""Between a load that failed and the next; twice that after each further failure."""
LONGEST_PAUSE_S: Final = 30.0
"""Below the time for which ``adlens gallery`` and its like wait for a load."""


@dataclass
class _Watched:
    """A gallery: the version that is served, and the one tried since, again when that is ``due``."""

    model: Model
    served: int
    tried: int = 0
    pause_s: float = 0.0
    due: float = 0.0
    loading: Future[None] | None = None


class GalleryWatch:
    """Has one Triton load new versions of its galleries. All methods are for one thread."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        """Take the newest versions for what is served; so it is to be made before Triton reads them.

        Args:
            models: what is to be served, galleries and others, by name.
        """
        self._galleries = {
            name: _Watched(model, served=_newest(model)) for name, model in models.items() if model.is_gallery
        }
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="galleries")

    @property
    def folders(self) -> tuple[Path, ...]:
        """Of the galleries."""
        return tuple(gallery.model.folder for gallery in self._galleries.values())

    def look(self, url: str) -> Iterator[str]:
        """Have the Triton at ``url`` load what is new, without waiting; say what has become of it."""
        for name, gallery in self._galleries.items():
            if gallery.loading is None:
                self._load_new(gallery, url)
            elif gallery.loading.done():
                error, gallery.loading = gallery.loading.exception(), None
                yield from _outcome(name, gallery, error)

    def _load_new(self, gallery: _Watched, url: str) -> None:
        newest = _newest(gallery.model)
        if newest != gallery.tried:
            gallery.tried, gallery.pause_s, gallery.due = newest, 0.0, 0.0
        if newest > gallery.served and time.monotonic() >= gallery.due:
            gallery.loading = self._loader.submit(_load, url, gallery.model.name)

    def stop(self) -> None:
        """Look no more."""
        self._loader.shutdown(wait=False, cancel_futures=True)


def _outcome(name: str, gallery: _Watched, error: BaseException | None) -> Iterator[str]:
    """Note how a load has ended; say so, but of the failures of one version only the first."""
    if error is None:
        gallery.served = gallery.tried
        yield f"serves version {gallery.tried} of {name}"
        return
    if not gallery.pause_s:
        yield f"cannot load version {gallery.tried} of {name}, serves the former and tries again: {error}"
    gallery.pause_s = min(2 * gallery.pause_s or FIRST_PAUSE_S, LONGEST_PAUSE_S)
    gallery.due = time.monotonic() + gallery.pause_s


def _newest(model: Model) -> int:
    return max((int(version.name) for version in model.numbered), default=0)


def _load(url: str, name: str) -> None:
    """Have Triton load the newest version of a model.

    Raises:
        InferenceServerException: it cannot be loaded, or Triton has ended.
    """
    with triton.InferenceServerClient(url) as client:
        client.load_model(name)
