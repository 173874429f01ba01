"""Train the heads of one backbone: ``python -m export.train_attributes --backbone dlib --data lfw``.

Reads labelled pictures (CSV, a folder per label, CelebA, LFW with our labels), finds the main face of each
with the served decoder and detector, trains on one part and is judged on another that it never saw.
Leaves a heads file, the held-out figures as JSON and a ROC picture. `make models` then exports with it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adlens import contract
from export import datasets, heads
from export.augmentation import IMG2RECOMMENDER, Augmentation
from export.checkpoint import HeadsStory, cached_heads, save_heads
from export.datasets import LabelledPictures
from export.faces import find_main_faces
from export.features import compute_features
from export.networks import mtcnn, mtcnn_networks, ops
from export.networks.attributes import AttributeNetwork, digest
from export.networks.backbones import DlibBackbone
from export.roc import draw_roc
from export.weights import PACKAGED, STARTER, WeightsError, cache_folder, load_backbone, sha256

VALIDATION: Final = 0.15
"""Share of the pictures that are not held out by which early stopping and penalties are decided."""
ENOUGH: Final = 100
"""Faces that surely leave some for each part; with fewer it takes luck."""
SEED: Final = 20


def train(
    backbone_name: str,
    weights: str,
    pictures: LabelledPictures,
    *,
    passes: int,
    recipe: heads.Recipe,
    augmentation: Augmentation,
    deep: bool,
    output: Path,
    fold: int = 0,
) -> HeadsStory:
    """Train and judge the heads of one backbone, and write them to ``output`` (with .json and .png beside).

    Args:
        backbone_name: ``dlib``, ``vgg16`` or ``resnet50``.
        weights: as for ``export.weights.load_backbone``.
        pictures: with labels.
        passes: over the pictures, the first plain and the others augmented.
        recipe: of the heads.
        augmentation: of every pass but the first.
        deep: whether to train the deep part, where the backbone has one.
        output: the heads file.
        fold: which pictures to hold out (``datasets.name_shares``).

    Raises:
        DatasetError: no picture has a face, or too few have one.
        WeightsError: the weights cannot be had.
    """
    backbone, source = load_backbone(backbone_name, weights)
    boxes = cached_boxes(pictures)
    seen = ~torch.isnan(boxes[:, 0]).numpy()
    if not seen.any():
        raise datasets.DatasetError(f"{pictures.name}: no face in any of its {len(pictures)} pictures")
    pictures, boxes = pictures.subset(seen), boxes[torch.from_numpy(seen)]
    held_out, validation, fitting = _parts(pictures, fold)
    if not (len(held_out) and len(validation) and len(fitting)):
        raise datasets.DatasetError(
            f"{pictures.name}: {len(pictures)} faces are too few to hold some out; give at least {ENOUGH}"
        )
    network = AttributeNetwork(backbone, pictures.names)
    tails = [network.tails[name] for name in pictures.names]
    store = compute_features(backbone, pictures.paths, boxes, passes, augmentation, cache_folder(), SEED)
    deep = deep and tails[0].head is not None
    heads.train_wide(tails, store, pictures.labels, fitting, validation, recipe, refit=not deep)  # type: ignore[arg-type]
    if deep:
        heads.train_deep(tails, store, pictures.labels, fitting, validation, recipe)  # type: ignore[arg-type]
    logits = heads.predict(tails, store, held_out)  # type: ignore[arg-type]
    judgements = heads.judge(logits, pictures.labels[held_out])
    figures = {
        # Skill is a promise about real faces: what was learned or judged on generated ones makes none.
        name: {**found.to_json(), **({"skill": 0.0} if source.starter else {})}
        for name, found in zip(pictures.names, judgements, strict=True)
    }
    trained_on = (
        f"{len(fitting) + len(validation)} faces of {pictures.name}, judged on {len(held_out)} others"
    )
    asked = PACKAGED if backbone_name == DlibBackbone.name else weights
    story = HeadsStory(backbone_name, pictures.names, asked, digest(backbone), trained_on, figures)
    save_heads(network.tails, story, output)
    output.with_suffix(".json").write_text(json.dumps(asdict(story), indent=2) + "\n")
    draw_roc(logits, pictures.labels[held_out], pictures.names, backbone_name, output.with_suffix(".png"))
    return story


def _parts(
    pictures: LabelledPictures, fold: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows held out, for validation, and to fit; a picture's name alone decides where it falls."""
    share = datasets.name_shares(pictures, fold)
    held_out = share < datasets.HELD_OUT
    validation = ~held_out & (share < datasets.HELD_OUT + VALIDATION * (1 - datasets.HELD_OUT))
    return np.flatnonzero(held_out), np.flatnonzero(validation), np.flatnonzero(~held_out & ~validation)


