"""What the server makes of a picture's variants is what training makes of them, on the same JPEG files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from adlens import contract, pictures
from adlens.transport import Connection, Endpoint
from export import train_variants
from export.creative.framing import frame
from export.creative.judging import judge
from export.creative.network import find_variants
from export.faces import decode
from export.networks.attributes import digest
from server.launcher import Server
from tests.e2e.pictures import TIMEOUT_S

TOLERANCE = 1e-3
"""Of logits; and of RENDERED a step of a byte, as what lies between two may be rounded to either."""


@pytest.fixture(scope="module")
def paths(test_data: Path) -> list[Path]:
    """Real photos and small pictures of products, all JPEG."""
    photos = sorted((test_data / "photos" / "portrait").glob("*.jpg"))[:1]
    sneakers = [
        next(iter(sorted(folder.glob("*.jpg"))))
        for folder in sorted((test_data / "sneakers").iterdir())[::20]
    ]
    return photos + sneakers


def served(server: Server, path: Path, model: str) -> dict[str, NDArray[Any]]:
    """Answers to one picture by the served decoder and one leaf behind it, all variants wanted."""
    with Connection(Endpoint(server.url, timeout_s=TIMEOUT_S)) as connection:
        image = np.frombuffer(pictures.load(path).jpeg, np.uint8)[None]
        feed = dict(connection.infer(contract.DECODE, {contract.IMAGE: image}).outputs)
        feed[contract.WANTED] = np.ones((1, contract.MAX_VARIANTS), np.uint8)
        return dict(connection.infer(model, feed).outputs)


def test_served_logits_are_those_of_training(server: Server, paths: list[Path]) -> None:
    torch.set_num_threads(1)
    network, story, _ = train_variants.load()
    expected = judge(paths, network)
    for path, want in zip(paths, expected, strict=True):
        found = served(server, path, contract.VARY_CREATIVE)
        told = contract.ModelCard.from_bytes(found[contract.CARD][0].tobytes())
        assert told.weights == digest(network)[:16]
        assert told.labels == story.labels
        np.testing.assert_allclose(found[contract.VARIANT_LOGITS][0], want, rtol=0, atol=TOLERANCE)
        assert np.linalg.norm(found[contract.CREATIVE_EMBEDDING][0]) == pytest.approx(1, abs=1e-5)


def test_what_is_shown_is_what_the_functions_make(server: Server, paths: list[Path]) -> None:
    for path in paths:
        found = served(server, path, contract.RENDER_VARIANTS)
        labels = contract.ModelCard.from_bytes(found[contract.CARD][0].tobytes()).labels
        pixels, sizes = next(decode([path]))
        framed = frame(pixels, torch.from_numpy(sizes), contract.CANVAS)
        for number, each in enumerate(find_variants(labels)):
            expected = each.apply(framed.squares, framed.background)[0].permute(1, 2, 0).numpy()
            gap = np.abs(found[contract.RENDERED][0, number].astype(np.float32) - expected)
            assert float(gap.max()) <= 1.01, each.label
        assert not found[contract.RENDERED][0, len(labels) :].any()


def test_a_served_trunk_runs_on_what_is_wanted_alone(server: Server, demo: dict[str, Path]) -> None:
    path = demo["astronaut"]
    every = served(server, path, contract.VARY_CREATIVE)
    with Connection(Endpoint(server.url, timeout_s=TIMEOUT_S)) as connection:
        image = np.frombuffer(pictures.load(path).jpeg, np.uint8)[None]
        feed = dict(connection.infer(contract.DECODE, {contract.IMAGE: image}).outputs)
        wanted = np.zeros((1, contract.MAX_VARIANTS), np.uint8)
        wanted[0, 1] = 1
        one = connection.infer(contract.VARY_CREATIVE, {**feed, contract.WANTED: wanted}).outputs
        wanted[0, 1] = 0
        none = connection.infer(contract.VARY_CREATIVE, {**feed, contract.WANTED: wanted}).outputs
    logits = one[contract.VARIANT_LOGITS][0]
    np.testing.assert_allclose(logits[1], every[contract.VARIANT_LOGITS][0, 1], rtol=0, atol=TOLERANCE)
    assert not np.delete(logits, 1, axis=0).any()
    assert not one[contract.CREATIVE_EMBEDDING].any()
    assert not none[contract.VARIANT_LOGITS].any()
