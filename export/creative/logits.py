"""The logits of all variants of many pictures, computed once and kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.creative.features import compute_features
from export.creative.network import CreativeNetwork
from export.creative.reading import Catalogue
from export.weights import cache_folder


def compute_logits(network: CreativeNetwork, catalogue: Catalogue) -> NDArray[np.float32]:
    """What ``network`` says of every variant of every picture.

    What its trunk says lies in the cache folder by pictures, so that another head, and another campaign with
    the same pictures, find it there; a run that was killed goes on where it ended.

    Returns:
        float32 [pictures, labels, labels]; NaN where a picture cannot be read, which is named.
    """
    store = compute_features(network.trunk, network.labels, catalogue, cache_folder())
    kinds = len(network.labels)
    logits = np.full((len(catalogue.paths), kinds, kinds), np.nan, np.float32)
    rows: NDArray[np.int64] = store.rows
    with torch.no_grad():
        said: list[NDArray[Any]] = [
            network.head(chunk).numpy() for chunk in store.chunks(np.ones(len(store), np.bool_))
        ]
    if said:
        logits[rows] = np.concatenate(said)
    return logits
