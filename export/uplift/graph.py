"""The uplift model as one ONNX graph: CUSTOMER -> one-hot categories -> trees -> UPLIFT, CARD, SCHEMA.

All boosters stand in one TreeEnsembleRegressor, a target each; a sigmoid makes probabilities of the
targets, and one matrix product makes uplift of the probabilities. The trees are read from XGBoost's own
JSON (https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html, "JSON Schema"); the
operator is that of ai.onnx.ml 3, so that the older ONNX Runtimes in containers know it (1.19.2 was tried).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
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
from export.graph import OPSET, Manifest, Signature, write_graph
from export.uplift.learners import Floats, UpliftModel, expansion

TOLERANCE: Final = 1e-5
"""Largest absolute difference between XGBoost and ONNX Runtime, on uplift."""
SIGNATURE: Final = Signature((contract.CUSTOMER,), (contract.UPLIFT, contract.CARD, contract.SCHEMA))
_TREES_OPSET: Final = 3
_IR: Final = 10
"""What torch's exporter writes as well, and ONNX Runtime 1.18 reads."""
_BATCH: Final = "batch"
_LEAF: Final = -1
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
        node("TreeEnsembleRegressor", ["expanded"], ["margins"], domain="ai.onnx.ml", **_trees(model)),
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
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", _TREES_OPSET)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=_IR, producer_name="adlens")
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def _trees(model: UpliftModel) -> Mapping[str, Any]:
    """All trees as attributes of a TreeEnsembleRegressor; a booster's leaves add to its own target."""
    nodes: list[tuple[int, int, int, float, bytes, int, int, int]] = []
    leaves: list[tuple[int, int, int, float]] = []
    number = 0
    for target, booster in enumerate(model.boosters):
        for tree in _read_trees(booster):
            columns = ("left_children", "right_children", "split_indices", "split_conditions", "default_left")
            for place, (left, right, feature, value, missing) in enumerate(
                zip(*(tree[column] for column in columns), strict=True)
            ):
                if left == _LEAF:
                    nodes.append((number, place, 0, 0.0, b"LEAF", 0, 0, 0))
                    leaves.append((number, place, target, value))
                else:
                    # XGBoost goes to the left where the feature is below the value.
                    nodes.append((number, place, feature, value, b"BRANCH_LT", left, right, missing))
            number += 1
    node_columns = (
        "treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids",
        "missing_value_tracks_true",
    )  # fmt: skip
    leaf_columns = ("treeids", "nodeids", "ids", "weights")
    return {
        **{
            f"nodes_{name}": column
            for name, column in zip(node_columns, zip(*nodes, strict=True), strict=True)
        },
        **{
            f"target_{name}": column
            for name, column in zip(leaf_columns, zip(*leaves, strict=True), strict=True)
        },
        "n_targets": len(model.boosters),
    }


def _read_trees(booster: xgboost.Booster) -> list[dict[str, Any]]:
    model = json.loads(bytes(booster.save_raw("json")))["learner"]
    return list(model["gradient_booster"]["model"]["trees"])


def _bytes(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(bytearray(data), np.uint8)[None]


def _info(name: str, kind: int, size: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, [_BATCH, size])
