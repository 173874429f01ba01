"""One HTML page of the results, self-contained: tables, and plots as SVG within."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any, Final

from perf import plots
from perf.peers.names import LABELS

STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .25rem .7rem; text-align: right }
th:first-child, td:first-child { text-align: left } tr { border-bottom: 1px solid #ddd }
.met { color: #177245 } .missed { color: #b3261e } .note { color: #666 } svg { max-width: 100%; height: auto }
"""
NOT_MEASURED: Final = (
    "Not measured: networks between client and server, several machines. Callers share the cores with the "
    "server. Weights may be starters: speed is real then, accuracy is not."
)
Results = Mapping[str, Any]


def page(results: Results) -> str:
    """The page, of as much as there is."""
    sections = results["sections"]
    figures = {name: section.get("figures", {}) for name, section in sections.items()}
    parts = [
        "<h1>adlens: how fast, and why</h1>",
        f"<p class=note>{_text(_where(results['machine']))}. {NOT_MEASURED}</p>",
        "<h2>Targets</h2>",
        _targets(results["targets"]),
        *_part("Job 1 by other means", _peers(figures), plots.peers(figures)),
        *_part("Where processor time goes", _processors(figures), _operators(figures)),
        *_part("Over load", "", plots.load(figures)),
        *_part("Ensembles", _ensembles(figures), plots.times(figures)),
        *_part("Leaves beside their bare graphs", _leaves(figures), plots.leaves(results["ratios"])),
        *_part("Over what is asked", "", plots.scaling(figures)),
        *_part("Memory", "", plots.memory(figures)),
        *_part("What the harness costs", _harness(figures), ""),
        *_part("A million pictures", _cost(results), ""),
        "<h2>Sections</h2>",
        _sections(sections),
    ]
    body = "\n".join(parts)
    return f"<!doctype html><meta charset=utf-8><title>adlens bench</title><style>{STYLE}</style>\n{body}\n"


def _part(title: str, *contents: str) -> list[str]:
    there = [content for content in contents if content]
    return [f"<h2>{title}</h2>", *there] if there else []


def _where(machine: Mapping[str, Any]) -> str:
    gpus = ", ".join(machine["gpus"]) or "no GPU"
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return f"{machine['cores']} cores of {machine['cpu']}, {gpus}; Python {machine['python']}, {versions}"


def _targets(targets: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for each in targets:
        met = {None: "", True: "met", False: "missed"}[each["met"]]
        value = "not measured" if each["value"] is None else f"{each['value']:.3g}"
        bound = f"{'≥' if each['at_least'] else '≤'} {each['bound']:g}"
        limit = "" if each.get("limit") is None else f"{each['limit']:.3g}"
        rows.append([each["what"], bound, value, _Marked(met), limit])
    return _table(["what", "target", "measured", "", "limit"], rows)


def _peers(figures: Mapping[str, Any]) -> str:
    rounds = figures.get("peers", {}).get("rounds", {})
    rows = [
        [LABELS[way], *(_each(found, name) for name in ("rate", "p50_ms", "p99_ms"))]
        for way, found in rounds.items()
    ]
    return _table(["way", "pictures/s, by round", "median, ms", "p99, ms"], rows)


def _processors(figures: Mapping[str, Any]) -> str:
    spent = figures.get("profile", {}).get("processor_ms_a_picture", {})
    return _table(["process", "ms a picture"], [[name, f"{each:.1f}"] for name, each in spent.items()])


def _operators(figures: Mapping[str, Any]) -> str:
    rows = []
    for model, graphs in figures.get("profile", {}).get("operator_ms_a_run", {}).items():
        for precision, spent in graphs.items():
            told = ", ".join(f"{name} {each:.1f}" for name, each in spent.items())
            rows.append([f"{model}, {precision}", f"{sum(spent.values()):.1f}", told])
    return _table(["graph, on one thread", "ms a run", "of that"], rows)


def _ensembles(figures: Mapping[str, Any]) -> str:
    rows = [
        [name, *_load(each["best"]), f"{each['loads'][0]['p50_ms']:.1f}"]
        for name, each in figures.get("models", {}).items()
        if each["kind"] == "ensemble"
    ]
    return _table([*_LOAD, "median alone, ms"], rows)


def _leaves(figures: Mapping[str, Any]) -> str:
    rows = [
        [name, *_load(each["best"]), ", ".join(f"{rate:.1f}" for rate in each["bare_per_s"])]
        for section in ("models", "leaves")
        for name, each in figures.get(section, {}).items()
        if each["kind"] == "leaf"
    ]
    return _table([*_LOAD, "bare, requests/s"], rows)


_LOAD: Final = [
    "model",
    "requests/s",
    "in flight",
    "p50, ms",
    "p99, ms",
    "queue, ms",
    "compute, ms",
    "wire, ms",
]


def _load(load: Mapping[str, float]) -> list[str]:
    names = ("p50_ms", "p99_ms", "queue_ms", "compute_ms", "wire_ms")
    return [f"{load['rate']:.1f}", f"{load['asked']:g}", *(f"{load[name]:.1f}" for name in names)]


def _harness(figures: Mapping[str, Any]) -> str:
    rows = [
        [f"{name}, {each['bytes']} bytes", *_load(load)]
        for name, each in figures.get("harness", {}).items()
        for load in each["loads"]
    ]
    return _table(["picture", *_LOAD[1:]], rows)


def _cost(results: Results) -> str:
    cost = results.get("cost")
    if cost is None:
        return ""
    rows = [[name, f"{each:.2f}"] for name, each in cost["per_million_pictures"].items()]
    return _table(["ensemble", f"at {cost['price_per_hour']:g} an hour"], rows)


def _sections(sections: Mapping[str, Any]) -> str:
    rows = []
    for name, each in sections.items():
        failed = "; ".join(f"{what}: {why}" for what, why in each.get("failed", {}).items())
        told = [each.get("error", ""), failed]
        moment = [each["commit"], each["measured_at"], f"{each['load_before']:g}", f"{each['seconds']:g}"]
        rows.append([name, each["status"], *moment, " ".join(filter(None, told))[:400]])
    head = ["section", "status", "commit", "measured at", "load before", "seconds", "without figure"]
    return _table(head, rows)


class _Marked(str):
    """A cell whose style is its text."""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    top = "".join(f"<th>{_text(cell)}</th>" for cell in head)
    lines = ["".join(_cell(cell) for cell in row) for row in rows]
    return f"<table><tr>{top}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _cell(cell: str) -> str:
    return f"<td{f' class={cell}' if isinstance(cell, _Marked) and cell else ''}>{_text(cell)}</td>"


def _each(rounds: Sequence[Mapping[str, float]], figure: str) -> str:
    return ", ".join(f"{each[figure]:.1f}" for each in rounds)


def _text(text: str) -> str:
    return html.escape(str(text))
