"""The conversion model as one ONNX graph: logits and context -> trees -> calibrators -> probabilities.

The variants of a picture and its alternates are rows of one batch. Each target has a column of margins and
its own calibrator, spelled out as operators. A row of zeros is no picture, and gets 0; where a place in
CONTEXT is none of the vocabulary's, all of that picture's probabilities are NaN.
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
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor

from adlens import contract
from export.creative.calibration import ISOTONIC, Calibrator
from export.creative.conversion import ConversionModel, Floats, Places
from export.graph import Manifest, Signature, write_graph
from export.trees import IR, OPSETS, tree_node

TOLERANCE: Final = 1e-5
"""Largest absolute difference between XGBoost with its calibrators and ONNX Runtime, on probabilities."""
SIGNATURE: Final = Signature(
    (contract.VARIANT_LOGITS, contract.ALTERNATE_LOGITS, contract.CONTEXT),
    (contract.VARIANT_CONVERSION, contract.ALTERNATE_CONVERSION, contract.CARD, contract.SCHEMA),
)
_JUDGED: Final = 256
"""Requests on which the graph is held against XGBoost; each has 18 rows."""
_SLOTS: Final = (contract.MAX_VARIANTS, contract.MATCHES)

Request = tuple[Floats, Floats, Places]
"""VARIANT_LOGITS [N, V, V], ALTERNATE_LOGITS [N, T, V], CONTEXT [N, 3]."""


def write_conversion(
    model: ConversionModel, card: contract.ModelCard, manifest: Manifest, folder: Path
) -> Manifest:
    """Write the graph of ``model`` to ``folder``, judged on requests drawn at random.

    Args:
        model: what it answers by.
        card: answers beside the probabilities, and so does the model's vocabulary.
        manifest: as for ``export.graph.write_model``.
        folder: version folder.

    Raises:
        ParityError: the graph differs from XGBoost.
    """
    said = [torch.from_numpy(_bytes(data)) for data in (card.to_bytes(), model.vocabulary.to_bytes())]

    def original(*request: Tensor) -> tuple[Tensor, ...]:
        variants, alternates, context = (tensor.numpy() for tensor in request)
        found = answer(model, variants, alternates, context)
        return (*map(torch.from_numpy, found), *(data.expand(len(context), -1) for data in said))

    drawn = tuple(torch.from_numpy(array) for array in draw_requests(model, _JUDGED))
    batches = [tuple(array[:size] for array in drawn) for size in (1, contract.MAX_BATCH, _JUDGED)]
    told = replace(manifest, tools={"xgboost": xgboost.__version__})
    return write_graph(to_onnx(model, card), original, SIGNATURE, batches, told, folder, TOLERANCE)


def answer(
    model: ConversionModel, variants: Floats, alternates: Floats, context: Places
) -> tuple[Floats, Floats]:
    """VARIANT_CONVERSION [N, V, 4] and ALTERNATE_CONVERSION [N, T, 4] by XGBoost itself; see ``Request``."""
    logits = np.concatenate([variants, alternates], axis=1)
    count, slots, _ = logits.shape
    each = model.predict(logits.reshape(count * slots, -1), context.repeat(slots, axis=0))
    probabilities = each.reshape(count, slots, -1)
    probabilities[~(logits != 0).any(axis=2)] = 0
    known = [len(model.vocabulary.context[name]) for name in contract.CONTEXT_NAMES]
    probabilities[((context < 0) | (context >= np.array(known))).any(axis=1)] = np.nan
    return probabilities[:, : contract.MAX_VARIANTS], probabilities[:, contract.MAX_VARIANTS :]


def draw_requests(model: ConversionModel, count: int, seed: int = 1) -> Request:
    """Requests of known contexts whose logits lie alike over what splits ask for; some slots are empty.

    A third of the logits lie just on a split: as far behind the largest one as its value says.
    """
    random = np.random.default_rng(seed)
    kinds = len(model.vocabulary.variants)
    splits = np.unique([split for booster in model.boosters for split in _splits(booster, kinds)] or [0.0])
    rows = np.zeros((count, sum(_SLOTS), contract.MAX_VARIANTS), np.float32)
    behind = -random.uniform(0, 1.5 * max(1, -splits.min()), (*rows.shape[:2], kinds))
    on_a_split = random.random(behind.shape) < 1 / 3
    behind[on_a_split] = random.choice(np.minimum(splits, 0), int(on_a_split.sum()))
    np.put_along_axis(behind, random.integers(0, kinds, (*rows.shape[:2], 1)), 0, axis=2)
    # In every second request the largest logit is 0, so that no rounding moves what lies on a split.
    shift = random.normal(0, 3, (*rows.shape[:2], 1))
    shift[::2] = 0
    rows[..., :kinds] = behind + shift
    rows[random.random(rows.shape[:2]) < 0.1] = 0
    rows[:, kinds : contract.MAX_VARIANTS] = 0
    context = np.column_stack(
        [random.integers(0, len(model.vocabulary.context[name]), count) for name in contract.CONTEXT_NAMES]
    )
    variants, alternates = np.split(rows, [contract.MAX_VARIANTS], axis=1)
    return np.ascontiguousarray(variants), np.ascontiguousarray(alternates), context.astype(np.int32)


def to_onnx(model: ConversionModel, card: contract.ModelCard) -> bytes:
    """The serialised graph, its batch axis dynamic."""
    known = [len(model.vocabulary.context[name]) for name in contract.CONTEXT_NAMES]
    kinds, targets = len(model.vocabulary.variants), len(contract.TARGETS)
    constants: dict[str, NDArray[Any]] = {
        "kinds": np.arange(kinds),
        "place_of": np.repeat(np.arange(len(known)), known),
        "value": np.concatenate([np.arange(count) for count in known]).astype(np.int32),
        "known": np.array(known, np.int32),
        "none": np.zeros(1, np.int32),
        "slots": np.array([1, sum(_SLOTS), 1]),
        "kinds_rows": np.array([-1, kinds]),
        "context_rows": np.array([-1, sum(known)]),
        "target_rows": np.array([-1, sum(_SLOTS), targets]),
        "one": np.array([1]),
        "last": np.array([2]),
        "zero": np.zeros(1, np.float32),
        "nan": np.full(1, np.nan, np.float32),
        "split": np.array(_SLOTS),
        "card": _bytes(card.to_bytes()),
        "schema": _bytes(model.vocabulary.to_bytes()),
    }
    columns = [f"margin_{target}" for target in contract.TARGETS]
    node = helper.make_node
    nodes = [
        node("Concat", [contract.VARIANT_LOGITS, contract.ALTERNATE_LOGITS], ["logits"], axis=1),
        node("Gather", ["logits", "kinds"], ["seen"], axis=2),
        node("ReduceMax", ["seen", "last"], ["largest"], keepdims=1),
        node("Sub", ["seen", "largest"], ["behind"]),
        node("Reshape", ["behind", "kinds_rows"], ["behind_rows"]),
        node("Equal", ["behind_rows", "zero"], ["is_largest"]),
        node("Cast", ["is_largest"], ["taken_for"], to=TensorProto.FLOAT),
        *_context_nodes(),
        node("Concat", ["taken_for", "behind_rows", "one_hot_rows"], ["expanded"], axis=1),
        tree_node(model.boosters, "expanded", "margins"),
        node("Split", ["margins"], columns, axis=1, num_outputs=targets),
    ]
    said = []
    for target, calibrator in zip(contract.TARGETS, model.calibrators, strict=True):
        nodes += _calibrator_nodes(calibrator, target, constants)
        said.append(f"probability_{target}")
    nodes += [
        node("Concat", said, ["said"], axis=1),
        node("Reshape", ["said", "target_rows"], ["probabilities"]),
        node("Equal", ["logits", "zero"], ["zeros"]),
        node("Cast", ["zeros"], ["zeros_counted"], to=TensorProto.FLOAT),
        node("ReduceMin", ["zeros_counted", "last"], ["all_zero"], keepdims=1),
        node("Cast", ["all_zero"], ["empty"], to=TensorProto.BOOL),
        node("Where", ["empty", "zero", "probabilities"], ["of_pictures"]),
        node("Where", ["known_context", "of_pictures", "nan"], ["answered"]),
        node("Split", ["answered", "split"], [*SIGNATURE.outputs[:2]], axis=1),
        node("Shape", [contract.CONTEXT], ["rows"], start=0, end=1),
        node("Concat", ["rows", "one"], ["repeats"], axis=0),
        node("Expand", ["card", "repeats"], [contract.CARD]),
        node("Expand", ["schema", "repeats"], [contract.SCHEMA]),
    ]
    signature = contract.MODELS[contract.CONVERSION]
    graph = helper.make_graph(
        nodes,
        contract.CONVERSION,
        [_info(name, *tensor) for name, tensor in signature.inputs.items()],
        [_info(name, *tensor) for name, tensor in signature.outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=OPSETS, ir_version=IR, producer_name="adlens")
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def _context_nodes() -> list[NodeProto]:
    """CONTEXT -> ``one_hot_rows`` [N * slots, values], and ``known_context`` bool [N, 1, 1]."""
    node = helper.make_node
    return [
        node("Gather", [contract.CONTEXT, "place_of"], ["placed"], axis=1),
        node("Equal", ["placed", "value"], ["is_value"]),
        node("Cast", ["is_value"], ["one_hot"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["one_hot", "one"], ["one_hot_once"]),
        node("Expand", ["one_hot_once", "slots"], ["one_hot_each"]),
        node("Reshape", ["one_hot_each", "context_rows"], ["one_hot_rows"]),
        node("GreaterOrEqual", [contract.CONTEXT, "none"], ["not_below"]),
        node("Less", [contract.CONTEXT, "known"], ["not_above"]),
        node("And", ["not_below", "not_above"], ["places_known"]),
        node("Cast", ["places_known"], ["places_counted"], to=TensorProto.FLOAT),
        node("ReduceMin", ["places_counted", "one"], ["all_known"], keepdims=1),
        node("Unsqueeze", ["all_known", "last"], ["all_known_once"]),
        node("Cast", ["all_known_once"], ["known_context"], to=TensorProto.BOOL),
    ]


def _calibrator_nodes(
    calibrator: Calibrator, target: str, constants: dict[str, NDArray[Any]]
) -> list[NodeProto]:
    """``margin_<target>`` -> ``probability_<target>``, both [rows, 1]; adds to ``constants``."""
    node = helper.make_node

    def own(*names: str) -> list[str]:
        return [f"{name}_{target}" for name in names]

    if calibrator.method != ISOTONIC:
        constants |= zip(
            own("slope", "offset"),
            (np.array([calibrator.slope], np.float32), np.array([calibrator.offset], np.float32)),
            strict=True,
        )
        return [
            node("Mul", own("margin", "slope"), own("steeper")),
            node("Add", own("steeper", "offset"), own("moved")),
            node("Sigmoid", own("moved"), own("probability")),
        ]
    knots, values, slopes = calibrator.lines()
    # Which of the lines between knots a margin lies on: as many as inner knots are not above it.
    constants |= zip(
        own("low", "high", "inner", "start", "value", "slope"),
        (knots[0], knots[-1], knots[None, 1:-1], knots[:-1, None], values[:-1, None], slopes[:, None]),
        strict=True,
    )
    return [
        node("Clip", own("margin", "low", "high"), own("within")),
        node("GreaterOrEqual", own("within", "inner"), own("passed")),
        node("Cast", own("passed"), own("counted"), to=TensorProto.INT64),
        node("ReduceSum", [*own("counted"), "one"], own("line"), keepdims=0),
        *(
            node("Gather", own(name, "line"), own(f"{name}_there"), axis=0)
            for name in ("start", "value", "slope")
        ),
        node("Sub", own("within", "start_there"), own("along")),
        node("Mul", own("along", "slope_there"), own("rise")),
        node("Add", own("value_there", "rise"), own("probability")),
    ]


def _splits(booster: xgboost.Booster, kinds: int) -> list[float]:
    """Values at which trees split the logits."""
    table = [line for tree in booster.get_dump() for line in tree.splitlines() if "[f" in line]
    pairs = (line.partition("[f")[2].partition("]")[0].split("<") for line in table)
    return [float(value) for feature, value in pairs if kinds <= int(feature) < 2 * kinds]


def _bytes(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(bytearray(data), np.uint8)[None]


def _info(name: str, datatype: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    kind = {"FP32": TensorProto.FLOAT, "INT32": TensorProto.INT32, "UINT8": TensorProto.UINT8}[datatype]
    return helper.make_tensor_value_info(name, kind, ["batch", *shape])
