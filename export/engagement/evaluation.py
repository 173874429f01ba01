"""How well engagement is foretold: on posts that nothing was learned from, beside always saying the same.

A predictor has signal where it is right significantly more often than whoever always says the most
frequent class of these posts: by McNemar's test in its exact form (Q. McNemar, Psychometrika 12, 1947), a
binomial test on the posts that only one of the two gets right, one-sided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, spearmanr
from sklearn.metrics import confusion_matrix, f1_score, roc_auc_score

from adlens import contract
from export.engagement.calibration import Classes, Floats, Score

SIGNIFICANT: Final = 0.01
"""The p-value below which there is signal."""
_LABELS: Final = contract.ENGAGEMENT_CLASSES


@dataclass(frozen=True)
class Judgement:
    """On held-out posts.

    Attributes:
        posts: how many.
        counts: of each class, in their order.
        accuracy: share of posts whose most probable class is theirs.
        majority: the same of always saying the most frequent class of these posts.
        p_value: of McNemar's test.
        right_alone: posts that only the predictor gets right.
        majority_right_alone: posts that only the most frequent class gets right.
        macro_f1: mean F1 of the classes.
        macro_f1_of_majority: of always saying the same.
        spearman: rank correlation of the expected class with likes and comments; 0 where either is constant.
            Where each account has boundaries of its own, the mean over accounts, each by its posts.
        confusion: posts by class (rows) and most probable class (columns).
        auc: of each class against the rest; None where all posts, or none, are of it.
        score: of what was said.
        uncalibrated: of what the network says by itself.
        base_rates: of saying the shares of the classes among the posts learned from, whatever the post.
    """

    posts: int
    counts: tuple[int, ...]
    accuracy: float
    majority: float
    p_value: float
    right_alone: int
    majority_right_alone: int
    macro_f1: float
    macro_f1_of_majority: float
    spearman: float
    confusion: tuple[tuple[int, ...], ...]
    auc: tuple[float | None, ...]
    score: Score
    uncalibrated: Score
    base_rates: Score

    @property
    def signal(self) -> bool:
        """Whether it is significantly more often right than the most frequent class."""
        return self.p_value < SIGNIFICANT

    @property
    def skill(self) -> tuple[float, ...]:
        """2 AUC - 1 of each class, at least 0."""
        return tuple(round(max(0.0, 2 * area - 1), 4) if area is not None else 0.0 for area in self.auc)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, figures to four digits."""
        raw = {name: _rounded(value) for name, value in asdict(self).items()}
        scores = {name: getattr(self, name).to_json() for name in ("score", "uncalibrated", "base_rates")}
        return {
            "signal": self.signal,
            **raw,
            **scores,
            "p_value": self.p_value,  # a small one is no 0
            "skill": list(self.skill),
        }


def judge(
    said: Floats,
    uncalibrated: Floats,
    classes: Classes,
    totals: NDArray[np.int64],
    shares: Floats,
    accounts: Sequence[str] | None = None,
) -> Judgement:
    """Judge what was said of posts that nothing was learned from.

    Args:
        said: probabilities [n, C], as served.
        uncalibrated: before calibration.
        classes: [n].
        totals: [n], likes and comments together.
        shares: [C], of the classes among the posts learned from.
        accounts: [n], where each has boundaries of its own; their posts are ranked among themselves.
    """
    named = said.argmax(axis=1)
    counts = np.bincount(classes, minlength=len(_LABELS))
    always = np.full_like(classes, counts.argmax())
    right, right_always = named == classes, always == classes
    alone, other_alone = int((right & ~right_always).sum()), int((right_always & ~right).sum())
    everywhere = range(len(_LABELS))
    return Judgement(
        posts=len(classes),
        counts=tuple(counts.tolist()),
        accuracy=float(right.mean()),
        majority=float(right_always.mean()),
        p_value=mcnemar(alone, other_alone),
        right_alone=alone,
        majority_right_alone=other_alone,
        macro_f1=float(f1_score(classes, named, labels=everywhere, average="macro", zero_division=0.0)),
        macro_f1_of_majority=float(
            f1_score(classes, always, labels=everywhere, average="macro", zero_division=0.0)
        ),
        spearman=_spearman(expected(said), totals, accounts or [""] * len(totals)),
        confusion=tuple(map(tuple, confusion_matrix(classes, named, labels=everywhere).tolist())),
        auc=tuple(_area(classes == number, said[:, number]) for number in everywhere),
        score=Score.of(said, classes),
        uncalibrated=Score.of(uncalibrated, classes),
        base_rates=Score.of(np.tile(shares, (len(classes), 1)), classes),
    )


def mcnemar(right_alone: int, other_right_alone: int) -> float:
    """The probability of at least so many of the discordant posts, were both equally good; 1 without any."""
    discordant = right_alone + other_right_alone
    if not discordant:
        return 1.0
    return float(binomtest(right_alone, discordant, alternative="greater").pvalue)


def expected(said: Floats) -> Floats:
    """Mean class of probabilities [n, C], 0 to C - 1: by it posts are ranked."""
    return np.asarray(said @ np.arange(said.shape[1]))


def describe(figures: Mapping[str, Any]) -> str:
    """What ``Judgement.to_json`` gave, as a table for people."""
    width = max(map(len, _LABELS)) + 4
    verdict = (
        "signal"
        if figures["signal"]
        else "NOT ENOUGH SIGNAL: its answers say no more than that frequency does"
    )
    score, base = figures["score"], figures["base_rates"]
    lines = [
        f"held-out posts    {figures['posts']}",
        f"accuracy          {figures['accuracy']:.1%}, and {figures['majority']:.1%} by always saying "
        "the most frequent class",
        f"McNemar's test    p = {figures['p_value']:.2g} ({figures['right_alone']} posts right against "
        f"{figures['majority_right_alone']}, one-sided, exact; below {SIGNIFICANT} counts)",
        f"verdict           {verdict}",
        f"macro F1          {figures['macro_f1']:.3f}, and {figures['macro_f1_of_majority']:.3f}",
        f"Spearman          {figures['spearman']:.3f} (expected class, likes and comments)",
        f"ranked score      {score['ranked']:.4f}, and {base['ranked']:.4f} by base rates (lower is better)",
        f"log loss          {score['log_loss']:.4f}, and {base['log_loss']:.4f}",
        "",
        "is \\ said".ljust(18) + "".join(label.rjust(width) for label in _LABELS) + "AUC".rjust(9),
    ]
    for label, row, area in zip(_LABELS, figures["confusion"], figures["auc"], strict=True):
        shown = "-" if area is None else f"{area:.3f}"
        lines.append(label.ljust(18) + "".join(str(count).rjust(width) for count in row) + shown.rjust(9))
    return "\n".join(lines)


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, tuple):
        return [_rounded(each) for each in value]
    return value


def _spearman(ranked: Floats, totals: NDArray[np.int64], accounts: Sequence[str]) -> float:
    found, posts = [], []
    for account in sorted(set(accounts)):
        own = np.array([each == account for each in accounts])
        if own.sum() > 1:
            varies = len(np.unique(ranked[own])) > 1 and len(np.unique(totals[own])) > 1
            found.append(float(spearmanr(ranked[own], totals[own]).statistic) if varies else 0.0)
            posts.append(int(own.sum()))
    return float(np.average(found, weights=posts)) if found else 0.0


def _area(of_it: NDArray[np.bool_], said: Floats) -> float | None:
    return float(roc_auc_score(of_it, said)) if 0 < of_it.sum() < len(of_it) else None
