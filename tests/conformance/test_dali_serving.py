"""The stand-in DALI backend in a real server.

Sources: ``DaliModelInstance::GenerateInputs`` and ``AllocateOutputs`` in ``src/dali_model_instance.cc``
of triton-inference-server/dali_backend; others are named in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from server.launcher import Server
from tests.conformance.calls import infer

PARTS = """
import nvidia.dali as dali
from nvidia.dali import fn, types
from nvidia.dali.plugin.triton import autoserialize

@autoserialize
@dali.pipeline_def(batch_size=3, num_threads=4, device_id=0, output_ndim=[1, 1])
def pipeline():
    x = fn.external_source(name="X", device="cpu", dtype=types.INT32, ndim=1)
    count = fn.external_source(name="COUNT", device="cpu", dtype=types.INT32, ndim=1)
    return fn.slice(x, start=[0], shape=count, axes=[0]), fn.cast(x, dtype=types.FLOAT)
"""
CONFIGURATION = """
backend: "dali"
max_batch_size: 4
input [
  { name: "X" data_type: TYPE_INT32 dims: [ -1 ] allow_ragged_batch: true },
  { name: "COUNT" data_type: TYPE_INT32 dims: [ 1 ] }
]
output [
  { name: "HEAD" data_type: TYPE_INT32 dims: [ -1 ] },
  { name: "WHOLE" data_type: TYPE_FP32 dims: [ -1 ] }
]
instance_group { count: 1 kind: KIND_CPU }
dynamic_batching { preferred_batch_size: [ 2 ] max_queue_delay_microseconds: 500000 }
model_warmup {
  name: "once"
  batch_size: 1
  inputs { key: "X" value { data_type: TYPE_INT32 dims: [ 4 ] zero_data: true } }
  inputs { key: "COUNT" value { data_type: TYPE_INT32 dims: [ 1 ] zero_data: true } }
}
"""


@pytest.fixture(scope="module")
def dali_server(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]) -> Server:
    model = tmp_path_factory.mktemp("dali_models") / "parts"
    (model / "1").mkdir(parents=True)
    (model / "1" / "dali.py").write_text(PARTS)
    (model / "config.pbtxt").write_text(CONFIGURATION)
    return serve(model.parent)


@pytest.fixture(scope="module")
def client(dali_server: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(dali_server.url) as client:
        yield client


def rows(*values: list[int]) -> Any:
    return np.array(values, np.int32)


def test_requests_of_different_shapes_share_a_batch_with_all_inputs_and_outputs(
    dali_server: Server, client: triton.InferenceServerClient, batches_run: Callable[..., int]
) -> None:
    """Outputs go by their place in the pipeline, under the names of the configuration."""
    before = batches_run(dali_server, "parts")
    with ThreadPoolExecutor(2) as pool:
        asked = [rows([1, 2, 3]), rows([4, 5, 6, 7, 8])]
        answers = list(pool.map(lambda row: infer(client, "parts", X=row, COUNT=rows([2])), asked))
    for row, answer in zip(asked, answers, strict=True):
        np.testing.assert_array_equal(answer.as_numpy("HEAD"), row[:, :2], strict=True)
        np.testing.assert_array_equal(answer.as_numpy("WHOLE"), row.astype(np.float32), strict=True)
    assert batches_run(dali_server, "parts", before) == before + 1, "the two requests shared no batch"


def test_all_outputs_must_be_requested(client: triton.InferenceServerClient) -> None:
    message = (
        r"Number of outputs expected by the requests \(1\) does not match the number of outputs from DALI "
        r"pipeline \(2\)\."
    )
    with pytest.raises(InferenceServerException, match=message):
        infer(client, "parts", ["HEAD"], X=rows([1, 2, 3]), COUNT=rows([2]))


def test_samples_of_a_request_that_come_out_in_different_shapes_are_refused(
    client: triton.InferenceServerClient,
) -> None:
    """``array_shape``: the native backend gives each the largest one's shape, whatever it holds."""
    both = rows([1, 2, 3], [4, 5, 6])
    answer = infer(client, "parts", X=both, COUNT=rows([2], [2]))
    np.testing.assert_array_equal(answer.as_numpy("HEAD"), both[:, :2])
    with pytest.raises(InferenceServerException, match="output 'HEAD' has samples of different shapes"):
        infer(client, "parts", X=both, COUNT=rows([1], [3]))


def test_inputs_of_different_batch_sizes_are_refused(client: triton.InferenceServerClient) -> None:
    """``InferenceRequest::Normalize`` in triton-inference-server/core."""
    message = "input '.*' batch size does not match other inputs for 'parts'"
    with pytest.raises(InferenceServerException, match=message):
        infer(client, "parts", X=rows([1, 2, 3], [4, 5, 6]), COUNT=rows([2]))


def test_a_request_that_fails_in_the_pipeline_does_not_stop_the_next(
    client: triton.InferenceServerClient,
) -> None:
    """``DaliExecutor::Run`` resets the pipeline."""
    with pytest.raises(InferenceServerException, match="DALI could not run this request"):
        infer(client, "parts", X=rows([1, 2, 3]), COUNT=rows([9]))
    assert infer(client, "parts", X=rows([1, 2, 3]), COUNT=rows([1])).as_numpy("HEAD").item() == 1
