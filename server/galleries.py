"""New versions of galleries are loaded while callers are served, and no call is lost.

A gallery is changed by writing its next version under another name and renaming it
(``adlens.galleries.files``), so a version that is there is whole. Triton loads it beside the one that
serves, and lets that one go when it has answered what it was asked; one that cannot be loaded changes
nothing (``ModelLifeCycle::AsyncLoad`` in model_lifecycle.cc of triton-inference-server/core).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import tritonclient.grpc as triton

from server.repository import Model


class GalleryWatch:
    """Has one Triton load new versions of its galleries. All methods are for one thread."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        """Take the newest versions for what is served; so it is to be made before Triton reads them.

        Args:
            models: what is to be served, galleries and others, by name.
        """
        self._galleries = {name: model for name, model in models.items() if model.is_gallery}
        self._seen = {name: _newest(model) for name, model in self._galleries.items()}
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="galleries")
        self._loading: dict[str, Future[None]] = {}

    @property
    def folders(self) -> tuple[Path, ...]:
        """Of the galleries."""
        return tuple(model.folder for model in self._galleries.values())

    def look(self, url: str) -> Iterator[str]:
        """Have the Triton at ``url`` load what is new, without waiting; say what has become of it."""
        for name, model in self._galleries.items():
            loading = self._loading.get(name)
            if loading is not None and loading.done():
                del self._loading[name]
                yield self._outcome(name, loading)
            elif loading is None and (newest := _newest(model)) > self._seen[name]:
                self._seen[name] = newest
                self._loading[name] = self._loader.submit(_load, url, name)

    def _outcome(self, name: str, loading: Future[None]) -> str:
        version = self._seen[name]
        if (error := loading.exception()) is None:
            return f"serves version {version} of {name}"
        return f"cannot load version {version} of {name}, and serves the former: {error}"

    def stop(self) -> None:
        """Look no more."""
        self._loader.shutdown(wait=False, cancel_futures=True)


def _newest(model: Model) -> int:
    return max((int(version.name) for version in model.numbered), default=0)


def _load(url: str, name: str) -> None:
    """Have Triton load the newest version of a model.

    Raises:
        InferenceServerException: it cannot be loaded, or Triton has ended.
    """
    with triton.InferenceServerClient(url) as client:
        client.load_model(name)
