"""Campaign photos, users' photos and a customer's record for the demo of ads.

The faces are real and come with packages: NASA's portrait of Eileen Collins (scikit-image, public
domain), the US Navy's of Grace Hopper (matplotlib, public domain), and faces of Labeled Faces in the Wild
(Huang et al. 2007) at 25x25 pixels (``skimage.data.lfw_subset``). One campaign photo shows Collins as
another picture would: mirrored, framed and lit otherwise. Hopper is in none.

``python -m export.generated_ads FOLDER`` writes ``campaign/`` with ``campaign.csv``, ``users/``,
``customer.json``, and ``models/``: the repository's models, linked, with galleries of the demo's own.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Final

import click
import matplotlib
import numpy as np
import skimage.data
from PIL import Image, ImageEnhance

from adlens import contract
from adlens.galleries.files import GalleryFolder
from adlens.galleries.kinds import GALLERIES
from export.generated import astronaut

MODELS: Final = Path(__file__).parent.parent / "model_repository"
GALLERY: Final = contract.gallery_model(contract.EMBEDDER)
SEASONS: Final = ("spring", "summer")
COLLINS: Final = "summer-collins"
"""Id of the campaign photo that shows the astronaut."""
CUSTOMER: Final = {
    "residence": "city",
    "age": 29,
    "phone_manufacturer": "Apple",
    "phone_age_months": 30,
    "tariff": "plus",
    "monthly_bill_eur": 31.5,
    "data_gb_a_month": 18.0,
    "contract_months_left": 2,
    "tenure_years": 6,
    "support_calls": 1,
}
"""A record by the schema of the generated campaign (``export.uplift.telecom``)."""
_STRANGERS: Final = 24
_FACE_SIDE: Final = 160
_GREY: Final = 128


def campaign_photos() -> dict[str, Image.Image]:
    """By id; the season is what an id begins with."""
    photos = {f"{SEASONS[number % 2]}-{number:02}": _stranger(number) for number in range(_STRANGERS)}
    return photos | {COLLINS: _another(astronaut())}


def users() -> dict[str, Image.Image]:
    """Photos of the users, by name."""
    hopper = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    return {"collins": astronaut(), "hopper": Image.open(hopper)}


def write_demo(folder: Path) -> None:
    """Everything that the demo of ads needs, into ``folder``."""
    rows = []
    for name, photo in campaign_photos().items():
        path = _saved(photo, folder / "campaign" / f"{name}.jpg")
        rows.append([name, path.name, name.partition("-")[0]])
    with (folder / "campaign" / "campaign.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "path", "campaign"], *rows])
    for name, photo in users().items():
        _saved(photo, folder / "users" / f"{name}.jpg")
    (folder / "customer.json").write_text(json.dumps(CUSTOMER, indent=2))
    link_models(folder / "models")


def link_models(folder: Path) -> None:
    """Link the repository's models into ``folder``, but for the galleries: these are made anew, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for model in MODELS.iterdir():
        if model.name not in GALLERIES:
            (folder / model.name).symlink_to(model.resolve(), target_is_directory=True)
            continue
        (folder / model.name).mkdir()
        shutil.copy(model / "config.pbtxt", folder / model.name)
        GalleryFolder(folder / model.name).ensure(*GALLERIES[model.name])


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Write what the demo of ads needs into FOLDER."""
    write_demo(folder)
    click.echo(folder)


def _another(portrait: Image.Image) -> Image.Image:
    """Another picture of who is in ``portrait``: mirrored, closer, turned a little, and darker."""
    mirrored = portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT).rotate(6, Image.Resampling.BICUBIC)
    return ImageEnhance.Brightness(mirrored.crop((180, 20, 400, 260))).enhance(0.7)


def _stranger(number: int) -> Image.Image:
    """A face of LFW, enlarged, in the middle of a grey picture."""
    pixels = (skimage.data.lfw_subset()[number] * 255).astype(np.uint8)  # type: ignore[no-untyped-call]
    face = Image.fromarray(pixels).resize((_FACE_SIDE, _FACE_SIDE), Image.Resampling.LANCZOS)
    picture = Image.new("L", (2 * _FACE_SIDE, 2 * _FACE_SIDE), _GREY)
    picture.paste(face, (_FACE_SIDE // 2, _FACE_SIDE // 2))
    return picture


def _saved(picture: Image.Image, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=95)
    return path


if __name__ == "__main__":
    main()
