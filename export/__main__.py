"""Build the model repository: ``python -m export`` (or ``make models``).

Exports every learned leaf to ``model_repository/<model>/1/`` with its manifest. A model whose sources,
weights and heads have not changed since is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from adlens import contract
from adlens.galleries.files import GalleryFolder
from adlens.galleries.kinds import GALLERIES
from export.building import build_chains, chains_of
from export.datasets import DatasetError
from export.graph import Manifest, ParityError
from export.models import BUILDERS, REPOSITORY, TOGETHER, draw, is_built
from export.weights import WeightsError


def _parse_weights(values: Sequence[str]) -> dict[str, str]:
    pairs = dict(value.partition("=")[::2] for value in values)
    for backbone, what in pairs.items():
        if backbone not in (*contract.BACKBONES, contract.DESCRIBE_POST):
            raise click.BadParameter(f"{backbone!r} is no backbone; write resnet50=published or vgg16=FILE")
        if not what:
            raise click.BadParameter(f"{backbone!r} names no weights; write resnet50=published or vgg16=FILE")
    return pairs


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_EXPORT"})
@click.argument("models", nargs=-1)
@click.option(
    "--weights",
    multiple=True,
    metavar="BACKBONE=WHAT",
    help="starter, published or a file; needs heads trained on it.",
)
@click.option("--repository", type=click.Path(path_type=Path), default=REPOSITORY, show_default=False)
@click.option("--force", is_flag=True, help="Build even what has not changed.")
@click.option("--jobs", type=click.IntRange(1), default=2, help="Models built at a time.")
def main(models: tuple[str, ...], weights: tuple[str, ...], repository: Path, force: bool, jobs: int) -> None:
    """Export MODELS (default: all) into the model repository."""
    everything = (*BUILDERS, *GALLERIES)
    if unknown := set(models) - set(everything):
        raise click.BadParameter(f"no model {', '.join(sorted(unknown))}; there are {', '.join(everything)}")
    chosen = _parse_weights(weights)
    stale: dict[str, str | None] = {}
    for model in models or everything:
        if model in GALLERIES:
            # Its versions are users' data: never built anew, not even by force.
            new = GalleryFolder(repository / model).ensure(*GALLERIES[model])
            click.echo(f"{model}: {'empty' if new else 'is there'}", err=True)
            continue
        wanted = chosen.get(model.removeprefix(contract.attributes_model("")))
        if force or not is_built(model, wanted, repository):
            stale[model] = wanted
        else:
            click.echo(f"{model}: up to date", err=True)
    if not stale:
        return
    draw()
    try:
        for manifest in build_chains(chains_of(stale, TOGETHER), repository, jobs):
            click.echo(_summary(manifest), err=True)
    except (DatasetError, ParityError, WeightsError) as error:
        raise click.ClickException(str(error)) from error


def _summary(manifest: Manifest) -> str:
    parity = ", ".join(f"batch {size}: {gap:.1e}" for size, gap in manifest.parity.items())
    return f"{manifest.model}: {manifest.weights.source}; ONNX Runtime against the original {parity}"


if __name__ == "__main__":
    main()
