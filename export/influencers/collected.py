"""Described accounts become what a ranker learns from: the blocks of either side, and who worked with whom.

A pair is a brand and an influencer that posts of the brand mention; its label is the competence score
(``adlens.accounts.competence``). Those posts are in no vector of the brand (``adlens.history.plan``): a
ranker could else read off whom a held-out brand works with, and its figures would be flattered.
``python -m export.influencers.collected`` writes the NPZ that
``export.influencers.blocks`` reads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import click
import numpy as np
from numpy.typing import NDArray

from adlens.accounts import Unused, competence, find_accounts
from adlens.described import DescribedAccount, DescribedFolder
from adlens.errors import InvalidConfiguration
from export.datasets import DatasetError
from export.influencers.blocks import Blocks, Pairs, write_pairs

LEAST: Final = 1e-6
"""Label of a pair whose posts nobody liked: a pair all the same, and 0 would say that it is none."""


def collect(accounts: Path, described: Path, unused: Unused) -> tuple[Pairs, list[str], list[str]]:
    """The pairs of the accounts in the folder ``accounts``, with their vectors out of ``described``.

    Args:
        accounts: whose brands' posts say who worked with whom.
        described: folder of their blocks (``adlens.described``).
        unused: takes what cannot be used.

    Returns:
        The pairs, and the ids of brands and influencers in their order.

    Raises:
        DatasetError: there is no brand, no influencer, or no pair, or not all was described by the same.
        InvalidConfiguration: a folder cannot be read.
    """
    found = list(DescribedFolder(described).read(posts=False))
    brands = [account for account in found if account.brand]
    influencers = [account for account in found if not account.brand]
    if not brands or not influencers:
        raise DatasetError(
            f"{described}: {len(brands)} brands and {len(influencers)} influencers; both are needed "
            '(account.json says "brand": true of a brand)'
        )
    made_by = found[0].made_by
    if other := next((account for account in found if account.made_by != made_by), None):
        raise DatasetError(
            f"{described}: {found[0].id} was described by {dict(made_by)}, and {other.id} by "
            f"{dict(other.made_by)}; describe the accounts anew, into another folder"
        )
    scores = {}
    for account in find_accounts(accounts, unused):
        if account.brand:
            try:
                scores[account.id] = competence(account, unused)
            except InvalidConfiguration as error:
                unused.add("a brand without followers", str(error))
    labels = _labels(
        [scores.get(brand.id, {}) for brand in brands], [account.id.lower() for account in influencers]
    )
    if not labels.any():
        raise DatasetError(f"{accounts}: no post of a brand mentions one of the influencers")
    honest = [_is_honest(brand, row, unused) for brand, row in zip(brands, labels, strict=True)]
    if not labels[honest].any():
        raise DatasetError(
            f"{described}: brands that mention influencers are described by those very posts alone; give "
            "them more, and describe the accounts anew"
        )
    brands = [brand for brand, kept in zip(brands, honest, strict=True) if kept]
    pairs = Pairs(
        accounts.name,
        _blocks(brands),
        _blocks(influencers),
        labels[honest],
        np.array([account.category for account in brands]),
        np.array([account.category for account in influencers]),
        made_by,
    )
    return pairs, [account.id for account in brands], [account.id for account in influencers]


def _is_honest(brand: DescribedAccount, labels: NDArray[np.float32], unused: Unused) -> bool:
    """Whether the vectors of ``brand`` are without the posts that gave its ``labels``; else it is unused."""
    if labels.any() and not brand.set_aside:
        unused.add("a brand whose vectors tell whom it mentions, as all of its posts do", brand.id)
        return False
    return True


def _labels(scores: Iterable[Mapping[str, float]], names: Sequence[str]) -> NDArray[np.float32]:
    """float32 [brands, influencers]: competence; where unknown the brand's median, or 1 if all of it is."""
    rows = []
    for score in scores:
        known = [value for value in score.values() if not math.isnan(value)]
        typical = float(np.median(known)) if known else 1.0
        values = {name: typical if math.isnan(value) else value for name, value in score.items()}
        rows.append([max(values[name], LEAST) if name in values else 0.0 for name in names])
    return np.array(rows, np.float32)


def _blocks(accounts: Sequence[DescribedAccount]) -> Blocks:
    names = accounts[0].vectors
    return {name: np.stack([account.vectors[name] for account in accounts]) for name in names}


@click.command()
@click.option("--accounts", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--described", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="An .npz file.")
def main(accounts: Path, described: Path, out: Path) -> None:
    """Write what a ranker learns from: blocks of --described, and pairs by the posts of --accounts."""
    unused = Unused()
    try:
        pairs, brands, influencers = collect(accounts, described, unused)
        write_pairs(pairs, out)
    except (DatasetError, InvalidConfiguration, OSError) as error:
        raise click.ClickException(str(error)) from error
    for line in unused.lines():
        click.echo(f"not used: {line}", err=True)
    click.echo(
        f"{out}: {len(brands)} brands, {len(influencers)} influencers, {int(pairs.positive.sum())} pairs, "
        f"blocks {', '.join(pairs.block_names)}",
        err=True,
    )


if __name__ == "__main__":
    main()
