"""Plans are written only if they do what ``model.onnx`` does; TensorRT itself is played (``fake``)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from adlens import contract
from export import samples
from export.choices import Choice, Engine, Precision
from export.profiles import GPU_GRAPH, PLAN
from export.tensorrt import __main__ as command
from export.tensorrt import engine
from export.tensorrt.engine import BuildError, MissingGpuError, TensorRt
from export.tensorrt.plans import QUANTISED, SOURCE, RefusedError, difference, write_graph, write_plan
from tests.export.tensorrt.fake import FakeTensorRt

Run = Callable[..., Result]
MODEL = contract.ENGAGEMENT_MODEL
POST = len(contract.POST_FIELDS)
ZEROS = ", ".join(["0"] * 3 * POST)
GRAPH = f"""
(uint8[n, {contract.CANVAS}, {contract.CANVAS}, 3] PIXELS, int32[n, 2] PICTURE_SIZE, float[n, {POST}] POST)
=> (float[n, 3] ENGAGEMENT, uint8[n, {contract.CARD_BYTES}] CARD)
<float[{POST}, 3] w = {{{ZEROS}}}> {{
  ENGAGEMENT = MatMul (POST, w)
  shape = Shape <end = 1> (PIXELS)
  wide = Constant <value_ints = [{contract.CARD_BYTES}]> ()
  full = Concat <axis = 0> (shape, wide)
  letter = Constant <value = uint8[1] {{32}}> ()
  CARD = Expand (letter, full)
}}
"""
CHOICE = Choice(Engine.TENSORRT, "a test's", batch=8, precision=Precision.FP16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A version folder with a small graph that has the tensors of ``engagement``."""
    graph = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": 18]> g {GRAPH}')
    weights = np.random.default_rng(0).normal(size=(POST, 3)).astype(np.float32) / 8
    graph.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights, "w"))
    folder = tmp_path / "models" / MODEL / "1"
    folder.mkdir(parents=True)
    onnx.save(graph, folder / SOURCE)
    return folder


@pytest.fixture
def tensors() -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {
        "PIXELS": np.zeros((samples.ROWS, contract.CANVAS, contract.CANVAS, 3), np.uint8),
        "PICTURE_SIZE": np.full((samples.ROWS, 2), 9, np.int32),
        "POST": random.random((samples.ROWS, POST), np.float32),
    }


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeTensorRt:
    played = FakeTensorRt()
    monkeypatch.setattr(engine, "importlib", type("", (), {"import_module": staticmethod(played.load)}))
    return played


def test_a_graph_for_gpus_says_of_what_it_was_made_and_how_well(
    folder: Path, tensors: dict[str, np.ndarray]
) -> None:
    record = write_graph(MODEL, CHOICE, folder, tensors)
    written = json.loads((folder / "model.gpu.json").read_text())
    assert written == json.loads(record.to_json())
    assert (written["source"], written["precision"], written["device"]) == (SOURCE, "fp16", None)
    assert written["parity"].keys() == {"1", "8"}
    assert 0 < max(written["parity"].values()) < written["tolerance"]


def test_a_plan_names_the_gpu_and_the_tensorrt_that_it_is_for(
    folder: Path, tensors: dict[str, np.ndarray], fake: FakeTensorRt, tmp_path: Path
) -> None:
    write_graph(MODEL, CHOICE, folder, tensors)
    write_plan(MODEL, CHOICE, folder, tensors, TensorRt(), tmp_path / "cache" / "timings")
    written = json.loads((folder / "model.json").read_text())
    assert written["device"] == {"name": "NVIDIA H200", "capability": "9.0", "tensorrt": "10.15.1"}
    assert written["parity"].keys() == {"1", "8"}
    assert (folder / PLAN).exists()


def test_tensorrt_is_given_types_shapes_and_what_it_timed_before(
    folder: Path, tensors: dict[str, np.ndarray], fake: FakeTensorRt, tmp_path: Path
) -> None:
    timings = tmp_path / "timings"
    timings.write_bytes(b"before")
    choice = replace(CHOICE, batch=32, precision=Precision.FP32)
    write_graph(MODEL, choice, folder, tensors)
    write_plan(MODEL, choice, folder, tensors, TensorRt(), timings)
    assert ("network", 1 << 1) in fake.calls, "strongly typed"
    assert ("clear", "tf32") in fake.calls, "single precision is not cut short"
    assert ("timings", b"before", False) in fake.calls
    assert timings.read_bytes() == b"timed"
    (shapes,) = (call[1] for call in fake.calls if call[0] == "profile")
    assert shapes["POST"] == ((1, POST), (32, POST), (32, POST))
    assert shapes.keys() == contract.MODELS[MODEL].inputs.keys()


