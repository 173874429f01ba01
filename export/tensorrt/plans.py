"""From ``model.onnx`` to what a GPU runs: ``model.gpu.onnx``, on any machine, and ``model.plan``, on its own.

Each is held against ``model.onnx`` in ONNX Runtime before it is written, on real inputs, at batch 1 and at
the largest batch; where it misses the tolerance, nothing is written. The tolerance is fixed here, beforehand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from adlens import contract
from export import samples
from export.choices import Choice, Precision
from export.profiles import GPU_GRAPH, PLAN
from export.tensorrt.adaptation import adapted
from export.tensorrt.checking import Obstacle, obstacles
from export.tensorrt.engine import BuildError, Device, Shapes

Array = NDArray[Any]
Outputs = dict[str, Array]
SOURCE: Final = "model.onnx"
QUANTISED: Final = "model.int8-symmetric.onnx"
"""What quantisation for TensorRT leaves beside it: weights and activations symmetric, QuantizeLinear and
DequantizeLinear about them."""
TOLERANCES: Final = {
    Precision.FP32: 1e-3,
    Precision.TF32: 1e-2,
    Precision.FP16: 2e-2,
    Precision.INT8: 1e-1,
}
"""Largest difference allowed, in shares of an output's largest value where that is over 1."""
NUMPY: Final = {"UINT8": np.uint8, "INT32": np.int32, "INT64": np.int64, "FP32": np.float32}


class RefusedError(RuntimeError):
    """What was made is not written: TensorRT cannot take it, or it computes something else."""


@dataclass(frozen=True)
class Record:
    """What is kept beside a graph or plan, as JSON.

    Attributes:
        model: its name.
        source: file that it was made of.
        sha256: of that file.
        precision: of the numbers within.
        batch: largest.
        parity: largest difference to ``model.onnx``, by batch size, as in ``TOLERANCES``.
        tolerance: that was allowed.
        device: the GPU that it is for; None for a graph, which any runs.
    """

    model: str
    source: str
    sha256: str
    precision: str
    batch: int
    parity: Mapping[str, float]
    tolerance: float
    device: Device | None = None

    def same_but_for_parity(self, other: Mapping[str, Any]) -> bool:
        """Whether ``other``, read from a file, was made of the same for the same."""
        ours = json.loads(self.to_json())
        return {**ours, "parity": None} == {**other, "parity": None}

    def to_json(self) -> str:
        """For people and for ``is_current``."""
        return json.dumps(asdict(self), indent=2) + "\n"


class Builder(Protocol):
    """What ``export.tensorrt.engine.TensorRt`` does."""

    device: Device

    def build(self, graph: bytes, shapes: Mapping[str, Shapes], tf32: bool, timings: Path) -> bytes:
        """See there."""

    def run(
        self, plan: bytes, feeds: Mapping[str, Array], outputs: Mapping[str, tuple[Any, Any]]
    ) -> dict[str, Array]:
        """See there."""


def write_graph(model: str, choice: Choice, folder: Path, tensors: Mapping[str, Array]) -> Record:
    """Write ``model.gpu.onnx`` into a version folder, where it is not up to date.

    Args:
        model: name of the leaf.
        choice: what its GPU is to run.
        folder: with ``model.onnx``, and for int8 what was quantised of it.
        tensors: real inputs, by ``samples.collect``.

    Raises:
        RefusedError: a file is missing, TensorRT does not document it, or it computes something else.
    """
    source = folder / (QUANTISED if choice.precision is Precision.INT8 else SOURCE)
    if not source.exists():
        remedy = "quantise the model first" if choice.precision is Precision.INT8 else "make models"
        raise RefusedError(f"{model}: there is no {source.name} in {folder}; {remedy}")
    target, record = folder / GPU_GRAPH, _record(model, source, choice)
    if _is_current(target, record):
        return record
    graph = adapted(onnx.load(source), choice.precision)
    onnx.checker.check_model(graph)
    if found := obstacles(graph):
        raise RefusedError(f"{model}: {refusal(found)}")
    data = bytes(graph.SerializeToString())
    session = _session(data)

    def run(feeds: Mapping[str, Array]) -> Outputs:
        names = list(contract.MODELS[model].outputs)
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))

    return _judged(record, folder, tensors, run, min(choice.batch, contract.MAX_BATCH), target, data)


