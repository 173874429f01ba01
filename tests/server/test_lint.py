"""The repository linter: each rule finds its fault and no other, and its errors are errors to Triton."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import onnxruntime
import pytest
import tritonclient.grpc as triton
from click.testing import CliRunner, Result

from adlens import contract
from server import assembly, leftovers
from server.backends.onnxruntime.signature import Signature
from server.lint import RULES, Severity, Survey, lint
from server.lint.__main__ import main
from server.lint.configurations import PARAMETERS
from server.lint.graphs import Outline

CHECKOUT = Path(__file__).resolve().parent.parent.parent
REPOSITORIES = ("model_repository", "ensembles")
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


def another_step(output: str) -> tuple[str, str]:
    step = 'input_map { key: "B" value: "B" } output_map { key: "C" value: "%s" }'
    return ("  ]\n}", f', {{ model_name: "second" {step % output} }}\n  ]\n}}')


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
    ("parameter-value", edit("decode", ('"jpeg"', '"jpg"'))),
    ("unknown-accelerator", edit("first", add=ACCELERATOR)),
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
    "TorchScript": zipped("models/first/1/net.pt", "net/data.pkl", "net/constants.pkl"),
}
"""What must not be taken for a fault."""
LOADED = {
    "bytes-output": "24.10 ends only when asked for classes",
    "contract-batch": "a fact of ours",
    "contract-tensors": "a fact of ours",
    "exported-runtime": "only native backends do not load",
    "fan-out-queue-limit": "24.10 hangs only when a queue is full",
    "profile-differs": "another profile than the one served",
    "unmapped-dali-output": "fails with each request",
}
"""Errors that a start of this server does not show, and why."""


@pytest.fixture
def sample(tmp_path: Path, add_onnx: Callable[..., Path]) -> Path:
    """A clean sample: a chain of ONNX models, a DALI pipeline, a Python model, and an ensemble over each."""
    models, ensembles = tmp_path / "models", tmp_path / "ensembles"
    for name, given, taken in (("first", "A", "B"), ("second", "B", "C")):
        graph = f"(float[n, 2] {given}) => (float[n, 2] {taken}) {{ {taken} = Neg({given}) }}"
        add_onnx(models, name, graph, LEAF.format(given, taken))
    shutil.copytree(CHECKOUT / "ensembles" / "decode", models / "decode")
    (models / "tell" / "1").mkdir(parents=True)
    (models / "tell" / "config.pbtxt").write_text(TELL)
    (models / "tell" / "1" / "model.py").write_text(TELL_MODEL)
    for name, configuration in (("chain", CHAIN), ("say", SAY), ("look", LOOK)):
        (ensembles / name / "1").mkdir(parents=True)
        (ensembles / name / "config.pbtxt").write_text(configuration)
    return tmp_path


def rules_broken(root: Path, profile: str | None = None) -> set[str]:
    return {fault.rule for fault in lint(Survey.read((root / "models", root / "ensembles"), profile))}


def test_a_clean_repository_has_no_faults(sample: Path) -> None:
    assert rules_broken(sample) == set()


def test_every_rule_has_a_sample() -> None:
    assert {rule for rule, _ in SAMPLES} == set(RULES)


@pytest.mark.parametrize(("rule", "breaker"), SAMPLES, ids=[rule for rule, _ in SAMPLES])
def test_a_fault_is_found_by_its_rule_and_by_no_other(sample: Path, rule: str, breaker: Breaker) -> None:
    breaker(sample)
    assert rules_broken(sample) == {rule}


@pytest.mark.parametrize("change", HARMLESS)
def test_what_is_harmless_is_not_taken_for_a_fault(sample: Path, change: str) -> None:
    HARMLESS[change](sample)
    assert rules_broken(sample) == set()


@pytest.mark.parametrize("backend", assembly.STAND_INS)
def test_each_parameter_that_a_backend_reads_is_known_to_the_linter(backend: str) -> None:
    sources = (CHECKOUT / "server" / "backends" / backend).glob("*.py")
    read = {name for file in sources for name in re.findall(r'parameter\(\w+, "(.+?)"', file.read_text())}
    assert read
    assert read <= set(PARAMETERS[backend])


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


def changed(folder: Path, clean: Path) -> bool:
    return not clean.exists() or contents(folder) != contents(clean)


@pytest.fixture
def loaded(tmp_path: Path, free_port: int) -> Iterator[Callable[..., set[str]]]:
    """Names of the models that a bare Triton loads, without the launcher's checks."""
    name, backends, log = leftovers.new_name(), tmp_path / "backends", tmp_path / "log"

    def start(*repositories: Path) -> set[str]:
        installation = assembly.Installation.find()
        backends.mkdir()
        assembly.assemble_backends(installation, backends)
        command = [
            str(installation.server),
            *(f"--model-repository={path}" for path in repositories),
            f"--backend-directory={backends}",
            f"--backend-config=python,shm-region-prefix-name={name}-",
            f"--cache-directory={installation.caches}",
            "--cache-config=local,size=1048576",
            "--disable-auto-complete-config",
            "--exit-on-error=false",
            "--allow-http=false",
            "--allow-metrics=false",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={free_port}",
        ]
        environment = assembly.server_environment(tmp_path, tmp_path, os.environ)
        with log.open("wb") as written:
            process = subprocess.Popen(command, stdout=written, stderr=subprocess.STDOUT, env=environment)
        try:
            deadline = time.monotonic() + 60
            while b"Started GRPC" not in log.read_bytes():
                assert process.poll() is None, log.read_text(errors="replace")
                assert time.monotonic() < deadline, log.read_text(errors="replace")
                time.sleep(0.05)
            with triton.InferenceServerClient(f"127.0.0.1:{free_port}") as client:
                models = client.get_model_repository_index().models
                return {model.name for model in models if model.state == "READY"}
        finally:
            process.terminate()
            process.wait()

    yield start
    leftovers.clear_shared_memory(name)


