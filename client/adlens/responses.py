"""Reads a response: every output and card is held against ``adlens.contract`` before it is believed."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from adlens import contract
from adlens.answers import Match
from adlens.contract import ModelCard
from adlens.errors import ServerFault
from adlens.transport import InferResponse

Array = npt.NDArray[Any]
Card = TypeVar("Card", bound=ModelCard)


def output(response: InferResponse, name: str, shape: tuple[int, ...]) -> Array:
    """The output ``name``, of ``shape``, for the one input of the batch.

    Raises:
        ServerFault: it is missing, of another shape, or not finite.
    """
    array = response.outputs.get(name)
    if array is None:
        raise ServerFault(f"{response.model_name} gave no output {name}; is the server of another version?")
    if array.shape != (1, *shape):
        raise ServerFault(f"{response.model_name}: {name} is {list(array.shape)}, not {[1, *shape]}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ServerFault(f"{response.model_name}: {name} holds numbers that are not finite")
    row: Array = array[0]
    return row


def card(response: InferResponse, name: str, kind: type[Card]) -> Card:
    """The card, of ``kind``, in the output ``name``.

    Raises:
        ServerFault: it is missing, or no such card.
    """
    data = output(response, name, (contract.CARD_BYTES,)).tobytes()
    try:
        card = kind.from_bytes(data)
    except ValueError as error:
        raise ServerFault(f"{response.model_name}: {name}: {error}") from error
    number = len(card.labels)
    if number > contract.MAX_LABELS:
        raise ServerFault(f"card of {card.model}: {number} labels for {contract.MAX_LABELS} columns")
    if number != len(card.skill) or not all(0 <= skill <= 1 for skill in card.skill):
        raise ServerFault(f"card of {card.model}: {number} labels and skills {card.skill}")
    return card


def cards(response: InferResponse) -> dict[str, ModelCard]:
    """What is common to the cards of all leaf models of an ensemble, by output.

    Raises:
        ServerFault: one is no card.
    """
    names = [name for name in response.outputs if name.startswith(contract.card_output(""))]
    return {name: card(response, name, ModelCard) for name in names}


def matches(scores: Array, ids: Array, *, lowest: float = contract.NO_MATCH) -> list[Match]:
    """What a gallery found for one face: of MATCH_SCORES [T] and MATCH_IDS [T, B], the best first.

    ``lowest`` is the score where there is nothing.

    Raises:
        ServerFault: an id is no UTF-8.
    """
    try:
        return [
            Match(name.tobytes().rstrip(b"\0").decode(), float(score))
            for score, name in zip(scores, ids, strict=True)
            if score > lowest
        ]
    except UnicodeDecodeError as error:
        raise ServerFault(f"{contract.MATCH_IDS} holds an id that is no UTF-8 ({error})") from error