def write_plan(
    model: str, choice: Choice, folder: Path, tensors: Mapping[str, Array], builder: Builder, timings: Path
) -> Record:
    """Write ``model.plan`` into a version folder that has ``model.gpu.onnx``, where it is not up to date.

    Args:
        model: name of the leaf.
        choice: what its GPU is to run.
        folder: version folder.
        tensors: real inputs, by ``samples.collect``.
        builder: TensorRT.
        timings: its timing cache.

    Raises:
        RefusedError: TensorRT does not take the graph, or the plan computes something else.
    """
    source = folder / GPU_GRAPH
    target, record = folder / PLAN, _record(model, source, choice, builder.device)
    if _is_current(target, record):
        return record
    usual = choice.preferred[-1]
    inputs, outputs = contract.MODELS[model]
    shapes = {
        name: Shapes((1, *each.shape), (usual, *each.shape), (choice.batch, *each.shape))
        for name, each in inputs.items()
    }

    def run(feeds: Mapping[str, Array]) -> Outputs:
        rows = len(next(iter(feeds.values())))
        wanted = {
            name: ((rows, *each.shape), np.dtype(NUMPY[each.datatype])) for name, each in outputs.items()
        }
        return builder.run(data, feeds, wanted)

    try:
        data = builder.build(source.read_bytes(), shapes, choice.precision is not Precision.FP32, timings)
        return _judged(record, folder, tensors, run, choice.batch, target, data)
    except BuildError as error:
        raise RefusedError(f"{model}: {error}") from error


def refusal(found: list[Obstacle]) -> str:
    """What TensorRT does not take, and what to do about it, in a line."""
    listed = "; ".join(map(str, found[:3])) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")
    return f"TensorRT cannot take the graph: {listed}; choose another engine in export/choices.py"


def _record(model: str, source: Path, choice: Choice, device: Device | None = None) -> Record:
    return Record(
        model=model,
        source=source.name,
        sha256=hashlib.sha256(source.read_bytes()).hexdigest(),
        precision=choice.precision,
        batch=choice.batch,
        parity={},
        tolerance=TOLERANCES[choice.precision],
        device=device,
    )


def _is_current(target: Path, record: Record) -> bool:
    beside = target.with_suffix(".json")
    return target.exists() and beside.exists() and record.same_but_for_parity(json.loads(beside.read_text()))


def _judged(
    record: Record,
    folder: Path,
    tensors: Mapping[str, Array],
    run: Callable[[Mapping[str, Array]], Outputs],
    batch: int,
    target: Path,
    data: bytes,
) -> Record:
    """Write what was made, if it does what ``model.onnx`` does, at batch 1 and at ``batch``."""
    original = _session((folder / SOURCE).read_bytes())
    names = list(contract.MODELS[record.model].outputs)
    parity = {}
    for size in (1, batch):
        feeds = samples.rows(tensors, record.model, size)
        # One picture at a time: what a largest batch of the original would take, a GPU's host may lack.
        alone = [
            original.run(names, {name: feeds[name][row : row + 1] for name in feeds})
            for row in range(min(size, samples.ROWS))
        ]
        turns = np.arange(size) % len(alone)
        expected = {
            name: np.concatenate([outputs[place] for outputs in alone])[turns]
            for place, name in enumerate(names)
        }
        parity[str(size)] = difference(expected, run(feeds))
    worst = float(np.max([*parity.values()]))
    if not worst <= record.tolerance:
        raise RefusedError(
            f"{record.model}: {target.name} differs from {SOURCE} by {worst:.2e}, {record.tolerance:.0e} are "
            "allowed; nothing was written. Choose more precision in export/choices.py"
        )
    done = Record(**{**vars(record), "parity": parity})
    target.with_suffix(".json").write_text(done.to_json())
    partial = target.with_suffix(".partial")
    partial.write_bytes(data)
    partial.replace(target)
    return done


def difference(expected: Mapping[str, Array], found: Mapping[str, Array]) -> float:
    """Largest difference over all outputs, in shares of an output's largest value where that is over 1.

    Whole numbers, such as counts, places and ids, must be the same: infinite where they are not, or where an
    output has another shape or is no number.
    """
    gaps = [0.0]
    for name, want in expected.items():
        got = found[name]
        if want.shape != got.shape:
            return float("inf")
        if want.dtype.kind in "iub":
            gaps.append(0.0 if np.array_equal(want, got) else float("inf"))
            continue
        with np.errstate(invalid="ignore"):  # infinite less infinite
            gap = np.abs(want.astype(np.float64) - got)
        gap[(want == got) | (np.isnan(want) & np.isnan(got))] = 0
        largest = np.abs(want[np.isfinite(want)]).max(initial=1.0)
        gaps.append(float(np.nan_to_num(gap, nan=np.inf).max(initial=0.0) / largest))
    return max(gaps)


def _session(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = samples.THREADS
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
