"""The benchmark of engagement: the network it compares with is the real one, and what it reports."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from adlens import contract
from export.engagement import planted
from perf import engagement
from perf.embedding import read_model, session
from server.launcher import ServerOptions
from tests.conftest import Serve


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures of three posts."""
    folder = tmp_path_factory.mktemp("posts")
    return planted.write_posts(folder, 3, "image").parent / "pictures"


def test_the_bare_network_is_all_of_the_resnet_and_no_more() -> None:
    network, start, _ = engagement.cut_out(read_model(contract.ENGAGEMENT_MODEL))
    convolutions = [node for node in network.graph.node if node.op_type == "Conv"]
    # 2 in each of 16 blocks, 3 shortcuts, and the first.
    assert len(convolutions) == 2 * 16 + 3 + 1
    operators = {node.op_type for node in network.graph.node}
    assert operators == {"Conv", "Relu", "Add", "MaxPool", "GlobalAveragePool"}
    squares = np.random.default_rng(1).standard_normal((2, 3, 224, 224)).astype(np.float32)
    (found,) = session(network).run(None, {start: squares})
    assert found.shape == (2, 512, 1, 1)


def test_all_ways_are_measured_and_compared(serve: Serve, folder: Path) -> None:
    server = serve(*ServerOptions().repositories, models=(contract.PREDICT_ENGAGEMENT,))
    arguments = [str(folder), "--rounds", "1", "--count", "4", "--batch", "2", "--url", server.url]
    result = CliRunner().invoke(engagement.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    rates = report["pictures_per_s"]
    assert set(rates) == {"served", "network", "network_apart", "decode", "in_process"}
    assert all(rate > 0 for rate in rates.values())
    assert report["served_to_network"] == pytest.approx(rates["served"] / rates["network"], rel=0.05)
    assert 0 < report["share_of_decode"] < 1


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(engagement.main, [str(tmp_path)])
    assert result.exit_code == 2
    assert "no .jpg file" in result.output
