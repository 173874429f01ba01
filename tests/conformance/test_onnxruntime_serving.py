"""The stand-in ONNX Runtime backend in a real server: many small models, one server.

Sources: ``ModelInstanceState::ProcessRequests``, ``SetInputTensors`` and ``ReadOutputTensors`` in
``src/onnxruntime.cc`` of triton-inference-server/onnxruntime_backend; others are named in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from server.launcher import Server
from tests.conformance.calls import infer

CPU = 'backend: "onnxruntime" instance_group [ { count: 1 kind: KIND_CPU } ] '
X = 'max_batch_size: 8 input { name: "X" data_type: TYPE_FP32 dims: [ -1 ] } '
Y = 'output { name: "Y" data_type: TYPE_FP32 dims: [ -1 ] } '
# Long enough for the requests of a test to share a batch, and none for a batch that is full.
BATCH_OF_4 = "dynamic_batching { preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 500000 } "
ABREAST = 'parameters { key: "adlens_rows_abreast" value: { string_value: "2" } }'
BATCH_OF_2 = BATCH_OF_4.replace("4", "2")

RUNNING_SUM = """
(float[n, 1] X, float[n, 1] SUM_IN, float[n, 1] START, int32[n, 1] END, bool[n, 1] READY, int64[n, 1] ID)
=> (float[n, 1] SUM, float[n, 1] SUM_OUT, float[n, 1] STARTED, int32[n, 1] ENDED, bool[n, 1] REAL,
    int64[n, 1] CALLED, float[n, 1] NONE_NEGATIVE)
<float[1] zero = {0.0}>
{ SUM = Add (X, SUM_IN) SUM_OUT = Identity (SUM) STARTED = Identity (START) ENDED = Identity (END)
  REAL = Identity (READY) CALLED = Identity (ID)
  LOW = Min (X, zero) PLACE = Cast <to = 7> (LOW) NONE_NEGATIVE = Gather (zero, PLACE) }
"""
SEQUENCE = (
    CPU
    + """
max_batch_size: 2
input { name: "X" data_type: TYPE_FP32 dims: [ 1 ] }
output [
  { name: "SUM" data_type: TYPE_FP32 dims: [ 1 ] },
  { name: "STARTED" data_type: TYPE_FP32 dims: [ 1 ] },
  { name: "ENDED" data_type: TYPE_INT32 dims: [ 1 ] },
  { name: "REAL" data_type: TYPE_BOOL dims: [ 1 ] },
  { name: "CALLED" data_type: TYPE_INT64 dims: [ 1 ] },
  { name: "NONE_NEGATIVE" data_type: TYPE_FP32 dims: [ 1 ] }
]
sequence_batching {
  STRATEGY
  control_input [
    { name: "START" control [ { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } ] },
    { name: "END" control [ { kind: CONTROL_SEQUENCE_END int32_false_true: [ 0, 1 ] } ] },
    { name: "READY" control [ { kind: CONTROL_SEQUENCE_READY bool_false_true: [ false, true ] } ] },
    { name: "ID" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_INT64 } ] }
  ]
  state {
    input_name: "SUM_IN" output_name: "SUM_OUT" data_type: TYPE_FP32 dims: [ 1 ]
    initial_state { name: "zero" data_type: TYPE_FP32 dims: [ 1 ] zero_data: true }
  }
}
"""
)
RAGGED = (
    CPU
    + BATCH_OF_2
    + """
