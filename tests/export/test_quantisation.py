"""Trunks in integers: what is chosen, what is judged, and what lies beside the model afterwards."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from google.protobuf import text_format
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from tritonclient.grpc.model_config_pb2 import ModelConfig

from adlens import contract
from export import generated, models
from export.graph import Manifest, Weights, open_session
from export.models import REPOSITORY
from export.quantisation import subjects
from export.quantisation.__main__ import main
from export.quantisation.gate import MAX_AUC_LOSS, MIN_COSINE, Answers, Exam, Verdict, compare
from export.quantisation.integers import FORMS, PROCESSOR, TENSORRT, Quantiser
from export.quantisation.search import GateError, search
from export.quantisation.subjects import SUBJECTS
from export.quantisation.trunk import TrunkError, find_trunk, wide_features

DLIB = contract.attributes_model("dlib")
HEADER = '<ir_version: 9, opset_import: ["": 18]>'
CHAIN = """ g (float[n, 3, 8, 8] x) => (float[n, 4] y)
<float[4, 3, 1, 1] a, float[4, 4, 3, 3] b, float[4, 4, 3, 3] c> {
    p = Conv(x, a)
    q = Relu(p)
    r = Conv<pads = [1, 1, 1, 1]>(q, b)
    s = Relu(r)
    t = Conv<pads = [1, 1, 1, 1]>(s, c)
    u = Add(t, s)
    v = Relu(u)
    m = ReduceMean<keepdims = 0>(v, axes)
    y = Add(m, m)
    w = Conv(x, a)
    z = Relu(w)
}"""


def chain(random: np.random.Generator, outlier: float = 1.0) -> bytes:
    """Three convolutions with a shortcut, and one that leads nowhere; one channel may outshine the others.

    What ``a`` gives in its first channel is ``outlier`` times as large, and ``b`` makes that good again.
    """
    model = onnx.parser.parse_model(HEADER + CHAIN)
    for node, name in zip(model.graph.node, "abcdefghijk", strict=True):
        node.name = f"node-{name}"
    shapes = {"a": (4, 3, 1, 1), "b": (4, 4, 3, 3), "c": (4, 4, 3, 3)}
    values = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    values["a"][0] *= outlier
    values["b"][:, 0] /= outlier
    values["axes"] = np.array([2, 3], np.int64)
    del model.graph.initializer[:]
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def exam(random: np.random.Generator, count: int = 12) -> Exam:
    feeds = [{"x": random.normal(size=(1, 3, 8, 8)).astype(np.float32)} for _ in range(count)]
    return Exam(feeds, "y", None, (), np.zeros((0, 0), np.float32))


def test_a_trunk_is_the_convolutions_that_follow_each_other_and_what_lies_between() -> None:
    trunk = find_trunk(onnx.load_from_string(chain(np.random.default_rng(1))))
    assert trunk.convolutions == ("node-a", "node-c", "node-e")
    assert trunk.nodes == tuple(f"node-{name}" for name in "abcdefg")


def test_a_convolution_alone_is_no_trunk() -> None:
    graph = "g (float[n, 3, 8, 8] x, float[4, 3, 1, 1] a) => (float[n, 4, 8, 8] y) { y = Conv(x, a) }"
    model = onnx.parser.parse_model(f"{HEADER} {graph}")
    with pytest.raises(TrunkError, match="no convolutional network"):
        find_trunk(model)
    with pytest.raises(TrunkError, match="0 tensors of square roots"):
        wide_features(model)


def test_both_forms_come_from_one_calibration_and_answer_as_the_original(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    graph, judges = chain(random), exam(random)
    quantiser = Quantiser(graph, exam(random).feeds, tmp_path)
    for form in FORMS:
        found = search(quantiser, form, judges, judges.take(graph))
        assert found.floating == ()
        assert found.verdict.lowest_cosine >= MIN_COSINE


def test_layers_stay_in_floats_until_the_gate_holds_the_worst_first(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    graph, judges = chain(random, outlier=1e5), exam(random)
    found = search(Quantiser(graph, judges.feeds, tmp_path), PROCESSOR, judges, judges.take(graph))
    # What lies between these two is in integers as long as either is.
    assert set(found.floating) == {"node-a", "node-c"}
    assert found.verdict.holds
    assert found.to_json()["in_floats"] == list(found.floating)
    assert set(found.sensitivity) == {"node-a", "node-c", "node-e"}


def test_a_gate_that_never_holds_is_told(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    graph, judges = chain(random), exam(random, count=2)
    turned = judges.take(graph)
    turned = Answers(-turned.embeddings, turned.scores)
    with pytest.raises(GateError, match="does not hold, even with 2 of 3"):
        search(Quantiser(graph, judges.feeds, tmp_path), PROCESSOR, judges, turned)


@pytest.mark.parametrize(
    ("loss", "cosine", "holds"),
    [(MAX_AUC_LOSS, MIN_COSINE, True), (MAX_AUC_LOSS + 1e-4, 1.0, False), (0.0, MIN_COSINE - 1e-4, False)],
)
def test_the_gate_holds_up_to_its_limits(loss: float, cosine: float, holds: bool) -> None:
    assert Verdict({"hat": (0.9, 0.9 - loss)}, cosine, 1.0).holds is holds


def test_a_verdict_is_by_label_over_those_that_can_be_judged() -> None:
    truth = np.array([[1, 1], [1, 1], [0, 1], [0, 1]], np.float32)
    exact = np.array([[0.9, 0.5], [0.6, 0.5], [0.4, 0.5], [0.1, 0.5]], np.float32)
    swapped = exact[[0, 2, 1, 3]]
    rows: NDArray[np.float32] = np.eye(4, dtype=np.float32)
    judges = Exam([], "e", "s", ("hat", "beard"), truth)
    verdict = compare(judges, Answers(rows, exact), Answers(rows, swapped))
    assert verdict.areas == {"hat": (1.0, 0.75)}  # nobody is without a beard
    assert (verdict.lowest_cosine, verdict.largest_loss) == (1.0, 0.25)


@pytest.mark.parametrize("model", SUBJECTS)
def test_the_profile_differs_from_the_configuration_in_its_file_alone(model: str) -> None:
    plain, profile = (
        text_format.Parse((REPOSITORY / model / file).read_text(), ModelConfig())
        for file in ("config.pbtxt", "configs/int8.pbtxt")
    )
    assert profile.default_model_filename == PROCESSOR.file
    profile.ClearField("default_model_filename")
    assert profile == plain


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with dlib's attribute model as ``make models`` has built it, put into integers.

    By fewer pictures than the command takes, and so with no limit on what they say of accuracy.
    """
    original = REPOSITORY / DLIB / "1"
    if not (original / "model.onnx").exists():
        pytest.skip(f"{DLIB} has not been built; run `make models`")
    repository = tmp_path_factory.mktemp("int8")
    shutil.copytree(original, repository / DLIB / "1", ignore=shutil.ignore_patterns(models.DERIVED))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADLENS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(subjects, "CALIBRATION", 6)
        patch.setattr(subjects, "HELD_OUT", 6)
        patch.setattr("export.quantisation.gate.MAX_AUC_LOSS", 1.0)
        result = CliRunner().invoke(main, [DLIB, "--repository", str(repository)])
        assert result.exit_code == 0, result.output
        again = CliRunner().invoke(main, [DLIB, "--repository", str(repository)])
    assert "up to date" in again.stderr
    return repository / DLIB / "1"


