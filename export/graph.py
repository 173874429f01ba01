"""From a torch module to a served ONNX graph that has proved itself.

``write_model`` exports with a dynamic batch, compares ONNX Runtime with torch at batch 1 and at the
largest batch, and writes ``model.onnx`` and ``manifest.json`` only when the difference stays within a
tolerance that was fixed beforehand. It never widens the tolerance to what it saw. ``write_graph`` does
the same for a graph of other making.
"""

from __future__ import annotations

import json
import logging
import platform
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from adlens import contract
from export.networks import embeddings, ops
from export.networks.card import Carded

OPSET: Final = 18
TOLERANCE: Final = 1e-3
"""Largest absolute difference between torch and ONNX Runtime, on probabilities and canvas pixels."""


Original = Callable[..., tuple[Tensor, ...]]
"""Takes the inputs of a graph and gives its outputs, computed by what the graph was made from."""


class ParityError(RuntimeError):
    """The exported graph does not compute what its original computes."""


@dataclass(frozen=True)
class Weights:
    """Where the weights of a model come from."""

    source: str
    """URL, or package and version, or ``seeded starter``."""
    licence: str
    sha256: str
    """Of the file as fetched; empty for seeded weights."""
    starter: bool = False


@dataclass(frozen=True)
class Manifest:
    """``manifest.json`` beside every exported model."""

    model: str
    weights: Weights
    digest: str
    """SHA-256 over all parameters of the exported network."""
    trained_on: str
    held_out: Mapping[str, Any]
    """Held-out figures, by label where there are labels."""
    parity: Mapping[str, float] = field(default_factory=dict)
    """Largest absolute difference to the original, by batch size."""
    tolerance: float = TOLERANCE
    opset: int = OPSET
    tools: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Signature:
    """Names of a graph's tensors, in order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def write_model(
    network: Carded,
    signature: Signature,
    batches: Sequence[tuple[Tensor, ...]],
    manifest: Manifest,
    folder: Path,
    tolerance: float = TOLERANCE,
) -> Manifest:
    """Export ``network``, judge it on ``batches`` and write it to ``folder``.

    Args:
        network: in evaluation mode, positional inputs in the order of ``signature.inputs``.
        signature: names on the wire.
        batches: real inputs, the first with one row, one with ``contract.MAX_BATCH`` rows.
        manifest: everything but parity and the versions of the tools, which are added here.
        folder: version folder of the model, made if missing.
        tolerance: largest absolute difference allowed.

    Raises:
        ParityError: the graph differs from torch by more than ``tolerance``.
    """
    graph = to_onnx(network, signature, batches[-1])
    return write_graph(graph, network, signature, batches, manifest, folder, tolerance)


def write_graph(
    graph: bytes,
    original: Original,
    signature: Signature,
    batches: Sequence[tuple[Tensor, ...]],
    manifest: Manifest,
    folder: Path,
    tolerance: float,
) -> Manifest:
    """Judge a serialised ``graph`` against its ``original``, and write it; otherwise as ``write_model``.

    Raises:
        ParityError: it differs by more than ``tolerance``.
    """
    parity = {str(rows[0].shape[0]): difference(original, graph, signature, rows) for rows in batches}
    worst = float(np.max([*parity.values()]))
    if not worst <= tolerance:
        raise ParityError(
            f"{manifest.model}: ONNX Runtime differs from the original by {worst:.2e} (allowed "
            f"{tolerance:.0e}); nothing was written"
        )
    written = replace(manifest, parity=parity, tolerance=tolerance, tools={**_tools(), **manifest.tools})
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "model.onnx", graph)
    replace_file(folder / "manifest.json", json.dumps(asdict(written), indent=2).encode() + b"\n")
    return written


def to_onnx(network: nn.Module, signature: Signature, example: tuple[Tensor, ...]) -> bytes:
    """The serialised graph of ``network``, its batch axis dynamic."""
    batch = torch.export.Dim("batch", min=1, max=4096)
    # The exporter reports at length on torchvision, which we do not have, and on its own deprecations.
    for reporter in ("torch.onnx", "onnx_ir", "onnxscript"):
        logging.getLogger(reporter).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(),
            example,
            dynamo=True,
            input_names=list(signature.inputs),
            output_names=list(signature.outputs),
            dynamic_shapes=(tuple({0: batch} for _ in example),),
            opset_version=OPSET,
            custom_translation_table={**ops.TRANSLATIONS, **embeddings.TRANSLATIONS},
            optimize=True,
            verbose=False,
        )
    if program is None:
        raise ParityError("the exporter returned no graph")
    model = program.model_proto
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def difference(original: Original, graph: bytes, signature: Signature, rows: tuple[Tensor, ...]) -> float:
    """Largest absolute difference to the original over all outputs; NaN where one is NaN."""
    with torch.no_grad():
        expected = original(*rows)
    session = open_session(graph)
    feeds = {name: tensor.numpy() for name, tensor in zip(signature.inputs, rows, strict=True)}
    gaps = [0.0]
    for name, want, got in zip(
        signature.outputs, expected, session.run(list(signature.outputs), feeds), strict=True
    ):
        if tuple(want.shape) != got.shape:
            raise ParityError(f"{name}: {tuple(want.shape)} by the original, {got.shape} by ONNX Runtime")
        gap = np.abs(want.numpy().astype(np.float64) - got.astype(np.float64))
        gaps.append(float(gap.max(initial=0.0)))
    # Not Python's max, which passes over NaN.
    return float(np.max(gaps))


def open_session(graph: bytes | Path, threads: int = 0) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the CPU; ``threads`` 0 takes all cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    source = graph if isinstance(graph, bytes) else str(graph)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _tools() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "contract": f"canvas {contract.CANVAS}, faces {contract.MAX_FACES}",
    }


def replace_file(path: Path, data: bytes) -> None:
    """Write so that a reader sees the old file or the new one, never half of it."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
    Path(file.name).chmod(0o644)
    Path(file.name).replace(path)
