"""The conversion model through Triton: what is served is what XGBoost and its calibrators compute."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from adlens import contract
from adlens.contract import MAX_BATCH, ModelCard
from adlens.transport import Connection, Endpoint
from adlens.vocabulary import Vocabulary
from export import train_conversion
from export.creative.conversion import ConversionModel
from export.creative.conversion_graph import SIGNATURE, TOLERANCE, answer, draw_requests
from export.train_conversion import Judge
from server.launcher import Server


@pytest.fixture(scope="module")
def model(whole_server: Server) -> ConversionModel:
    """What `make models` has exported, where it has."""
    return train_conversion.load(Judge.load())[0]


@pytest.fixture
def connection(server: Server) -> Iterator[Connection]:
    with Connection(Endpoint(server.url)) as connection:
        yield connection


@pytest.mark.parametrize("size", [1, MAX_BATCH])
def test_what_is_served_is_what_xgboost_computes(
    connection: Connection, model: ConversionModel, size: int
) -> None:
    for seed in range(20):
        request = draw_requests(model, size, seed)
        inputs = dict(zip(SIGNATURE.inputs, request, strict=True))
        outputs = connection.infer(contract.CONVERSION, inputs).outputs
        for name, expected in zip(SIGNATURE.outputs, answer(model, *request), strict=False):
            np.testing.assert_allclose(outputs[name], expected, rtol=0, atol=TOLERANCE)
        card = ModelCard.from_bytes(outputs[contract.CARD][-1].tobytes())
        assert (card.weights, card.labels) == (model.digest[:16], contract.TARGETS)
        assert Vocabulary.from_bytes(outputs[contract.SCHEMA][-1].tobytes()) == model.vocabulary


def test_it_has_learned_from_the_judge_that_is_served(connection: Connection, model: ConversionModel) -> None:
    side = contract.CANVAS
    inputs = {
        contract.PIXELS: np.full((1, side, side, 3), 200, np.uint8),
        contract.PICTURE_SIZE: np.array([[side, side]], np.int32),
        contract.WANTED: np.ones((1, contract.MAX_VARIANTS), np.uint8),
    }
    outputs = connection.infer(contract.VARY_CREATIVE, inputs).outputs
    card = ModelCard.from_bytes(outputs[contract.CARD][0].tobytes())
    assert card.weights == model.vocabulary.variants_weights
    assert card.labels == model.vocabulary.variants
