"""Faulty and harmless changes of a clean model repository, for the tests of the linter."""

from __future__ import annotations

import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import onnx

LEAF = """
backend: "onnxruntime"
max_batch_size: 4
input [ {{ name: "{0}" data_type: TYPE_FP32 dims: [ 2 ] }} ]
output [ {{ name: "{1}" data_type: TYPE_FP32 dims: [ 2 ] }} ]
dynamic_batching {{ }}
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
"""
TELL = """
backend: "python"
max_batch_size: 1
input [
  { name: "WORD" data_type: TYPE_UINT8 dims: [ 8 ] },
  { name: "TONE" data_type: TYPE_UINT8 dims: [ 8 ] }
]
output [ { name: "TEXT" data_type: TYPE_UINT8 dims: [ 8 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
TELL_MODEL = """
class TritonPythonModel:
    def execute(self, requests):
        return [None for _ in requests]
"""
CHAIN = """
platform: "ensemble"
max_batch_size: 4
input [ { name: "A" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "C" data_type: TYPE_FP32 dims: [ 2 ] } ]
ensemble_scheduling {
  step [
    { model_name: "first" model_version: -1
      input_map { key: "A" value: "A" } output_map { key: "B" value: "B" } },
    { model_name: "second" model_version: -1
      input_map { key: "B" value: "B" } output_map { key: "C" value: "C" } }
  ]
}
"""
SAY = """
platform: "ensemble"
max_batch_size: 1
input [ { name: "WORD" data_type: TYPE_UINT8 dims: [ 8 ] } ]
output [ { name: "TEXT" data_type: TYPE_UINT8 dims: [ -1 ] } ]
ensemble_scheduling {
  step [
    { model_name: "tell" model_version: -1
      input_map { key: "WORD" value: "WORD" } input_map { key: "TONE" value: "WORD" }
      output_map { key: "TEXT" value: "TEXT" } }
  ]
}
"""
LOOK = """
platform: "ensemble"
max_batch_size: 4
input [ { name: "IMAGE" data_type: TYPE_UINT8 dims: [ -1 ] } ]
output [
  { name: "PIXELS" data_type: TYPE_UINT8 dims: [ -1, -1, 3 ] },
  { name: "PICTURE_SIZE" data_type: TYPE_INT32 dims: [ -1 ] }
]
ensemble_scheduling {
  step [
    { model_name: "decode" model_version: -1
      input_map { key: "IMAGE" value: "IMAGE" }
      output_map { key: "PIXELS" value: "PIXELS" }
      output_map { key: "PICTURE_SIZE" value: "PICTURE_SIZE" } }
  ]
}
"""

Breaker = Callable[[Path], object]
"""Puts a fault into the clean sample in a folder."""


def edit(model: str, *replacements: tuple[str, str], add: str = "") -> Breaker:
    """Changes a model's configuration."""

    def change(root: Path) -> None:
        (file,) = root.glob(f"*/{model}/config.pbtxt")
        text = file.read_text()
        for old, new in replacements:
            assert old in text, old
            text = text.replace(old, new)
        file.write_text(f"{text}\n{add}")

    return change


def parameter(name: str, value: str) -> str:
    return f'parameters {{ key: "{name}" value: {{ string_value: "{value}" }} }}'


def another_step(output: str, takes: str = "B") -> tuple[str, str]:
    step = 'input_map { key: "B" value: "%s" } output_map { key: "C" value: "%s" }'
    return ("  ]\n}", f', {{ model_name: "second" {step % (takes, output)} }}\n  ]\n}}')


def more(side: str, name: str) -> tuple[str, str]:
    return (f"{side} [", f'{side} [ {{ name: "{name}" data_type: TYPE_FP32 dims: [ 2 ] }},')


def without_model_py(root: Path) -> None:
    (root / "models/tell/1/model.py").unlink()


