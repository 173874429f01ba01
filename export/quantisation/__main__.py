"""Put trunks into 8-bit integers: ``python -m export.quantisation`` (or ``make models-int8``).

Beside ``model.onnx`` come ``model.int8.onnx`` for CPUs, which ``python -m server --profile int8`` serves,
and ``model.int8-symmetric.onnx`` for TensorRT, both from one calibration. Each is judged on held-out pictures
by limits fixed beforehand; layers that cost too much stay in floats. The manifest says which, and how far the
answers have moved.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from export.datasets import DEFAULT_LABELS, DatasetError
from export.models import REPOSITORY
from export.quantisation.search import GateError, Quantised
from export.quantisation.subjects import SUBJECTS, Pictures
from export.quantisation.trunk import TrunkError
from export.quantisation.writing import NotBuiltError, is_quantised, quantise
from export.train_attributes import read_pictures


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_QUANTISATION"})
@click.argument("models", nargs=-1)
@click.option(
    "--data",
    type=click.Choice(["generated", "csv", "folder", "celeba", "lfw"]),
    default="generated",
    help="Pictures of people to measure and to judge by.",
)
@click.option("--labels-file", type=click.Path(exists=True, path_type=Path), help="CSV or CelebA's file.")
@click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the pictures of people.",
)
@click.option("--labels", default=",".join(DEFAULT_LABELS), help="Labels, joined by commas.")
@click.option(
    "--products",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of product pictures, a sub-folder a product model.",
    show_default="generated",
)
@click.option("--repository", type=click.Path(path_type=Path), default=REPOSITORY, show_default=False)
@click.option("--force", is_flag=True, help="Make even what has not changed.")
def main(
    models: tuple[str, ...],
    data: str,
    labels_file: Path | None,
    images: Path | None,
    labels: str,
    products: Path | None,
    repository: Path,
    force: bool,
) -> None:
    """Put MODELS (default: all that have a trunk) into integers, beside what `make models` has built."""
    if unknown := set(models) - set(SUBJECTS):
        raise click.BadParameter(
            f"nothing in integers of {', '.join(sorted(unknown))}; there are {', '.join(SUBJECTS)}"
        )
    names = tuple(labels.split(","))
    pictures = repr((data, labels_file, images, names, products))
    try:
        faces = None if data == "generated" else read_pictures(data, labels_file, images, names)
    except DatasetError as error:
        raise click.ClickException(str(error)) from error
    failures = 0
    for model in models or SUBJECTS:
        try:
            if not force and is_quantised(model, repository, pictures):
                click.echo(f"{model}: up to date", err=True)
                continue
            for found in quantise(model, repository, Pictures(faces, products), pictures):
                click.echo(_summary(model, found), err=True)
        except (DatasetError, GateError, NotBuiltError, TrunkError) as error:
            click.echo(f"error: {error}", err=True)
            failures += 1
    sys.exit(1 if failures else 0)


def _summary(model: str, found: Quantised) -> str:
    verdict = found.verdict
    areas = ", ".join(
        f"{name} {before:.3f} to {after:.3f}" for name, (before, after) in verdict.areas.items()
    )
    integers = found.convolutions - len(found.floating)
    return (
        f"{model}/{found.form.file}: {integers} of {found.convolutions} convolutions in integers; "
        f"lowest cosine {verdict.lowest_cosine:.4f}; {areas or 'no labels'}"
    )


if __name__ == "__main__":
    main()
