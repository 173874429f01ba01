"""A customer's record is checked before anything is sent; no offer that helps is an answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adlens import contract
from adlens.contract import ModelCard
from adlens.customers import Category, Loyalty, Number, Schema, load_customer
from adlens.errors import BadCustomer, CallerError, ServerFault
from adlens.jobs import offers
from adlens.transport import InferResponse

MAKERS = ("Apple", "Google", "Huawei", "Motorola", "Nokia", "Samsung", "Sony", "Xiaomi", "Zoë")
APPLE = Loyalty("Apple", 100, 87, 0.79, 0.92)
SCHEMA = Schema(
    (Category("residence", ("city", "village")), Number("age", 18, 85), Category("phone", MAKERS)),
    manufacturer="phone",
    loyalty=(APPLE,),
)
CUSTOMER = {"residence": "village", "age": 41, "phone": "Apple"}


def response(
    *uplift: float, starter: bool = False, skill: float = 0.2, schema: Schema = SCHEMA, **outputs: Any
) -> InferResponse:
    labels = ("data", "handset", "bonus")
    card = ModelCard(contract.UPLIFT_OFFER, "0" * 16, starter, labels, (skill,) * 3)
    row = np.zeros((1, contract.MAX_OFFERS), np.float32)
    row[0, : len(uplift)] = uplift
    found = {
        contract.UPLIFT: row,
        contract.CARD: np.frombuffer(card.to_bytes(), np.uint8)[None],
        contract.SCHEMA: np.frombuffer(schema.to_bytes(), np.uint8)[None],
    }
    return InferResponse(contract.UPLIFT_OFFER, "1", found | outputs)


def refusal(**changes: object) -> str:
    with pytest.raises(BadCustomer) as caught:
        offers.request(CUSTOMER | changes, SCHEMA)
    return str(caught.value)


def test_a_record_becomes_one_row_categories_by_their_place() -> None:
    (name, row), *others = offers.request(CUSTOMER, SCHEMA).items()
    assert (name, others) == (contract.CUSTOMER, [])
    assert (row.dtype, row.shape) == (np.float32, (1, contract.MAX_FEATURES))
    assert row[0, :3].tolist() == [1, 41, 0]
    assert not row[0, 3:].any()


def test_the_order_of_a_record_does_not_matter_and_numpy_s_numbers_are_numbers() -> None:
    turned = dict(reversed((CUSTOMER | {"age": np.int64(41)}).items()))
    np.testing.assert_array_equal(
        offers.request(turned, SCHEMA)[contract.CUSTOMER], offers.request(CUSTOMER, SCHEMA)[contract.CUSTOMER]
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"age": float("nan")}, "age: nan is not finite"),
        ({"age": float("inf")}, "age: inf is not finite"),
        ({"age": 1e39}, "or too large for 32 bits"),
        ({"age": 10**400}, "or too large for 32 bits"),
        ({"age": "41"}, "age: '41' is no number; one such as 18 is needed"),
        ({"age": True}, "age: True is no number"),
        ({"age": None}, "age: None is no number"),
        ({"phone": 3}, "phone: 3 is no text"),
        ({"phone": "apple"}, "unknown 'apple', did you mean 'Apple'?; known: Apple, Google"),
        ({"phone": "Fairphone"}, "Motorola, Nokia, Samsung, Sony, Xiaomi and 1 more"),
        ({"aeg": 41}, "unknown feature 'aeg', did you mean 'age'?"),
    ],
)
def test_a_value_that_the_model_cannot_take_is_named(changes: dict[str, object], message: str) -> None:
    assert message in refusal(**changes)


def test_all_faults_of_a_record_are_told_at_once() -> None:
    with pytest.raises(BadCustomer) as caught:
        offers.request({"resident": "city", "phone": "Apel"}, SCHEMA)
    assert str(caught.value) == (
        "customer: unknown feature 'resident', did you mean 'residence'?; missing residence, age; phone: "
        "unknown 'Apel', did you mean 'Apple'?; known: Apple, Google, Huawei, Motorola, Nokia, Samsung, "
        "Sony, Xiaomi and 1 more"
    )
    assert isinstance(caught.value, CallerError)


def test_a_record_full_of_faults_makes_a_short_message() -> None:
    message = refusal(**{f"unheard of {number}": "x" * 10_000 for number in range(1000)})
    assert len(message) < 1000
    assert "and 992 more faults" in message


def test_the_offer_that_helps_most_is_the_answer() -> None:
    answer = offers.interpret(response(0.05, -0.2, 0.123), SCHEMA, CUSTOMER)
    assert (answer.offer, answer.uplift) == ("bonus", pytest.approx(0.123))
    assert list(answer.uplifts) == ["bonus", "data", "handset"]
    assert answer.title == "bonus: +12.3 points more likely to buy"
    assert answer.loyalty == APPLE
    assert (answer.warnings, answer.starter) == ((), ())
    assert json.loads(json.dumps(answer.to_json()))["loyalty"]["share"] == 0.87


@pytest.mark.parametrize("uplift", [(-0.1, -0.2, -0.3), (0.0, 0.0, 0.0)])
def test_no_offer_that_helps_is_an_answer(uplift: tuple[float, ...]) -> None:
    answer = offers.interpret(response(*uplift), SCHEMA)
    assert (answer.offer, answer.uplift, answer.title) == (None, None, offers.NO_OFFER)
    assert len(answer.uplifts) == 3


def test_what_stands_against_an_answer_is_told() -> None:
    def warnings(customer: dict[str, object], **options: Any) -> str:
        return " ".join(offers.interpret(response(0.1, **options), SCHEMA, customer).warnings)

    assert "learned from generated customers, not yours" in warnings(CUSTOMER, starter=True, skill=0)
    assert "data: held-out customers were ranked no better than by chance" in warnings(CUSTOMER, skill=0)
    assert "age 99 lies outside 18 to 85" in warnings(CUSTOMER | {"age": 99})


def test_loyalty_reads_like_a_sentence() -> None:
    assert str(APPLE) == "Apple owners stay with Apple: 87% (79% to 92%; 87 of 100)"
    assert SCHEMA.loyalty_of(CUSTOMER | {"phone": "Sony"}) is None


def test_a_model_of_another_schema_answers_nobody_who_asked_by_this_one() -> None:
    other = Schema((Number("age", 18, 85),))
    with pytest.raises(ServerFault, match="was replaced by one of another schema; ask again"):
        offers.interpret(response(0.1, schema=other), SCHEMA)
    assert offers.read_schema(response(schema=other)) == other


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"\xff", b'{"features": [], "manufacturer": null, "loyalty": []}']
)
def test_what_is_no_schema_is_the_server_s_fault(data: bytes) -> None:
    padded = np.frombuffer(data.ljust(contract.SCHEMA_BYTES), np.uint8)[None]
    with pytest.raises(ServerFault):
        offers.interpret(response(0.1, **{contract.SCHEMA: padded}), SCHEMA)


def test_uplift_that_is_not_finite_is_the_server_s_fault() -> None:
    with pytest.raises(ServerFault, match="UPLIFT holds numbers that are not finite"):
        offers.interpret(response(float("nan")), SCHEMA)


def test_a_schema_comes_back_as_it_went_and_what_is_too_long_is_refused() -> None:
    assert Schema.from_bytes(SCHEMA.to_bytes()) == SCHEMA
    wordy = Schema((Category("word", tuple(f"{number:01000}" for number in range(20))),))
    many = Schema(tuple(Number(str(number), 0, 1) for number in range(contract.MAX_FEATURES + 1)))
    for schema in (wordy, many):
        with pytest.raises(ValueError, match="at most 16384 and 64 travel: leave features out"):
            schema.to_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("[1]", "a JSON list; write an object"),
        ('{"age": 1, "age": 2}', "'age' comes twice"),
        ("[" * 100_000, "write a JSON object"),
        (b"\xff\xfe\xfa", "write a JSON object"),
    ],
)
def test_a_file_that_is_no_record_is_refused(text: str | bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "customer.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadCustomer) as caught:
        load_customer(file)
    assert message in str(caught.value)
    assert "customer.json" in str(caught.value)


def test_a_record_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "customer.json"
    file.write_text(json.dumps(CUSTOMER))
    assert load_customer(file) == CUSTOMER
    with pytest.raises(BadCustomer, match="cannot be read"):
        load_customer(tmp_path / "none.json")


def conversation(schema: Schema | None, customer: dict[str, Any], *replies: InferResponse) -> tuple[Any, int]:
    """What ``offers.ask`` returns when it is sent ``replies`` one by one, and how many it took."""
    steps = offers.ask(customer, schema)
    next(steps)
    for number, reply in enumerate(replies, 1):
        try:
            steps.send(reply)
        except StopIteration as end:
            return end.value, number
    raise AssertionError("it asks for more")


OLD = Schema((Number("age", 18, 85),))


def test_the_schema_is_asked_for_once() -> None:
    (answer, schema), taken = conversation(None, CUSTOMER, response(), response(0.1, 0.3, 0.2))
    assert (answer.offer, schema, taken) == ("handset", SCHEMA, 2)
    (answer, schema), taken = conversation(SCHEMA, CUSTOMER, response(0.4, 0.3, 0.2))
    assert (answer.offer, schema, taken) == ("data", SCHEMA, 1)


def test_a_model_that_was_replaced_is_asked_again_by_its_own_schema() -> None:
    replies = (response(0.9), response(), response(0.1, 0.3, 0.2))
    by_answer = conversation(Schema(SCHEMA.features, "phone"), CUSTOMER, *replies)
    assert (by_answer[0][0].offer, by_answer[0][1], by_answer[1]) == ("handset", SCHEMA, 3)
    # The record fits the new model alone: it is asked for its schema before anything else.
    by_record = conversation(OLD, CUSTOMER, *replies[1:])
    assert (by_record[0][0].offer, by_record[1]) == ("handset", 2)


def test_a_record_that_fits_no_model_is_refused_by_the_schema_of_the_one_that_answers() -> None:
    with pytest.raises(BadCustomer, match="missing residence, phone"):
        conversation(OLD, {"age": 41}, response(0.9), response())
