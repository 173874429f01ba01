"""Graphs for TensorRT: what it does not take is found, what can be changed is, and the answers stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from export.choices import CHOICES, Engine, Precision
from export.tensorrt.adaptation import adapted
from export.tensorrt.checking import depends_on_data, obstacles, outline
from export.tensorrt.operators import TYPES
from server.assembly import CHECKOUT

BUILT = sorted((CHECKOUT / "model_repository").glob("*/1/model.onnx"))
BYTES = """
(uint8[n, 4] PIXELS, float[n, 4] X) => (float[n, 4] Y, uint8[n, 2] CARD, int64[2, m] PLACES)
<uint8[1, 2] card = {7, 255}, double[1] half = {0.5}> {
  large = Cast <to = 1> (PIXELS)
  share = Cast <to = 1> (half)
  scaled = Mul (large, share)
  Y = Add (scaled, X)
  shape = Shape <end = 1> (PIXELS)
  two = Constant <value_ints = [2]> ()
  full = Concat <axis = 0> (shape, two)
  CARD = Expand (card, full)
  zero = Constant <value_float = 0.0> ()
  positive = Greater (X, zero)
  also = Greater (Y, zero)
  same = Equal (positive, also)
  PLACES = NonZero (same)
}
"""
FAULTS = {
    "an operator of another domain": (
        "(float[n, 2] X) => (float[n, 1] Y) { Y = ai.onnx.ml.Scaler (X) }",
        "domain ai.onnx.ml",
    ),
    "an operator that is not supported": (
        "(float[n, 2] X) => (float[n, 2] Y) { Y = Det (X) }",
        "does not support",
    ),
    "a type that an operator does not take": (
        "(int32[n, 2] X, int32[2, 2] W) => (int32[n, 2] Y) { Y = MatMul (X, W) }",
        "'X' is INT32",
    ),
    "text": ("(string[n] X) => (string[n] Y) { Y = Identity (X) }", "'X' is STRING"),
    "antialiasing": (
        "(float[n, 1, 4, 4] X, float[4] s) => (float[n, 1, 2, 2] Y) "
        '{ Y = Resize <antialias = 1, mode = "linear"> (X, , s) }',
        "antialiasing",
    ),
    "a reduction while scattering": (
        "(float[4] X, int64[2, 1] I, float[2] U) => (float[4] Y) "
        '{ Y = ScatterND <reduction = "add"> (X, I, U) }',
        "reduction",
    ),
    "too many at the top": (
        "(float[n, 4000] X) => (float[n, 3900] Y, int64[n, 3900] I) <int64[1] k = {3900}> "
        "{ Y, I = TopK (X, k) }",
        "3900",
    ),
}


def model(graph: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": 18, "ai.onnx.ml": 3]> g {graph}')


def answers(graph: onnx.ModelProto, **feeds: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    return list(session.run(None, feeds))


@pytest.mark.parametrize("fault", FAULTS)
def test_what_tensorrt_does_not_document_is_found_with_its_reason(fault: str) -> None:
    graph, reason = FAULTS[fault]
    (found,) = obstacles(model(graph))
    assert reason in str(found)


def test_a_loop_is_taken_for_one_that_grows() -> None:
    steps = "on = Identity (go) y = Concat <axis = 0> (x, x)"
    body = f"body (int64 i, bool go, float[n] x) => (bool on, float[m] y) {{ {steps} }}"
    loop = f"(int64 times, bool go, float[k] X) => (float[l] Y) {{ Y = Loop <body = {body}> (times, go, X) }}"
    found = obstacles(model(loop))
    assert "keep the shapes" in str(found[0])


def test_an_opset_that_is_too_new_is_found() -> None:
    graph = model("(float[n] X) => (float[n] Y) { Y = Neg (X) }")
    graph.opset_import[0].version = 99
    assert "99" in str(obstacles(graph)[0])


def test_bytes_doubles_and_truth_values_are_replaced_and_the_answers_stay() -> None:
    original = model(BYTES)
    assert {each.operator for each in obstacles(original)} >= {"Shape", "Expand", "Cast", "Equal", "NonZero"}
    changed = adapted(original, Precision.FP32)
    assert obstacles(changed) == []
    assert [each.type for each in changed.graph.input] == [each.type for each in original.graph.input]
    assert [each.name for each in changed.graph.output] == [each.name for each in original.graph.output]
    feeds = {
        "PIXELS": np.array([[0, 1, 127, 255]], np.uint8),
        "X": np.array([[1, -2, 0, 3]], np.float32),
    }
    for before, after in zip(answers(original, **feeds), answers(changed, **feeds), strict=True):
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)


def test_the_original_is_left_as_it_is() -> None:
    original = model(BYTES)
    before = original.SerializeToString()
    adapted(original, Precision.FP16)
    assert original.SerializeToString() == before


def test_half_precision_is_in_the_graph_and_not_in_what_callers_see() -> None:
    original = model(BYTES)
    halved = adapted(original, Precision.FP16)
    assert obstacles(halved) == []
    kinds = {each.i for node in halved.graph.node for each in node.attribute if each.name == "to"}
    assert onnx.TensorProto.FLOAT16 in kinds
    assert [each.type for each in halved.graph.input] == [each.type for each in original.graph.input]
    assert [each.type.tensor_type.elem_type for each in halved.graph.output] == [
        each.type.tensor_type.elem_type for each in original.graph.output
    ]
    feeds = {"PIXELS": np.full((3, 4), 3, np.uint8), "X": np.full((3, 4), 0.25, np.float32)}
    np.testing.assert_allclose(answers(halved, **feeds)[0], 1.75)


def test_whether_a_graph_can_be_recorded_is_seen() -> None:
    assert depends_on_data(model(BYTES))
    assert not depends_on_data(model("(float[n] X) => (float[n] Y) { Y = Neg (X) }"))


def test_what_takes_single_precision_takes_half() -> None:
    """So that a graph need not be converted to be held against the list."""
    for operator, types in TYPES.items():
        assert (onnx.TensorProto.FLOAT in types) == (onnx.TensorProto.FLOAT16 in types), operator


@pytest.mark.parametrize("file", BUILT, ids=lambda file: file.parents[1].name)
def test_every_graph_that_is_built_fits_its_engine(file: Path) -> None:
    """All graphs are walked: TensorRT takes those that it is given, and no others would be better there."""
    name = file.parents[1].name
    choice, graph = CHOICES[name], outline(file)
    if choice.engine is Engine.TENSORRT:
        assert obstacles(adapted(graph, Precision.FP32)) == []
        assert choice.graphs != depends_on_data(graph), "CUDA graphs are recorded wherever they can be"
    elif choice.engine is Engine.CPU:
        assert any(node.domain == "ai.onnx.ml" for node in graph.graph.node), "a GPU could run it"


def test_graphs_are_walked_wherever_they_are_built() -> None:
    missing = {
        model for model, choice in CHOICES.items() if choice.engine in (Engine.TENSORRT, Engine.CPU)
    } - {file.parents[1].name for file in BUILT}
    if missing:
        pytest.skip(f"not built: {', '.join(sorted(missing))}; run: make models")