def test_triton_does_not_load_what_the_linter_calls_an_error(
    sample: Path, tmp_path_factory: pytest.TempPathFactory, loaded: Callable[..., set[str]]
) -> None:
    folder = tmp_path_factory.mktemp("all")
    served = folder / "served"
    shutil.copytree(sample / "models", served / "models")
    shutil.copytree(sample / "ensembles", served / "ensembles")
    for number, (rule, breaker) in enumerate(SAMPLES):
        # Without a Python model's file, Triton waits for it for good.
        if RULES[rule].severity != Severity.ERROR or rule in LOADED or breaker is without_model_py:
            continue
        broken = folder / f"{rule}-{number}"
        shutil.copytree(sample, broken)
        breaker(broken)
        # Served beside the clean ones: a faulty model under its fault's name, a new folder under its own.
        (fault,) = (each for each in broken.glob("*/*") if changed(each, sample / each.relative_to(broken)))
        name = broken.name if (sample / fault.relative_to(broken)).exists() else fault.name
        shutil.copytree(fault, served / fault.parent.name / name)
    ready = loaded(served / "models", served / "ensembles")
    assert ready == {"first", "second", "chain", "tell", "decode", "look"}, "not the faults are at fault"


def ran(*arguments: str, folder: Path, **environment: str) -> Result:
    """The command, run in a folder."""
    with contextlib.chdir(folder):
        return CliRunner().invoke(main, arguments, env=environment)


def test_the_checkout_is_clean() -> None:
    command = [sys.executable, "-m", "server.lint", *REPOSITORIES]
    ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, f"{len(contract.MODELS)} models: no faults\n"), (
        ended.stdout
    )


def test_weights_that_are_not_built_are_a_hint_unless_denied(tmp_path: Path) -> None:
    for repository in REPOSITORIES:
        unbuilt = shutil.ignore_patterns("[0-9]*") if repository == "model_repository" else None
        shutil.copytree(CHECKOUT / repository, tmp_path / repository, ignore=unbuilt)
    ended = ran(*REPOSITORIES, folder=tmp_path)
    assert ended.exit_code == 0
    assert "model_repository/detect_faces: hint not-built: no weights yet; build them with" in ended.stdout
    denied = ran(*REPOSITORIES, "--deny", "not-built", folder=tmp_path)
    assert denied.exit_code == 1
    assert "model_repository/detect_faces: error not-built: " in denied.stdout
    leaves = sum(1 for _ in (CHECKOUT / "model_repository").glob("*/config.pbtxt"))
    assert denied.stderr == f"{len(contract.MODELS)} models: {leaves} faults\n"


