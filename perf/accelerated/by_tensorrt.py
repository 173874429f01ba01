"""TensorRT: the plans that were built for this GPU, from tensors that lie on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorrt
import torch

from perf.accelerated.by_torch import Skip
from perf.accelerated.graphs import REPOSITORY, Graph, graphs
from perf.accelerated.measuring import Effort, Measurement, seconds

_KINDS: Final = {np.dtype(np.float32): "tensor(float)", np.dtype(np.uint8): "tensor(uint8)",
                 np.dtype(np.int32): "tensor(int32)", np.dtype(np.int64): "tensor(int64)"}  # fmt: skip


class Given:
    """An input of a plan, as ONNX Runtime would describe it."""

    def __init__(self, name: str, shape: list[int], dtype: np.dtype[Any]) -> None:
        self.name, self.shape, self.type = name, shape, _KINDS[dtype]


def measure(
    device: torch.device, effort: Effort, skip: Skip, repository: Path = REPOSITORY
) -> Iterator[Measurement]:
    """All plans, at all batch sizes that they take."""
    built = [graph for graph in graphs(repository) if graph.plan]
    if not built:
        skip("TensorRT", "no plan is built; run: python -m export.tensorrt")
    for graph in built:
        try:
            yield from _all_batches(graph, device, effort)
        except RuntimeError as error:
            skip(f"{graph.model}, TensorRT", str(error).splitlines()[0])


def _all_batches(graph: Graph, device: torch.device, effort: Effort) -> Iterator[Measurement]:
    plan = graph.plan.read_bytes() if graph.plan else b""
    engine: Any = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR)).deserialize_cuda_engine(plan)
    if engine is None:
        raise RuntimeError("built for another GPU or version of TensorRT; run: python -m export.tensorrt")
    names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT]
    most = engine.get_tensor_profile_shape(inputs[0], 0)[2][0]
    for batch in (size for size in effort.batches if size <= most):
        context = engine.create_execution_context()
        given = [
            Given(
                name,
                list(engine.get_tensor_shape(name)),
                np.dtype(tensorrt.nptype(engine.get_tensor_dtype(name))),
            )
            for name in inputs
        ]
        rows, kind = graph.rows(given, batch)
        tensors = {name: torch.from_numpy(array).to(device) for name, array in rows.items()}
        for name, tensor in tensors.items():
            context.set_input_shape(name, tuple(tensor.shape))
        for name in names:
            if name not in tensors:
                dtype = torch.from_numpy(np.empty(0, tensorrt.nptype(engine.get_tensor_dtype(name)))).dtype
                shape = (batch, *list(engine.get_tensor_shape(name))[1:])
                tensors[name] = torch.empty(shape, dtype=dtype, device=device)
            context.set_tensor_address(name, tensors[name].data_ptr())
        stream = torch.cuda.current_stream(device).cuda_stream
        taken = seconds(lambda: context.execute_async_v3(stream), device, effort)  # noqa: B023 - run at once
        yield Measurement(
            graph.model, "TensorRT", graph.precision, batch, batch / taken, 1e3 * taken, inputs=kind,
            parity=graph.plan_parity, memory_bytes=int(engine.device_memory_size_v2),
        )  # fmt: skip
