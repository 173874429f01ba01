"""``perf.gpu`` without a GPU: all of it runs, says so, and counts what it is to be measured by."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from adlens import contract
from perf import gpu
from perf.accelerated import chips, graphs, measuring, subjects
from perf.accelerated.measuring import DRY, Cost, Effort
from server.assembly import CHECKOUT


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Of a dry run, without the exported graphs, which take longer."""
    out = tmp_path_factory.mktemp("gpu") / "report.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "graphs", lambda repository: [])
        patch.setitem(sys.modules, "perf.accelerated.by_onnxruntime", None)
        assert gpu.main(["--device", "cpu", "--out", str(out)]) == 0
    assert out.with_suffix(".png").stat().st_size > 1_000
    written: dict[str, object] = json.loads(out.read_text())
    return written


@pytest.fixture(scope="module")
def chosen() -> list[subjects.Subject]:
    return subjects.subjects(DRY)


def test_a_dry_run_says_that_it_is_one_on_a_cpu(report: dict[str, object]) -> None:
    assert report["dry_run"] is True
    assert report["device"]["kind"] == "CPU"  # type: ignore[index]
    assert report["versions"]["torch"] == str(torch.__version__)  # type: ignore[index]


def test_a_dry_run_runs_every_subject_from_tensors_and_from_jpeg_bytes(
    report: dict[str, object], chosen: list[subjects.Subject]
) -> None:
    ran = {(each["subject"], each["scope"]) for each in report["measurements"]}  # type: ignore[attr-defined]
    assert {(each.name, "engine") for each in chosen} <= ran
    assert {("decode", "end to end"), (subjects.ATTRIBUTES, "end to end")} <= ran


def test_every_figure_is_held_against_single_precision(report: dict[str, object]) -> None:
    for each in report["measurements"]:  # type: ignore[attr-defined]
        if each["engine"].startswith("torch"):
            assert each["parity"] < (1e-6 if each["precision"] == "fp32" else 0.1), each


def test_what_is_not_there_is_left_out_with_the_reason(report: dict[str, object]) -> None:
    skipped = {each["what"]: each["why"] for each in report["skipped"]}  # type: ignore[attr-defined]
    assert skipped["TensorRT"] == "needs a GPU"
    assert "--url" in skipped["Triton"]
    assert "onnxruntime" in skipped


def test_without_a_gpu_it_is_wrong_usage_to_measure_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        gpu.main([])
    assert ended.value.code == 2
    assert "--device cpu" in capsys.readouterr().err


def test_the_literals_are_those_of_the_contract() -> None:
    assert subjects.CANVAS == contract.CANVAS
    assert subjects.CROP == (contract.CROP_ABOVE, contract.CROP_BELOW, contract.CROP_WIDTH / 2)


def test_operations_and_bytes_are_counted() -> None:
    layer = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    spent = subjects.cost(layer, torch.zeros(2, 3, 16, 16), 2)
    assert spent.operations == 2 * 3 * 9 * 8 * 16 * 16
    assert spent.weights == 2 * 3 * 9 * 8
    assert spent.traffic == 2 * (3 + 8) * 16 * 16


def test_resnet50_has_the_operations_that_are_known_of_it(chosen: list[subjects.Subject]) -> None:
    resnet = chosen[0].network
    spent = subjects.cost(resnet, torch.zeros(1, 3, 224, 224), 4)
    assert spent.operations == pytest.approx(2 * 4.09e9, rel=0.01)


def test_the_share_of_a_chip_is_of_its_peak() -> None:
    h200 = chips.find("NVIDIA H200")
    assert h200 is not None
    cost = Cost(operations=8.18e9, weights=50e6, traffic=45e6)
    operations, traffic = measuring.shares(10_000, 10, "fp16", cost, h200)
    assert operations == pytest.approx(8.18e13 / 989e12)
    assert traffic == pytest.approx(10_000 * 50e6 / 4.8e12)
    assert measuring.shares(1, 1, "fp16", cost, None) == (None, None)


def test_what_is_no_number_on_both_sides_is_the_same() -> None:
    expected = np.array([np.nan, -np.inf, 4.0], np.float32)
    assert measuring.gap(expected, expected) == 0
    assert measuring.gap(expected, np.array([np.nan, -np.inf, 5.0], np.float32)) == pytest.approx(0.25)
    json.dumps(measuring.gap(expected, np.array([0, -np.inf, 4.0], np.float32)), allow_nan=False)


@pytest.mark.parametrize(
    ("name", "chip"),
    [
        ("NVIDIA H200", "H200"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("Tesla T4", "T4"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
    ],
)
def test_a_chip_is_found_by_the_name_that_cuda_gives(name: str, chip: str) -> None:
    assert chips.find(name) is chips.CHIPS[chip]


def test_a_chip_that_nobody_knows_has_no_peak() -> None:
    assert chips.find("NVIDIA GeForce RTX 4090") is None


def test_inputs_are_real_where_they_were_written_and_seeded_elsewhere(tmp_path: Path) -> None:
    graph = graphs.Graph("m", tmp_path / "1", tmp_path / "warmup")
    given = [type("Given", (), {"name": "X", "type": "tensor(float)", "shape": ["n", 2]})]
    assert graph.rows(given, 3)[1] == "seeded"
    graph.warmup.mkdir()
    (graph.warmup / "X").write_bytes(torch.tensor([1.0, 2.0]).numpy().tobytes())
    rows, kind = graph.rows(given, 3)
    assert kind == "real"
    assert rows["X"].tolist() == [[1, 2]] * 3


def test_rounds_last_as_long_as_is_asked_for() -> None:
    effort = Effort(round_s=0.01, rounds=3)
    calls: list[int] = []
    taken = measuring.seconds(lambda: calls.append(1), torch.device("cpu"), effort)
    assert 0 < taken < 0.01
    assert len(calls) > measuring.WARM_UPS + 3


def test_results_can_be_committed() -> None:
    ignored = (CHECKOUT / ".gitignore").read_text().splitlines()
    assert "perf/results/" not in ignored
