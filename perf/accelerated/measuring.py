"""One way to measure for all engines: rounds of runs behind a warm-up, the median round, peak memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from perf.accelerated.chips import Chip

Array = NDArray[Any]
WARM_UPS: Final = 3


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        batches: sizes to try.
        round_s: seconds that a round lasts at least.
        rounds: of which the median counts.
        side: of pictures for the bare networks, in pixels; None for each network's own.
        photos: in the gallery that is searched.
        queries: at once.
    """

    batches: tuple[int, ...] = (1, 8, 64, 256)
    round_s: float = 1.0
    rounds: int = 5
    side: int | None = None
    photos: int = 1_000_000
    queries: int = 256


DRY: Final = Effort(batches=(1,), round_s=0.0, rounds=1, side=64, photos=1_000, queries=4)
"""Shows that all of it runs, and measures nothing."""


@dataclass(frozen=True)
class Measurement:
    """What one engine reaches with one subject, at one batch size and precision.

    Attributes:
        subject: what is run, such as ``resnet50``.
        engine: by what.
        precision: of the numbers within.
        batch: rows in a run.
        per_s: rows a second: pictures, or queries.
        ms: of a run.
        scope: ``engine`` from tensors on the device, ``end to end`` from JPEG bytes.
        parity: largest difference to single precision, in shares of the largest value where that is over 1;
            None where there is nothing to compare with.
        memory_bytes: most that was taken of the device; None where it cannot be told.
        share_of_operations: of the chip's peak; None where they are not counted, or the peak is not known.
        share_of_traffic: of the chip's peak of bytes to and from memory, had each tensor gone once.
        inputs: ``real``, or what stands for it.
    """

    subject: str
    engine: str
    precision: str
    batch: int
    per_s: float
    ms: float
    scope: str = "engine"
    parity: float | None = None
    memory_bytes: int | None = None
    share_of_operations: float | None = None
    share_of_traffic: float | None = None
    inputs: str = "seeded"

    def to_json(self) -> dict[str, Any]:
        """For the report."""
        return asdict(self)


@dataclass(frozen=True)
class Cost:
    """What a run costs at least.

    Attributes:
        operations: of a row; a product and a sum are two.
        weights: bytes that a run reads, whatever its rows.
        traffic: bytes of what layers take and give for a row.
    """

    operations: float
    weights: float
    traffic: float


def synchronise(device: torch.device) -> None:
    """Wait for what the device has been given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(run: Callable[[], object], device: torch.device, effort: Effort) -> float:
    """Of one run, the median of rounds; each round ends when the device is done."""
    for _ in range(WARM_UPS if effort.round_s else 1):
        run()
    synchronise(device)
    rounds = []
    for _ in range(effort.rounds):
        runs, began = 0, time.perf_counter()
        while not runs or time.perf_counter() - began < effort.round_s:
            # Several before the clock is read, as reading it waits for nothing.
            for _ in range(1 if not effort.round_s else 8):
                run()
                runs += 1
            synchronise(device)
        rounds.append((time.perf_counter() - began) / runs)
    return statistics.median(rounds)


def peak_memory(device: torch.device) -> int | None:
    """Most bytes of a GPU that torch has taken since ``reset_memory``."""
    return int(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else None


def reset_memory(device: torch.device) -> None:
    """Count anew from here."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def shares(
    per_s: float, batch: int, precision: str, cost: Cost, chip: Chip | None
) -> tuple[float | None, float | None]:
    """Of the chip's peak, in operations and in traffic; None where it is not known."""
    if chip is None:
        return None, None
    peak = chip.operations.get(precision)
    traffic = per_s * (cost.traffic + cost.weights / batch) / chip.bytes_per_s
    return per_s * cost.operations / peak if peak else None, traffic


def gap(expected: Array, found: Array) -> float:
    """Largest difference, in shares of the largest expected value where that is over 1.

    What is infinite or no number on both sides is the same; on one side alone, the difference is the largest
    number that JSON can carry.
    """
    with np.errstate(invalid="ignore"):  # infinite less infinite
        difference = np.abs(expected.astype(np.float64) - found.astype(np.float64))
    difference[(expected == found) | (np.isnan(expected) & np.isnan(found))] = 0
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=1.0)
    bounded = np.nan_to_num(difference, nan=float(np.finfo(np.float64).max))
    return float(bounded.max(initial=0.0) / largest)
