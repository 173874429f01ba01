"""The benchmark of embedding: the network it compares with is the real one, and what it reports."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from adlens import contract
from export import embedders, generated
from perf import embedding
from server.launcher import ServerOptions
from tests.conftest import Serve


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many pictures of a face as the benchmark takes."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(embedding.PICTURES):
        generated.astronaut().rotate(3 * number).save(folder / f"{number}.jpg")
    return folder


def test_the_bare_network_is_the_embedders_own() -> None:
    feed = embedding.crowds([generated.astronaut()])
    model = embedding.read_model(contract.embed_model(contract.EMBEDDER))
    network, chips = embedding.take_apart(model, feed)
    assert chips.shape == (contract.MAX_FACES, 3, 150, 150)
    assert chips.std() > 10
    (found,) = embedding.session(network).run(None, {network.graph.input[0].name: chips})
    with torch.inference_mode():
        expected = embedders.load_dlib().network(torch.from_numpy(chips))
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-4)


def test_all_ways_are_measured_on_64_faces(serve: Serve, folder: Path) -> None:
    server = serve(*ServerOptions().repositories, models=(contract.embed_model(contract.EMBEDDER),))
    arguments = [str(folder), "--rounds", "1", "--url", server.url]
    result = CliRunner().invoke(embedding.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert report["faces"] == 64
    assert set(report["ms"]) == {"graph", "network", "served", "computed"}
    assert 0 < report["ms"]["computed"] < report["ms"]["served"]
    for way, ratio in report["ratio_to_network"].items():
        assert ratio == pytest.approx(report["ms"][way] / report["ms"]["network"], rel=0.01)


def test_a_picture_without_a_face_is_refused(tmp_path: Path) -> None:
    for number in range(embedding.PICTURES):
        Image.new("RGB", (200, 100)).save(tmp_path / f"{number}.jpg")
    result = CliRunner().invoke(embedding.main, [str(tmp_path)], env={"ADLENS_URL": ""})
    assert result.exit_code == 1
    assert "a picture without a face" in result.output