def optimised(graph: Path, folder: Path) -> Counter[str]:
    """Operators that ONNX Runtime runs, by type."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3  # that such a file is for this machine alone
    onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)


def test_all_of_a_real_trunk_runs_in_integers(built: Path, tmp_path: Path) -> None:
    found = optimised(built / PROCESSOR.file, tmp_path)
    assert (found["QLinearConv"], found["Conv"] + found["FusedConv"] + found["Relu"]) == (29, 0)
    assert found["QLinearAdd"] == 14
    # What the heads read is made floats once a level, and the shortcuts of four levels are padded in between.
    assert found["QuantizeLinear"] <= 6


def test_what_is_for_tensorrt_is_symmetric_and_has_biases_in_floats(built: Path) -> None:
    graph = onnx.load(built / TENSORRT.file).graph
    weights = {weight.name: weight for weight in graph.initializer}
    steps = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    zeros = [numpy_helper.to_array(weights[node.input[2]]) for node in steps]
    assert steps
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    assert not any(weight.data_type == TensorProto.INT32 and weight.dims for weight in graph.initializer)


def test_the_manifest_tells_what_has_become_of_each_form(built: Path) -> None:
    told = json.loads((built / "manifest.json").read_text())["int8"]
    for form in FORMS:
        assert told[form.file]["form"] == form.name
        assert told[form.file]["convolutions"] == 29
        assert told[form.file]["in_floats"] == []
        assert told[form.file]["lowest_cosine"] >= MIN_COSINE
    assert re.fullmatch(r"generated, [3-6] faces, judged on [3-6] others", told["pictures"])


def test_faces_are_judged_alike_in_any_batch_and_none_is_no_special_case(built: Path) -> None:
    random = np.random.default_rng(5)
    pixels = random.integers(0, 255, (3, contract.CANVAS, contract.CANVAS, 3), np.uint8)
    boxes = np.zeros((3, contract.MAX_FACES, 4), np.float32)
    boxes[:, :2] = [[100, 100, 220, 240], [300, 320, 400, 430]]
    batch = {"PIXELS": pixels, "BOXES": boxes, "FACE_COUNT": np.array([[2], [0], [1]], np.int32)}
    session = open_session(built / PROCESSOR.file, threads=1)
    (together,) = session.run([contract.PROBABILITIES], batch)
    for row in range(3):
        one = {name: values[row : row + 1] for name, values in batch.items()}
        np.testing.assert_allclose(session.run([contract.PROBABILITIES], one)[0][0], together[row], atol=1e-5)
    assert together[0, :2].any(axis=1).all()
    assert not together[1].any()


def test_another_build_of_a_model_removes_what_was_made_of_the_former(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(built, tmp_path / DLIB / "1")
    manifest = Manifest(DLIB, Weights("none", "none", ""), "", "nothing", {})
    monkeypatch.setitem(models.BUILDERS, DLIB, lambda *_: manifest)  # type: ignore[arg-type]
    pictures = generated.write_dataset(tmp_path / "pictures", 1, 1)
    monkeypatch.setattr(models, "_generated_pictures", lambda: pictures)
    models.build(DLIB, None, tmp_path)
    left = {file.name for file in (tmp_path / DLIB / "1").iterdir()}
    assert left == {"model.onnx", "manifest.json", models.BUILT_FROM}


def test_a_model_that_is_not_built_is_named_with_the_remedy(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [DLIB, "--repository", str(tmp_path)])
    assert result.exit_code == 1
    assert "make models" in result.stderr


def test_a_model_without_a_trunk_of_its_own_is_refused() -> None:
    result = CliRunner().invoke(main, [contract.DETECT_FACES])
    assert result.exit_code == 2
    assert f"nothing in integers of {contract.DETECT_FACES}; there are {DLIB}" in result.stderr
