"""The benchmark of creatives: the network it compares with is the real one, and what it reports."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from adlens import contract
from export import generated_creatives
from perf import creative
from server.launcher import ServerOptions
from tests.conftest import Serve


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A product in two pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    generated_creatives.write_catalogue(folder, models=1, pictures=2)
    return folder


def test_the_bare_network_is_all_of_the_resnet_and_no_more() -> None:
    network, start, end = creative.cut_out(creative.read_model(contract.VARY_CREATIVE))
    convolutions = [node for node in network.graph.node if node.op_type == "Conv"]
    # 3 in each of 16 bottlenecks, 4 shortcuts, and the first.
    assert len(convolutions) == 3 * 16 + 4 + 1
    assert {node.op_type for node in network.graph.node} == {"Conv", "Relu", "Add", "MaxPool", "ReduceMean"}
    squares = np.random.default_rng(1).standard_normal((2, 3, 224, 224)).astype(np.float32)
    (found,) = creative.session(network).run([end], {start: squares})
    assert found.shape == (2, 2048)


def test_all_ways_are_measured_on_all_variants(serve: Serve, folder: Path) -> None:
    server = serve(*ServerOptions().repositories, models=(contract.VARY_CREATIVE,))
    arguments = [str(folder), "--rounds", "1", "--url", server.url]
    result = CliRunner().invoke(creative.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert report["squares"] == 6
    assert set(report["ms"]) == {"graph", "network", "served"}
    assert all(len(ratios) == 2 for ratios in report["ratios"].values())


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(creative.main, [str(tmp_path)], env={"ADLENS_URL": ""})
    assert result.exit_code == 2
    assert "no picture in it" in result.output