def cached_boxes(pictures: LabelledPictures) -> Tensor:
    """Main faces, kept in the cache folder for these pictures and this detector."""
    detector = mtcnn.load_mtcnn()
    code = [sha256(Path(str(module.__file__))) for module in (mtcnn, mtcnn_networks, ops)]
    recipe = [digest(detector), *code, *map(str, pictures.paths)]
    key = hashlib.sha256("\n".join(recipe).encode()).hexdigest()[:16]
    file = cache_folder() / "faces" / f"{key}.npy"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, find_main_faces(pictures.paths, detector).numpy())
    return torch.from_numpy(np.load(file))


def read_pictures(
    kind: str, labels: Path | None, images: Path | None, names: tuple[str, ...]
) -> LabelledPictures:
    """The data set of ``kind`` (``csv``, ``folder``, ``celeba`` or ``lfw``).

    Raises:
        DatasetError: it cannot be read.
        click.UsageError: a file or folder that ``kind`` needs was not given.
    """
    if kind == "lfw":
        return datasets.read_lfw(names, images)
    if kind == "folder" and images is not None:
        return datasets.read_folders(images, names)
    if kind == "csv" and labels is not None:
        return datasets.read_csv(labels, images, names)
    if kind == "celeba" and labels is not None and images is not None:
        return datasets.read_celeba(labels, images, names)
    needs = {"folder": "--images", "csv": "--labels-file", "celeba": "--labels-file and --images"}
    raise click.UsageError(f"--data {kind} needs {needs[kind]}")


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_TRAIN"})
@click.option("--backbone", type=click.Choice(contract.BACKBONES), required=True)
@click.option(
    "--weights", default=STARTER, help="starter, published, or a state dict file (dlib: from its package)."
)
@click.option("--data", type=click.Choice(["csv", "folder", "celeba", "lfw"]), default="lfw")
@click.option(
    "--labels-file", type=click.Path(exists=True, path_type=Path), help="CSV or CelebA's attribute file."
)
@click.option(
    "--images", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of pictures."
)
@click.option("--labels", default=",".join(datasets.DEFAULT_LABELS), help="Labels, joined by commas.")
@click.option("--passes", default=6, help="Passes over the pictures; all but the first are augmented.")
@click.option(
    "--ranges", type=click.Choice(["narrow", "img2recommender"]), default="narrow", help="Of augmentation."
)
@click.option("--epochs", default=heads.Recipe.epochs, help="At most, in each stage.")
@click.option("--deep/--wide-only", default=True, help="Train the last block and its head as well.")
@click.option("--fold", type=click.IntRange(0, datasets.FOLDS - 1), default=0, help="Fifth held out.")
@click.option("--output", type=click.Path(path_type=Path), help="Heads file [default: in the cache folder]")
def main(
    backbone: str,
    weights: str,
    data: str,
    labels_file: Path | None,
    images: Path | None,
    labels: str,
    passes: int,
    ranges: str,
    epochs: int,
    deep: bool,
    fold: int,
    output: Path | None,
) -> None:
    """Train the heads of one backbone on labelled pictures, and judge them on held-out ones."""
    try:
        pictures = read_pictures(data, labels_file, images, tuple(labels.split(",")))
        story = train(
            backbone,
            weights,
            pictures,
            passes=passes,
            recipe=heads.Recipe(epochs=epochs),
            augmentation=Augmentation() if ranges == "narrow" else IMG2RECOMMENDER,
            deep=deep,
            output=output or cached_heads(backbone),
            fold=fold,
        )
    except (datasets.DatasetError, WeightsError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(json.dumps(story.held_out, indent=2))


if __name__ == "__main__":
    main()