def test_faults_are_told_with_file_and_rule_and_end_with_1(sample: Path) -> None:
    edit("first", ("KIND_CPU", "KIND_GPU"))(sample)
    ended = ran("models", "ensembles", folder=sample)
    assert ended.exit_code == 1
    assert ended.stdout == (
        "models/first/config.pbtxt: error gpu-in-cpu-profile: "
        "KIND_GPU in a profile for CPUs; move it to configs/gpu.pbtxt, use KIND_CPU here\n"
    )
    assert ended.stderr == "7 models: 1 fault\n"


def test_machines_read_the_same_as_json(sample: Path) -> None:
    edit("first", ("KIND_CPU", "KIND_GPU"))(sample)
    ended = ran("models", "ensembles", "--json", folder=sample)
    assert ended.exit_code == 1
    (fault,) = json.loads(ended.stdout)
    assert fault.keys() == {"path", "severity", "rule", "message"}
    assert (fault["path"], fault["severity"]) == ("models/first/config.pbtxt", "error")


def test_a_fault_is_allowed_only_by_its_name(sample: Path) -> None:
    edit("first", ("KIND_CPU", "KIND_GPU"))(sample)
    assert ran("models", "ensembles", "--allow", "stray-folder", folder=sample).exit_code == 1
    assert ran("models", "ensembles", "--allow", "gpu-in-cpu-profile", folder=sample).exit_code == 0
    assert ran("models", "ensembles", folder=sample, ADLENS_LINT_ALLOW="gpu-in-cpu-profile").exit_code == 0


def test_a_profile_for_gpus_may_use_them_and_is_read_in_place_of_the_default(sample: Path) -> None:
    profile = sample / "models" / "first" / "configs" / "gpu.pbtxt"
    profile.parent.mkdir()
    profile.write_text(LEAF.format("A", "B").replace("KIND_CPU", "KIND_GPU"))
    assert rules_broken(sample) == rules_broken(sample, "gpu") == set()
    profile.write_text(LEAF.format("A", "B").replace("KIND_CPU", "KIND_CPU gpus: [ 0 ]"))
    assert rules_broken(sample) == set()
    assert rules_broken(sample, "gpu") == {"gpus-without-gpu-kind"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "no repository given"),
        (("nowhere",), "'nowhere' does not exist"),
        (("models", "--allow", "everything"), "'everything' is not one of"),
        (("models", "--profile", "tpu"), "no model has the profile 'tpu', a file configs/tpu.pbtxt"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_why(sample: Path, arguments: tuple[str, ...], reason: str) -> None:
    ended = ran(*arguments, folder=sample)
    assert ended.exit_code == 2
    assert reason in ended.stderr


def test_each_rule_is_listed_with_its_reason() -> None:
    shown = ran("--list-rules", folder=CHECKOUT).stdout
    listed = json.loads(ran("--list-rules", "--json", folder=CHECKOUT).stdout)
    assert [rule["name"] for rule in listed] == list(RULES)
    for rule in listed:
        assert f"{rule['name']} ({rule['severity']})\n    {rule['why'][:40]}" in shown


@pytest.mark.parametrize(
    "graph",
    [
        "(float[n, 2] X, int64[n, m] Y) => (double[n, 2] Z, bool[2] W) <float[2] w = {0, 1}>"
        "{ Z = Cast <to = 11> (X) W = Cast <to = 9> (w) }",
        "(string[n] X, float16[1] w) => (string[n] Z) <float16[1] w = {1}> { Z = Identity (X) }",
        "(float X) => (float Z) { Z = Neg (X) }",
    ],
)
def test_the_outline_of_a_file_is_what_onnx_runtime_tells(tmp_path: Path, graph: str) -> None:
    file = tmp_path / "model.onnx"
    save_onnx(file, graph)
    session = onnxruntime.InferenceSession(str(file))
    assert Signature.of(Outline.read(file)) == Signature.of(session)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_file_that_is_cut_off_is_found(sample: Path, share: float) -> None:
    file = sample / "models" / "first" / "1" / "model.onnx"
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    assert rules_broken(sample) == {"onnx-differs"}