def test_half_precision_may_have_products_of_tensor_cores(
    folder: Path, tensors: dict[str, np.ndarray], fake: FakeTensorRt, tmp_path: Path
) -> None:
    write_graph(MODEL, CHOICE, folder, tensors)
    write_plan(MODEL, CHOICE, folder, tensors, TensorRt(), tmp_path / "timings")
    assert ("clear", "tf32") not in fake.calls


def test_a_plan_that_computes_something_else_is_not_written(
    folder: Path, tensors: dict[str, np.ndarray], fake: FakeTensorRt, tmp_path: Path
) -> None:
    write_graph(MODEL, CHOICE, folder, tensors)
    fake.wrong = 0.5
    with pytest.raises(RefusedError, match=r"model.plan differs .* nothing was written"):
        write_plan(MODEL, CHOICE, folder, tensors, TensorRt(), tmp_path / "timings")
    assert not (folder / PLAN).exists()
    assert not (folder / "model.json").exists()


def test_a_graph_that_tensorrt_refuses_is_refused_with_its_reason(
    folder: Path, tensors: dict[str, np.ndarray], fake: FakeTensorRt, tmp_path: Path
) -> None:
    write_graph(MODEL, CHOICE, folder, tensors)
    fake.refuses = "node 7 (Expand): no"
    with pytest.raises(RefusedError, match=r"engagement: node 7 \(Expand\): no"):
        write_plan(MODEL, CHOICE, folder, tensors, TensorRt(), tmp_path / "timings")


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ("nothing", False),
        ("another model", True),
        ("another GPU", True),
        ("another precision", True),
        ("another batch", True),
    ],
)
def test_what_is_there_is_left_alone_until_something_changes(
    change: str, again: bool, folder: Path, tensors: dict[str, np.ndarray], fake: FakeTensorRt, tmp_path: Path
) -> None:
    timings = tmp_path / "timings"
    write_graph(MODEL, CHOICE, folder, tensors)
    write_plan(MODEL, CHOICE, folder, tensors, TensorRt(), timings)
    fake.calls.clear()
    choice, builder = CHOICE, TensorRt()
    match change:
        case "another model":
            graph = onnx.load(folder / SOURCE)
            graph.graph.initializer[0].CopyFrom(
                onnx.numpy_helper.from_array(np.ones((POST, 3), np.float32), "w")
            )
            onnx.save(graph, folder / SOURCE)
        case "another GPU":
            builder.device = replace(builder.device, capability="8.9")
        case "another precision":
            choice = replace(CHOICE, precision=Precision.FP32)
        case "another batch":
            choice = replace(CHOICE, batch=16)
    write_graph(MODEL, choice, folder, tensors)
    write_plan(MODEL, choice, folder, tensors, builder, timings)
    assert any(call[0] == "network" for call in fake.calls) == again


def test_int8_takes_what_was_quantised_and_says_where_that_is_missing(
    folder: Path, tensors: dict[str, np.ndarray]
) -> None:
    choice = replace(CHOICE, precision=Precision.INT8)
    with pytest.raises(RefusedError, match=rf"there is no {QUANTISED} in .*; quantise the model first"):
        write_graph(MODEL, choice, folder, tensors)
    (folder / QUANTISED).write_bytes((folder / SOURCE).read_bytes())
    assert write_graph(MODEL, choice, folder, tensors).source == QUANTISED


def test_without_tensorrt_the_error_names_the_container_that_has_it() -> None:
    with pytest.raises(MissingGpuError, match=r"No module named 'tensorrt'.*docker run --rm --gpus all"):
        TensorRt()


def test_without_a_gpu_too(fake: FakeTensorRt) -> None:
    fake.gpus = 0
    with pytest.raises(MissingGpuError, match=r"no NVIDIA GPU is visible.*docker run"):
        TensorRt()


