"""The models of the checkout with galleries that are not empty, in a folder of the benchmark's own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from adlens import contract
from perf import gallery, influencers
from perf.gallery import CHECKOUT, write_repository

PHOTOS: Final = 100_000
"""In each filled gallery."""
ENSEMBLES: Final = CHECKOUT / "ensembles"
NULL: Final = Path(__file__).parent / "null"


def has_profile(name: str) -> bool:
    """Whether a model of the checkout has a configuration of that profile."""
    return any((CHECKOUT / "model_repository").glob(f"*/configs/{name}.pbtxt"))


def filled(folder: Path) -> tuple[Path, Path, Path]:
    """Repositories of all models, ``null`` among them; ``gallery`` and ``influencers`` hold PHOTOS each.

    Alternates stay as empty as ``make models`` leaves them.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_repository(folder, gallery.random_contents(PHOTOS))
    write_repository(folder, influencers.random_contents(PHOTOS))
    for model in (CHECKOUT / "model_repository").iterdir():
        if model.name not in (gallery.MODEL, contract.INFLUENCERS):
            (folder / model.name).symlink_to(model.resolve(), target_is_directory=True)
    return folder, ENSEMBLES, NULL
