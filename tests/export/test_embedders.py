"""An embedder by an entry and no code; what is wrong with an entry or a file is said at once."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from adlens import contract
from export import embedders
from export.embedders import EntryError, load_embedder, read_entries, write_repository
from export.graph import open_session
from export.networks.embeddings import EmbeddingNetwork
from export.weights import WeightsError
from tests.export.test_embeddings import batch

FLATTENED = (
    "(float[{batch}, 3, 112, 112] data) => (float[{batch}, 6] embedding) "
    "{{ mean = ReduceMean<axes=[2, 3], keepdims=0>(data) top = ReduceMax<axes=[2, 3], keepdims=0>(data) "
    "embedding = Concat<axis=1>(mean, top) }}"
)


def write_onnx(file: Path, graph: str = FLATTENED.format(batch="N"), opset: int = 13) -> Path:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> tiny {graph}')
    onnx.checker.check_model(model)
    onnx.save(model, file)
    return file


def write_entry(folder: Path, **values: object) -> Path:
    """A file with one entry, ``tiny``."""
    entry = {"file": "tiny.onnx", "licence": "none", "template": "arcface", "threshold": 0.4, **values}
    lines = [f"  {key}: {value}" for key, value in entry.items() if value is not None]
    file = folder / "own.yaml"
    file.write_text("\n".join(["tiny:", *lines]))
    return file


@pytest.mark.parametrize("size", ["N", "1"])
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_an_onnx_file_is_served_by_an_entry_alone(tmp_path: Path, size: str, channels: str) -> None:
    """With an open batch or one of 1; scaled and in the order of channels that it wants."""
    write_onnx(tmp_path / "tiny.onnx", FLATTENED.format(batch=size))
    entries = read_entries(write_entry(tmp_path, channels=channels, mean=100, scale=50))
    embedder = load_embedder(entries["tiny"])
    pixels, landmarks, counts = batch([2, 0, 20, 1, 1, 1, 1, 1])
    manifest = embedders.build_embedder(embedder, tmp_path / "1", pixels)
    assert max(manifest.parity.values()) <= 1e-3
    session = open_session(tmp_path / "1" / "model.onnx")
    feeds = {"PIXELS": pixels.numpy(), "LANDMARKS": landmarks.numpy(), "FACE_COUNT": counts.numpy()}
    found, card = session.run([contract.FACE_EMBEDDING, contract.CARD], feeds)

    class Expected(torch.nn.Module):
        def forward(self, chips: torch.Tensor) -> torch.Tensor:
            scaled = (chips if channels == "RGB" else chips.flip(1)).sub(100).div(50)
            return torch.cat([scaled.mean((2, 3)), scaled.amax((2, 3))], 1)

    expected = EmbeddingNetwork(Expected(), embedder.alignment, 6)(pixels, landmarks, counts)
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-4)
    said = contract.EmbedderCard.from_bytes(card[0].tobytes())
    assert (said.embedder, said.dimension, said.threshold, said.starter) == ("tiny", 6, 0.4, False)


def test_other_scaling_is_other_weights(tmp_path: Path) -> None:
    write_onnx(tmp_path / "tiny.onnx")
    digests = set()
    for scale in (1, 2):
        network = load_embedder(read_entries(write_entry(tmp_path, scale=scale))["tiny"]).network
        digests.add(embedders.digest(network))
    assert len(digests) == 2


def test_the_three_models_are_configured_as_the_committed_ones_are(tmp_path: Path) -> None:
    write_onnx(tmp_path / "tiny.onnx")
    embedder = load_embedder(read_entries(write_entry(tmp_path))["tiny"])
    write_repository(embedder, tmp_path / "built", batch([1] * contract.MAX_BATCH)[0])
    expected = {
        "embed_tiny": contract.embedding_signature(6),
        "gallery_tiny": contract.gallery_signature(6),
        "match_faces_tiny": contract.match_faces_signature("tiny", 6),
    }
    assert {folder.name for folder in (tmp_path / "built").iterdir()} == set(expected)
    for model, signature in expected.items():
        text = (tmp_path / "built" / model / "config.pbtxt").read_text()
        config = text_format.Parse(text, model_config_pb2.ModelConfig())
        assert {value.name: tuple(value.dims) for value in config.input} == {
            name: tensor.shape for name, tensor in signature.inputs.items()
        }
        assert {value.name: tuple(value.dims) for value in config.output} == {
            name: tensor.shape for name, tensor in signature.outputs.items()
        }
    assert [step.model_name for step in config.ensemble_scheduling.step] == [
        contract.DECODE, contract.DETECT_FACES, "embed_tiny", "gallery_tiny",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"file": "gone.onnx"}, r"gone.onnx is not there; correct `file`"),
        ({"sha256": "a" * 64}, r"tiny.onnx has the SHA-256 [0-9a-f]{64}, not a{64}: fetch it again"),
        ({"template": "dlib"}, r"inputs data \[0, 3, 112, 112\]; one image \[N, 3, 150, 150\]"),
    ],
)
def test_a_file_that_is_not_what_its_entry_says_is_refused(
    tmp_path: Path, values: dict[str, object], message: str
) -> None:
    write_onnx(tmp_path / "tiny.onnx")
    with pytest.raises(WeightsError, match=message):
        load_embedder(read_entries(write_entry(tmp_path, **values))["tiny"])


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ("(float[N, 3, 112, 112] a, float[N, 2] b) => (float[N, 2] c) { c = Identity(b) }", "one image"),
        ("(uint8[N, 3, 112, 112] a) => (float[N, 3, 112, 112] b) { b = Cast<to=1>(a) }", "not float32"),
        ("(float[N, 3, 112, 112] a) => (float[N, 3, 112, 112] b) { b = Relu(a) }", "one embedding"),
        (FLATTENED.format(batch=4), "takes 4 faces at a time, neither more nor less"),
    ],
)
def test_a_graph_that_is_no_embedder_is_refused(tmp_path: Path, graph: str, message: str) -> None:
    write_onnx(tmp_path / "tiny.onnx", graph)
    with pytest.raises(WeightsError, match=message):
        load_embedder(read_entries(write_entry(tmp_path))["tiny"])


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tiny.onnx").write_bytes(b"no graph at all")
    with pytest.raises(WeightsError, match=r"tiny.onnx: no ONNX file"):
        load_embedder(read_entries(write_entry(tmp_path))["tiny"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"template": "oval"}, "no template 'oval'; there are dlib, arcface, facenet"),
        ({"channels": "GRB"}, "channels are RGB or BGR"),
        ({"scale": 0}, "a scale is not 0"),
        ({"threshold": "high"}, "could not convert string to float: 'high'"),
        ({"threshold": ".nan"}, "own.yaml: tiny: threshold nan; give a finite number"),
        ({"mean": ".nan"}, "own.yaml: tiny: mean nan; give a finite number"),
        ({"scale": ".inf"}, "own.yaml: tiny: scale inf; give a finite number"),
        ({"mean": "-4.0e+38"}, "own.yaml: tiny: mean -4e\\+38; give a finite number that float32 holds"),
        ({"scale": "1.0e-46"}, "a scale is not 0"),
        ({"scale": "1" + "0" * 400}, "own.yaml: tiny: .*too large.* one number each"),
        ({"mean": "[127.5, 127.5, 127.5]"}, "own.yaml: tiny: .* threshold, mean and scale are one number"),
        ({"threshold": None}, "licence, template and threshold it needs"),
        ({"colour": "blue"}, "licence, template and threshold it needs, may have"),
        ({"file": None}, "names no file"),
    ],
)
def test_an_entry_that_cannot_be_used_is_refused(
    tmp_path: Path, values: dict[str, object], message: str
) -> None:
    with pytest.raises(EntryError, match=message):
        read_entries(write_entry(tmp_path, **values))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dlib: {licence: a, template: dlib, threshold: 0.5}", "another name, please"),
        ("'../up': {licence: a, template: dlib, threshold: 0.5}", "another name, please"),
        ("[tiny]", "no entries"),
        ("tiny: [", "own.yaml"),
    ],
)
def test_a_file_of_entries_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(text)
    with pytest.raises(EntryError, match=message):
        read_entries(file)


def test_an_unknown_name_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    result = CliRunner().invoke(embedders.main, ["deepface", "--repository", str(tmp_path / "built")])
    assert result.exit_code == 1
    assert "has no deepface; it has facenet" in result.stderr
    assert not (tmp_path / "built").exists()


def test_a_real_embedder_of_today_is_built(test_data: Path, tmp_path: Path) -> None:
    """Its own graph, run alone on the chips, gives the same embeddings."""
    file = test_data / "weights" / "mobilefacenet_arcface_112.onnx"
    checksum = hashlib.sha256(file.read_bytes()).hexdigest()
    embedder = load_embedder(read_entries(write_entry(tmp_path, file=file, sha256=checksum))["tiny"])
    manifest = embedders.build_embedder(embedder, tmp_path / "1", batch([1] * contract.MAX_BATCH)[0])
    assert max(manifest.parity.values()) <= 1e-3
    assert embedder.dimension == 128
    chips = 255 * torch.rand(3, 3, 112, 112)
    expected = open_session(file).run(None, {"data": chips.numpy()})[0]
    np.testing.assert_allclose(embedder.network(chips).numpy(), expected, rtol=0, atol=1e-4)
