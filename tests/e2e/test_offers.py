"""The offer model through Triton: what is served is what XGBoost computes, and what the client decides by."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from adlens import contract
from adlens.contract import ModelCard
from adlens.customers import Schema
from adlens.errors import BadCustomer
from adlens.jobs import offers
from adlens.transport import Connection, Endpoint
from export import train_uplift
from export.models import REPOSITORY, build_offer
from export.uplift import telecom
from export.uplift.graph import TOLERANCE, draw_customers
from export.uplift.learners import UpliftModel
from tests.conftest import Serve

SIZE = 12_000
SLEEPING = {
    "residence": "village", "age": 60, "phone_manufacturer": "Motorola", "phone_age_months": 1,
    "tariff": "prepaid", "monthly_bill_eur": 11.5, "data_gb_a_month": 2, "contract_months_left": 20,
    "tenure_years": 1, "support_calls": 4,
}  # fmt: skip
"""A customer whom the planted truth has every offer keep from buying."""
HEAVY_USER = SLEEPING | {
    "residence": "city", "age": 22, "tariff": "unlimited", "monthly_bill_eur": 48, "data_gb_a_month": 40,
}  # fmt: skip
"""One whom more data would win."""

Trained = tuple[UpliftModel, Schema]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Path]:
    """A model, trained as a user would, and a repository that holds it and nothing else."""
    folder = tmp_path_factory.mktemp("offer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADLENS_CACHE", str(folder / "cache"))
        train_uplift.write(telecom.generate(SIZE), train_uplift.cached_uplift())
        leaf = folder / "repository" / contract.UPLIFT_OFFER
        build_offer(None, leaf / "1", [])
        model, schema, _ = train_uplift.load()
    shutil.copy(REPOSITORY / contract.UPLIFT_OFFER / "config.pbtxt", leaf)
    return (model, schema), leaf.parent


@pytest.fixture(scope="module")
def connection(serve: Serve, trained: tuple[Trained, Path]) -> Iterator[Connection]:
    with Connection(Endpoint(serve(trained[1]).url)) as connection:
        yield connection


def test_what_is_served_is_what_xgboost_computes(
    connection: Connection, trained: tuple[Trained, Path]
) -> None:
    model, schema = trained[0]
    customers = draw_customers(schema, contract.MAX_BATCH, seed=5)
    for rows in (customers[:1], customers):
        outputs = connection.infer(contract.UPLIFT_OFFER, {contract.CUSTOMER: rows}).outputs
        uplift = outputs[contract.UPLIFT]
        np.testing.assert_allclose(uplift[:, :3], model.predict(rows), rtol=0, atol=TOLERANCE)
        assert not uplift[:, 3:].any()
        for row in range(len(rows)):
            assert Schema.from_bytes(outputs[contract.SCHEMA][row].tobytes()) == schema
            card = ModelCard.from_bytes(outputs[contract.CARD][row].tobytes())
            assert (card.weights, card.labels) == (model.digest[:16], telecom.OFFERS)


def test_a_stranger_to_the_model_learns_its_schema_and_gets_an_offer(connection: Connection) -> None:
    schema = offers.read_schema(connection.infer(contract.UPLIFT_OFFER, offers.probe()))
    response = connection.infer(contract.UPLIFT_OFFER, offers.request(HEAVY_USER, schema))
    answer = offers.interpret(response, schema, HEAVY_USER)
    assert answer.offer == "data_upgrade"
    assert answer.uplift is not None
    assert 0.2 < answer.uplift < 0.6
    assert answer.loyalty is not None
    assert answer.loyalty.manufacturer == "Motorola"
    assert "learned from generated customers" in answer.warnings[0]
    assert answer.starter == (contract.UPLIFT_OFFER,)


def test_who_would_better_be_let_sleep_gets_no_offer(connection: Connection) -> None:
    schema = offers.read_schema(connection.infer(contract.UPLIFT_OFFER, offers.probe()))
    response = connection.infer(contract.UPLIFT_OFFER, offers.request(SLEEPING, schema))
    answer = offers.interpret(response, schema)
    assert (answer.offer, answer.title) == (None, offers.NO_OFFER)
    assert max(answer.uplifts.values()) <= 0


def test_an_unknown_manufacturer_is_refused_before_anything_is_sent(connection: Connection) -> None:
    schema = offers.read_schema(connection.infer(contract.UPLIFT_OFFER, offers.probe()))
    with pytest.raises(BadCustomer, match=r"unknown 'Nokia'.*; known: Apple, Google"):
        offers.request(SLEEPING | {"phone_manufacturer": "Nokia"}, schema)
