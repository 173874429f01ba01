"""The figures as a picture: rows a second over the batch, a panel a subject, a line an engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from perf.accelerated.measuring import Measurement


def draw(measurements: Sequence[Measurement], title: str, file: Path) -> None:
    """Write the picture to ``file``."""
    mpl.use("Agg")
    subjects = list(dict.fromkeys(each.subject for each in measurements))
    columns = min(3, max(1, len(subjects)))
    rows = -(-len(subjects) // columns)
    figure = Figure(figsize=(6 * columns, 4 * rows), layout="constrained")
    for number, subject in enumerate(subjects, 1):
        panel = figure.add_subplot(rows, columns, number)
        ours = [each for each in measurements if each.subject == subject]
        for line in dict.fromkeys((each.engine, each.precision, each.scope) for each in ours):
            points = sorted(
                (each.batch, each.per_s) for each in ours if (each.engine, each.precision, each.scope) == line
            )
            panel.plot(*zip(*points, strict=True), marker="o", label=", ".join(line[:2]))
        panel.set(title=subject, xlabel="batch", ylabel="a second", xscale="log", yscale="log")
        panel.grid(visible=True, alpha=0.3)
        panel.legend(fontsize=7)
    figure.suptitle(title)
    figure.savefig(file, dpi=120)
