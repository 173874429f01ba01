"""Warm-up samples are run while a model loads; one that fails keeps the model out and harms no other.

Sources: ``ModelWarmup`` in ``model_config.proto`` of triton-inference-server/common, and
``TritonModelInstance::GenerateWarmupData`` in ``src/backend_model_instance.cc`` of its core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, serialize_byte_tensor

from server.launcher import Server
from tests.conformance.calls import infer

CONFIGURATION = """
backend: "%(backend)s"
max_batch_size: 4
instance_group { count: 1 kind: KIND_CPU }
input { name: "X" data_type: TYPE_%(type)s dims: [ 2 ] }
output { name: "Y" data_type: TYPE_%(type)s dims: [ 2 ] }
model_warmup {
  name: "once" batch_size: 2
  inputs { key: "X" value { data_type: TYPE_%(type)s dims: [ 2 ] %(data)s } }
}
"""
LOOK_UP = "(int64[n, 2] X) => (int64[n, 2] Y) <int64[3] table = {0, 10, 20}> { Y = Gather(table, X) }"
FILE = 'input_data_file: "sample"'
DTYPES = {"INT64": np.int64, "FP32": np.float32, "STRING": np.object_}
SAMPLES = {
    "zeros": ("INT64", LOOK_UP, "zero_data: true"),
    "random": ("FP32", "(float[n, 2] X) => (float[n, 2] Y) { Y = Neg(X) }", "random_data: true"),
    "file": ("INT64", LOOK_UP, FILE),
    "no_text": ("STRING", "(string[n, 2] X) => (string[n, 2] Y) { Y = Identity(X) }", "zero_data: true"),
    "text": ("STRING", "(string[n, 2] X) => (string[n, 2] Y) { Y = Identity(X) }", FILE),
    "nine_of_three": ("INT64", LOOK_UP, FILE),
}
CONTENTS = {
    "file": np.array([1, 2], np.int64).tobytes(),
    "text": serialize_byte_tensor(np.array([b"red", b""], np.object_)).item(),
    "nine_of_three": np.array([1, 9], np.int64).tobytes(),
}
DECODER = """
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.plugin.triton import autoserialize

@autoserialize
@pipeline_def(batch_size=4, num_threads=1, device_id=None)
def pipeline():
    return fn.decoders.image(fn.external_source(name="X", device="cpu", dtype=types.UINT8, ndim=1))
"""
REASONS = {
    "nine_of_three": "onnx runtime error 2: Non-zero status code returned while running Gather node",
    "no_picture": "DALI could not run this request",
}


@pytest.fixture(scope="module")
def client(
    tmp_path_factory: pytest.TempPathFactory,
    add_onnx: Callable[..., Path],
    serve: Callable[..., Server],
) -> Iterator[triton.InferenceServerClient]:
    repository = tmp_path_factory.mktemp("warmed_up")
    for name, (datatype, graph, data) in SAMPLES.items():
        add_onnx(
            repository,
            name,
            graph,
            CONFIGURATION % {"backend": "onnxruntime", "type": datatype, "data": data},
        )
        (repository / name / "warmup").mkdir()
        (repository / name / "warmup" / "sample").write_bytes(CONTENTS.get(name, b""))
    (repository / "no_picture" / "1").mkdir(parents=True)
    (repository / "no_picture" / "1" / "dali.py").write_text(DECODER)
    (repository / "no_picture" / "config.pbtxt").write_text(
        (CONFIGURATION % {"backend": "dali", "type": "UINT8", "data": "zero_data: true"}).replace(
            'name: "Y" data_type: TYPE_UINT8 dims: [ 2 ]',
            'name: "Y" data_type: TYPE_UINT8 dims: [ -1, -1, 3 ]',
        )
    )
    models = tuple(name for name in SAMPLES if name not in REASONS)
    server = serve(repository, models=models, model_control=True)
    with triton.InferenceServerClient(server.url) as client:
        yield client


def test_samples_of_every_kind_warm_up(client: triton.InferenceServerClient) -> None:
    for name, (datatype, _, _) in SAMPLES.items():
        if name not in REASONS:
            answer = infer(client, name, X=np.zeros((1, 2), DTYPES[datatype]))
            assert answer.as_numpy("Y").shape == (1, 2)


@pytest.mark.parametrize("name", REASONS)
def test_a_sample_that_fails_keeps_its_model_out_and_the_others_in(
    client: triton.InferenceServerClient, name: str
) -> None:
    # Triton 24.10 dies of about one in four warm-ups that fail.
    for _ in range(5):
        with pytest.raises(InferenceServerException, match=REASONS[name]):
            client.load_model(name)
        answer = infer(client, "zeros", X=np.array([[1, 2]]))
        np.testing.assert_array_equal(answer.as_numpy("Y"), [[10, 20]])
