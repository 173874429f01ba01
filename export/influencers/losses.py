"""What a network of influencers is to make small: listwise softmax cross-entropy, and an L1 penalty."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def listwise_cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean over lists of ``-sum(label * log softmax(score))`` (ListNet, Cao et al., ICML 2007).

    Args:
        scores: float32 [lists, K].
        labels: the same, none below 0, each row with sum 1.
    """
    return -(labels * torch.log_softmax(scores, dim=1)).sum(dim=1).mean()


def l1_penalty(parameters: Iterable[tuple[str, Tensor]], weight: float) -> Tensor:
    """``weight`` times the mean absolute value of each matrix of weights, summed up; biases do not count.

    The paper's .001 is on sums over millions of weights, whose gradient is the same for each weight; over
    means it does not depend on how many there are.
    """
    parts = [values.abs().mean() for name, values in parameters if values.ndim > 1 and "bias" not in name]
    return weight * torch.stack(parts).sum()
