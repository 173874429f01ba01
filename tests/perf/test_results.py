"""What becomes of findings: targets, the guard, the README's table and the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from perf import guard, report, table, targets
from perf.findings import Findings
from perf.results import collect, findings_of, status_of

MACHINE = {"cpu": "Some CPU", "cores": 2, "gpus": [], "python": "3.11", "versions": {"onnxruntime": "1.31"}}
LOAD = {
    "asked": 8, "rate": 9.5, "p50_ms": 800.0, "p90_ms": 900.0, "p99_ms": 950.0, "mean_ms": 810.0,
    "queue_ms": 300.0, "compute_ms": 480.0, "wire_ms": 30.0, "requests": 60, "spread": 0.02, "delayed": 0.0,
}  # fmt: skip
PEER = {"rate": 4.0, "p50_ms": 10.0, "p99_ms": 20.0, "mean_ms": 11.0, "requests": 50}


def write(out: Path, section: str, figures: dict[str, Any], ratios: dict[str, list[float]]) -> None:
    findings = Findings(findings_of(out, section))
    for name, figure in figures.items():
        findings.put(name, figure)
    for name, rounds in ratios.items():
        findings.ratio(name, rounds)
    status = {"commit": "abc", "measured_at": "2026-01-01T00:00:00+00:00", "load_before": 0.1, "seconds": 3}
    status_of(out, section).write_text(json.dumps(status | {"status": "done"}))


@pytest.fixture
def results(tmp_path: Path) -> dict[str, Any]:
    """Of a run in which a few sections have come to an end."""
    rounds = {"seed": [PEER, PEER | {"rate": 5.0}], "adlens": [PEER | {"rate": 50.0}] * 2}
    write(
        tmp_path,
        "peers",
        {"rounds": rounds},
        {"adlens_to_seed": [12.5, 10.0], "p99_to_fastapi": [0.9], "in_process_to_seed": [13]},
    )
    leaf = {"kind": "leaf", "best": LOAD, "loads": [LOAD], "bare_per_s": [10.0]}
    ensemble = {"kind": "ensemble", "best": LOAD, "loads": [LOAD], "steps_ms": {}}
    leaf_ratios = {"leaf_to_bare/decode": [0.99], "leaf_to_bare/engagement": [0.9, 0.96, 0.95]}
    leaf_ratios |= {"with_null_to_bare/decode": [0.5], "with_null_to_bare/engagement": [0.98]}
    write(tmp_path, "models", {"decode": leaf, "recommend_products": ensemble}, leaf_ratios)
    curves = {"recommend_products closed": [LOAD], "recommend_products open": [{"share": 0.7, **LOAD}]}
    write(tmp_path, "load", curves, {})
    write(tmp_path, "memory", {"samples_s_mb": [[0, 100.0], [60, 101.0]]}, {})
    crowds = {str(faces): {"faces": faces, **LOAD} for faces in (0, 1)}
    write(tmp_path, "faces", crowds, {})
    names = ("peers", "models", "load", "memory", "faces", "pictures")
    return {"machine": MACHINE, **collect(tmp_path, names, price_per_hour=0.36)}


def test_targets_are_judged_by_the_worst_that_is_meant(results: dict[str, Any]) -> None:
    found = {each["ratio"]: each for each in results["targets"]}
    assert found["adlens_to_seed"]["value"] == 11.25
    assert found["adlens_to_seed"]["met"] is True
    assert found["leaf_to_bare/engagement"]["value"] == 0.95
    assert found["leaf_to_bare/engagement"]["met"] is False
    assert found["p99_to_fastapi"]["met"] is False
    assert found["adlens_to_seed"]["limit"] == 13
    assert found["leaf_to_bare/engagement"]["limit"] == 0.98
    assert found["p99_to_fastapi"]["limit"] is None
    assert found["miss_to_hit"]["value"] is found["miss_to_hit"]["met"] is None
    assert len(found) == len(targets.TARGETS)


def test_a_million_pictures_cost_what_the_hours_do(results: dict[str, Any]) -> None:
    cost = results["cost"]["per_million_pictures"]["recommend_products"]
    assert cost == pytest.approx(0.36 / 3600 / 9.5 * 1e6, rel=1e-3)


def test_the_guard_says_what_moved(results: dict[str, Any]) -> None:
    before = guard.baseline(results)["ratios"]

    def verdict(name: str, rounds: list[float]) -> str:
        now = {name: {"value": sorted(rounds)[len(rounds) // 2], "rounds": rounds}}
        return {each["ratio"]: each["verdict"] for each in guard.compare(now, before)}[name]

    assert verdict("leaf_to_bare/decode", [0.97]) == "same"
    assert verdict("leaf_to_bare/decode", [0.9]) == "worse"
    assert verdict("leaf_to_bare/decode", [1.1]) == "better"
    # As far as rounds were apart when it was committed, or are now.
    assert verdict("leaf_to_bare/engagement", [0.9]) == "same"
    assert verdict("leaf_to_bare/decode", [0.8, 0.9, 1.0]) == "same"
    # Of latencies less is better.
    assert verdict("p99_to_fastapi", [1.2]) == "worse"
    assert verdict("p99_to_fastapi", [0.5]) == "better"


def test_the_guard_fails_where_something_is_worse_or_missing(results: dict[str, Any], tmp_path: Path) -> None:
    now, committed = tmp_path / "now.json", tmp_path / "committed.json"
    now.write_text(json.dumps(results))
    assert guard.tell(now, committed) is False
    committed.write_text(json.dumps(guard.baseline(results)))
    assert guard.tell(now, committed) is False
    del results["ratios"]["leaf_to_bare/decode"]
    now.write_text(json.dumps(results))
    assert guard.tell(now, committed) is True


def test_the_table_goes_between_the_markers_and_nowhere_else(results: dict[str, Any]) -> None:
    block = table.readme(results)
    text = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    changed = table.replaced(text, block)
    assert table.written(changed) == block
    assert changed.startswith("before\n")
    assert changed.endswith("after\n")
    assert "| adlens | 50 | 10 | 20 |" in changed
    assert "| recommend_products over the seed's way | ≥ 10 | 11.2 | met |" in changed
    with pytest.raises(click.ClickException, match="has no lines"):
        table.replaced("no markers", block)


def test_the_readme_says_what_the_committed_results_say() -> None:
    written = table.written(table.README.read_text())
    results = json.loads(table.RESULTS.read_text()) if table.RESULTS.exists() else None
    assert written == (None if results is None else table.readme(results))


def test_the_report_is_one_file_with_all_that_there_is(results: dict[str, Any]) -> None:
    page = report.page(results)
    for title in (
        "Targets",
        "Job 1 by other means",
        "Over load",
        "Over what is asked",
        "Leaves beside",
        "Memory",
    ):
        assert title in page
    assert "What the harness costs" not in page
    assert page.count("<svg") == page.count("</svg>") == 6
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert report.page(results) == page


def test_tables_are_printed(results: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results))
    shown = CliRunner().invoke(table.main, ["show", str(path)])
    assert shown.exit_code == 0
    assert "| adlens | 50 | 10 | 20 |" in shown.output
