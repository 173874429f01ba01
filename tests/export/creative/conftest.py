"""Graphs of the same trunk are exported once, as that takes the longest."""

from __future__ import annotations

from collections.abc import Iterator

import onnxruntime
import pytest
from torch import nn

from export.creative import features
from export.creative.network import FeatureNetwork
from export.networks.attributes import digest


@pytest.fixture(scope="package", autouse=True)
def one_export() -> Iterator[None]:
    opened: dict[tuple[str, str, tuple[str, ...], int], onnxruntime.InferenceSession] = {}
    real = features._session

    def session(network: nn.Module, key: str, threads: int) -> onnxruntime.InferenceSession:
        labels = network.variants.labels if isinstance(network, FeatureNetwork) else (key,)
        same = (type(network).__name__, digest(network), labels, threads)
        if same not in opened:
            opened[same] = real(network, key, threads)
        return opened[same]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "_session", session)
        yield
