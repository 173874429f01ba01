"""XGBoost's trees as an ONNX operator: any number of boosters in one TreeEnsembleRegressor, a target each.

The trees are read from XGBoost's own JSON (https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html,
"JSON Schema"); the operator is that of ai.onnx.ml 3, so that the older ONNX Runtimes in containers know
it (1.19.2 was tried).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import xgboost
from onnx import NodeProto, OperatorSetIdProto, helper

from export.graph import OPSET

OPSETS: Final[Sequence[OperatorSetIdProto]] = (
    helper.make_opsetid("", OPSET),
    helper.make_opsetid("ai.onnx.ml", 3),
)
"""Of a graph with trees in it."""
IR: Final = 10
"""What torch's exporter writes as well, and ONNX Runtime 1.18 reads."""
_LEAF: Final = -1


def tree_node(boosters: Sequence[xgboost.Booster], rows: str, margins: str) -> NodeProto:
    """The node that runs all ``boosters``.

    Args:
        boosters: trained with a ``base_score`` of which the link is 0, so that margins are sums of leaves.
        rows: name of its input, float32 [n, features].
        margins: name of its output, float32 [n, len(boosters)], before the sigmoid.
    """
    return helper.make_node(
        "TreeEnsembleRegressor", [rows], [margins], domain="ai.onnx.ml", **_attributes(boosters)
    )


def _attributes(boosters: Sequence[xgboost.Booster]) -> Mapping[str, Any]:
    """All trees as attributes of a TreeEnsembleRegressor; a booster's leaves add to its own target."""
    nodes: list[tuple[int, int, int, float, bytes, int, int, int]] = []
    leaves: list[tuple[int, int, int, float]] = []
    number = 0
    for target, booster in enumerate(boosters):
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
        "n_targets": len(boosters),
    }


def _read_trees(booster: xgboost.Booster) -> list[dict[str, Any]]:
    model = json.loads(bytes(booster.save_raw("json")))["learner"]
    return list(model["gradient_booster"]["model"]["trees"])
