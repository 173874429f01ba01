"""Judge job 1 through the running server: ``python -m export.evaluate_products --data lfw --images DIR``.

Labelled pictures go to the server as any caller would send them, detector included; the main face of each
picture answers for it. A picture without a face found scores 0 for every label, so a miss costs what it
should. Prints, as JSON, the area under the ROC curve of each label for the combined answer and for each
backbone, and draws the curves.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from adlens import Failure, PictureAnswer, Recommender
from adlens.jobs.faces import main_face
from export import datasets
from export.datasets import LabelledPictures
from export.heads import judge
from export.roc import draw_roc
from export.train_attributes import read_pictures

COMBINED = "combined"


def scores(
    answers: Iterable[PictureAnswer | Failure], names: tuple[str, ...], pictures: int
) -> tuple[dict[str, NDArray[np.float32]], int, list[str]]:
    """Probabilities of the main face, by backbone and combined.

    Returns:
        For each backbone and ``combined``, float32 [pictures, labels]; how many pictures had no face; and
        what failed.
    """
    found: dict[str, NDArray[np.float32]] = {}
    without_face, failures = 0, []
    for row, answer in enumerate(answers):
        if isinstance(answer, Failure):
            failures.append(f"{answer.path}: {answer.message}")
            continue
        if not answer.faces:
            without_face += 1
            continue
        face = answer.faces[main_face([face.box for face in answer.faces], answer.height, answer.width)]
        for name, values in {COMBINED: face.attributes, **face.backbones}.items():
            table = found.setdefault(name, np.zeros((pictures, len(names)), np.float32))
            table[row] = [values.get(label, 0.0) for label in names]
    return found, without_face, failures


def figures(found: dict[str, NDArray[np.float32]], pictures: LabelledPictures) -> dict[str, Any]:
    """Area under the ROC curve and its standard error, by backbone and label."""
    return {
        backbone: {
            label: {"auc": round(one.auc, 4), "standard_error": round(one.standard_error, 4)}
            for label, one in zip(pictures.names, judge(table, pictures.labels), strict=True)
        }
        for backbone, table in found.items()
    }


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_EVALUATE"})
@click.option("--data", type=click.Choice(["csv", "folder", "celeba", "lfw"]), default="lfw")
@click.option("--labels-file", type=click.Path(exists=True, path_type=Path), help="CSV or CelebA's file.")
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--labels", default=",".join(datasets.DEFAULT_LABELS), help="Labels, joined by commas.")
@click.option(
    "--part", type=click.Choice(["held-out", "all"]), default="held-out", help="Held out in training."
)
@click.option("--fold", type=click.IntRange(0, datasets.FOLDS - 1), default=0, help="Fifth held out.")
@click.option("--url", envvar="ADLENS_URL", default="127.0.0.1:8001")
@click.option("--workers", default=8, help="Pictures in flight.")
@click.option("--roc", type=click.Path(path_type=Path), help="Draw the combined curves into this PNG.")
def main(
    data: str,
    labels_file: Path | None,
    images: Path | None,
    labels: str,
    part: str,
    fold: int,
    url: str,
    workers: int,
    roc: Path | None,
) -> None:
    """Judge the served answers on labelled pictures."""
    pictures = read_pictures(data, labels_file, images, tuple(labels.split(",")))
    if part == "held-out":
        pictures = pictures.subset(datasets.name_shares(pictures, fold) < datasets.HELD_OUT)
    with Recommender(url) as recommender:
        answers = recommender.recommend_many(pictures.paths, workers=workers)
        watched = tqdm(answers, total=len(pictures), unit="picture", disable=None)
        found, without_face, failures = scores(watched, pictures.names, len(pictures))
    for failure in failures:
        click.echo(f"error: {failure}", err=True)
    if not found:
        raise click.ClickException(f"no face in any of the {len(pictures)} pictures")
    report = {
        "pictures": len(pictures),
        "without_face": without_face,
        "failed": len(failures),
        "shown": dict(zip(pictures.names, map(int, np.nansum(pictures.labels, axis=0)), strict=True)),
        "figures": figures(found, pictures),
    }
    click.echo(json.dumps(report, indent=2))
    if roc:
        draw_roc(found[COMBINED], pictures.labels, pictures.names, "combined, through the server", roc)
    if failures:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