def second_takes(name: str) -> tuple[str, str]:
    return ('input_map { key: "B" value: "B" }', f'input_map {{ key: "B" value: "{name}" }}')


def dims_of_text(size: str) -> tuple[str, str]:
    return ('"TEXT" data_type: TYPE_UINT8 dims: [ 8 ]', f'"TEXT" data_type: TYPE_UINT8 dims: [ {size} ]')


def profile_that_differs(root: Path) -> None:
    folder = root / "models" / "first" / "configs"
    folder.mkdir()
    (folder / "gpu.pbtxt").write_text(LEAF.format("A", "B").replace("dims: [ 2 ]", "dims: [ 3 ]"))


def stray_folder(root: Path) -> None:
    (root / "models" / "__pycache__").mkdir()


def limit(model: str, policy: str = "max_queue_size: 8") -> Breaker:
    batching = f"dynamic_batching {{ default_queue_policy {{ {policy} }} }}"
    return edit(model, ("dynamic_batching { }", batching))


def save_onnx(file: Path, graph: str) -> None:
    onnx.save(onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": 18]> g {graph}'), file)


def zipped(path: str, *names: str) -> Breaker:
    def write(root: Path) -> None:
        with zipfile.ZipFile(root / path, "w") as archive:
            for name in names:
                archive.writestr(name, b"")

    return write


AS_STRING = ('"TEXT" data_type: TYPE_UINT8', '"TEXT" data_type: TYPE_STRING')
FAN_OUT = edit("chain", another_step("D"), more("output", "D"))
TWO_FIRST_STEPS = edit("chain", second_takes("A"), more("output", "B"))
ACCELERATOR = 'optimization { execution_accelerators { cpu_execution_accelerator { name: "tpu" } } }'
WARMUP = """model_warmup { name: "1" batch_size: 1 inputs {
  key: "A" value: { data_type: TYPE_FP32 dims: [ 2 ] input_data_file: "A" } } }"""


def warming(*contents: bytes) -> Breaker:
    """Has the first model warm up with a file, if any, of these contents."""

    def change(root: Path) -> None:
        edit("first", add=WARMUP)(root)
        (root / "models/first/warmup").mkdir()
        for data in contents:
            (root / "models/first/warmup/A").write_bytes(data)

    return change


TENSORRT = """optimization { execution_accelerators { gpu_execution_accelerator {
  name: "tensorrt" parameters { key: "trt_engine_cache" value: "1" } } } }"""
SAMPLES: list[tuple[str, Breaker]] = [
    ("unreadable-configuration", edit("first", ("max_batch_size: 4", "max_batch_size: many"))),
    ("unreadable-configuration", edit("first", add="max_batch: 4")),
    ("unreadable-configuration", lambda root: (root / "models/first/config.pbtxt").write_bytes(b"\xff")),
    ("stray-folder", lambda root: (root / "models/__pycache__").mkdir()),
    ("stray-folder", lambda root: (root / "ensembles/.cache/1").mkdir(parents=True)),
    ("duplicate-model", lambda root: shutil.copytree(root / "ensembles/say", root / "models/say")),
    ("name-differs", edit("first", add='name: "fist"')),
    ("missing-configuration", lambda root: (root / "models/tell/config.pbtxt").unlink()),
    ("missing-version", lambda root: (root / "ensembles/chain/1").rmdir()),
    ("missing-version", lambda root: (root / "ensembles/chain/1").rename(root / "ensembles/chain/01")),
    ("missing-version", edit("first", add="version_policy { specific { versions: [ 7 ] } }")),
    ("missing-file", lambda root: (root / "models/first/1/model.onnx").rename(root / "models/first/1/net")),
    ("missing-file", edit("first", add='default_model_filename: "net.onnx"')),
    ("missing-file", without_model_py),
    ("not-built", lambda root: shutil.rmtree(root / "models/first/1")),
    ("not-built", lambda root: (root / "models/first/1/model.onnx").unlink()),
    ("not-built", edit("first", add='default_model_filename: "model.gpu.onnx"')),
    ("warmup-data", warming()),
    ("warmup-data", warming(bytes(7))),
    ("pickle", lambda root: (root / "models/first/1/scaler").write_bytes(pickle.dumps([1]))),
    ("pickle", lambda root: (root / "models/first/1/scaler.joblib").touch()),
    ("pickle", zipped("models/first/1/checkpoint", "archive/data.pkl")),
    ("gpu-in-cpu-profile", edit("first", ("KIND_CPU", "KIND_GPU"))),
    ("gpus-without-gpu-kind", edit("first", ("KIND_CPU", "KIND_CPU gpus: [ 0 ]"))),
    ("default-instances", edit("first", ("count: 1 ", ""))),
    ("default-instances", edit("first", ("instance_group [ { count: 1 kind: KIND_CPU } ]", ""))),
    ("exported-runtime", edit("first", add='runtime: "model.py"')),
    ("bytes-output", lambda root: [edit(name, AS_STRING)(root) for name in ("tell", "say")]),
    ("incomplete-tensor", edit("tell", ('"TEXT" data_type: TYPE_UINT8 dims: [ 8 ]', '"TEXT"'))),
    ("incomplete-tensor", edit("tell", dims_of_text("0"))),
    ("incomplete-tensor", edit("tell", dims_of_text("-2"))),
    ("negative-batch", edit("tell", ("max_batch_size: 1", "max_batch_size: -1"))),
    ("batching-without-cap", edit("tell", add="dynamic_batching { }")),
    ("preferred-batch", edit("first", ("batching { }", "batching { preferred_batch_size: [ 8 ] }"))),
    ("preferred-batch", edit("first", ("batching { }", "batching { preferred_batch_size: [ 0 ] }"))),
    ("missing-ragged", edit("decode", ("allow_ragged_batch: true", ""))),
    (
        "uncacheable",
        edit("chain", add="response_cache { enable: true } model_transaction_policy { decoupled: 1 }"),
    ),
    ("unknown-backend", edit("tell", ('"python"', '"pytorch"'))),
    ("platform-differs", edit("first", add='platform: "tensorrt_plan"')),
    ("platform-differs", edit("chain", add='backend: "python"')),
    ("unknown-parameter", edit("first", add=parameter("intra_op_threads", "1"))),
    ("unknown-parameter", edit("decode", ("adlens_gate", "adlens_gates"))),
    ("parameter-value", edit("first", add=parameter("intra_op_thread_count", "many"))),
    ("parameter-value", edit("first", add=parameter("adlens_rows_abreast", "0"))),
    ("parameter-value", edit("decode", ('"jpeg"', '"jpg"'))),
    ("unknown-accelerator", edit("first", add=ACCELERATOR)),
    ("accelerator-parameter", edit("first", add=TENSORRT)),
    ("newer-field", edit("chain", ("scheduling {", "scheduling { max_inflight_requests: 4"))),
    ("newer-field", edit("first", add="model_metrics { }")),
    ("profile-differs", profile_that_differs),
    ("ensemble-form", edit("chain", add="instance_group { count: 1 }")),
    ("ensemble-form", edit("tell", add="ensemble_scheduling { }")),
    ("unknown-step", edit("chain", ('"second"', '"third"'))),
    ("unknown-step", edit("chain", ('"second" model_version: -1', '"second" model_version: 7'))),
    ("unknown-tensor", edit("chain", ("input_map {", 'input_map { key: "Q" value: "A" } input_map {'))),
    ("unmapped-input", edit("say", ('input_map { key: "TONE" value: "WORD" }', ""))),
    (
        "unmapped-dali-output",
        edit(
            "look",
            ('output_map { key: "PICTURE_SIZE" value: "PICTURE_SIZE" }', ""),
            (',\n  { name: "PICTURE_SIZE" data_type: TYPE_INT32 dims: [ -1 ] }', ""),
        ),
    ),
    ("tensor-produced-twice", edit("chain", another_step("C"))),
    ("unproduced-tensor", edit("chain", more("output", "Q"))),
    ("unproduced-tensor", edit("chain", second_takes("C"), more("output", "B"))),
    ("unused-tensor", edit("chain", more("input", "Q"))),
    ("unused-tensor", edit("chain", another_step("D"))),
    (
        "tensor-mismatch",
        edit("chain", ('"C" data_type: TYPE_FP32 dims: [ 2 ]', '"C" data_type: TYPE_FP32 dims: [ 3 ]')),
    ),
    ("tensor-mismatch", edit("chain", ('"C" data_type: TYPE_FP32', '"C" data_type: TYPE_INT32'))),
    ("batch-caps-differ", edit("chain", ("max_batch_size: 4", "max_batch_size: 8"))),
    ("cache-on-step", edit("first", add="response_cache { enable: true }")),
    ("late-queue-limit", limit("second")),
    ("late-queue-limit", limit("second", "default_timeout_microseconds: 9")),
    ("fan-out-queue-limit", lambda root: [breaker(root) for breaker in (FAN_OUT, limit("second"))]),
    ("fan-out-queue-limit", lambda root: [breaker(root) for breaker in (TWO_FIRST_STEPS, limit("first"))]),
    (
        "inputs-beside-first-step",
        edit("chain", another_step("E", takes="D"), more("input", "D"), more("output", "E")),
    ),
    ("contract-tensors", edit("decode", ("TYPE_INT32 dims: [ 2 ]", "TYPE_INT32 dims: [ 3 ]"))),
    ("contract-batch", edit("decode", ("max_batch_size: 8", "max_batch_size: 16"))),
    (
        "onnx-differs",
        edit("first", ('"B" data_type: TYPE_FP32 dims: [ 2 ]', '"B" data_type: TYPE_FP32 dims: [ -1 ]')),
    ),
    ("onnx-differs", lambda root: (root / "models/first/1/model.onnx").write_bytes(b"weights")),
    ("onnx-differs", lambda root: (root / "models/first/1/model.onnx").write_bytes(b"")),
]
"""For each rule what breaks it, and it alone."""
HARMLESS: dict[str, Breaker] = {
    "a limited queue at the first step": limit("first"),
    "the same before parallel steps": lambda root: [breaker(root) for breaker in (FAN_OUT, limit("first"))],
    "a queue timeout that only delays": limit(
        "second", "default_timeout_microseconds: 9 timeout_action: DELAY"
    ),
    "dynamic batching without a cap for its queue policy": edit(
        "tell", add="dynamic_batching { default_queue_policy { max_queue_size: 8 } }"
    ),
    "a cache at the ensemble": edit("chain", add="response_cache { enable: true }"),
    "a plain file beside models": lambda root: (root / "models/README.md").touch(),
    "several versions": lambda root: shutil.copytree(root / "models/first/1", root / "models/first/2"),
    "an output's size that ONNX Runtime infers": lambda root: save_onnx(
        root / "models/first/1/model.onnx", "(float[n, 2] A) => (float[n, m] B) { B = Neg(A) }"
    ),
    "a sample to warm up with": warming(bytes(8)),
    "a sample that is still to be written": edit("first", add=WARMUP),
    "TorchScript": zipped("models/first/1/net.pt", "net/data.pkl", "net/constants.pkl"),
}
"""What must not be taken for a fault."""
LOADED = {
    "accelerator-parameter": "read on GPUs alone",
    "bytes-output": "24.10 ends only when asked for classes",
    "contract-batch": "a fact of ours",
    "contract-tensors": "a fact of ours",
    "exported-runtime": "only native backends do not load",
    "fan-out-queue-limit": "24.10 hangs only when a queue is full",
    "profile-differs": "another profile than the one served",
    "unmapped-dali-output": "fails with each request",
}
"""Errors that a start of this server does not show, and why."""
