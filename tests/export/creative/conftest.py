"""Graphs of the same trunk are exported once, as that takes the longest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnxruntime
import pytest

from export.creative import features
from export.creative.network import CreativeTrunk
from export.networks.attributes import digest


@pytest.fixture(scope="package", autouse=True)
def one_export() -> Iterator[None]:
    opened: dict[tuple[str, tuple[str, ...], int], onnxruntime.InferenceSession] = {}
    real = features._session

    def session(trunk: CreativeTrunk, labels: Sequence[str], threads: int) -> onnxruntime.InferenceSession:
        key = (digest(trunk), tuple(labels), threads)
        if key not in opened:
            opened[key] = real(trunk, labels, threads)
        return opened[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "_session", session)
        yield
