"""Tables of the results in Markdown, and the one in the README between its markers.

``python -m perf.table accept RESULTS`` makes a run's results ``perf/results.json``, to be committed, and
writes the README's table; a test holds the two against each other.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from perf.peers.names import LABELS
from perf.serving import CHECKOUT

RESULTS: Final = Path(__file__).parent / "results.json"
README: Final = CHECKOUT / "README.md"
BEGIN, END = "<!-- bench: written by python -m perf.table -->", "<!-- /bench -->"
_BLOCK: Final = re.compile(f"{re.escape(BEGIN)}\n(.*?){re.escape(END)}", re.DOTALL)
Results = Mapping[str, Any]


def targets(results: Results) -> str:
    """Each target, its bound, what was measured, and whether that is enough."""
    rows = [
        [
            each["what"],
            f"{'≥' if each['at_least'] else '≤'} {each['bound']:g}",
            "not measured" if each["value"] is None else _shown(each["value"]),
            {None: "", True: "met", False: "missed"}[each["met"]],
            "" if each.get("limit") is None else _shown(each["limit"]),
        ]
        for each in results["targets"]
    ]
    return markdown(["what", "target", "measured", "", "limit"], rows)


def peers(results: Results) -> str:
    """Each way of job 1: pictures a second, median and 99 % of latencies; medians over the rounds."""
    rounds = results["sections"].get("peers", {}).get("figures", {}).get("rounds", {})
    rows = [
        [LABELS[way], *(_shown(_median(each, figure)) for figure in ("rate", "p50_ms", "p99_ms"))]
        for way, each in rounds.items()
    ]
    return markdown(["job 1 by", "pictures/s", "median, ms", "p99, ms"], rows)


def readme(results: Results) -> str:
    """What stands between the markers."""
    machine, sections = results["machine"], results["sections"]
    measured: dict[str, list[str]] = {}
    for name, section in sections.items():
        measured.setdefault(section["commit"], []).append(name)
    most = max(measured, key=lambda commit: len(measured[commit]))
    others = "".join(
        f"; {', '.join(names)}: {commit}" for commit, names in measured.items() if commit != most
    )
    where = f"{machine['cores']} cores of {machine['cpu']}, commit {most}{others} (`make bench`):"
    return f"\n{where}\n\n{peers(results)}\n\n{targets(results)}\n\n"


def _shown(value: float) -> str:
    """Three digits, or all that stand before the point."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def written(text: str) -> str | None:
    """What stands between the markers in a README; None where there are none."""
    found = _BLOCK.search(text)
    return found[1] if found else None


def replaced(text: str, block: str) -> str:
    """A README with ``block`` between its markers.

    Raises:
        ClickException: it has none.
    """
    if written(text) is None:
        raise click.ClickException(f"the README has no lines {BEGIN} and {END}")
    return _BLOCK.sub(lambda _: f"{BEGIN}\n{block}{END}", text)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; all columns but the first to the right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _median(rounds: Sequence[Mapping[str, float]], figure: str) -> float:
    return statistics.median(each[figure] for each in rounds)


@click.group()
def main() -> None:
    """Tables of a benchmark's results."""


@main.command("accept")
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def accept_command(results: Path) -> None:
    """Make RESULTS, a run's results.json, the committed ones, and write the README's table."""
    found = json.loads(results.read_text())
    if "peers" not in found["sections"]:
        raise click.ClickException(f"{results} has no section peers; run: make bench")
    text = replaced(README.read_text(), readme(found))
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    README.write_text(text)
    click.echo(f"{RESULTS}\n{README}")


@main.command("show")
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def show_command(results: Path) -> None:
    """Print the tables of RESULTS."""
    found = json.loads(results.read_text())
    click.echo(f"{peers(found)}\n\n{targets(found)}")


if __name__ == "__main__":
    main(prog_name="python -m perf.table")
