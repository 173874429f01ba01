"""A repository as others write it for NVIDIA's container is served unchanged, with the right answers.

A DALI preprocessing and an ONNX classifier in an ensemble, in the manner of ``docs/examples`` of
triton-inference-server/dali_backend and of ``Conceptual_Guide`` in triton-inference-server/tutorials:
a pipeline that names GPU 0, a network without any configuration, labels in a file, names and batch
sizes of their own, no instance groups, nothing of ours. What it answers is held against DALI and ONNX
Runtime run directly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnxruntime
import pytest
import tritonclient.grpc as triton
from PIL import ImageOps

from server.launcher import Server
from tests.conformance.calls import infer
from tests.ensembles.pictures import jpeg, scene

PREPROCESSING = """
import nvidia.dali as dali
import nvidia.dali.fn as fn
import nvidia.dali.types as types
from nvidia.dali.plugin.triton import autoserialize


@autoserialize
@dali.pipeline_def(batch_size=256, num_threads=4, device_id=0)
def pipe():
    images = fn.external_source(device="cpu", name="DALI_INPUT_0")
    images = fn.decoders.image(images, device="cpu", output_type=types.RGB)
    images = fn.resize(images, resize_x=32, resize_y=32)
    return fn.crop_mirror_normalize(
        images,
        dtype=types.FLOAT,
        output_layout="CHW",
        crop=(28, 28),
        mean=[0.485 * 255, 0.456 * 255, 0.406 * 255],
        std=[0.229 * 255, 0.224 * 255, 0.225 * 255],
    )
"""
PREPROCESSING_CONFIG = """
name: "preprocess"
backend: "dali"
max_batch_size: 256
input [
  {
    name: "DALI_INPUT_0"
    data_type: TYPE_UINT8
    dims: [ -1 ]
    allow_ragged_batch: true
  }
]
output [
  {
    name: "DALI_OUTPUT_0"
    data_type: TYPE_FP32
    dims: [ 3, 28, 28 ]
  }
]
parameters: [
  {
    key: "num_threads"
    value: { string_value: "2" }
  }
]
"""
CLASSIFIER_CONFIG = """
name: "classifier"
platform: "onnxruntime_onnx"
max_batch_size: 16
input [
  {
    name: "features"
    data_type: TYPE_FP32
    dims: [ 8 ]
  }
]
output [
  {
    name: "scores"
    data_type: TYPE_FP32
    dims: [ 4 ]
    label_filename: "labels.txt"
  }
]
dynamic_batching { max_queue_delay_microseconds: 100 }
optimization { graph { level: 1 } }
"""
ENSEMBLE_CONFIG = """
name: "picture_classifier"
platform: "ensemble"
max_batch_size: 4
input [
  {
    name: "INPUT"
    data_type: TYPE_UINT8
    dims: [ -1 ]
  }
]
output [
  {
    name: "OUTPUT"
    data_type: TYPE_FP32
    dims: [ 4 ]
    label_filename: "labels.txt"
  }
]
ensemble_scheduling {
  step [
    {
      model_name: "preprocess"
      model_version: -1
      input_map { key: "DALI_INPUT_0" value: "INPUT" }
      output_map { key: "DALI_OUTPUT_0" value: "pixels" }
    },
    {
      model_name: "backbone"
      model_version: -1
      input_map { key: "data" value: "pixels" }
      output_map { key: "embedding" value: "embedding" }
    },
    {
      model_name: "classifier"
      model_version: -1
      input_map { key: "features" value: "embedding" }
      output_map { key: "scores" value: "OUTPUT" }
    }
  ]
}
"""
LABELS = ("sneaker", "boot", "sandal", "slipper")
PICTURES = [jpeg(scene(90, 120)), jpeg(ImageOps.invert(scene(64, 64))), jpeg(scene(200, 50).rotate(180))]


def network(text: str, **weights: Any) -> onnx.ModelProto:
    """A graph in ONNX's text form, with weights."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}')
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in weights.items()
    )
    onnx.checker.check_model(model)
    return model


