"""Embeddings through the real server: those of torch, telling people apart, by any embedder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner

from adlens import contract, pictures
from adlens.contract import EmbedderCard
from adlens.enrolment import embedder_card
from adlens.filters import encode
from adlens.jobs import personal_ads
from adlens.responses import card
from adlens.transport import Connection, Endpoint, InferResponse
from export import embedders, evaluate_faces, generated
from export.faces import decode
from export.networks import mtcnn
from export.networks.embeddings import EmbeddingNetwork
from server.launcher import Server, ServerOptions
from tests.conftest import Serve
from tests.e2e.pictures import TIMEOUT_S

LEAST_ACCURACY = 0.98
"""Of 300 pairs; 0.9933 +- 0.0044 was measured."""
TINY = (
    '<ir_version: 8, opset_import: ["": 13]> tiny (float[1, 3, 112, 112] data) => (float[1, 6] embedding) '
    "{ mean = ReduceMean<axes=[2, 3], keepdims=0>(data) top = ReduceMax<axes=[2, 3], keepdims=0>(data) "
    "embedding = Concat<axis=1>(mean, top) }"
)


def ask(server: Server, image: Path, embedder: str, *more: str) -> InferResponse:
    connection = Connection(Endpoint(server.url, timeout_s=TIMEOUT_S))
    try:
        inputs = personal_ads.request(pictures.load(image))
        outputs = personal_ads.embedding_outputs(embedder)
        return connection.infer(contract.match_faces_model(embedder), inputs, outputs=(*outputs, *more))
    finally:
        connection.close()


def test_served_embeddings_are_those_of_torch(server: Server, demo: dict[str, Path]) -> None:
    embedder = embedders.load_dlib()
    network = EmbeddingNetwork(embedder.network, embedder.alignment, embedder.dimension)
    pixels, _ = next(decode([demo["astronaut"]]))
    with torch.inference_mode():
        _, _, landmarks, count = mtcnn.load_mtcnn()(pixels)[:4]
        expected = network(pixels, landmarks, count)[0, :1]
    found = personal_ads.embeddings(ask(server, demo["astronaut"], contract.EMBEDDER), contract.EMBEDDER)
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-3)
    assert np.linalg.norm(found[0]) == pytest.approx(1, abs=1e-5)


def test_people_are_told_apart(server: Server, test_data: Path, tmp_path: Path) -> None:
    folder = test_data / "lfw_pairs"
    arguments = ["--pairs", folder / "pairs.csv", "--images", folder / "images", "--out", tmp_path]
    result = CliRunner().invoke(evaluate_faces.main, [*map(str, arguments), "--url", server.url])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "faces_dlib.json").read_text())
    assert found["pairs"] == 300
    assert found["accuracy"] >= LEAST_ACCURACY
    assert found["accuracy_at_card_threshold"] >= LEAST_ACCURACY
    assert found["without_face"] == []
    assert (tmp_path / "faces_dlib.png").stat().st_size > 0


def test_an_embedder_from_an_onnx_file_is_served_beside_the_others(serve: Serve, tmp_path: Path) -> None:
    """Even one that takes one face at a time; its gallery is empty at first."""
    onnx.save(onnx.parser.parse_model(TINY), tmp_path / "tiny.onnx")
    entry = tmp_path / "own.yaml"
    entry.write_text("tiny: {file: tiny.onnx, licence: none, template: arcface, threshold: 0.4}")
    built = tmp_path / "embedders"
    result = CliRunner().invoke(
        embedders.main, ["tiny", "--config", str(entry), "--repository", str(built)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    options = ServerOptions()
    server = serve(*options.repositories, built, models=("match_faces_tiny",))
    connection = Connection(Endpoint(server.url, timeout_s=TIMEOUT_S))
    try:
        said = embedder_card(connection, "tiny")
        assert (said.embedder, said.dimension, said.threshold, said.starter) == ("tiny", 6, 0.4, False)
        image = tmp_path / "astronaut.jpg"
        generated.astronaut().save(image)
        inputs = personal_ads.request(pictures.load(image)) | {contract.FILTER: encode(None)}
        answer = connection.infer("match_faces_tiny", inputs)
    finally:
        connection.close()
    assert card(answer, contract.card_output("embed_tiny"), EmbedderCard) == said
    found = answer.outputs[contract.FACE_EMBEDDING][0]
    assert found.shape == (contract.MAX_FACES, 6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1] + [0] * 15, atol=1e-5)
    assert answer.outputs[contract.MATCH_COUNT][0, 0] == 0
    assert (answer.outputs[contract.MATCH_SCORES] == contract.NO_MATCH).all()
