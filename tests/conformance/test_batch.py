"""What a ``batch_input`` of each kind tells a model of the requests in its batch, and states' memory.

Sources: ``BatchInputShape``, ``SetElementCount``, ``SetAccumulatedElementCount`` and
``SetBatchItemShape`` in ``src/backend_input_collector.cc`` of triton-inference-server/backend;
``model_config.proto`` of triton-inference-server/common.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from server.backends.onnxruntime.batch import Batcher
from server.backends.onnxruntime.signature import Signature, Tensor
from server.backends.onnxruntime.states import States

X = Tensor("X", "TYPE_FP32", [-1])
REQUESTS = [{"X": np.ones(shape, np.float32)} for shape in ((1, 2, 2), (2, 3, 1))]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("BATCH_ELEMENT_COUNT", [4, 6]),
        ("BATCH_ACCUMULATED_ELEMENT_COUNT", [4, 10]),
        ("BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO", [0, 4, 10]),
        ("BATCH_MAX_ELEMENT_COUNT_AS_SHAPE", [0] * 6),
        ("BATCH_ITEM_SHAPE", [[2, 2], [3, 1], [3, 1]]),
        ("BATCH_ITEM_SHAPE_FLATTEN", [2, 2, 3, 1, 3, 1]),
    ],
)
@pytest.mark.parametrize(("data_type", "kept"), [("TYPE_FP32", np.float32), ("TYPE_INT32", np.int32)])
def test_batch_inputs(kind: str, expected: list[Any], data_type: str, kept: Any) -> None:
    entry = {"kind": kind, "target_name": ["A", "B"], "data_type": data_type, "source_input": ["X"]}
    configuration = {
        "max_batch_size": 4,
        "input": [{"name": "X", "dims": [-1, -1], "allow_ragged_batch": True}],
        "output": [],
        "batch_input": [entry],
    }
    feed = Batcher(configuration, Signature({"X": X}, {}, {})).feed(REQUESTS)
    assert feed["X"].shape == (10,)
    for name in ("A", "B"):
        np.testing.assert_array_equal(feed[name], np.array(expected, kept), strict=True)


def test_states_of_sequences_without_an_end_are_forgotten_when_others_need_the_place() -> None:
    state = {"input_name": "S", "output_name": "T"}
    states = States({"max_batch_size": 2, "sequence_batching": {"direct": {}, "state": [state]}})
    for sequence in (1, 2, 3):
        states.keep(sequence, ends=False, outputs={"T": np.array([sequence])})
    remembered = {}
    for sequence in (1, 2, 3):
        inputs = {"S": np.array([0])}
        states.recall(sequence, starts=False, inputs=inputs)
        remembered[sequence] = inputs["S"].item()
    assert remembered == {1: 0, 2: 2, 3: 3}
