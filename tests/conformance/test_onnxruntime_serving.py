"""The stand-in ONNX Runtime backend in a real server: many small models, one server.

Sources: ``ModelInstanceState::ProcessRequests``, ``SetInputTensors`` and ``ReadOutputTensors`` in
``src/onnxruntime.cc`` of triton-inference-server/onnxruntime_backend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from server.launcher import Server

CPU = 'backend: "onnxruntime" instance_group [ { count: 1 kind: KIND_CPU } ] '
ONE_TO_ONE = 'max_batch_size: 8 input { name: "X" data_type: TYPE_FP32 dims: [ -1 ] } '
Y = 'output { name: "Y" data_type: TYPE_FP32 dims: [ -1 ] } '
# Long enough for the requests of a test to share a batch, and none for a batch that is full.
BATCH_OF_4 = "dynamic_batching { preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 500000 } "

MODELS = {
    "platform_alone": (
        "(float[n, 2] X) => (float[n, 2] Y) { Y = Add(X, X) }",
        'platform: "onnxruntime_onnx" instance_group [ { count: 1 kind: KIND_CPU } ]',
    ),
    "other_file": (
        "(float[2] X) => (float[2] Y) { Y = Neg(X) }",
        CPU + 'default_model_filename: "other.onnx"',
    ),
    "two_outputs": (
        "(float[n, m] X) => (float[n, m] Y, float[n, m] Z) { Y = Neg(X) Z = Add(X, X) }",
        CPU + ONE_TO_ONE + Y + 'output { name: "Z" data_type: TYPE_FP32 dims: [ -1 ] }',
    ),
    "fails_out_of_range": (
        "(int64[n, m] X) => (float[n, m] Y) <float[3] table = {0.0, 10.0, 20.0}> { Y = Gather(table, X) }",
        CPU + 'max_batch_size: 8 input { name: "X" data_type: TYPE_INT64 dims: [ -1 ] } ' + Y + BATCH_OF_4,
    ),
    "drops_rows": (
        "(float[n, m] X) => (float[k, m] Y) <bool[1] first = {1}> { Y = Compress <axis = 0> (X, first) }",
        CPU + ONE_TO_ONE + Y,
    ),
    "strings": (
        "(string[n, m] X) => (string[n, m] Y) { Y = Identity(X) }",
        CPU + 'max_batch_size: 8 input { name: "X" data_type: TYPE_STRING dims: [ -1 ] } '
        'output { name: "Y" data_type: TYPE_STRING dims: [ -1 ] } ',
    ),
    "scalar": (
        "(float X) => (float Y) { Y = Neg(X) }",
        CPU + 'input { name: "X" data_type: TYPE_FP32 dims: [ 1 ] } '
        'output { name: "Y" data_type: TYPE_FP32 dims: [ 1 ] }',
    ),
    "optional": (
        "(float[2] X, float[1] W = {2.0}) => (float[2] Y) { Y = Mul(X, W) }",
        CPU + 'input [ { name: "X" data_type: TYPE_FP32 dims: [ 2 ] }, '
        '{ name: "W" data_type: TYPE_FP32 dims: [ 1 ] optional: true } ] '
        'output { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] }',
    ),
}


@pytest.fixture(scope="module")
def tiny_server(
    tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server], add_onnx: Callable[..., Path]
) -> Server:
    repository = tmp_path_factory.mktemp("onnx_models")
    for name, (graph, configuration) in MODELS.items():
        file = "1/other.onnx" if name == "other_file" else "1/model.onnx"
        add_onnx(repository, name, graph, configuration, file)
    return serve(repository)


@pytest.fixture(scope="module")
def client(tiny_server: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(tiny_server.url) as client:
        yield client


def infer(
    client: triton.InferenceServerClient, model: str, outputs: list[str] | None = None, **inputs: Any
) -> Any:
    tensors = []
    for name, values in inputs.items():
        tensors.append(triton.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype)))
        tensors[-1].set_data_from_numpy(values)
    wanted = [triton.InferRequestedOutput(name) for name in outputs] if outputs else None
    return client.infer(model, tensors, outputs=wanted, client_timeout=30)


def floats(*values: float) -> Any:
    return np.array([values], np.float32)


def test_the_platform_alone_is_completed_and_served(client: triton.InferenceServerClient) -> None:
    configuration = client.get_model_config("platform_alone").config
    assert (configuration.max_batch_size, configuration.HasField("dynamic_batching")) == (4, True)
    assert list(configuration.input[0].dims) == [2]
    np.testing.assert_array_equal(infer(client, "platform_alone", X=floats(1, 2)).as_numpy("Y"), floats(2, 4))


def test_default_model_filename_is_served(client: triton.InferenceServerClient) -> None:
    value = infer(client, "other_file", X=np.array([1, 2], np.float32)).as_numpy("Y")
    np.testing.assert_array_equal(value, [-1, -2])


def test_only_requested_outputs_are_sent(client: triton.InferenceServerClient) -> None:
    answer = infer(client, "two_outputs", ["Z"], X=floats(1, 2, 3))
    np.testing.assert_array_equal(answer.as_numpy("Z"), floats(2, 4, 6))
    assert answer.as_numpy("Y") is None


def test_a_request_of_several_rows_comes_back_whole(client: triton.InferenceServerClient) -> None:
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(infer(client, "two_outputs", X=rows).as_numpy("Y"), -rows)


def test_one_bad_request_of_a_batch_fails_alone(
    tiny_server: Server, client: triton.InferenceServerClient, batches_run: Callable[..., int]
) -> None:
    def ask(index: int) -> Any:
        return infer(client, "fails_out_of_range", X=np.array([[index]], np.int64)).as_numpy("Y")

    before = batches_run(tiny_server, "fails_out_of_range")
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(ask, index) for index in (0, 1, -99, 2)]
        good = [answers[position].result() for position in (0, 1, 3)]
    np.testing.assert_array_equal(np.concatenate(good), [[0], [10], [20]])
    with pytest.raises(InferenceServerException, match="onnx runtime error 2"):
        answers[2].result()
    shared = batches_run(tiny_server, "fails_out_of_range", before)
    assert shared == before + 1, "the four requests shared no batch"


def test_a_model_that_changes_the_number_of_rows_fails(client: triton.InferenceServerClient) -> None:
    """``BackendOutputResponder::ProcessTensor`` in triton-inference-server/backend."""
    message = "failed to split the output tensor 'Y' in responses: expected batch size of atleast 2"
    with pytest.raises(InferenceServerException, match=message):
        infer(client, "drops_rows", X=np.ones((2, 3), np.float32))


def test_strings_pass(client: triton.InferenceServerClient) -> None:
    words = np.array([["straße", ""]], dtype=object)
    answer = infer(client, "strings", X=words).as_numpy("Y")
    assert [word.decode() for word in answer[0]] == ["straße", ""]


def test_bytes_that_are_no_text_are_refused(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="input 'X' is no UTF-8 text"):
        infer(client, "strings", X=np.array([[b"\xff"]], dtype=object))


def test_a_scalar_has_the_dims_of_the_configuration(client: triton.InferenceServerClient) -> None:
    answer = infer(client, "scalar", X=np.array([3], np.float32)).as_numpy("Y")
    np.testing.assert_array_equal(answer, [-3])


def test_an_optional_input_may_be_left_out(client: triton.InferenceServerClient) -> None:
    values = np.array([1, 2], np.float32)
    np.testing.assert_array_equal(infer(client, "optional", X=values).as_numpy("Y"), [2, 4])
    given = infer(client, "optional", X=values, W=np.array([5], np.float32)).as_numpy("Y")
    np.testing.assert_array_equal(given, [5, 10])
