"""Repositories that the native backends do not load are not loaded here, for the same reason.

All in one server, which ends as soon as it has tried them. Sources: ``src/onnxruntime.cc`` and
``src/onnxruntime_utils.h`` (``RETURN_IF_ORT_ERROR``) of triton-inference-server/onnxruntime_backend,
``src/dali_model.h`` of triton-inference-server/dali_backend.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from server.errors import TritonFailedError
from server.launcher import Server, ServerOptions

CPU = 'backend: "onnxruntime" instance_group { count: 1 kind: KIND_CPU } '
X = 'input { name: "X" data_type: TYPE_FP32 dims: [ 2 ] } '
Y = 'output { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] } '
NEGATION = "(float[n, 2] X) => (float[n, 2] Y) { Y = Neg(X) }"
OPENVINO = 'optimization { execution_accelerators { cpu_execution_accelerator { name: "openvino" } } } '

ONNX = {
    "cannot_batch": ("(float[1, 2] X) => (float[1, 2] Y) { Y = Neg(X) }", CPU + "max_batch_size: 4"),
    "without_openvino": (NEGATION, CPU + "max_batch_size: 4 " + X + Y + OPENVINO),
    "other_input": (NEGATION, CPU + "max_batch_size: 4 " + X.replace('"X"', '"Z"') + Y),
    "no_library": (
        NEGATION,
        CPU + "max_batch_size: 4 " + X + Y + 'model_operations { op_library_filename: "/no/library.so" } ',
    ),
    "decoupled": (
        NEGATION,
        CPU + "max_batch_size: 4 " + X + Y + "model_transaction_policy { decoupled: true }",
    ),
}

DECODER = """
import nvidia.dali as dali
from nvidia.dali import fn, types
from nvidia.dali.plugin.triton import autoserialize

@autoserialize
@dali.pipeline_def(batch_size=4, num_threads=2, device_id=0)
def pipeline():
    jpeg = fn.external_source(name="JPEG", device="cpu", dtype=types.UINT8, ndim=1)
    return fn.decoders.image(jpeg, device="mixed")
"""
DALI = {
    "mixed": 'backend: "dali" instance_group { count: 1 kind: KIND_CPU } ',
    "unbatched": 'backend: "dali" instance_group { count: 1 kind: KIND_CPU } max_batch_size: 0',
}

REASONS = {
    "cannot_batch": "autofill failed for model 'cannot_batch': model does not support batching while "
    "non-zero max_batch_size is specified",
    "without_openvino": "unknown Execution Accelerator 'openvino' is requested",
    "other_input": "unexpected inference input 'Z', allowed inputs are: X",
    "no_library": "onnx runtime error 1: Failed to load library /no/library.so",
    "decoupled": "unable to load model 'decoupled', 'decoupled' needs the native backend",
    "no_onnx": "onnx runtime error 7: Load model from .*/no_onnx/1/model.onnx failed:Protobuf parsing failed",
    "mixed": "Failed to load model file.*pipeline requires a CUDA-capable GPU",
    "unbatched": "'max_batch_size: 0' needs the native dali backend",
}
"""A model's name, and what Triton says of it."""


@pytest.fixture(scope="module")
def reasons(tmp_path_factory: pytest.TempPathFactory, add_onnx: Callable[..., Path]) -> str:
    repository = tmp_path_factory.mktemp("refused")
    for name, (graph, configuration) in ONNX.items():
        add_onnx(repository, name, graph, configuration)
    add_onnx(repository, "no_onnx", NEGATION, CPU + "max_batch_size: 4 " + X + Y).write_bytes(b"no ONNX")
    for name, configuration in DALI.items():
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "1" / "dali.py").write_text(DECODER)
        (repository / name / "config.pbtxt").write_text(configuration)
    server = Server(ServerOptions(grpc_port=0, metrics_port=0, repositories=(repository,)))
    with pytest.raises(TritonFailedError) as error:
        server.start()
    return str(error.value)


@pytest.mark.parametrize("name", REASONS)
def test_a_model_is_refused_with_the_native_reason(reasons: str, name: str) -> None:
    assert re.search(rf"^model '{name}': .*{REASONS[name]}", reasons, re.MULTILINE), reasons
