"""The exported graphs and their inputs: what ONNX Runtime and TensorRT run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from perf.accelerated.measuring import Array

CHECKOUT: Final = Path(__file__).parent.parent.parent
REPOSITORY: Final = CHECKOUT / "model_repository"
SEED: Final = 1
DTYPES: Final = {
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(float)": np.float32,
}


@dataclass(frozen=True)
class Graph:
    """An exported leaf.

    Attributes:
        model: its name.
        folder: its version folder.
        warmup: folder of real inputs, one row a file (``python -m export.samples``), if they were written.
    """

    model: str
    folder: Path
    warmup: Path

    @property
    def original(self) -> Path:
        """In single precision."""
        return self.folder / "model.onnx"

    @property
    def for_gpu(self) -> Path | None:
        """As TensorRT takes it, if it was written (``python -m export.tensorrt --graphs``)."""
        file = self.folder / "model.gpu.onnx"
        return file if file.exists() else None

    @property
    def plan(self) -> Path | None:
        """TensorRT's, if it was built."""
        file = self.folder / "model.plan"
        return file if file.exists() else None

    @property
    def plan_parity(self) -> float | None:
        """Largest difference to ``model.onnx`` that was seen when the plan was built."""
        beside = self.folder / "model.json"
        return max(json.loads(beside.read_text())["parity"].values()) if beside.exists() else None

    @property
    def precision(self) -> str:
        """Of the graph for GPUs, as is written beside it."""
        beside = self.folder / "model.gpu.json"
        return str(json.loads(beside.read_text())["precision"]) if beside.exists() else "fp32"

    def rows(self, inputs: list[Any], batch: int) -> tuple[dict[str, Array], str]:
        """The inputs of a batch, and whether they are ``real``.

        Args:
            inputs: as ONNX Runtime describes them; the first dimension is the batch.
            batch: its size.
        """
        found, kind = {}, "real"
        for each in inputs:
            shape, dtype = [batch, *each.shape[1:]], DTYPES[each.type]
            file = self.warmup / each.name
            if file.exists():
                row = np.fromfile(file, dtype).reshape(shape[1:])
                found[each.name] = np.ascontiguousarray(np.broadcast_to(row, shape))
            else:
                kind = "seeded"
                found[each.name] = _seeded(shape, dtype)
        return found, kind


def _seeded(shape: list[int], dtype: Any) -> Array:  # noqa: ANN401 - numpy's scalar types
    random = np.random.default_rng(SEED)
    if np.issubdtype(dtype, np.floating):
        return random.random(shape, dtype)
    return random.integers(0, 2, shape, dtype)


def graphs(repository: Path = REPOSITORY) -> list[Graph]:
    """Those that are built."""
    return [
        Graph(file.parents[1].name, file.parent, file.parents[1] / "warmup")
        for file in sorted(repository.glob("*/1/model.onnx"))
    ]
