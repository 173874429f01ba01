"""What the demo of ads is made of."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from adlens.galleries.files import GalleryFolder
from adlens.galleries.kinds import GALLERIES
from export import generated_ads
from export.generated import astronaut
from export.generated_ads import COLLINS


def test_the_campaign_shows_the_user_once_in_another_picture_among_strangers() -> None:
    photos = generated_ads.campaign_photos()
    assert len(photos) == len({photo.tobytes() for photo in photos.values()}) == 25
    mirrored, portrait = np.asarray(photos[COLLINS]).astype(int), np.asarray(astronaut()).astype(int)
    assert mirrored.shape != portrait.shape
    assert mirrored.mean() < portrait.mean()


def test_what_is_written_fits_together_and_may_be_written_again(tmp_path: Path) -> None:
    for _ in range(2):
        generated_ads.write_demo(tmp_path)
    with (tmp_path / "campaign" / "campaign.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert {row["campaign"] for row in rows} == {"spring", "summer"}
    assert all((tmp_path / "campaign" / row["path"]).is_file() for row in rows)
    assert json.loads((tmp_path / "customer.json").read_text()) == generated_ads.CUSTOMER
    assert {path.stem for path in (tmp_path / "users").iterdir()} == {"collins", "hopper"}


def test_the_models_are_those_of_the_repository_but_galleries_are_the_demo_s_own(tmp_path: Path) -> None:
    generated_ads.link_models(tmp_path / "models")
    models = {path.name: path for path in (tmp_path / "models").iterdir()}
    assert models.keys() == {path.name for path in generated_ads.MODELS.iterdir()}
    for name, (embedder, _) in GALLERIES.items():
        assert not models[name].is_symlink()
        manifest = GalleryFolder(models.pop(name)).manifest()
        assert (manifest.embedder, manifest.photos) == (embedder, 0)
    assert all(path.is_symlink() and (path / "config.pbtxt").is_file() for path in models.values())
