"""The benchmark's runner: what fails is told, what was found stays; and what its sections compute."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from click.testing import CliRunner

from adlens import contract
from perf import bench, peak
from perf.embedding import CHECKOUT
from perf.findings import Findings
from perf.peak import operations
from perf.peers.environment import PEERS
from perf.peers.names import LABELS
from perf.peers.ways import WAYS
from perf.results import findings_of, status_of
from perf.sections import FULL, QUICK
from perf.sections.load import least_p99_s
from perf.sections.memory import growth
from perf.sections.models import shares
from perf.sections.peers import compare
from perf.setting import Setting

PEER = {"p50_ms": 10.0, "p99_ms": 20.0}


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    made = Setting(tmp_path, tmp_path / "nowhere")
    (tmp_path / "setting.json").write_text(
        json.dumps({"out": str(tmp_path), "binary": "", "cache_options": []})
    )
    return made


def told(setting: Setting, section: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(status_of(setting.out, section).read_text())
    return found


def test_a_section_that_takes_too_long_is_ended_and_what_it_found_stays(setting: Setting) -> None:
    Findings(findings_of(setting.out, "ceiling")).put("rounds", {"served": []})
    assert not bench._run("ceiling", bench.Section(FULL["ceiling"].measure, 0.3), setting, quick=False)
    assert told(setting, "ceiling")["status"] == "timed out"
    bench.write(setting.out, FULL, None)
    results = json.loads((setting.out / "results.json").read_text())
    assert results["sections"]["ceiling"]["figures"] == {"rounds": {"served": []}}
    assert "timed out" in (setting.out / "report.html").read_text()


def test_a_section_that_fails_is_told_with_its_words(setting: Setting) -> None:
    assert not bench._run("nobody", FULL["harness"], setting, quick=False)
    assert told(setting, "nobody")["status"] == "failed"
    assert "KeyError: 'nobody'" in str(told(setting, "nobody")["error"])


def test_a_run_that_is_ended_leaves_no_server_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "perf.bench", "run", "--only", "cache", "--out", str(tmp_path)]
    run = psutil.Popen(command, cwd=CHECKOUT, stderr=subprocess.DEVNULL)
    started: list[psutil.Process] = []
    deadline = time.monotonic() + 60
    while not any(each.name() == "tritonserver" for each in started) and time.monotonic() < deadline:
        time.sleep(0.2)
        started = run.children(recursive=True)
    assert any(each.name() == "tritonserver" for each in started)
    run.terminate()
    assert run.wait(60) == 128 + signal.SIGTERM
    assert not psutil.wait_procs(started, timeout=10)[1]


def test_unknown_sections_are_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(bench.main, ["run", "--out", str(tmp_path), "--only", "nobody"])
    assert result.exit_code == 2
    assert f"there are {', '.join(FULL)}" in result.output
    assert set(QUICK) - set(FULL) == {"leaves"}


def test_each_peer_has_a_name_and_its_own_packages() -> None:
    assert list(WAYS) == list(LABELS)
    lists = sorted(path.parent.name for path in PEERS.glob("*/requirements.txt"))
    assert lists == ["fastapi", "litserve", "seed"]
    for name in lists:
        lines = (PEERS / name / "requirements.txt").read_text().splitlines()
        assert all("==" in line for line in lines), name


def test_peers_are_compared_round_by_round(tmp_path: Path) -> None:
    found = {
        "seed": [{"rate": 2.0, **PEER}],
        "fastapi": [],
        "litserve": [{"rate": 8.0, **PEER}, {"rate": 4.0, **PEER}],
        "adlens": [{"rate": 16.0, **PEER, "p99_ms": 10.0}] * 2,
        "adlens_int8": [{"rate": 20.0, **PEER}],
        "adlens_fast": [],
        "in_process": [{"rate": 32.0, **PEER}],
    }
    compare(found, 16, Findings(tmp_path / "peers.json"))
    ratios = json.loads((tmp_path / "peers.json").read_text())["ratios"]
    assert ratios["adlens_to_seed"]["rounds"] == [8]
    assert ratios["adlens_to_litserve"] == {"value": 3, "rounds": [2, 4]}
    assert ratios["p99_to_litserve"]["value"] == 0.5
    assert ratios["in_integers_to_seed"]["rounds"] == [10]
    assert ratios["in_process_to_litserve"]["rounds"] == [4]
    assert ratios["least_p99_to_litserve"]["rounds"] == [500 / PEER["p99_ms"]]
    assert set(ratios) == {
        "adlens_to_seed", "in_integers_to_seed", "in_process_to_seed",
        "adlens_to_litserve", "p99_to_litserve", "in_process_to_litserve", "least_p99_to_litserve",
    }  # fmt: skip


def test_what_the_steps_of_an_ensemble_leave_is_the_wire() -> None:
    step = {"queue": 2.0, "compute_input": 0.5, "compute_infer": 10.0, "compute_output": 0.5}
    assert shares(30.0, [step, step]) == {"queue_ms": 4, "compute_ms": 22, "wire_ms": 4}
    assert shares(20.0, [step, step])["wire_ms"] == 0


def test_growth_is_told_by_what_is_held_and_without_the_warm_up() -> None:
    """2 MB a minute, under a saw of what is freed and given back once a minute."""
    saw = [(float(s), 900 - 10 * s if s < 80 else 100 + s / 30 + s % 60) for s in range(600)]
    assert growth(saw) == pytest.approx(2, abs=0.1)
    with pytest.raises(ValueError, match="120 s of samples; watch for at least 5 minutes"):
        growth(saw[:121])


def test_operations_are_those_of_resnet50() -> None:
    """Its trunk once and three ends at 224 pixels: 4.09 GMAC and what the ends repeat."""
    model = CHECKOUT / "model_repository" / contract.attributes_model("resnet50") / "1" / "model.onnx"
    boxes = np.zeros((1, contract.MAX_FACES, 4), np.float32)
    boxes[0, :2] = [100, 100, 200, 220]
    pixels = np.zeros((1, contract.CANVAS, contract.CANVAS, 3), np.uint8)

    def asked(faces: int) -> float:
        count = np.full((1, 1), faces, np.int32)
        feed = {contract.PIXELS: pixels, contract.BOXES: boxes, contract.FACE_COUNT: count}
        return operations(model, feed)

    assert 2 * 4.0e9 < asked(1) < 2 * 4.6e9
    assert asked(2) == pytest.approx(2 * asked(1), rel=1e-6)
    assert asked(0) == 0


def test_the_peak_is_measured_for_each_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "SHAPES", ((64, 64, 64), (32, 128, 64)))
    found = peak.int8_peak(cores=1, seconds=0.3)
    assert list(found) == ["64x64x64", "32x128x64"]
    assert all(rate > 0 for rate in found.values())


@pytest.mark.parametrize("peak", [1.0, 50.0])
def test_nobody_answers_sooner_than_a_queue_of_one_that_never_idles(peak: float) -> None:
    """M/D/1 (Cramér and Lundberg): a wait of over w turns is as rare as C exp(-t w)."""
    share, t = 0.5, 1.2564  # share * (exp(t) - 1) = t
    tail = (1 - share) / (share * np.exp(t) - 1)
    assert least_p99_s(peak, 0.001) == pytest.approx(1 / peak)
    assert least_p99_s(peak, share) * peak == pytest.approx(1 + np.log(100 * tail) / t, rel=0.05)
    assert least_p99_s(peak, 0.7) > 1.4 * least_p99_s(peak, 0.5)
