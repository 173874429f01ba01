"""What a network of torch says of pictures, and how well it tells variants apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from adlens import contract
from export.creative.network import CreativeNetwork
from export.creative.reading import read_canvases


def judge(paths: Sequence[Path], network: CreativeNetwork) -> NDArray[np.float32]:
    """VARIANT_LOGITS of pictures of any format, all variants wanted, through the served decoder.

    Returns:
        float32 [pictures, V, V] as ``adlens.contract`` has it; NaN where a picture cannot be read.
    """
    kinds = contract.MAX_VARIANTS
    logits = np.full((len(paths), kinds, kinds), np.nan, np.float32)
    with tqdm(total=len(paths), desc="judged", unit="picture", disable=None) as progress, torch.no_grad():
        done = 0
        for rows, pixels, sizes in read_canvases(paths):
            if len(rows):
                wanted = torch.ones(len(rows), kinds, dtype=torch.uint8)
                logits[rows] = network(pixels, sizes, wanted)[0].numpy()
            done = min(done + contract.MAX_BATCH, len(paths))
            progress.update(done - progress.n)
    return logits


@dataclass(frozen=True)
class Judgement:
    """How well variants are told apart, on pictures that nothing was learned from."""

    labels: tuple[str, ...]
    pictures: int
    accuracy: float
    """Share of the variants that are taken for what they are."""
    confusion: NDArray[np.int64]
    """[true, taken for], in the order of the labels."""
    auc: tuple[float, ...]
    """Of each label against all others: area under the ROC curve."""

    @property
    def skill(self) -> tuple[float, ...]:
        """2 AUC - 1 of each label, at least 0."""
        return tuple(round(max(0.0, 2 * each - 1), 4) for each in self.auc)

    def to_json(self) -> dict[str, Any]:
        """Figures by name."""
        return {
            "pictures": self.pictures,
            "accuracy": self.accuracy,
            "confusion": self.confusion.tolist(),
            "auc": dict(zip(self.labels, self.auc, strict=True)),
            "skill": dict(zip(self.labels, self.skill, strict=True)),
        }


def evaluate(logits: NDArray[np.floating[Any]], labels: Sequence[str]) -> Judgement:
    """Judge logits [pictures, labels, labels] of all variants of held-out pictures."""
    count, kinds = len(logits), len(labels)
    scores = logits.reshape(count * kinds, kinds).astype(np.float64)
    truth = np.tile(np.arange(kinds), count)
    confusion = np.zeros((kinds, kinds), np.int64)
    np.add.at(confusion, (truth, scores.argmax(1)), 1)
    exps = np.exp(scores - scores.max(1, keepdims=True))
    chances = exps / exps.sum(1, keepdims=True)
    auc = tuple(round(float(roc_auc_score(truth == kind, chances[:, kind])), 6) for kind in range(kinds))
    accuracy = float(np.trace(confusion) / confusion.sum())
    return Judgement(tuple(labels), count, round(accuracy, 6), confusion, auc)