max_batch_size: 4
input { name: "X" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true }
batch_input {
  kind: BATCH_ACCUMULATED_ELEMENT_COUNT target_name: "ENDS" data_type: TYPE_INT32 source_input: "X"
}
output [
  { name: "Y" data_type: TYPE_FP32 dims: [ -1 ] },
  { name: "Z" data_type: TYPE_INT32 dims: [ 1 ] }
]
batch_output { target_name: "Y" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "X" }
"""
)

MODELS = {
    "two_outputs": (
        "(float[n, m] X) => (float[n, m] Y, float[n, m] Z) { Y = Neg(X) Z = Add(X, X) }",
        CPU + X + Y + 'output { name: "Z" data_type: TYPE_FP32 dims: [ -1 ] } '
        'model_warmup { name: "once" batch_size: 1 '
        'inputs { key: "X" value { data_type: TYPE_FP32 dims: [ 2 ] zero_data: true } } }',
    ),
    "fails_out_of_range": (
        "(int64[n, m] X) => (float[n, m] Y) <float[3] table = {0.0, 10.0, 20.0}> { Y = Gather(table, X) }",
        CPU + X.replace("FP32", "INT64") + Y + BATCH_OF_4,
    ),
    "rows_abreast": (
        "(int64[n, m] X) => (float[n, m] Y) <float[3] table = {0.0, 10.0, 20.0}> { Y = Gather(table, X) }",
        CPU + X.replace("FP32", "INT64") + Y + BATCH_OF_4 + ABREAST,
    ),
    "drops_rows": (
        "(float[n, m] X) => (float[k, m] Y) <bool[1] first = {1}> { Y = Compress <axis = 0> (X, first) }",
        CPU + X + Y,
    ),
    "strings": (
        "(string[n, m] X) => (string[n, m] Y) { Y = Identity(X) }",
        CPU + (X + Y).replace("FP32", "STRING"),
    ),
    "scalar": (
        "(float X) => (float Y) { Y = Neg(X) }",
        CPU + 'input { name: "X" data_type: TYPE_FP32 dims: [ 1 ] } '
        'output { name: "Y" data_type: TYPE_FP32 dims: [ 1 ] }',
    ),
    "batch_to_scalar": (
        "(float[n, m] X) => (float Y) { Y = ReduceSum <keepdims = 0> (X) }",
        CPU + X + Y.replace("-1", "1"),
    ),
    "optional": (
        "(float[2] X, float[1] W = {2.0}) => (float[2] Y) { Y = Mul(X, W) }",
        CPU + 'input [ { name: "X" data_type: TYPE_FP32 dims: [ 2 ] }, '
        '{ name: "W" data_type: TYPE_FP32 dims: [ 1 ] optional: true } ] '
        'output { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] }',
    ),
    "reshaped": (
        "(float[n, 2, 2] X) => (float[n] Y) <int64[2] axes = {1, 2}> "
        "{ Y = ReduceSum <keepdims = 0> (X, axes) }",
        CPU + 'max_batch_size: 4 input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] '
        "reshape { shape: [ 2, 2 ] } } "
        'output { name: "Y" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } }',
    ),
    "ragged": (
        "(float[m] X, int32[k] ENDS) => (float[m] Y, int32[k, 1] Z) <int64[1] one = {1}> "
        "{ Y = Neg(X) Z = Unsqueeze(ENDS, one) }",
        RAGGED,
    ),
    "sequence_direct": (
        RUNNING_SUM,
        SEQUENCE.replace(
            "STRATEGY", "direct { minimum_slot_utilization: 1 max_queue_delay_microseconds: 500000 }"
        ),
    ),
    "sequence_oldest": (RUNNING_SUM, SEQUENCE.replace("STRATEGY", "oldest { max_candidate_sequences: 2 }")),
}
DOUBLED_OUTSIDE = "(float[2] X) => (float[2] Y) <float[2] two = {2.0, 2.0}> { Y = Mul(X, two) }"


@pytest.fixture(scope="module")
def tiny_server(
    tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server], add_onnx: Callable[..., Path]
) -> Server:
    repository = tmp_path_factory.mktemp("onnx_models")
    for name, (graph, configuration) in MODELS.items():
        add_onnx(repository, name, graph, configuration)
    add_onnx(
        repository,
        "weights_outside",
        DOUBLED_OUTSIDE,
        CPU + 'default_model_filename: "folder" input { name: "X" data_type: TYPE_FP32 dims: [ 2 ] } '
        'output { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] }',
        "1/folder/model.onnx",
        save_as_external_data=True,
        location="weights",
        size_threshold=0,
    )
    return serve(repository)


@pytest.fixture(scope="module")
def client(tiny_server: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(tiny_server.url) as client:
        yield client


def floats(*values: float) -> Any:
    return np.array([values], np.float32)


def test_a_folder_may_hold_the_model_and_its_weights(client: triton.InferenceServerClient) -> None:
    """``ModelState::LoadModel``: where the file is a folder, ``model.onnx`` inside it."""
    np.testing.assert_array_equal(
        infer(client, "weights_outside", X=np.array([1, 2], np.float32)).as_numpy("Y"), [2, 4]
    )


def test_only_requested_outputs_are_sent(client: triton.InferenceServerClient) -> None:
    answer = infer(client, "two_outputs", ["Z"], X=floats(1, 2, 3))
    np.testing.assert_array_equal(answer.as_numpy("Z"), floats(2, 4, 6))
    assert answer.as_numpy("Y") is None


def test_a_request_of_several_rows_comes_back_whole(client: triton.InferenceServerClient) -> None:
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(infer(client, "two_outputs", X=rows).as_numpy("Y"), -rows)


def test_an_empty_tensor_passes(client: triton.InferenceServerClient) -> None:
    """``BackendInputCollector::ProcessTensor`` in triton-inference-server/backend."""
    nothing = np.zeros((1, 0), np.float32)
    np.testing.assert_array_equal(infer(client, "two_outputs", X=nothing).as_numpy("Y"), nothing, strict=True)


@pytest.mark.parametrize("model", ["fails_out_of_range", "rows_abreast"])
def test_one_bad_request_of_a_batch_fails_alone(
    tiny_server: Server, client: triton.InferenceServerClient, batches_run: Callable[..., int], model: str
) -> None:
    def ask(index: int) -> Any:
        return infer(client, model, X=np.array([[index]], np.int64)).as_numpy("Y")

    before = batches_run(tiny_server, model)
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(ask, index) for index in (0, 1, -99, 2)]
        good = [answers[position].result() for position in (0, 1, 3)]
    np.testing.assert_array_equal(np.concatenate(good), [[0], [10], [20]])
    with pytest.raises(InferenceServerException, match="onnx runtime error 2") as refused:
        answers[2].result()
    assert refused.value.status() == "StatusCode.INTERNAL"
    shared = batches_run(tiny_server, model, before)
    assert shared == before + 1, "the four requests shared no batch"


class TestProcessTensor:
    """``BackendOutputResponder::ProcessTensor`` in triton-inference-server/backend."""

    def test_a_model_that_drops_rows_fails(self, client: triton.InferenceServerClient) -> None:
        message = (
            "failed to split the output tensor 'Y' in responses: expected batch size of atleast 2 in model "
            "output, got 1"
        )
        with pytest.raises(InferenceServerException, match=message) as refused:
            infer(client, "drops_rows", X=np.ones((2, 3), np.float32))
        assert refused.value.status() == "StatusCode.UNIMPLEMENTED"
        np.testing.assert_array_equal(infer(client, "drops_rows", X=floats(5)).as_numpy("Y"), [[5]])

    def test_a_scalar_of_a_batch_serves_one_row_alone(self, client: triton.InferenceServerClient) -> None:
        np.testing.assert_array_equal(infer(client, "batch_to_scalar", X=floats(1, 2)).as_numpy("Y"), [3])
        with pytest.raises(InferenceServerException, match="atleast 2 in model output, got 1"):
            infer(client, "batch_to_scalar", X=np.ones((2, 3), np.float32))


class TestStrings:
    """``ModelInstanceState::SetStringInputTensor`` and ``SetStringOutputBuffer``."""

    def test_strings_pass(self, client: triton.InferenceServerClient) -> None:
        words = np.array([["straße", ""]], dtype=object)
        answer = infer(client, "strings", X=words).as_numpy("Y")
        assert [word.decode() for word in answer[0]] == ["straße", ""]

    def test_a_string_ends_before_a_zero_byte(self, client: triton.InferenceServerClient) -> None:
        answer = infer(client, "strings", X=np.array([[b"before\0after"]], dtype=object)).as_numpy("Y")
        assert answer.tolist() == [[b"before"]]

    def test_bytes_that_are_no_text_are_refused(self, client: triton.InferenceServerClient) -> None:
        """The native backend takes them; ONNX Runtime's Python package cannot."""
        with pytest.raises(InferenceServerException, match="input 'X' is no UTF-8 text") as refused:
            infer(client, "strings", X=np.array([[b"\xff"]], dtype=object))
        assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_a_scalar_has_the_dims_of_the_configuration(client: triton.InferenceServerClient) -> None:
    answer = infer(client, "scalar", X=np.array([3], np.float32)).as_numpy("Y")
    np.testing.assert_array_equal(answer, [-3])


