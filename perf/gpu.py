"""How fast a GPU is with what it runs: ``python -m perf.gpu``, on any machine, with whatever it has.

Engines that are not there are left out, and the report says which and why: torch (eager, channels last in
half precision, as a CUDA graph, compiled), ONNX Runtime, TensorRT, DALI, and a running Triton (``--url``).
Torch and numpy are all that is needed; the exported graphs, their plans and real inputs are used where they
are built (``make models``, ``python -m export.tensorrt``).

For each subject, engine, precision and batch: rows a second from tensors on the device or end to end from
JPEG bytes, parity with single precision, memory, and the share of the chip's peak in operations and in
traffic. ``--device cpu`` is a dry run: it shows that all of it runs, by a few tiny runs, and its figures mean
nothing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

CHECKOUT: Final = Path(__file__).resolve().parent.parent
if str(CHECKOUT) not in sys.path:  # run as a file, which puts its own folder there
    sys.path.insert(0, str(CHECKOUT))

from perf.accelerated import by_torch, chips, subjects  # noqa: E402
from perf.accelerated.measuring import DRY, Effort, Measurement  # noqa: E402

PACKAGES: Final = (
    "torch",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "nvidia-dali-cuda130",
    "tritonclient",
)
PICTURE: Final = CHECKOUT / "ensembles" / "decode" / "warmup" / "picture.jpg"
RESULTS: Final = CHECKOUT / "perf" / "results"


@dataclass
class Report:
    """What was measured, and what was left out."""

    device: torch.device
    dry: bool
    measurements: list[Measurement] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)

    def skip(self, what: str, why: str) -> None:
        """Leave something out."""
        self.skipped.append({"what": what, "why": why})
        _say(f"left out: {what}: {why}")

    def add(self, found: Iterator[Measurement]) -> None:
        """Take measurements as they come."""
        for each in found:
            self.measurements.append(each)
            figure = "ran" if self.dry else f"{each.per_s:,.1f}/s"
            _say(f"{each.subject}, {each.engine}, {each.precision}, batch {each.batch}: {figure}")

    def to_json(self) -> dict[str, Any]:
        """All of it, with what it was measured on."""
        return {
            "dry_run": self.dry,
            "device": _describe(self.device),
            "versions": {name: found for name in PACKAGES if (found := _version(name))},
            "commit": _commit(),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "measurements": [each.to_json() for each in self.measurements],
            "skipped": self.skipped,
        }


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _describe(device: torch.device) -> dict[str, Any]:
    if device.type != "cuda":
        return {"kind": "CPU", "name": platform.processor() or platform.machine()}
    properties = torch.cuda.get_device_properties(device)
    return {
        "kind": "GPU",
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory_bytes": properties.total_memory,
        "cuda": torch.version.cuda,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    command = ["git", "-C", str(CHECKOUT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def run(device: torch.device, effort: Effort, url: str | None) -> Report:
    """Measure everything that is there."""
    report = Report(device, dry=effort is DRY)
    chip = chips.find(_describe(device)["name"]) if device.type == "cuda" else None
    chosen = subjects.subjects(effort)
    for subject in chosen:
        report.add(by_torch.measure(subject, device, chip, effort, report.skip))
    jpeg = np.fromfile(PICTURE, np.uint8)
    (scorer,) = (each.network for each in chosen if each.name == subjects.ATTRIBUTES)
    if onnxruntime := _engine("by_onnxruntime", report):
        report.add(onnxruntime.measure(device, effort, report.skip))
    if device.type != "cuda":
        report.skip("TensorRT", "needs a GPU")
    elif tensorrt := _engine("by_tensorrt", report):
        report.add(tensorrt.measure(device, effort, report.skip))
    if dali := _engine("by_dali", report):
        report.add(dali.measure(device, jpeg, scorer, effort, report.skip))
    if url is None:
        report.skip("Triton", "no server was named; give --url")
    elif triton := _engine("by_triton", report):
        report.add(triton.measure(url, jpeg, effort, report.skip))
    return report


def _engine(module: str, report: Report) -> Any:  # noqa: ANN401 - a module
    """The module of an engine, None where its packages are not there."""
    try:
        return importlib.import_module(f"perf.accelerated.{module}")
    except ImportError as error:
        report.skip(module.removeprefix("by_"), str(error))
        return None


def main(arguments: list[str] | None = None) -> int:
    """Measure, and write the report and its picture."""
    parser = argparse.ArgumentParser(prog="python -m perf.gpu", description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--url", help="HOST:PORT of a running Triton with the same repositories")
    parser.add_argument(
        "--out", type=Path, help="file of the report; default: one in perf/results by the GPU's name"
    )
    parser.add_argument(
        "--seconds", type=float, default=Effort.round_s, help="of a round (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=Effort.rounds, help="of which the median counts")
    given = parser.parse_args(arguments)
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no NVIDIA GPU; --device cpu shows, without one, that all of it runs")
    device = torch.device(given.device)
    effort = DRY if given.device == "cpu" else Effort(round_s=given.seconds, rounds=given.rounds)
    report = run(device, effort, given.url)
    name = _describe(device)["name"].lower().replace(" ", "-") if given.device == "cuda" else "dry-run"
    out = given.out or (RESULTS if given.device == "cuda" else CHECKOUT / "out") / f"gpu-{name}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report.to_json(), indent=2, allow_nan=False) + "\n")
    _say(f"written: {out}")
    if plot := _engine("plot", report):
        title = "dry run on a CPU: no figures" if report.dry else _describe(device)["name"]
        plot.draw(report.measurements, title, out.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
