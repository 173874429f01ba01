"""Real inputs of every leaf, made of one picture: what GPUs warm up with, and what plans are judged on.

``python -m export.samples`` writes them into the folders ``warmup`` of the models, where the profiles for
GPUs name them. The picture goes the way of a request: what one leaf gives, the next ones take, by the names
of ``adlens.contract``. So no leaf warms up on noise, in which there is no face and hence no work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from adlens import contract
from export.profiles import CHECKOUT, PICTURE, WARMUP

Array = NDArray[Any]
REPOSITORY: Final = CHECKOUT / "model_repository"
ROWS: Final = 2
"""The picture, and the same mirrored: rows that a graph must not mix up."""
THREADS: Final = 1


def collect(repository: Path = REPOSITORY) -> dict[str, Array]:
    """Every tensor that a leaf takes, by name, ROWS rows each.

    Raises:
        click.ClickException: a leaf that others need is not built.
    """
    tensors = {**_given(), **_picture()}
    waiting = [name for name in contract.MODELS if (repository / name / "config.pbtxt").exists()]
    needed = {name for model in waiting for name in contract.MODELS[model].inputs}
    while missing := needed - tensors.keys():
        ready = next((model for model in waiting if _gives(model, missing, tensors)), None)
        if ready is None:
            raise click.ClickException(f"no leaf gives {', '.join(sorted(missing))}")
        tensors |= {
            name: value for name, value in _run(repository, ready, tensors).items() if name in missing
        }
    return {name: tensors[name] for name in sorted(needed)}


def _gives(model: str, missing: set[str], tensors: Mapping[str, Array]) -> bool:
    inputs, outputs = contract.MODELS[model]
    return bool(outputs.keys() & missing) and inputs.keys() <= tensors.keys()


def _run(repository: Path, model: str, tensors: Mapping[str, Array]) -> dict[str, Array]:
    versions = [folder for folder in (repository / model).glob("[1-9]*") if (folder / "model.onnx").exists()]
    if not versions:
        raise click.ClickException(f"{model} is not built in {repository}: make models")
    newest = max(versions, key=lambda folder: int(folder.name))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(
        str(newest / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    names = list(contract.MODELS[model].outputs)
    feeds = {each.name: tensors[each.name] for each in session.get_inputs()}
    return dict(zip(names, session.run(names, feeds), strict=True))


def _picture() -> dict[str, Array]:
    """PIXELS and PICTURE_SIZE, as ``decode`` lays pictures that fit onto the canvas."""
    with Image.open(CHECKOUT / "ensembles" / contract.DECODE / WARMUP / PICTURE) as file:
        picture = np.asarray(file.convert("RGB"))
    height, width = picture.shape[:2]
    pixels = np.zeros((ROWS, *contract.TENSORS[contract.PIXELS].shape), np.uint8)
    pixels[0, :height, :width] = picture
    pixels[1, :height, :width] = picture[:, ::-1]
    return {contract.PIXELS: pixels, contract.PICTURE_SIZE: np.full((ROWS, 2), (height, width), np.int32)}


def _given() -> dict[str, Array]:
    """What callers bring beside a picture: all variants, no filter, a post at noon, blocks that are known."""
    post = np.array([12, 2, 80, 3, 5e4, 0], np.float32)
    customer, account = (contract.TENSORS[name].shape[0] for name in (contract.CUSTOMER, contract.ACCOUNT))
    numbers = np.random.default_rng(1)
    return {
        contract.WANTED: np.ones((ROWS, *contract.TENSORS[contract.WANTED].shape), np.uint8),
        contract.FILTER: np.zeros((ROWS, *contract.TENSORS[contract.FILTER].shape), np.int64),
        contract.CONTEXT: np.zeros((ROWS, *contract.TENSORS[contract.CONTEXT].shape), np.int32),
        contract.RANGES: np.tile(
            np.array([-np.inf, np.inf], np.float32), (ROWS, len(contract.ACCOUNT_NUMBERS), 1)
        ),
        contract.POST: np.tile(post, (ROWS, 1)),
        contract.CUSTOMER: np.zeros((ROWS, customer), np.float32),
        contract.ACCOUNT: numbers.random((ROWS, account), np.float32),
    }


def rows(tensors: Mapping[str, Array], model: str, batch: int) -> dict[str, Array]:
    """The inputs of a leaf as a batch: its rows in turn."""
    turns = np.arange(batch) % ROWS
    return {name: tensors[name][turns] for name in contract.MODELS[model].inputs}


def write(repository: Path, tensors: Mapping[str, Array]) -> Iterator[Path]:
    """Write the first row of each input into the folder ``warmup`` of each leaf; gives the folders."""
    for model, signature in contract.MODELS.items():
        if not (repository / model / "config.pbtxt").exists():
            continue
        folder = repository / model / WARMUP
        folder.mkdir(exist_ok=True)
        for name in signature.inputs:
            tensors[name][0].tofile(folder / name)
        yield folder


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_SAMPLES"})
@click.option(
    "--repository",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=REPOSITORY,
    show_default=False,
    help="Of models that are built.",
)
def main(repository: Path) -> None:
    """Write real inputs of all models of a repository, for GPUs to warm up with."""
    for folder in write(repository, collect(repository)):
        click.echo(
            f"{folder.parent.name}: {', '.join(sorted(each.name for each in folder.iterdir()))}", err=True
        )


if __name__ == "__main__":
    main(prog_name="python -m export.samples")
