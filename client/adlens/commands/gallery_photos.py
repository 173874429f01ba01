"""The photos of a gallery, for drawings: the gallery itself keeps no picture, but where each lies."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from adlens import pictures
from adlens.errors import AdlensError, GalleryError
from adlens.galleries.files import GalleryFolder
from adlens.galleries.kinds import kind_of
from adlens.pictures import Picture


def one_of_each_folder(gallery: GalleryFolder) -> list[Path]:
    """Photos of ``gallery``, one a folder: a drawing is not to take the place of any."""
    with suppress(AdlensError):  # each answer will say what is wrong with the gallery
        photos = map(Path, filter(None, gallery.paths().values()))
        return list({photo.parent: photo for photo in photos}.values())
    return []


class AnsweringGallery:
    """The gallery on this disk, where it is the one that answered."""

    def __init__(self, gallery: GalleryFolder, models: Mapping[str, str], option: str) -> None:
        """Hold ``gallery`` against ``models``, the weights that answered; ``option`` names another one.

        Raises:
            AdlensError: it cannot be read, or is another one.
        """
        manifest = gallery.manifest()
        served = models.get(kind_of(manifest.embedder).model)
        if served is None or not manifest.digest.startswith(served):
            raise GalleryError(f"{gallery.folder} is not the gallery that the server searched; give {option}")
        self._folder, self._paths = gallery.folder, gallery.paths()

    def photo(self, name: str) -> Picture:
        """The photo with the id ``name``.

        Raises:
            AdlensError: it cannot be read, or nobody knows where it lies.
        """
        path = self._paths.get(name)
        if not path:
            raise GalleryError(f"{self._folder} does not say where photo '{name}' lies; add it with its path")
        return pictures.load(path)
