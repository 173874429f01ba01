"""Ranking of many influencers for one brand: one request, the search alone, ONNX Runtime alone, and numpy.

``repository FOLDER`` writes a model repository with random influencers, of whom a sixth passes the filter,
and the tower of brands of this checkout:

    python -m perf.influencers repository R
    python -m server --model-repository R -- python -m perf.influencers measure R

``measure`` takes turns, so that a drifting machine harms all alike, and counts an answer only where all ways
agree. Not measured: the network, and other requests at the same time.
"""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from adlens import contract, filters
from adlens.filters import Filter
from adlens.galleries.contents import Contents
from adlens.galleries.files import GalleryFolder
from adlens.jobs.influencers import Wanted
from adlens.transport import Connection, Endpoint
from perf.gallery import (
    CHECKOUT,
    VALUES,
    Search,
    Vectors,
    memory,
    open_search,
    passing,
    take_turns,
    write_repository,
)
from perf.gallery import FILTER as SOME

MODEL: Final = contract.INFLUENCERS
BRANDS: Final = 8
TOLERANCE: Final = 1e-4
"""Relative to the best product."""
TARGET_MS: Final = 25.0
"""Median of one request, for 100,000 influencers on two cores (issue 7)."""


def random_contents(count: int) -> Contents:
    """A gallery of ``count`` influencers."""
    random = np.random.default_rng(0)
    values = random.integers(tuple(VALUES.values()), size=(count, len(VALUES)))
    numbers = np.column_stack([random.integers(1_000, 200_000, count), random.uniform(0, 0.2, count)])
    return Contents(
        contract.INFLUENCER_TOWER,
        "random",
        random.standard_normal((count, contract.ACCOUNT_DIMENSION), np.float32),
        numbers.astype(np.float32),
        ids=tuple(f"account-{number}" for number in range(count)),
        paths=("",) * count,
        attributes=tuple(VALUES),
        values=tuple(tuple(map(str, row)) for row in values.tolist()),
    )


class Ways:
    """The same ranking in four ways, for ``brands`` at once."""

    def __init__(
        self, contents: Contents, version: Path, connection: Connection, brands: int, wanted: Wanted
    ) -> None:
        accounts = np.random.default_rng(1).random((brands, contract.MAX_ACCOUNT), np.float32)
        chosen: dict[str, NDArray[Any]] = {
            contract.FILTER: np.repeat(filters.encode(wanted.filter), brands, axis=0),
            contract.RANGES: np.repeat(wanted.encode(), brands, axis=0),
        }
        self._connection = connection
        self._request: dict[str, NDArray[Any]] = {contract.ACCOUNT: accounts, **chosen}
        answer = connection.infer(contract.BRAND_TOWER, {contract.ACCOUNT: accounts})
        self._brands: Vectors = answer.outputs[contract.ACCOUNT_VECTOR]
        self._feed: dict[str, NDArray[Any]] = {contract.ACCOUNT_VECTOR: self._brands, **chosen}
        self._vectors = contents.vectors
        low, high = np.moveaxis(wanted.encode()[0], 1, 0)
        within = ((contents.payload >= low) & (contents.payload <= high)).all(axis=1)
        self._passes = passing(contents, wanted.filter or {}) & within
        self._session = open_search(version)

    @property
    def all(self) -> dict[str, Search]:
        """By name."""
        return {
            "request": self.request,
            "search": self.search,
            "onnxruntime": self.onnxruntime,
            "numpy": self.numpy,
        }

    def request(self) -> Vectors:
        """The whole ensemble over gRPC, from the accounts of the brands."""
        answer = self._connection.infer(contract.RANK_INFLUENCERS, self._request)
        return answer.outputs[contract.INFLUENCER_SCORES]

    def search(self) -> Vectors:
        """The gallery alone over gRPC, from the brands' vectors."""
        return self._connection.infer(MODEL, self._feed).outputs[contract.INFLUENCER_SCORES]

    def onnxruntime(self) -> Vectors:
        """In this process."""
        names = [output.name for output in self._session.get_outputs()]
        found: Vectors = self._session.run(names, self._feed)[names.index(contract.INFLUENCER_SCORES)]
        return found

    def numpy(self) -> Vectors:
        """By comparing with all, and a partial sort."""
        scores = self._brands @ self._vectors.T
        scores[:, ~self._passes] = contract.NO_SCORE
        return -np.sort(np.partition(-scores, contract.RANKED, axis=1)[:, : contract.RANKED], axis=1)

    @property
    def tolerance(self) -> float:
        """Of a product."""
        return TOLERANCE * float(self.numpy()[:, 0].max())


@click.group(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_BENCH"})
def main() -> None:
    """Measure the ranking of influencers."""


@main.command("repository")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--influencers", type=click.IntRange(contract.RANKED + 1), default=100_000)
def repository_command(folder: Path, influencers: int) -> None:
    """Write the model repository to be served into FOLDER, which must be new."""
    write_repository(folder, random_contents(influencers))
    for model in (
        CHECKOUT / "model_repository" / contract.BRAND_TOWER,
        CHECKOUT / "ensembles" / contract.RANK_INFLUENCERS,
    ):
        (folder / model.name).symlink_to(model, target_is_directory=True)


@main.command("measure")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--url", envvar="ADLENS_URL", required=True, help="The server of FOLDER.")
@click.option("--rounds", type=click.IntRange(1), default=30)
def measure_command(folder: Path, url: str, rounds: int) -> None:
    """Measure, and print JSON."""
    gallery = GalleryFolder(folder.resolve() / MODEL)
    contents, version = gallery.read(), gallery.versions()[0]
    everyone = Wanted(followers=(None, None))
    some: Filter = SOME
    cases = {
        "1 brand": (1, everyone),
        "1 brand, a filter and ranges": (1, Wanted(some, engagement=(0.01, None))),
        f"{BRANDS} brands, a filter and ranges": (BRANDS, Wanted(some, engagement=(0.01, None))),
    }
    with Connection(Endpoint(url)) as connection:
        found = {}
        for name, case in cases.items():
            ways = Ways(contents, version, connection, *case)
            found[name] = take_turns(ways.all, rounds, ways.tolerance)
        report = {
            "influencers": len(contents.ids),
            "dimension": contract.ACCOUNT_DIMENSION,
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "onnxruntime": onnxruntime.__version__,
            "rank_ms": found,
            "target_ms": TARGET_MS,
            "memory": memory(version),
        }
    click.echo(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
