"""ROC curves as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve


def draw_roc(
    scores: NDArray[np.float32], labels: NDArray[np.float32], names: Sequence[str], title: str, file: Path
) -> None:
    """One curve a label, with its area, written as PNG.

    Args:
        scores: [pictures, labels], larger means shown.
        labels: [pictures, labels] of 0, 1 and NaN.
        names: of the labels.
        title: above the plot.
        file: to write.
    """
    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
    for column, name in enumerate(names):
        known = ~np.isnan(labels[:, column])
        truth, score = labels[known, column], scores[known, column]
        if not 0 < truth.sum() < len(truth):
            continue
        false_positive, true_positive, _ = roc_curve(truth, score)
        area = roc_auc_score(truth, score)
        axes.plot(
            false_positive,
            true_positive,
            linewidth=2,
            label=f"{name}  AUC {area:.3f}  ({int(truth.sum())} of {len(truth)})",
        )
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title=title, aspect="equal")
    axes.grid(alpha=0.2)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right", frameon=False)
    figure.savefig(file, dpi=120)
