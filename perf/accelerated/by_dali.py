"""DALI: the served decoder, from JPEG bytes to canvases on the device, and on to scores by torch."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import nvidia.dali
import torch
from torch import Tensor, nn
from torch.utils import dlpack

from perf.accelerated.by_torch import Skip
from perf.accelerated.graphs import CHECKOUT
from perf.accelerated.measuring import Array, Effort, Measurement, seconds
from perf.accelerated.subjects import ATTRIBUTES

PIPELINE: Final = CHECKOUT / "ensembles" / "decode" / "1" / "dali.py"
THREADS: Final = 8
"""Of the processor, for what the GPU does not do of a JPEG."""


def measure(
    device: torch.device, jpeg: Array, network: nn.Module, effort: Effort, skip: Skip
) -> Iterator[Measurement]:
    """Decoding alone, and decoding and ``network`` on the canvases: JPEG bytes in, scores out."""
    half = device.type == "cuda"
    network = network.to(device).half() if half else network.to(device)
    for batch in effort.batches:
        try:
            decode = _decoder(device, jpeg, batch)
            taken = seconds(decode, device, effort)
            yield Measurement(
                "decode", f"DALI {nvidia.dali.__version__}", "uint8", batch, batch / taken, 1e3 * taken,
                scope="end to end", inputs="real",
            )  # fmt: skip
            yield _scored(decode, network, "fp16" if half else "fp32", batch, device, effort)
        except RuntimeError as error:
            skip(f"DALI, batch {batch}", str(error).strip().splitlines()[0])
            return


def _decoder(device: torch.device, jpeg: Array, batch: int) -> Callable[[], Tensor]:
    on_gpu = device.type == "cuda"
    pipeline: Any = runpy.run_path(str(PIPELINE))["decode"](
        batch_size=batch, num_threads=THREADS, device_id=0 if on_gpu else None, prefetch_queue_depth=1,
        exec_pipelined=False, exec_async=False,
    )  # fmt: skip
    pipeline.build()
    files = [np.asarray(jpeg, np.uint8)] * batch

    def decode() -> Tensor:
        pixels = pipeline.run(IMAGE=files)[0]
        return dlpack.from_dlpack(pixels.as_tensor()) if on_gpu else torch.from_numpy(pixels.as_array())

    return decode


def _scored(
    decode: Callable[[], Tensor],
    network: nn.Module,
    precision: str,
    batch: int,
    device: torch.device,
    effort: Effort,
) -> Measurement:
    with torch.inference_mode():
        taken = seconds(lambda: network(decode()), device, effort)
    return Measurement(
        ATTRIBUTES, "DALI and torch", precision, batch, batch / taken, 1e3 * taken,
        scope="end to end", inputs="real",
    )  # fmt: skip
