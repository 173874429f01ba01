"""Pictures of how well engagement is foretold: what is taken for what, and how often it comes true."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from adlens import contract
from export.creative.reliability import bins
from export.engagement.calibration import Classes, Floats
from export.engagement.evaluation import Judgement
from export.uplift.loyalty import wilson_interval

CONFUSION_FILE: Final = "confusion.png"
RELIABILITY_FILE: Final = "reliability.png"
_DPI: Final = 110
_LABELS: Final = contract.ENGAGEMENT_CLASSES


def draw_confusion(judgement: Judgement, file: Path) -> None:
    """Write a matrix of posts by class and most probable class: counts, and shares of each row as shades."""
    counts = np.array(judgement.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(5.2, 5.0), layout="constrained")
    axes: Axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        colour = "white" if shares[row, column] > 0.55 else "0.15"
        text = f"{counts[row, column]}\n{shares[row, column]:.0%}"
        axes.text(column, row, text, ha="center", va="center", color=colour)
    places = range(len(_LABELS))
    axes.set(xticks=places, yticks=places, xticklabels=_LABELS, yticklabels=_LABELS)
    axes.set(xlabel="said to be", ylabel="is")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    verdict = "" if judgement.signal else "NOT ENOUGH SIGNAL\n"
    axes.set_title(
        f"{verdict}{judgement.posts} held-out posts: {judgement.accuracy:.1%} right,\n"
        f"{judgement.majority:.1%} by always saying the most frequent class (p = {judgement.p_value:.2g})",
        fontsize=10,
        color="0.15" if judgement.signal else "firebrick",
    )
    figure.savefig(file, dpi=_DPI)


def draw_reliability(
    judgement: Judgement, said: Floats, uncalibrated: Floats, classes: Classes, file: Path
) -> None:
    """Write a reliability diagram, a panel a class: on the diagonal, what is said comes true.

    Args:
        judgement: of the same.
        said: probabilities [n, C].
        uncalibrated: before calibration.
        classes: [n].
        file: PNG.
    """
    figure = Figure(figsize=(3.9 * len(_LABELS), 4.5), layout="constrained")
    panels: Sequence[Axes] = figure.subplots(1, len(_LABELS), squeeze=False, sharey=True)[0]
    for number, (axes, label) in enumerate(zip(panels, _LABELS, strict=True)):
        outcomes = (classes == number).astype(np.float32)
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        if not np.allclose(said, uncalibrated):
            _points(axes, uncalibrated[:, number], outcomes, "C1", "as learned")
        _points(axes, said[:, number], outcomes, "C0", "as served")
        axes.axhline(outcomes.mean(), color="0.5", linestyle=":", linewidth=1, label="share of all")
        axes.set(title=label, xlabel="probability that was said", xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.grid(alpha=0.2)
        axes.legend(loc="upper left", frameon=False, fontsize=8)
    panels[0].set_ylabel("share that came true")
    score, base = judgement.score, judgement.base_rates
    figure.suptitle(
        f"{judgement.posts} held-out posts, in bins by what was said (areas), with 95 % intervals; "
        f"ranked score {score.ranked:.4f} (base rates {base.ranked:.4f}), "
        f"log loss {score.log_loss:.4f} ({base.log_loss:.4f})",
        fontsize=10,
    )
    figure.savefig(file, dpi=_DPI)


def _points(axes: Axes, said: Floats, outcomes: NDArray[np.float32], colour: str, label: str) -> None:
    """A point a bin; its area says how many posts it holds."""
    found = bins(said.astype(np.float32), outcomes)
    means, ones, posts = (np.array(column) for column in zip(*found, strict=True))
    shares = ones / posts
    low, high = np.array([wilson_interval(*pair) for pair in zip(ones, posts, strict=True)]).T
    axes.errorbar(
        means, shares, np.abs([shares - low, high - shares]), color=colour, linestyle="none", elinewidth=1,
        capsize=2, alpha=0.5,
    )  # fmt: skip
    axes.scatter(means, shares, 4 + 400 * posts / posts.sum(), color=colour, alpha=0.7, linewidth=0)
    axes.scatter([], [], 30, color=colour, label=label)
