"""The uplift model as one ONNX graph: CUSTOMER -> one-hot categories -> trees -> UPLIFT, CARD, SCHEMA.

All boosters stand in one TreeEnsembleRegressor, a target each; a sigmoid makes probabilities of the
targets, and one matrix product makes uplift of the probabilities.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
import xgboost
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from adlens import contract
from adlens.customers import Category, Schema
from export.graph import Manifest, Signature, write_graph
from export.trees import IR, OPSETS, tree_node
from export.uplift.learners import Floats, UpliftModel, expansion

TOLERANCE: Final = 1e-5
"""Largest absolute difference between XGBoost and ONNX Runtime, on uplift."""
SIGNATURE: Final = Signature((contract.CUSTOMER,), (contract.UPLIFT, contract.CARD, contract.SCHEMA))
_BATCH: Final = "batch"
_JUDGED: Final = 2048
"""Customers on whom the graph is held against XGBoost."""


def write_offer(
    model: UpliftModel, card: contract.ModelCard, schema: Schema, manifest: Manifest, folder: Path
) -> Manifest:
    """Write the graph of ``model`` to ``folder``, judged on customers drawn at random.

    Args:
        model: its offers are the labels of ``card``, its features those of ``schema``.
        card: answers beside the uplift.
        schema: answers as well.
        manifest: as for ``export.graph.write_model``.
        folder: version folder.

    Raises:
        ParityError: the graph differs from XGBoost.
    """
    said = [torch.from_numpy(_bytes(data)) for data in (card.to_bytes(), schema.to_bytes())]

    def original(rows: Tensor) -> tuple[Tensor, ...]:
        uplift = torch.zeros(len(rows), contract.MAX_OFFERS)
        uplift[:, : len(card.labels)] = torch.from_numpy(model.predict(rows.numpy()))
        return (uplift, *(data.expand(len(rows), -1) for data in said))

    customers = torch.from_numpy(draw_customers(schema, _JUDGED))
    batches = [(customers[:size],) for size in (1, contract.MAX_BATCH, _JUDGED)]
    graph = to_onnx(model, card, schema)
    told = replace(manifest, tools={"xgboost": xgboost.__version__})
    return write_graph(graph, original, SIGNATURE, batches, told, folder, TOLERANCE)


def draw_customers(schema: Schema, count: int, seed: int = 1) -> Floats:
    """Customers as in CUSTOMER, float32 [count, MAX_FEATURES], alike over what training has seen and beyond.

    Every second one has whole numbers, which fall on the trees' thresholds.
    """
    random = np.random.default_rng(seed)
    rows = np.zeros((count, contract.MAX_FEATURES), np.float32)
    for column, feature in enumerate(schema.features):
        if isinstance(feature, Category):
            rows[:, column] = random.integers(0, len(feature.values), count)
        else:
            beyond = 0.1 * (feature.high - feature.low)
            rows[:, column] = random.uniform(feature.low - beyond, feature.high + beyond, count)
    rows[1::2] = rows[1::2].round()
    return rows


def to_onnx(model: UpliftModel, card: contract.ModelCard, schema: Schema) -> bytes:
    """The serialised graph, its batch axis dynamic."""
    source, value = expansion(model.features)
    spare = contract.MAX_OFFERS - model.weights.shape[1]
    constants: dict[str, NDArray[Any]] = {
        "source": source,
        "value": value,
        "is_number": np.isnan(value),
        "weights": np.pad(model.weights, ((0, 0), (0, spare))),
        "constant": np.pad(model.constant, (0, spare)),
        "card": _bytes(card.to_bytes()),
        "schema": _bytes(schema.to_bytes()),
        "one": np.array([1], np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Gather", [contract.CUSTOMER, "source"], ["taken"], axis=1),
        node("Equal", ["taken", "value"], ["is_value"]),
        node("Cast", ["is_value"], ["one_hot"], to=TensorProto.FLOAT),
        node("Where", ["is_number", "taken", "one_hot"], ["expanded"]),
        tree_node(model.boosters, "expanded", "margins"),
        node("Sigmoid", ["margins"], ["probabilities"]),
        node("MatMul", ["probabilities", "weights"], ["weighted"]),
        node("Add", ["weighted", "constant"], [contract.UPLIFT]),
        node("Shape", [contract.CUSTOMER], ["rows"], start=0, end=1),
        node("Concat", ["rows", "one"], ["repeats"], axis=0),
        node("Expand", ["card", "repeats"], [contract.CARD]),
        node("Expand", ["schema", "repeats"], [contract.SCHEMA]),
    ]
    graph = helper.make_graph(
        nodes,
        contract.UPLIFT_OFFER,
        [_info(contract.CUSTOMER, TensorProto.FLOAT, contract.MAX_FEATURES)],
        [
            _info(contract.UPLIFT, TensorProto.FLOAT, contract.MAX_OFFERS),
            _info(contract.CARD, TensorProto.UINT8, contract.CARD_BYTES),
            _info(contract.SCHEMA, TensorProto.UINT8, contract.SCHEMA_BYTES),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=OPSETS, ir_version=IR, producer_name="adlens")
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def _bytes(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(bytearray(data), np.uint8)[None]


def _info(name: str, kind: int, size: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, [_BATCH, size])