def test_what_cuda_refuses_is_an_error(fake: FakeTensorRt) -> None:
    builder = TensorRt()
    fake.cuda.cudaMalloc = lambda count: (2, None)
    plan = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["": 18]> g (float[n] X) => (float[n] Y) { Y = Neg (X) }'
    )
    with pytest.raises(BuildError, match="CUDA refuses: 2"):
        builder.run(
            plan.SerializeToString(), {"X": np.ones(3, np.float32)}, {"Y": ((3,), np.dtype(np.float32))}
        )


def test_a_difference_is_in_shares_of_what_is_large_and_counts_must_be_the_same() -> None:
    large = {"X": np.array([0, 100], np.float32)}
    assert difference(large, {"X": np.array([1, 100], np.float32)}) == pytest.approx(0.01)
    small = {"X": np.array([0, 0.1], np.float32)}
    assert difference(small, {"X": np.array([0.01, 0.1], np.float32)}) == pytest.approx(0.01)
    unknown = {"X": np.array([np.nan, np.inf], np.float32)}
    assert difference(unknown, unknown) == 0
    assert difference(large, {"X": np.array([np.nan, 100], np.float32)}) == np.inf
    assert difference({"N": np.array([2])}, {"N": np.array([3])}) == np.inf
    assert difference({"N": np.array([2])}, {"N": np.array([2, 2])}) == np.inf


class TestCommand:
    """``python -m export.tensorrt``."""

    @pytest.fixture
    def run(
        self, folder: Path, tensors: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> Run:
        repository = folder.parents[1]
        (repository / MODEL / "configs").mkdir()
        for profile in ("gpu", "gpu-onnxruntime"):
            text = f'default_model_filename: "{GPU_GRAPH}" # {profile}'
            (repository / MODEL / "configs" / f"{profile}.pbtxt").write_text(text)
        monkeypatch.setattr(samples, "collect", lambda repository: tensors)
        monkeypatch.setattr(samples, "write", lambda repository, tensors: iter(()))
        options = ["--repository", str(repository), "--timings", str(tmp_path / "timings"), MODEL]
        return lambda *more: CliRunner().invoke(command.main, [*options, *more])

    def test_it_builds_and_says_how_well(self, run: Run, folder: Path, fake: FakeTensorRt) -> None:
        done = run()
        assert done.exit_code == 0, done.output
        assert (
            "engagement: fp16 for NVIDIA H200 (TensorRT 10.15.1), against ONNX Runtime batch 1:"
            in done.output
        )
        assert (folder / PLAN).exists()

    def test_without_tensorrt_it_ends_by_a_status_of_its_own(self, run: Run) -> None:
        done = run()
        assert done.exit_code == 3
        assert "make gpu-image" in done.output

    def test_graphs_need_no_gpu(self, run: Run, folder: Path) -> None:
        assert run("--graphs").exit_code == 0
        assert (folder / GPU_GRAPH).exists()
        assert not (folder / PLAN).exists()

    def test_what_is_refused_is_an_error_or_left_to_onnx_runtime(
        self, run: Run, folder: Path, fake: FakeTensorRt
    ) -> None:
        fake.refuses = "no"
        assert run().exit_code == 1
        done = run("--fall-back")
        assert done.exit_code == 0
        assert "refused: engagement: no" in done.output
        profile = (folder.parent / "configs" / "gpu.pbtxt").read_text()
        assert profile.endswith("# gpu-onnxruntime")
        assert GPU_GRAPH in profile

    def test_onnx_runtime_takes_the_original_where_there_is_no_other(
        self, run: Run, folder: Path, fake: FakeTensorRt
    ) -> None:
        assert run("--fall-back", "--precision", "int8").exit_code == 0
        profile = (folder.parent / "configs" / "gpu.pbtxt").read_text()
        assert f'"{SOURCE}"' in profile

    def test_the_check_needs_nothing_and_finds_what_is_not_taken(self, run: Run, folder: Path) -> None:
        passed = run("--check")
        assert passed.exit_code == 0
        assert "engagement: TensorRT takes it" in passed.output
        graph = onnx.load(folder / SOURCE)
        graph.graph.node[0].op_type = "Det"
        onnx.save(graph, folder / SOURCE)
        failed = run("--check")
        assert failed.exit_code == 1
        assert "Det" in failed.output
        assert "choose another engine in export/choices.py" in failed.output

    def test_a_model_that_tensorrt_does_not_run_is_wrong_usage(self, run: Run) -> None:
        assert run("gallery").exit_code == 2
