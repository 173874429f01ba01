"""ONNX Runtime: every exported graph, by its providers for CUDA and TensorRT, or on the CPU.

Inputs and outputs are bound to the device, so that no copy is measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import onnxruntime
import torch

from perf.accelerated.by_torch import Skip
from perf.accelerated.graphs import REPOSITORY, Graph, graphs
from perf.accelerated.measuring import Array, Effort, Measurement, gap, seconds

PROVIDERS: Final = {
    "cuda": ("CUDAExecutionProvider", "TensorrtExecutionProvider"),
    "cpu": ("CPUExecutionProvider",),
}


def measure(
    device: torch.device, effort: Effort, skip: Skip, repository: Path = REPOSITORY
) -> Iterator[Measurement]:
    """All graphs by all providers of the device that are there, at all batch sizes."""
    built = graphs(repository)
    if not built:
        skip("ONNX Runtime", f"no model is built in {repository.name}; run: make models")
    available = onnxruntime.get_available_providers()
    for provider in PROVIDERS[device.type]:
        if provider not in available:
            skip(f"ONNX Runtime, {provider}", f"not in this one, which has {', '.join(available)}")
            continue
        for graph in built:
            for file, precision in ((graph.original, "fp32"), (graph.for_gpu, graph.precision)):
                if file is not None:
                    yield from _all_batches(graph, file, precision, provider, device, effort, skip)


def _all_batches(
    graph: Graph,
    file: Path,
    precision: str,
    provider: str,
    device: torch.device,
    effort: Effort,
    skip: Skip,
) -> Iterator[Measurement]:
    name = f"ONNX Runtime, {provider.removesuffix('ExecutionProvider')}"
    name += ", graph for GPUs" if file != graph.original else ""
    try:
        session, original = _session(file, provider), _session(graph.original, "CPUExecutionProvider")
        for batch in effort.batches:
            yield _one(graph, session, original, name, precision, batch, device, effort)
    except Exception as error:  # ONNX Runtime's errors have no common root but this
        skip(f"{graph.model}, {name}, {file.name}", str(error).splitlines()[0])


def _session(file: Path, provider: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(file), options, providers=[provider])


def _one(
    graph: Graph,
    session: onnxruntime.InferenceSession,
    original: onnxruntime.InferenceSession,
    name: str,
    precision: str,
    batch: int,
    device: torch.device,
    effort: Effort,
) -> Measurement:
    feeds, kind = graph.rows(session.get_inputs(), batch)
    binding = session.io_binding()
    for key, array in feeds.items():
        binding.bind_ortvalue_input(key, onnxruntime.OrtValue.ortvalue_from_numpy(array, device.type, 0))
    for output in session.get_outputs():
        binding.bind_output(output.name, device.type)
    taken = seconds(lambda: session.run_with_iobinding(binding), device, effort)
    first = {key: array[:1] for key, array in feeds.items()}
    return Measurement(
        graph.model, name, precision, batch, batch / taken, 1e3 * taken,
        parity=_worst(original.run(None, first), binding.copy_outputs_to_cpu()), inputs=kind,
    )  # fmt: skip


def _worst(expected: list[Any], found: list[Array]) -> float:
    """Largest difference of the first row, over all outputs that are no whole numbers."""
    pairs = zip(expected, found, strict=True)
    return max((gap(want, got[:1]) for want, got in pairs if want.dtype.kind == "f"), default=0.0)
