"""Teach a ResNet to tell the variants of pictures apart: ``python -m export.train_variants --images DIR``.

Reads any folder of pictures, makes all variants of each as the server does, and learns on one part of the
products, chooses on another, and is judged on a third: a sub-folder is a product model, and no model is on
two sides. The trunk stays as it is, unless ``--fine-tune`` is given. Leaves the judge and its report in a
folder; ``make models`` then exports it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

import click
import numpy as np
import torch
from numpy.typing import NDArray

from adlens import contract
from export import generated_creatives, stories
from export.creative import (
    classifier,
    features,
    finetune,
    framing,
    judging,
    network,
    reading,
    story,
    variants,
)
from export.creative.config import FILE, CreativeConfig, read_config
from export.creative.features import compute_features
from export.creative.judging import Judgement, evaluate, judge
from export.creative.network import BACKBONES, CreativeNetwork
from export.creative.reading import Catalogue, find_catalogue
from export.creative.story import JudgeStory, load_judge, load_trunk, read_story, save_judge
from export.datasets import DatasetError
from export.graph import Weights
from export.networks.attributes import digest
from export.weights import PUBLISHED, STARTER, WeightsError, cache_folder, sha256

HELD_OUT: Final = 0.2
"""Share of the product models by which the judge is judged."""
VALIDATION: Final = 0.15
"""Share of all by which the penalty is chosen; the head then learns from these as well."""
SEED: Final = 20


def train(
    config: CreativeConfig,
    catalogue: Catalogue,
    folder: Path,
    *,
    epochs: int = 0,
    generated: bool = False,
    threads: int = 0,
) -> JudgeStory:
    """Train and judge the judge of ``config`` on ``catalogue``, and leave it in ``folder``.

    Args:
        config: backbone, weights, variants.
        catalogue: pictures, grouped by product.
        folder: for the result.
        epochs: of fine-tuning the last layers; 0 leaves the trunk as it is.
        generated: whether the pictures are, so that they tell nothing of real ones.
        threads: at work; 0 takes all cores.

    Raises:
        DatasetError: there are too few products, or none can be read.
        WeightsError: the weights cannot be had.
    """
    if threads:
        torch.set_num_threads(threads)
    trunk, source = load_trunk(config.backbone, config.weights)
    trunk_digest = digest(trunk)
    store = compute_features(trunk, config.variants, catalogue, cache_folder(), threads)
    held_out, validation, fitting = (part[store.rows] for part in split(catalogue))
    if not (held_out.any() and validation.any() and fitting.any()):
        raise DatasetError(
            f"{catalogue.folder}: {len(set(catalogue.groups))} products in {len(store)} readable pictures "
            "are too few to hold some out; give at least 3 sub-folders, one a product, or 3 pictures"
        )
    taught = CreativeNetwork(trunk, config.variants).eval()
    head = classifier.fit(store, fitting, validation)
    with torch.no_grad():
        taught.head.weight.copy_(head.weight)
        taught.head.bias.copy_(head.bias)
    judgement = evaluate(head.logits(store, held_out), config.variants)
    if epochs:
        known = [catalogue.paths[row] for row in store.rows[fitting | validation]]
        unseen = [catalogue.paths[row] for row in store.rows[held_out]]
        finetune.fine_tune(taught, known, epochs, _checkpoint(trunk_digest, head, catalogue), SEED)
        kinds = len(config.variants)
        judgement = evaluate(judge(unseen, taught)[:, :kinds, :kinds], config.variants)
    told = JudgeStory(
        config.backbone,
        config.variants,
        config.weights,
        trunk_digest,
        _trained_on(catalogue, store.rows, held_out, epochs),
        source.starter or generated,
        {**judgement.to_json(), "penalty": head.penalty, "fine_tuned_epochs": epochs},
    )
    save_judge(taught, bool(epochs), told, folder)
    return told


def split(catalogue: Catalogue) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Pictures held out, for validation, and to fit; the name of its product decides where one falls."""
    share = catalogue.shares()
    held_out = share < HELD_OUT
    validation = ~held_out & (share < HELD_OUT + VALIDATION)
    return held_out, validation, ~held_out & ~validation


def _trained_on(
    catalogue: Catalogue, rows: NDArray[np.int64], held_out: NDArray[np.bool_], epochs: int
) -> str:
    groups = np.array(catalogue.groups)[rows]
    known, unseen = groups[~held_out], groups[held_out]
    tuned = f", last layers fine-tuned for {epochs} epochs" if epochs else ""
    return (
        f"{len(known)} pictures of {len(set(known))} products of {catalogue.name}, judged on {len(unseen)} "
        f"of {len(set(unseen))} others{tuned}"
    )


def _checkpoint(trunk: str, head: classifier.Head, catalogue: Catalogue) -> Path:
    """Of a fine-tuning; the same number of epochs, or more, goes on from it."""
    code = sha256(Path(finetune.__file__))
    recipe = [trunk, head.weight.numpy().tobytes().hex(), code, *map(str, catalogue.paths)]
    key = hashlib.sha256("\n".join(recipe).encode()).hexdigest()[:16]
    return cache_folder() / "variants" / f"fine-tuning-{key}.safetensors"


