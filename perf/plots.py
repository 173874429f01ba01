"""Plots of the results, as SVG text; empty where there is nothing to draw."""

from __future__ import annotations

import io
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from adlens import contract
from perf.peers.names import LABELS
from perf.subjects import FAST

WIDTH, HEIGHT = 9.0, 3.6
PARTS: Final = {"queue_ms": "queue", "compute_ms": "compute", "wire_ms": "wire"}
GREY: Final = "0.6"
Figures = Mapping[str, Any]


def load(figures: Figures) -> str:
    """Throughput and latency over callers, and over the share of the peak that is asked for."""
    found = figures.get("load", {})
    models = [name for name in (contract.RECOMMEND_PRODUCTS, FAST) if f"{name} closed" in found]
    if not models:
        return ""
    figure, (rate, closed, opened) = _figure(3)
    asked: list[float] = []
    for number, model in enumerate(models):
        curve, rows = found[f"{model} closed"], found.get(f"{model} open", [])
        asked, colour = [each["asked"] for each in curve], f"C{number}"
        rate.plot(asked, [each["rate"] for each in curve], marker="o", color=colour, label=model)
        _latencies(closed, asked, curve, colour)
        _latencies(opened, [100 * each["share"] for each in rows], rows, colour)
    _titled(rate, "closed loop", "requests in flight", "pictures/s")
    _titled(closed, "median, and dotted p99", "requests in flight", "latency, ms")
    _titled(opened, "open loop (Poisson)", "asked for, % of the peak", "latency, ms")
    for axes in (rate, closed):
        _doubling(axes, asked)
    return _svg(figure)


def _latencies(axes: Axes, across: Sequence[float], rows: Sequence[Mapping[str, float]], colour: str) -> None:
    axes.plot(across, [each["p50_ms"] for each in rows], marker="o", color=colour)
    axes.plot(across, [each["p99_ms"] for each in rows], marker=".", linestyle=":", color=colour)


def _doubling(axes: Axes, values: Sequence[float]) -> None:
    """Values that grow by factors stand as far apart each, under their own numbers."""
    axes.set_xscale("log")
    axes.set_xticks([], minor=True)
    axes.set_xticks(values, [f"{value:g}" for value in values])


def peers(figures: Figures) -> str:
    """Throughput and 99 % of each way of job 1."""
    rounds = figures.get("peers", {}).get("rounds", {})
    if not rounds:
        return ""
    figure, (rate, tail) = _figure(2)
    names = [LABELS[way].replace(" and ", "\nand ").replace(", ", ",\n") for way in rounds]
    _bars(rate, names, [_median(each, "rate") for each in rounds.values()], "pictures/s", "%.1f")
    _bars(tail, names, [_median(each, "p99_ms") for each in rounds.values()], "p99, ms", "%.0f")
    tail.set_yticklabels([])
    return _svg(figure)


def times(figures: Figures) -> str:
    """Queue, compute and wire of a request of each ensemble at its best concurrency."""
    models = {name: each for name, each in figures.get("models", {}).items() if each["kind"] == "ensemble"}
    if not models:
        return ""
    figure, (axes,) = _figure(1)
    left = [0.0] * len(models)
    for part, label in PARTS.items():
        spent = [each["best"][part] for each in models.values()]
        axes.barh(list(models), spent, left=left, label=label)
        left = [a + b for a, b in zip(left, spent, strict=True)]
    axes.invert_yaxis()
    axes.margins(x=0.2)
    _titled(axes, "where the time of a request goes", "ms", "")
    return _svg(figure)


def leaves(ratios: Mapping[str, Mapping[str, Any]]) -> str:
    """Each leaf over its bare graph, and how far it could come if a request cost what an empty one does."""
    found = {
        name.partition("/")[2]: each["value"]
        for name, each in ratios.items()
        if name.startswith("leaf_to_bare/")
    }
    if not found:
        return ""
    figure, (axes,) = _figure(1)
    _bars(axes, list(found), list(found.values()), "served over bare", "%.2f")
    axes.axvline(1, color=GREY, linestyle=":")
    limits = {name: ratios[each] for name in found if (each := f"with_null_to_bare/{name}") in ratios}
    values = [each["value"] for each in limits.values()]
    axes.plot(values, list(limits), "|", color="black", markersize=9, label="bare graph and an empty request")
    axes.legend(fontsize="small")
    return _svg(figure)


def scaling(figures: Figures) -> str:
    """Throughput over pixels, faces and photos, as far as these were measured."""
    panels = {"pictures": _over_pixels, "faces": _over_faces, "galleries": _over_photos}
    found = {name: list(figures[name].values()) for name in panels if figures.get(name)}
    if not found:
        return ""
    figure, axes = _figure(len(found))
    for each, (name, rows) in zip(axes, found.items(), strict=True):
        panels[name](each, rows)
    return _svg(figure)


def _over_pixels(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    sides = [each["side"] for each in rows]
    axes.plot(sides, [each["rate"] for each in rows], marker="o")
    _titled(axes, contract.RECOMMEND_PRODUCTS, "pixels a side", "pictures/s")
    _doubling(axes, sides)


def _over_faces(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    axes.plot([each["faces"] for each in rows], [each["rate"] for each in rows], marker="o")
    _titled(axes, contract.RECOMMEND_PRODUCTS, "faces found in a picture", "pictures/s")


def _over_photos(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    for place, label in ((0, "one in flight"), (-1, "several in flight")):
        rates = [each["loads"][place]["rate"] for each in rows]
        axes.plot([each["photos"] for each in rows], rates, marker="o", label=label)
    _titled(axes, "search for one face", "photos in the gallery", "searches/s")
    axes.set(xscale="log", yscale="log")


def memory(figures: Figures) -> str:
    """The server's private memory under load."""
    samples = figures.get("memory", {}).get("samples_s_mb", [])
    if not samples:
        return ""
    figure, (axes,) = _figure(1)
    axes.plot([each[0] / 60 for each in samples], [each[1] for each in samples])
    _titled(axes, "all processes of the server", "minutes under load", "MB")
    axes.set_ylim(0, 1.1 * max(each[1] for each in samples))
    return _svg(figure)


def _figure(count: int) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def _titled(axes: Axes, title: str, across: str, up: str) -> None:
    axes.set(title=title, xlabel=across, ylabel=up)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small")


def _bars(axes: Axes, names: Sequence[str], values: Sequence[float], across: str, text: str) -> None:
    axes.barh(names, values)
    axes.invert_yaxis()
    axes.set_xlabel(across)
    axes.tick_params(axis="y", labelsize="small")
    axes.bar_label(axes.containers[0], fmt=text, padding=2, fontsize="small")  # type: ignore[arg-type]
    axes.margins(x=0.15)


def _median(rounds: Sequence[Mapping[str, float]], figure: str) -> float:
    return statistics.median(each[figure] for each in rounds)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    # Text stays text, and the same results make the same page.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "adlens"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue().partition("<svg")[1] + buffer.getvalue().partition("<svg")[2]
