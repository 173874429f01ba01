"""The benchmark of describing: its bare network is the served graph's, and its ratios are taken by rounds."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from PIL import Image

from perf.describing import _report, cut_out, main
from perf.embedding import session
from server.launcher import Server

GRAPH = """
    <ir_version: 9, opset_import: ["": 18]>
    describe (uint8[batch, 4, 4, 3] PIXELS) => (float[batch, n] POST_FEATURES)
    <float[2, 3, 1, 1] w = {1, 0, 0, 0, 2, -1}>
    {
        floats = Cast <to = 1> (PIXELS)
        squares = Transpose <perm = [0, 3, 1, 2]> (floats)
        seen = Conv (squares, w)
        kept = Relu (seen)
        map = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (kept)
        rows = Transpose <perm = [0, 2, 3, 1]> (map)
        POST_FEATURES = Flatten (rows)
    }
"""


def test_the_network_that_is_cut_out_gives_what_it_gives_within_the_graph() -> None:
    model = onnx.parser.parse_model(GRAPH)
    network, start, end = cut_out(model)
    assert (start, end) == ("squares", "map")
    pixels = np.random.default_rng(1).integers(0, 256, (1, 4, 4, 3), np.uint8)
    squares = pixels.transpose(0, 3, 1, 2).astype(np.float32)
    (alone,) = session(network).run(None, {start: squares})
    (whole,) = session(model).run(None, {"PIXELS": pixels})
    np.testing.assert_array_equal(alone.transpose(0, 2, 3, 1).reshape(1, -1), whole)


def test_a_graph_without_a_network_is_refused_with_the_remedy() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["": 18]> none (float[n] x) => (float[n] y) { y = Relu (x) }'
    )
    with pytest.raises(click.ClickException, match="make models"):
        cut_out(model)


def test_a_round_is_held_against_the_better_of_the_bare_ways_in_that_round() -> None:
    found = _report({"served": [9, 5], "network": [10, 4], "wide": [8, 5], "decode": [90, 45]})
    assert found["ratios"]["served_to_raw"] == [0.9, 1.0]
    assert found["served_to_decode_and_raw"] == 1.056
    assert found["share_of_decode"] == 0.1
    assert found["pictures_per_s"]["served"] == 7


def test_the_server_says_what_the_graph_says_and_all_ways_are_measured(
    server: Server, tmp_path: Path
) -> None:
    for number, size in enumerate([(90, 140), (700, 300)]):
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.jpg")
    arguments = [str(tmp_path), "--rounds", "1", "--count", "2", "--in-flight", "2", "--url", server.url]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert set(report["pictures_per_s"]) == {"served", "network", "wide", "decode"}
    assert len(report["ratios"]["served_to_raw"]) == 1
