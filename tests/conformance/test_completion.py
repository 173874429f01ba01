"""Models that leave out of their configurations what Triton can find out: both stand-ins, one server.

Sources: ``ModelState::AutoCompleteConfig`` in ``src/onnxruntime.cc`` of
triton-inference-server/onnxruntime_backend, ``AutofillConfig`` in ``src/config_tools/config_tools.cc``
of triton-inference-server/dali_backend; others are named in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from server.launcher import Server
from tests.conformance.calls import infer

DATATYPES = {
    np.bool_: ("bool", "BOOL"),
    np.uint8: ("uint8", "UINT8"),
    np.uint16: ("uint16", "UINT16"),
    np.uint32: ("uint32", "UINT32"),
    np.uint64: ("uint64", "UINT64"),
    np.int8: ("int8", "INT8"),
    np.int16: ("int16", "INT16"),
    np.int32: ("int32", "INT32"),
    np.int64: ("int64", "INT64"),
    np.float16: ("float16", "FP16"),
    np.float32: ("float", "FP32"),
    np.float64: ("double", "FP64"),
}
"""ONNX's names of the types that numpy has, and Triton's."""

ONNX = {
    "platform_alone": (
        "(float[n, 2] X) => (float[n, 2] Y) { Y = Add(X, X) }",
        'platform: "onnxruntime_onnx" instance_group [ { count: 1 kind: KIND_AUTO } ]',
    ),
    "no_configuration": ("(float[n, 2] X) => (float[n, 2] Y) { Y = Sub(X, X) }", None),
    "datatypes": (
        "({}) => ({}) {{ {} }}".format(
            ", ".join(f"{name}[n, 2] IN_{kind}" for name, kind in DATATYPES.values()),
            ", ".join(f"{name}[n, 2] {kind}" for name, kind in DATATYPES.values()),
            " ".join(f"{kind} = Identity(IN_{kind})" for _, kind in DATATYPES.values()),
        ),
        'backend: "onnxruntime" instance_group [ { count: 1 kind: KIND_CPU } ] ',
    ),
}
VERSIONS = """
backend: "onnxruntime"
default_model_filename: "other.onnx"
version_policy { specific { versions: [ 1, 3 ] } }
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
# As NVIDIA's examples are written: for GPU 0, and with threads of its own.
DOUBLES = """
import nvidia.dali as dali
from nvidia.dali import fn, types
from nvidia.dali.plugin.triton import autoserialize

@autoserialize
@dali.pipeline_def(batch_size=3, num_threads=4, device_id=0, output_dtype=types.INT32, output_ndim=2)
def pipeline():
    x = fn.external_source(name="X", device="cpu", dtype=types.INT32, ndim=2)
    return fn.copy(x * 2, name="DOUBLED")
"""
SPLIT = """
backend: "dali"
instance_group { count: 1 kind: KIND_CPU }
parameters { key: "split_along_outer_axis" value: { string_value: "DOUBLED" } }
parameters { key: "num_threads" value: { string_value: "1" } }
"""


@pytest.fixture(scope="module")
def client(
    tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server], add_onnx: Callable[..., Path]
) -> Iterator[triton.InferenceServerClient]:
    repository = tmp_path_factory.mktemp("incomplete")
    for name, (graph, configuration) in ONNX.items():
        add_onnx(repository, name, graph, configuration)
    for version, size in ((1, 2), (2, 9), (3, 4)):
        graph = f"(float[n, {size}] X) => (float[n, {size}] Y) {{ Y = Neg(X) }}"
        add_onnx(repository, "versions", graph, VERSIONS, f"{version}/other.onnx")
    for name in ("nameless.dali", "split"):
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "1" / "dali.py").write_text(DOUBLES)
    (repository / "split" / "config.pbtxt").write_text(SPLIT)
    with triton.InferenceServerClient(serve(repository).url) as client:
        yield client


@pytest.mark.parametrize(("name", "expected"), [("platform_alone", [2, 4]), ("no_configuration", [0, 0])])
def test_a_platform_or_nothing_at_all_is_completed_and_served(
    client: triton.InferenceServerClient, name: str, expected: list[int]
) -> None:
    """``AutoCompleteMaxBatch`` and ``AutoCompleteIO``."""
    configuration = client.get_model_config(name).config
    assert (configuration.max_batch_size, configuration.HasField("dynamic_batching")) == (4, True)
    assert list(configuration.input[0].dims) == [2]
    answer = infer(client, name, X=np.array([[1, 2]], np.float32))
    np.testing.assert_array_equal(answer.as_numpy("Y"), [expected])


def test_each_version_is_completed_from_its_own_file(client: triton.InferenceServerClient) -> None:
    """And ``version_policy`` chooses them (``VersionsToLoad`` in triton-inference-server/core)."""
    for version, size in (("1", 2), ("3", 4), ("", 4)):
        assert list(client.get_model_config("versions", version).config.input[0].dims) == [size]
        ones = np.ones((1, size), np.float32)
        answer = infer(client, "versions", options={"model_version": version}, X=ones)
        np.testing.assert_array_equal(answer.as_numpy("Y"), -ones)
    assert not client.is_model_ready("versions", "2")


def test_every_datatype_is_completed_and_passes(client: triton.InferenceServerClient) -> None:
    """``OnnxDataTypeToModelConfigDataType`` in ``src/onnxruntime_utils.cc``."""
    given = {kind: np.array([[0, 1]], numpy) for numpy, (_, kind) in DATATYPES.items()}
    answer = infer(client, "datatypes", **{f"IN_{kind}": values for kind, values in given.items()})
    for kind, values in given.items():
        np.testing.assert_array_equal(answer.as_numpy(kind), values, strict=True)


def test_kind_auto_is_the_cpu_where_there_is_no_gpu(client: triton.InferenceServerClient) -> None:
    """``NormalizeInstanceGroup`` in triton-inference-server/core."""
    (group,) = client.get_model_config("platform_alone").config.instance_group
    assert (group.Kind.Name(group.kind), group.count) == ("KIND_CPU", 1)


def test_what_a_pipeline_declares_is_completed_and_served(client: triton.InferenceServerClient) -> None:
    """``AutofillConfig``; the core takes the backend of a bare model from its name's ending."""
    configuration = client.get_model_config("nameless.dali").config
    assert configuration.max_batch_size == 3
    assert configuration.input[0].allow_ragged_batch
    values = np.arange(8, dtype=np.int32).reshape(2, 2, 2)
    np.testing.assert_array_equal(infer(client, "nameless.dali", X=values).as_numpy("DOUBLED"), values * 2)


def test_split_along_outer_axis_makes_rows_of_the_outer_dimension(
    client: triton.InferenceServerClient,
) -> None:
    """``DaliModel::IsOutputSplit`` and ``split_outer_dim`` in triton-inference-server/dali_backend."""
    assert list(client.get_model_config("split").config.output[0].dims) == [-1]
    values = np.arange(8, dtype=np.int32).reshape(2, 2, 2)
    answer = infer(client, "split", X=values).as_numpy("DOUBLED")
    np.testing.assert_array_equal(answer, (values * 2).reshape(4, 2))
