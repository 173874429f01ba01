"""The benchmark of ranking: its four ways rank alike, and one that does not is found out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

from adlens import contract
from adlens.galleries.files import GalleryFolder
from adlens.jobs.influencers import Wanted
from adlens.transport import InferResponse
from perf.gallery import FILTER, open_search, take_turns
from perf.influencers import Ways, main
from server.repository import read_models

NUMBER = 300
Arrays = Mapping[str, np.ndarray[Any, Any]]


class InProcess:
    """What a server of ``version`` would answer; the tower of brands takes an account's first numbers."""

    def __init__(self, version: Path) -> None:
        self.session = open_search(version)

    def infer(self, model: str, inputs: Arrays) -> InferResponse:
        feed = dict(inputs)
        if contract.ACCOUNT in feed:
            feed[contract.ACCOUNT_VECTOR] = feed.pop(contract.ACCOUNT)[:, : contract.ACCOUNT_DIMENSION]
        if model == contract.BRAND_TOWER:
            return InferResponse(model, "1", feed)
        names = [output.name for output in self.session.get_outputs()]
        return InferResponse(model, "1", dict(zip(names, self.session.run(names, feed), strict=True)))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "R"
    result = CliRunner().invoke(main, ["repository", str(folder), "--influencers", str(NUMBER)])
    assert result.exit_code == 0, result.output
    return folder


def test_the_repository_holds_all_that_a_request_needs(repository: Path) -> None:
    models = read_models([repository])
    assert models.keys() == {contract.INFLUENCERS, contract.BRAND_TOWER, contract.RANK_INFLUENCERS}
    assert models[contract.INFLUENCERS].is_gallery


@pytest.mark.parametrize("brands", [1, 8])
@pytest.mark.parametrize("wanted", [Wanted(followers=(None, None)), Wanted(FILTER, engagement=(0.01, None))])
def test_all_ways_rank_alike(repository: Path, brands: int, wanted: Wanted) -> None:
    gallery = GalleryFolder(repository / contract.INFLUENCERS)
    version = gallery.versions()[0]
    ways = Ways(gallery.read(), version, InProcess(version), brands, wanted)  # type: ignore[arg-type]
    found = take_turns(ways.all, 2, ways.tolerance)
    assert found.keys() == {"request", "search", "onnxruntime", "numpy"}
    assert all(each["median"] >= each["least"] >= 0 for each in found.values())
    scores = ways.request()
    assert scores.shape == (brands, contract.RANKED)
    assert (wanted.filter is not None) == bool((scores == contract.NO_SCORE).any())


def test_a_way_that_ranks_otherwise_gives_no_figure() -> None:
    ways = {"numpy": lambda: np.ones((1, 3), np.float32), "other": lambda: np.zeros((1, 3), np.float32)}
    with pytest.raises(click.ClickException, match="other finds others than numpy"):
        take_turns(ways, 1)
