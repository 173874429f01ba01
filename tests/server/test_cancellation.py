"""Callers who have gone get zeros without work, and to find them costs next to nothing where nobody goes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pytest

CONFIGURATION = {"max_batch_size": 8, "output": [{"name": "Y", "data_type": "TYPE_FP32", "dims": ["2"]}]}
ROW = np.ones((1, 3), np.float32)


@dataclass
class Tensor:
    """As Triton's Python backend has it, as far as it is needed here; so are all below."""

    name: str
    value: Any

    def as_numpy(self) -> Any:
        return self.value


@dataclass
class Request:
    """Counts how often somebody asks whether it was cancelled."""

    is_gone: bool = False
    asked: int = 0

    def is_cancelled(self) -> bool:
        self.asked += 1
        return self.is_gone

    def inputs(self) -> list[Tensor]:
        return [Tensor("X", ROW)]

    def requested_output_names(self) -> list[str]:
        return ["Y"]


@pytest.fixture
def absentees(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """For a model with one output of two numbers a row, without the process that Triton would start."""
    backend = ModuleType("triton_python_backend_utils")
    for name, value in {
        "Tensor": Tensor,
        "InferenceRequest": Request,
        "InferenceResponse": lambda tensors: [tensor.value.tolist() for tensor in tensors],
        "triton_string_to_numpy": lambda _: np.float32,
    }.items():
        setattr(backend, name, value)
    monkeypatch.setitem(sys.modules, backend.__name__, backend)
    monkeypatch.delitem(sys.modules, "server.backends.cancellation", raising=False)
    from server.backends.cancellation import Absentees

    yield Absentees(CONFIGURATION)
    monkeypatch.delitem(sys.modules, "server.backends.cancellation")


def worked(requests: list[Request]) -> list[Any]:
    """The answers of a model."""
    return [[[[1.0, 1.0]]] for _ in requests]


def test_who_has_gone_gets_zeros_and_neighbours_their_answers(absentees: Any) -> None:
    answers = absentees.answer_others([Request(), Request(is_gone=True), Request()], worked)
    assert answers == [[[[1.0, 1.0]]], [[[0.0, 0.0]]], [[[1.0, 1.0]]]]


def test_while_nobody_goes_few_are_asked(absentees: Any) -> None:
    requests = [Request() for _ in range(20)]
    for request in requests:
        assert absentees.answer_others([request], worked) == worked([request])
    assert sum(request.asked for request in requests) < len(requests) / 2


def test_who_goes_later_is_found(absentees: Any) -> None:
    absentees.answer_others([Request()], worked)
    time.sleep(0.15)
    assert absentees.answer_others([Request(is_gone=True)], worked) == [[[[0.0, 0.0]]]]


def test_where_one_has_gone_all_are_asked(absentees: Any) -> None:
    absentees.answer_others([Request(is_gone=True)], worked)
    late = [Request(is_gone=True) for _ in range(3)]
    assert [absentees.answer_others([request], worked) for request in late] == 3 * [[[[[0.0, 0.0]]]]]
