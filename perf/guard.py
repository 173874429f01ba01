"""What moved since the committed ratios (``perf/baseline.json``): ``make bench-quick`` ends with this.

Ratios of ways that took turns depend on a machine less than rates do. Each may move by as much as its rounds
were apart, when it was committed or now, and by FLOOR at least. ``accept`` makes a run's ratios the committed
ones: do so on a quiet machine.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from perf.targets import LOWER_IS_BETTER

BASELINE: Final = Path(__file__).parent / "baseline.json"
FLOOR: Final = 0.03
"""Of the committed value: as much as a quiet machine differs from one minute to the next."""
WORSE: Final = 1
Ratios = Mapping[str, Mapping[str, Any]]


def baseline(results: Mapping[str, Any]) -> dict[str, Any]:
    """What is to be committed of a run."""
    sections = results["sections"].values()
    return {
        "machine": results["machine"],
        "commits": sorted({section["commit"] for section in sections}),
        "ratios": {
            name: {"value": ratio["value"], "spread": spread(ratio["rounds"])}
            for name, ratio in results["ratios"].items()
        },
    }


def spread(rounds: Sequence[float]) -> float:
    """How far rounds are apart."""
    return round(max(rounds) - min(rounds), 4)


def compare(now: Ratios, before: Ratios) -> list[dict[str, Any]]:
    """Each committed ratio: then, now, how far it may move, and whether it is the same, better or worse."""
    return [_compared(name, each, now.get(name)) for name, each in before.items()]


def _compared(name: str, before: Mapping[str, Any], now: Mapping[str, Any] | None) -> dict[str, Any]:
    value = float(before["value"])
    told = {"ratio": name, "then": value}
    if now is None:
        return told | {"now": None, "tolerance": None, "verdict": "missing"}
    found = float(now["value"])
    tolerance = round(max(FLOOR * value, float(before["spread"]), spread(now["rounds"])), 4)
    change = -(found - value) if name.startswith(LOWER_IS_BETTER) else found - value
    verdict = "same" if abs(change) <= tolerance else ("better" if change > 0 else "worse")
    return told | {"now": found, "tolerance": tolerance, "verdict": verdict}


def tell(results: Path, committed: Path = BASELINE) -> bool:
    """Say what moved; whether anything got worse, or is missing."""
    if not committed.exists():
        click.echo("no ratios are committed yet: python -m perf.guard accept RESULTS")
        return False
    found, before = (json.loads(path.read_text()) for path in (results, committed))
    if found["machine"]["cpu"] != before["machine"]["cpu"]:
        click.echo(f"committed on {before['machine']['cpu']}, this is {found['machine']['cpu']}")
    compared = compare(found["ratios"], before["ratios"])
    for each in compared:
        now = "no figure" if each["now"] is None else f"{each['now']:.3f} (± {each['tolerance']:.3f})"
        click.echo(f"{each['verdict']:8} {each['ratio']}: {each['then']:.3f} -> {now}")
    return any(each["verdict"] in ("worse", "missing") for each in compared)


@click.group()
def main() -> None:
    """Hold a run's ratios against the committed ones."""


@main.command("compare")
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def compare_command(results: Path) -> None:
    """Say what moved in RESULTS, a run's results.json; exit status 1 where something got worse."""
    sys.exit(WORSE if tell(results) else 0)


@main.command("accept")
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def accept_command(results: Path) -> None:
    """Make the ratios of RESULTS those that are held against; then commit the file."""
    found = baseline(json.loads(results.read_text()))
    if not found["ratios"]:
        raise click.ClickException(f"{results} has no ratio")
    BASELINE.write_text(json.dumps(found, indent=1) + "\n")
    click.echo(BASELINE)


if __name__ == "__main__":
    main(prog_name="python -m perf.guard")