def test_an_optional_input_may_be_left_out(client: triton.InferenceServerClient) -> None:
    values = np.array([1, 2], np.float32)
    np.testing.assert_array_equal(infer(client, "optional", X=values).as_numpy("Y"), [2, 4])
    given = infer(client, "optional", X=values, W=np.array([5], np.float32)).as_numpy("Y")
    np.testing.assert_array_equal(given, [5, 10])


def test_reshapes_stand_between_the_caller_and_the_model(client: triton.InferenceServerClient) -> None:
    """``InferenceRequest::Normalize`` and ``InferenceResponse::AddOutput`` in the core."""
    rows = np.arange(8, dtype=np.float32).reshape(2, 4)
    np.testing.assert_array_equal(infer(client, "reshaped", X=rows).as_numpy("Y"), [[6], [22]])


def test_ragged_requests_run_as_one_flat_batch(
    tiny_server: Server, client: triton.InferenceServerClient, batches_run: Callable[..., int]
) -> None:
    """``BackendInputCollector`` and ``ProcessBatchOutput`` in triton-inference-server/backend.

    A batch input tells the model where each request ends, and a batch output gives each its part.
    """
    before = batches_run(tiny_server, "ragged")
    with ThreadPoolExecutor(2) as pool:
        pairs = pool.map(lambda row: (row, infer(client, "ragged", X=row)), [floats(1, 2, 3), floats(4, 5)])
        ends = []
        for row, answer in pairs:
            np.testing.assert_array_equal(answer.as_numpy("Y"), -row)
            ends.append(answer.as_numpy("Z").item())
    assert batches_run(tiny_server, "ragged", before) == before + 1, "the two requests shared no batch"
    assert ends in ([3, 5], [5, 2]), "the model sees other ends than those of the requests"


