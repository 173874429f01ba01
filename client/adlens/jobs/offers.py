"""Job 2, without a picture: which offer raises a customer's chance to buy, and by how much.

Builds the request for ``uplift_offer`` and reads its response. The model says by its schema what a
customer's record has to hold, so a caller that has none yet asks with ``probe`` first. Where a model has
been replaced meanwhile, its answer carries another schema, and it is asked again (``ask``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from adlens import contract, responses
from adlens.contract import ModelCard
from adlens.customers import OfferAnswer, Schema
from adlens.errors import BadCustomer, ServerFault
from adlens.jobs.conversation import Conversation
from adlens.transport import InferResponse

NO_OFFER = "No offer: none is expected to help"
"""Title where every offer would leave the customer as likely to buy as without, or less."""


def probe() -> dict[str, npt.NDArray[Any]]:
    """A request for ``uplift_offer`` that asks for its schema alone."""
    return {contract.CUSTOMER: np.zeros((1, contract.MAX_FEATURES), np.float32)}


def request(customer: Mapping[str, object], schema: Schema) -> dict[str, npt.NDArray[Any]]:
    """A request for ``uplift_offer``, batch 1.

    Raises:
        BadCustomer: the record does not fit the schema.
    """
    return {contract.CUSTOMER: schema.encode(customer)[None]}


def read_schema(response: InferResponse) -> Schema:
    """The schema of the model that answered.

    Raises:
        ServerFault: the response breaks ``adlens.contract``.
    """
    data = responses.output(response, contract.SCHEMA, (contract.SCHEMA_BYTES,)).tobytes()
    try:
        return _schema(data)
    except ValueError as error:
        raise ServerFault(f"{response.model_name}: {error}") from error


def ask(customer: Mapping[str, object], schema: Schema | None) -> Conversation[tuple[OfferAnswer, Schema]]:
    """The whole conversation: yields requests, is sent their responses, and returns answer and schema.

    Args:
        customer: the record.
        schema: of the model that answered last; None where none has. Where the model has been replaced
            since, it is asked for its schema anew.

    Raises:
        BadCustomer: the record does not fit the model's schema.
        ServerFault: a response breaks ``adlens.contract``.
    """
    while True:
        known = schema or read_schema((yield contract.UPLIFT_OFFER, probe()))
        try:
            inputs = request(customer, known)
        except BadCustomer:
            if schema is None:
                raise
        else:
            response = yield contract.UPLIFT_OFFER, inputs
            if read_schema(response) == known:
                return interpret(response, known, customer), known
        schema = None


def interpret(
    response: InferResponse, schema: Schema, customer: Mapping[str, object] | None = None
) -> OfferAnswer:
    """Read the response for one customer and decide: the offer with the highest uplift above 0, or none.

    Args:
        response: of ``uplift_offer``, batch 1.
        schema: by which the request was made.
        customer: of the request; with it, the answer tells the loyalty of such customers, and warns of
            numbers unlike all in training.

    Raises:
        ServerFault: the response breaks ``adlens.contract``, or comes from a model of another schema.
    """
    if read_schema(response) != schema:
        raise ServerFault(f"{response.model_name} was replaced by one of another schema; ask again")
    card = responses.card(response, contract.CARD, ModelCard)
    if len(card.labels) > contract.MAX_OFFERS:
        raise ServerFault(f"{response.model_name}: card of {len(card.labels)} offers")
    row = responses.output(response, contract.UPLIFT, (contract.MAX_OFFERS,))[: len(card.labels)]
    ranked = sorted(zip(card.labels, row.tolist(), strict=True), key=lambda pair: -pair[1])
    offer, uplift = ranked[0] if ranked and ranked[0][1] > 0 else (None, None)
    return OfferAnswer(
        offer=offer,
        uplift=uplift,
        uplifts=dict(ranked),
        title=NO_OFFER if uplift is None else f"{offer}: {uplift * 100:+.1f} points more likely to buy",
        loyalty=None if customer is None else schema.loyalty_of(customer),
        warnings=(*_trust_warnings(card, offer), *(schema.unusual(customer) if customer is not None else ())),
        model_versions={card.model: card.weights},
        starter=(card.model,) if card.starter else (),
    )


def _trust_warnings(card: ModelCard, offer: str | None) -> Iterator[str]:
    if card.starter:
        yield (
            "the offers and their uplift were learned from generated customers, not yours; train on a past "
            "campaign by `python -m export.train_uplift --data FILE.csv`, then `make models`"
        )
    elif offer is not None and not card.skill[card.labels.index(offer)]:
        yield f"{offer}: held-out customers were ranked no better than by chance; its uplift means little"


@lru_cache(maxsize=16)
def _schema(data: bytes) -> Schema:
    return Schema.from_bytes(data)