def cached_judge() -> Path:
    """Where training leaves the judge that `make models` exports."""
    return cache_folder() / contract.VARY_CREATIVE


def load() -> tuple[CreativeNetwork, JudgeStory, Weights]:
    """The judge of an own training run, else a starter, which learns from generated pictures.

    Raises:
        DatasetError: ``creative.yaml`` cannot be read.
        WeightsError: weights cannot be had, or the own judge is none of this configuration.
    """
    config = read_config()
    own = cached_judge()
    if not own.exists():
        return load_judge(train_starter(config))
    told = read_story(own)
    if (told.backbone, told.labels) != (config.backbone, config.variants):
        raise WeightsError(
            f"{own} has learned {', '.join(told.labels)} on {told.backbone}, and creative.yaml asks for "
            f"{', '.join(config.variants)} on {config.backbone}: train again with "
            f"`python -m export.train_variants`, change the file, or remove the folder"
        )
    return load_judge(own)


def train_starter(config: CreativeConfig, *, threads: int = 0) -> Path:
    """Folder of a judge that has learned from generated pictures; kept in the cache folder.

    Raises:
        WeightsError: the weights of ``config`` cannot be had.
    """
    code = [sha256(path) for path in _code()]
    recipe = [config.backbone, config.weights, *config.variants, *code]
    key = hashlib.sha256("\n".join(recipe).encode()).hexdigest()[:12]
    folder = cache_folder() / "starter" / key / contract.VARY_CREATIVE
    if not (folder / stories.REPORT_FILE).exists():
        drawn = generated_catalogue()
        train(config, drawn, folder, generated=True, threads=threads)
    return folder


def generated_catalogue() -> Catalogue:
    """Generated pictures in the cache folder, drawn where they are not there."""
    folder = cache_folder() / "generated" / _painter()
    generated_creatives.write_catalogue(folder)
    return find_catalogue(folder)


def _painter() -> str:
    """Names the drawing code, so that pictures of an older one are not taken for today's."""
    return sha256(Path(generated_creatives.__file__))[:12]


def sources() -> list[Path]:
    """Files on which what ``load`` gives depends."""
    return [*_code(), FILE, *sorted(cached_judge().glob("*.safetensors"))]


def drawing() -> list[Path]:
    """Files on which the pixels of the variants depend."""
    return [Path(str(module.__file__)) for module in (framing, variants)]


def _code() -> list[Path]:
    modules = (
        classifier,
        features,
        framing,
        generated_creatives,
        judging,
        network,
        reading,
        stories,
        story,
        variants,
    )
    return [Path(__file__), *(Path(str(module.__file__)) for module in modules)]


def describe(judgement: Judgement | JudgeStory) -> str:
    """Held-out accuracy, confusion matrix and areas under the curve, as a table."""
    figures = judgement.to_json() if isinstance(judgement, Judgement) else judgement.held_out
    labels = judgement.labels
    width = max(map(len, labels)) + 2
    lines = [f"held-out accuracy {figures['accuracy']:.4%} on {figures['pictures']} pictures", ""]
    lines.append(
        "is \\ taken for".ljust(16) + "".join(label.rjust(width) for label in labels) + "AUC".rjust(10)
    )
    for label, row in zip(labels, figures["confusion"], strict=True):
        counts = "".join(str(count).rjust(width) for count in row)
        lines.append(f"{label.ljust(16)}{counts}{figures['auc'][label]:10.5f}")
    return "\n".join(lines)


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_TRAIN_VARIANTS"})
@click.option(
    "--images", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
    help="Folder of pictures; a sub-folder is a product.",
)  # fmt: skip
@click.option("--backbone", type=click.Choice([*BACKBONES]), help="[default: as in creative.yaml]")
@click.option("--weights", help="starter, published, or a state dict file [default: as in creative.yaml]")
@click.option("--variants", "labels", help="Labels, joined by commas [default: as in creative.yaml]")
@click.option("--fine-tune", type=click.IntRange(0), default=0, help="Epochs of the trunk's last layers.")
@click.option("--threads", type=click.IntRange(0), default=0, help="At work; 0 takes all cores.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="[default: where `make models` looks]"
)
def main(
    images: Path,
    backbone: str | None,
    weights: str | None,
    labels: str | None,
    fine_tune: int,
    threads: int,
    out: Path | None,
) -> None:
    """Learn to tell the variants of the pictures in a folder apart, and judge that on held-out products."""
    folder = out or cached_judge()
    try:
        given = read_config()
        chosen = weights or given.weights
        config = CreativeConfig(
            backbone or given.backbone,
            chosen if chosen in (STARTER, PUBLISHED) else str(Path(chosen).resolve()),
            tuple(labels.split(",")) if labels else given.variants,
        )
        told = train(config, find_catalogue(images), folder, epochs=fine_tune, threads=threads)
    except (DatasetError, WeightsError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(told.trained_on)
    click.echo(describe(told))
    click.echo(json.dumps({"judge": str(folder)}), err=True)


if __name__ == "__main__":
    main()
