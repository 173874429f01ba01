"""Several models at a time: most steps of an export use one core, so two are built side by side.

What shares something that is learned on the way is one chain, and built in order by one process. A process
has its share of the cores; they are started afresh, as torch does not survive a fork.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch

from export.graph import Manifest
from export.models import build

Chain = Mapping[str, str | None]
"""Models to build in order, each with the weights that the caller named for it, if any."""


def chains_of(models: Chain, together: Sequence[Sequence[str]]) -> list[Chain]:
    """``models`` in chains: those named in one of ``together`` are in one, in its order, and come first."""
    chains = [{model: models[model] for model in chain if model in models} for chain in together]
    chained = set().union(*chains)
    alone = [{model: weights} for model, weights in models.items() if model not in chained]
    return [*filter(None, chains), *alone]


def build_chains(chains: Sequence[Chain], repository: Path, jobs: int) -> Iterator[Manifest]:
    """Build all models into ``repository``, and give their manifests, those of a chain when it is done.

    Args:
        chains: a process builds the models of one in order; what lasts longest comes first.
        repository: where versions are written.
        jobs: processes at most; 1, or a single chain, stays in this one.

    Raises:
        DatasetError, ParityError, WeightsError: as ``models.build``. Chains not begun by then are left.
    """
    if min(jobs, len(chains)) <= 1:
        for chain in chains:
            yield from _build_chain(chain, repository)
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
        futures = [pool.submit(_build_chain, chain, repository) for chain in chains]
        try:
            for future in as_completed(futures):
                yield from future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _build_chain(chain: Chain, repository: Path) -> list[Manifest]:
    return [build(model, weights, repository) for model, weights in chain.items()]
