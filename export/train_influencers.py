"""Learn which influencers fit a brand: ``python -m export.train_influencers --features FILE.npz --out DIR``.

Reads brands, influencers and which of them went together (``export/influencers/blocks.py``), judges the
ranker on folds whose brands and influencers it has not seen, then learns from all. Leaves the ranker and
``report.json`` in a folder; ``make models`` then exports it. ``--compare`` leaves no ranker, but one table
of all ways to rank.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from export.datasets import DatasetError
from export.influencers import comparison, planted
from export.influencers.blocks import Blocks, Pairs, read_pairs
from export.influencers.comparison import Row
from export.influencers.config import FILE, RankerConfig, read_config
from export.influencers.fitting import fit_ranker, score, unseen_folds
from export.influencers.metrics import METRICS, evaluate
from export.influencers.networks import BilinearNetwork
from export.influencers.ranker import Ranker
from export.influencers.story import (
    OURS,
    RANKER_FILE,
    SEED_NETWORK,
    RankerStory,
    cached_ranker,
    save_ranker,
    shape_of,
)
from export.influencers.training import choose_blocks, score_network, train_network
from export.stories import REPORT_FILE

FOLDS: Final = 5
SEED: Final = 1
"""Of the folds by which rankers are judged and compared; the options were chosen on folds of another seed."""
MISFITS: Final = 0.2
"""Probability of a planted pair to be a mistake."""
CHECKPOINT_FILE: Final = "checkpoint.safetensors"
COMPARISON_FILE: Final = "comparison.json"


def train(
    pairs: Pairs, config: RankerConfig, checkpoint: Path | None = None
) -> tuple[Ranker | BilinearNetwork, dict[str, Any]]:
    """Learn from all of ``pairs``.

    Args:
        pairs: to learn from.
        config: which ranker, and how.
        checkpoint: file from which the published network goes on.

    Returns:
        The ranker, and what is needed to build it anew.

    Raises:
        DatasetError: there is too little to learn from.
    """
    if config.kind == OURS:
        ranker = fit_ranker(pairs.only(config.blocks) if config.blocks else pairs, config.ours)
        return ranker, shape_of(ranker)
    network = train_network(pairs, config.bilinear, checkpoint)
    return network, network.shape.to_json()


def score_any(ranker: Ranker | BilinearNetwork, brands: Blocks, influencers: Blocks) -> NDArray[np.float64]:
    """Scores float64 [brands, influencers] of either kind.

    Raises:
        DatasetError: the blocks are none that the ranker can read.
    """
    if isinstance(ranker, Ranker):
        return score(ranker, brands, influencers)
    return score_network(ranker, brands, influencers)


def judge(pairs: Pairs, config: RankerConfig, seed: int = SEED) -> dict[str, Any]:
    """Metrics on brands and influencers not learned from: means over folds, and half their intervals.

    Raises:
        DatasetError: there is too little to learn from.
    """
    found: dict[str, list[float]] = {metric: [] for metric in METRICS}
    parts = unseen_folds(pairs, FOLDS, seed)
    for fitting, held_out in tqdm(parts, total=FOLDS, desc="judged", unit="fold", disable=None):
        ranker, _ = train(fitting, config)
        scores = score_any(ranker, held_out.brands, held_out.influencers)
        judged = evaluate(scores, held_out.relevant, held_out.brand_category, held_out.influencer_category)
        for metric, value in judged.values.items():
            found[metric].append(value)
    row = Row(config.kind, {metric: tuple(values) for metric, values in found.items()})
    figures = comparison.to_json([row])["measured"][config.kind]
    said = {metric: figures[metric]["mean"] for metric in METRICS}
    return said | {"plus_minus": {metric: figures[metric]["plus_minus"] for metric in METRICS}}


def train_on(pairs: Pairs, config: RankerConfig, folder: Path, starter: bool) -> RankerStory:
    """Judge, learn from all of ``pairs``, and leave the ranker in ``folder``.

    Raises:
        DatasetError: there is too little to learn from.
    """
    if config.kind == SEED_NETWORK:
        choose_blocks(pairs, config.bilinear)
    held_out = judge(pairs, config)
    checkpoint = folder / CHECKPOINT_FILE
    ranker, shape = train(pairs, config, checkpoint)
    brands, influencers = pairs.labels.shape
    told = f"{pairs.name}: {brands} brands, {influencers} influencers, {int(pairs.positive.sum())} pairs"
    story = RankerStory(config.kind, told, starter, shape, held_out, dict(pairs.made_by))
    save_ranker(ranker, story, folder)
    checkpoint.unlink(missing_ok=True)
    return story


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_TRAIN_INFLUENCERS"})
@click.option(
    "--features", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="NPZ of brands and influencers.",
)  # fmt: skip
@click.option("--planted", "plant", is_flag=True, help="Learn from generated accounts instead.")
@click.option(
    "--config", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=FILE,
    help="Which ranker, and how it learns.",
)  # fmt: skip
@click.option("--kind", type=click.Choice([OURS, SEED_NETWORK]), help="In place of the configuration's.")
@click.option("--compare", is_flag=True, help="Compare all ways to rank, and leave no ranker.")
@click.option("--seed", default=SEED, help="Of the folds to compare on.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="[default: where `make models` looks]"
)
def main(
    features: Path | None,
    plant: bool,
    file: Path,
    kind: str | None,
    compare: bool,
    seed: int,
    out: Path | None,
) -> None:
    """Learn which influencers fit a brand, and judge that on brands and influencers not seen."""
    if (features is None) == (not plant):
        raise click.UsageError("name an NPZ by --features, or learn from generated accounts by --planted")
    folder = out or cached_ranker()
    try:
        config = read_config(file)
        config = replace(config, kind=kind or config.kind)
        pairs = read_pairs(features) if features else planted.plant(misfits=MISFITS)
        if len(np.unique(pairs.labels[pairs.positive])) == 1:
            click.echo("no competence is known: all influencers of a brand count alike", err=True)
        if compare:
            rows = comparison.compare(pairs, config, seed)
            click.echo(comparison.to_text(rows))
            if out:
                out.mkdir(parents=True, exist_ok=True)
                said = json.dumps(comparison.to_json(rows), indent=2) + "\n"
                (out / COMPARISON_FILE).write_text(said)
                click.echo(f"the same as JSON is in {out / COMPARISON_FILE}", err=True)
            return
        story = train_on(pairs, config, folder, plant)
    except (DatasetError, ArithmeticError) as error:
        raise click.ClickException(str(error)) from error
    click.echo((folder / REPORT_FILE).read_text(), nl=False)
    if story.starter:
        click.echo("warning: learned from generated accounts: no real skill", err=True)
    click.echo(f"{RANKER_FILE} and {REPORT_FILE} are in {folder}", err=True)


if __name__ == "__main__":
    main()