@pytest.mark.parametrize("name", ["sequence_direct", "sequence_oldest"])
class TestSequences:
    """``sequence_batching`` in triton-inference-server/core gives controls, and states to native backends."""

    def ask(self, client: triton.InferenceServerClient, name: str, value: float, **options: Any) -> Any:
        return infer(client, name, options=options, X=floats(value))

    def test_each_sequence_keeps_its_state_to_the_end(
        self, client: triton.InferenceServerClient, name: str
    ) -> None:
        def last_sum(sequence: int, first: float) -> Any:
            sums = [
                self.ask(
                    client, name, first + step, sequence_id=sequence,
                    sequence_start=step == 0, sequence_end=step == 3,
                ).as_numpy("SUM").item()
                for step in range(4)
            ]  # fmt: skip
            return np.diff([0, *sums]).tolist()

        with ThreadPoolExecutor(2) as pool:
            steps = list(pool.map(last_sum, (7, 8), (1, 100)))
        assert steps == [[1, 2, 3, 4], [100, 101, 102, 103]]

    def test_a_start_begins_anew_where_the_end_never_came(
        self, client: triton.InferenceServerClient, name: str
    ) -> None:
        for last in (False, True):
            first = self.ask(client, name, 5, sequence_id=9, sequence_start=True)
            second = self.ask(client, name, 6, sequence_id=9, sequence_end=last)
            assert [answer.as_numpy("SUM").item() for answer in (first, second)] == [5, 11]

    def test_controls_tell_the_model_where_in_a_sequence_it_is(
        self, client: triton.InferenceServerClient, name: str
    ) -> None:
        seen = []
        for start, end in ((True, False), (False, True)):
            answer = self.ask(client, name, 0, sequence_id=11, sequence_start=start, sequence_end=end)
            seen.append([answer.as_numpy(output).item() for output in ("STARTED", "ENDED", "REAL", "CALLED")])
        assert seen == [[1.0, 0, True, 11], [0.0, 1, True, 11]]

    def test_a_neighbour_that_fails_leaves_a_state_as_it_is(
        self, client: triton.InferenceServerClient, name: str
    ) -> None:
        """A batch that fails is run again by halves, and each request counts once."""

        def ask(sequence: int, value: float, step: int) -> float:
            options = {"sequence_start": step == 0, "sequence_end": step == 2}
            answer = self.ask(client, name, value, sequence_id=sequence, **options)
            return float(answer.as_numpy("SUM").item())

        with ThreadPoolExecutor(2) as pool:
            for step in range(3):
                good, bad = pool.submit(ask, 13, 5, step), pool.submit(ask, 14, -9, step)
                with pytest.raises(InferenceServerException, match="Gather"):
                    bad.result()
                assert good.result() == 5 * (step + 1)
