"""The rows of a batch run side by side, and nobody can tell from the answers."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from server.backends.configuration import InvalidConfigurationError
from server.backends.onnxruntime.abreast import PARAMETER, Abreast
from server.backends.onnxruntime.batch import SplitError

SUM_OF_ROW = """(float[n, m] X, float[1] W = {1.0}) => (float[n, 1] Y, float[n, m] Z) <int64[1] last = {1}> {
    Y = ReduceSum(X, last) Z = Mul(X, W) }"""
DROPS_ROWS = "(float[n, m] X) => (float[k, m] Y) <bool[1] first = {1}> { Y = Compress <axis = 0> (X, first) }"
TO_SCALAR = "(float[n, m] X) => (float Y) { Y = ReduceSum <keepdims = 0> (X) }"
CUTS_AT_FIRST = """(int64[n, 1] X) => (int64[n, k] Y) <int64[1] zero = {0}, int64[1] one = {1}> {
    FIRST = Gather <axis = 0> (X, zero) WIDTH = Reshape(FIRST, one) TIMES = Concat <axis = 0> (one, WIDTH)
    Y = Tile(X, TIMES) }"""


def session(graph: str) -> onnxruntime.InferenceSession:
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": 18]> tiny {graph}')
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def configuration(count: str = "2", **changed: Any) -> dict[str, Any]:
    return {
        "max_batch_size": 8,
        "input": [{"name": "X"}],
        "parameters": {PARAMETER: {"string_value": count}},
        **changed,
    }


@pytest.mark.parametrize("rows", range(1, 6))
@pytest.mark.parametrize("count", ["1", "2", "3"])
def test_the_answers_are_those_of_one_run(rows: int, count: str) -> None:
    whole = session(SUM_OF_ROW)
    feed = {"X": np.random.default_rng(rows).random((rows, 3), np.float32)}
    found = Abreast(whole, configuration(count)).run(["Z", "Y"], feed)
    for value, expected in zip(found, whole.run(["Z", "Y"], feed), strict=True):
        np.testing.assert_array_equal(value, expected, strict=True)


def test_an_input_without_rows_goes_to_all() -> None:
    feed = {"X": np.ones((4, 3), np.float32), "W": np.full(1, 3, np.float32)}
    (found,) = Abreast(session(SUM_OF_ROW), configuration()).run(["Z"], feed)
    np.testing.assert_array_equal(found, np.full((4, 3), 3, np.float32))


def test_parts_run_at_the_same_time() -> None:
    class Meeting:
        """A session whose runs end only once two of them are under way."""

        barrier = threading.Barrier(2)

        def run(self, names: list[str], feed: dict[str, Any], options: object) -> list[Any]:
            self.barrier.wait(timeout=10)
            return [feed["X"]]

    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    (found,) = Abreast(Meeting(), configuration()).run(["X"], {"X": rows})  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, rows)


@pytest.mark.parametrize(
    ("graph", "told"),
    [(DROPS_ROWS, "has [1, 1] rows where its inputs had [2, 2]"), (TO_SCALAR, "has [0, 0] rows")],
)
def test_a_model_whose_rows_are_none_of_their_own_is_told(graph: str, told: str) -> None:
    with pytest.raises(SplitError) as refused:
        Abreast(session(graph), configuration()).run(["Y"], {"X": np.ones((4, 3), np.float32)})
    assert told in str(refused.value)
    assert f"remove {PARAMETER}" in str(refused.value)


def test_rows_of_different_shapes_are_told() -> None:
    widths = np.array([[1], [1], [2], [2]])
    with pytest.raises(SplitError, match=r"rows of different shapes, \[\(1,\), \(2,\)\]"):
        Abreast(session(CUTS_AT_FIRST), configuration()).run(["Y"], {"X": widths})


@pytest.mark.parametrize(
    ("count", "changed", "message"),
    [
        ("0", {}, "adlens_rows_abreast is 0; it must be at least 1"),
        ("two", {}, "failed to convert 'two' to integral number"),
        ("2", {"max_batch_size": 0}, "with max_batch_size 0 a batch has no rows to run apart"),
        ("2", {"batch_input": [{}]}, "with batch_input"),
        ("2", {"batch_output": [{}]}, "with batch_output"),
        ("2", {"input": [{"name": "X", "allow_ragged_batch": True}]}, "with allow_ragged_batch"),
        ("2", {"sequence_batching": {}}, "with sequence_batching"),
    ],
)
def test_a_model_whose_rows_cannot_be_told_apart_is_refused(
    count: str, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidConfigurationError, match=message):
        Abreast(session(SUM_OF_ROW), configuration(count, **changed))
