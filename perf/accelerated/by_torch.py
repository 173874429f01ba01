"""torch: eager, channels last in half precision, the same as a CUDA graph, and compiled."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from perf.accelerated.chips import Chip
from perf.accelerated.measuring import (
    Array,
    Effort,
    Measurement,
    gap,
    peak_memory,
    reset_memory,
    seconds,
    shares,
)
from perf.accelerated.subjects import Subject, cost

Run = Callable[[], Tensor]
Prepare = Callable[[nn.Module, Tensor], Run]
Skip = Callable[[str, str], None]
"""Takes what is left out, and why."""
HALVES: Final = {"fp16": torch.float16, "bf16": torch.bfloat16}
"""Processors compute in the latter, where they have it."""


@dataclass(frozen=True)
class Way:
    """One way of torch to run a network."""

    name: str
    precision: str
    prepare: Prepare
    on: tuple[str, ...] = ("cuda",)


def _eager(network: nn.Module, rows: Tensor) -> Run:
    return lambda: network(rows)


def _compiled(network: nn.Module, rows: Tensor) -> Run:
    compiled = torch.compile(network, mode="reduce-overhead")
    return lambda: compiled(rows)


def _graph(network: nn.Module, rows: Tensor) -> Run:
    """All launches recorded once and replayed."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            network(rows)
    torch.cuda.current_stream().wait_stream(side)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        found: Tensor = network(rows)

    def replay() -> Tensor:
        recorded.replay()
        return found

    return replay


WAYS: Final = (
    Way("torch", "fp32", _eager, on=("cuda", "cpu")),
    Way("torch", "tf32", _eager),
    Way("torch channels last", "bf16", _eager, on=("cpu",)),
    Way("torch channels last", "fp16", _eager),
    Way("torch channels last, CUDA graph", "fp16", _graph),
    Way("torch channels last, compiled", "fp16", _compiled),
)


def measure(
    subject: Subject, device: torch.device, chip: Chip | None, effort: Effort, skip: Skip
) -> Iterator[Measurement]:
    """All ways, at all batch sizes; one that fails is skipped, and so are larger batches of it."""
    network = subject.network.to(device)
    for way in WAYS:
        if device.type not in way.on:
            skip(f"{subject.name}, {way.name}, {way.precision}", f"runs on {', '.join(way.on)}")
            continue
        for batch in subject.batches or effort.batches:
            try:
                yield _one(subject, network, way, batch, device, chip, effort)
            except RuntimeError as error:  # out of memory, most often; compilers raise kinds of their own
                skip(f"{subject.name}, {way.name}, batch {batch}", str(error).splitlines()[0])
                break
    subject.network.to("cpu")


def _one(
    subject: Subject,
    network: nn.Module,
    way: Way,
    batch: int,
    device: torch.device,
    chip: Chip | None,
    effort: Effort,
) -> Measurement:
    given = subject.inputs(batch).to(device)
    reset_memory(device)
    with torch.inference_mode():
        expected = _reference(network, given)
        _allow_tf32(way.precision == "tf32")
        run = way.prepare(*_prepared(network, given, way.precision))
        found = _numbers(run())
        taken = seconds(run, device, effort)
    per_s = batch / taken
    spent = cost(network, given[:1], 2 if way.precision in HALVES else 4)
    operations, traffic = shares(per_s, batch, way.precision, spent, chip)
    return Measurement(
        subject.name, way.name, way.precision, batch, per_s, 1e3 * taken,
        parity=gap(expected, found), memory_bytes=peak_memory(device),
share_of_operations=operations, share_of_traffic=traffic,
    )  # fmt: skip


def _reference(network: nn.Module, given: Tensor) -> Array:
    _allow_tf32(allowed=False)
    return _numbers(network(given))


def _allow_tf32(allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def _prepared(network: nn.Module, given: Tensor, precision: str) -> tuple[nn.Module, Tensor]:
    """Network and input as the precision has them; canvases stay bytes."""
    if precision not in HALVES:
        return network, given
    half = HALVES[precision]
    halved = copy.deepcopy(network).to(half)
    halved = halved.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if given.dtype is torch.uint8:
        return halved, given
    rounded = given.to(half)
    is_picture = rounded.dim() == len("NCHW")
    return halved, rounded.to(memory_format=torch.channels_last) if is_picture else rounded


def _numbers(tensor: Tensor) -> Array:
    numbers: Array = tensor.detach().float().cpu().numpy()
    return numbers