def networks() -> dict[str, onnx.ModelProto]:
    random = np.random.default_rng(0)
    return {
        "backbone": network(
            "backbone (float[batch, 3, 28, 28] data) => (float[batch, 8] embedding) "
            "{ maps = Conv (data, kernel) active = Relu (maps) pooled = GlobalAveragePool (active) "
            "embedding = Flatten (pooled) }",
            kernel=(random.normal(size=(8, 3, 5, 5)) / 9).astype(np.float32),
        ),
        "classifier": network(
            "classifier (float[batch, 8] features) => (float[batch, 4] scores) "
            "{ logits = MatMul (features, weight) scores = Softmax (logits) }",
            weight=random.normal(size=(8, 4)).astype(np.float32),
        ),
    }


@pytest.fixture(scope="module")
def client(
    tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]
) -> Iterator[triton.InferenceServerClient]:
    repository = tmp_path_factory.mktemp("foreign")
    for name in ("preprocess", "backbone", "classifier", "picture_classifier"):
        (repository / name / "1").mkdir(parents=True)
    (repository / "preprocess" / "1" / "dali.py").write_text(PREPROCESSING)
    for name, model in networks().items():
        onnx.save(model, repository / name / "1" / "model.onnx")
    configurations = {
        "preprocess": PREPROCESSING_CONFIG,
        "classifier": CLASSIFIER_CONFIG,
        "picture_classifier": ENSEMBLE_CONFIG,
    }
    for name, text in configurations.items():
        (repository / name / "config.pbtxt").write_text(text)
    for name in ("classifier", "picture_classifier"):
        (repository / name / "labels.txt").write_text("\n".join(LABELS))
    with triton.InferenceServerClient(serve(repository).url) as client:
        yield client


@pytest.fixture(scope="module")
def expected() -> Any:
    """Scores of each picture, by DALI and ONNX Runtime without a server."""
    definition: dict[str, Any] = {}
    exec(PREPROCESSING, definition)  # noqa: S102 - the pipeline above
    pipeline = definition["pipe"](batch_size=len(PICTURES), num_threads=1, device_id=None)
    pipeline.build()
    pipeline.feed_input("DALI_INPUT_0", [np.frombuffer(data, np.uint8) for data in PICTURES])
    (pixels,) = pipeline.run()
    values = np.asarray(pixels.as_tensor())
    for model in networks().values():
        session = onnxruntime.InferenceSession(model.SerializeToString())
        (values,) = session.run(None, {session.get_inputs()[0].name: values})
    return values


def test_the_answers_are_those_of_dali_and_onnx_runtime_run_directly(
    client: triton.InferenceServerClient, expected: Any
) -> None:
    def scores(data: bytes) -> Any:
        return infer(client, "picture_classifier", INPUT=picture(data)).as_numpy("OUTPUT")

    with ThreadPoolExecutor(len(PICTURES)) as pool:
        answers = np.concatenate(list(pool.map(scores, PICTURES)))
    assert np.ptp(expected, axis=0).max() > 0.05, "the pictures are all alike to the network"
    np.testing.assert_allclose(answers, expected, rtol=1e-5, atol=1e-6)


def test_classes_carry_the_names_of_the_labels_file(
    client: triton.InferenceServerClient, expected: Any
) -> None:
    """``class_count`` of the classification extension; never on BYTES, which 24.10 does not survive."""
    wanted = [triton.InferRequestedOutput("OUTPUT", class_count=2)]
    given = triton.InferInput("INPUT", [1, len(PICTURES[0])], "UINT8")
    given.set_data_from_numpy(picture(PICTURES[0]))
    answer = client.infer("picture_classifier", [given], outputs=wanted).as_numpy("OUTPUT")
    best = [text.decode().split(":") for text in answer.flat]
    order = np.argsort(-expected[0])[:2]
    assert [(int(index), label) for _, index, label in best] == [(index, LABELS[index]) for index in order]
    np.testing.assert_allclose([float(score) for score, _, _ in best], expected[0][order], atol=1e-5)


def test_what_was_left_out_is_filled_in(client: triton.InferenceServerClient) -> None:
    """The network without a configuration, and the pipeline's instances on a machine without a GPU."""
    backbone = client.get_model_config("backbone").config
    assert (backbone.backend, backbone.max_batch_size) == ("onnxruntime", 4)
    assert list(backbone.input[0].dims) == [3, 28, 28]
    groups = client.get_model_config("preprocess").config.instance_group
    assert {group.Kind.Name(group.kind) for group in groups} == {"KIND_CPU"}


def picture(data: bytes) -> Any:
    """A request's one JPEG."""
    return np.frombuffer(data, np.uint8)[np.newaxis]
