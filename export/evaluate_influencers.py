"""Judge a ranker: ``python -m export.evaluate_influencers --model DIR --features FILE.npz``.

Prints AUC, cAUC, R@10, R@50 and MedR as JSON, with 95 % intervals over brands (bootstrap). All influencers
of the file are candidates of every brand. Brands and influencers may be others than those learned from, and
blocks may be missing; cAUC is null where the file does not say which category a brand is of.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import click

from export.datasets import DatasetError
from export.influencers.baselines import fit_cosine
from export.influencers.blocks import read_pairs
from export.influencers.metrics import evaluate
from export.influencers.story import cached_ranker, load_ranker
from export.train_influencers import score_any
from export.weights import WeightsError

COSINE: Final = "cosine"
"""In place of a folder: the untuned baseline."""


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_EVALUATE_INFLUENCERS"})
@click.option(
    "--model", type=click.Path(path_type=Path),
    help="Folder that train_influencers left, or `cosine` for the untuned baseline "
    "[default: where `make models` looks]",
)  # fmt: skip
@click.option(
    "--features", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True,
    help="NPZ of brands and influencers.",
)  # fmt: skip
def main(model: Path | None, features: Path) -> None:
    """Print how well a ranker finds the influencers of brands, as JSON."""
    try:
        pairs = read_pairs(features)
        if model == Path(COSINE):
            scores = fit_cosine(pairs)(pairs.brands, pairs.influencers)
        else:
            ranker, _ = load_ranker(model or cached_ranker())
            scores = score_any(ranker, pairs.brands, pairs.influencers)
        judged = evaluate(scores, pairs.positive, pairs.brand_category, pairs.influencer_category)
    except (DatasetError, WeightsError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(json.dumps(judged.to_json(), indent=2))


if __name__ == "__main__":
    main()
