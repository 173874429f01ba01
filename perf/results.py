"""The results of a run, put together from what its sections have written, as far as they have come."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from adlens import contract
from perf.targets import judge

SECTIONS: Final = "sections"
"""Folder below the run's: a section's findings, and what became of it."""
STATUS: Final = ".status.json"
SECONDS_AN_HOUR: Final = 3600
DONE: Final = "done"
Results = dict[str, Any]


def findings_of(out: Path, section: str) -> Path:
    """File of what a section has found."""
    return out / SECTIONS / f"{section}.json"


def status_of(out: Path, section: str) -> Path:
    """File of what became of it, when and on what."""
    return out / SECTIONS / f"{section}{STATUS}"


def collect(out: Path, sections: Iterable[str], price_per_hour: float | None = None) -> Results:
    """All that is there of ``sections``, their ratios together, the targets, and what pictures cost.

    Args:
        out: folder of the run.
        sections: by name; those that never ran are left out.
        price_per_hour: of the machine, in any currency; None: no cost is told.
    """
    found: dict[str, Any] = {}
    for name in sections:
        if (status := status_of(out, name)).exists():
            findings = findings_of(out, name)
            told = json.loads(findings.read_text()) if findings.exists() else {}
            found[name] = json.loads(status.read_text()) | told
    ratios = {name: ratio for each in found.values() for name, ratio in each.get("ratios", {}).items()}
    results: Results = {"sections": found, "ratios": ratios, "targets": judge(ratios)}
    if price_per_hour is not None:
        results["cost"] = _cost(found, price_per_hour)
    return results


def _cost(found: Mapping[str, Any], price_per_hour: float) -> dict[str, Any]:
    """Of a million pictures, by the peak of each model that was loaded."""
    rates: dict[str, float] = {}
    loads = found.get("load", {}).get("figures", {})
    for name, curve in loads.items():
        if name.endswith(" closed"):
            rates[name.removesuffix(" closed")] = max(each["rate"] for each in curve)
    models = found.get("models", {}).get("figures", {})
    for name, each in models.items():
        if each["kind"] == "ensemble" and name != contract.RANK_INFLUENCERS:
            rates.setdefault(name, each["best"]["rate"])
    millions = {
        name: round(price_per_hour * 1e6 / rate / SECONDS_AN_HOUR, 4) for name, rate in rates.items() if rate
    }
    return {"price_per_hour": price_per_hour, "per_million_pictures": millions}
