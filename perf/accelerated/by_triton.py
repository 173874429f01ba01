"""Triton: a running server's ensembles, JPEG bytes in and answers out, over gRPC."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from perf.accelerated.by_torch import Skip
from perf.accelerated.measuring import Array, Effort, Measurement

ENSEMBLES: Final = ("recommend_products", "describe_posts")
"""Those that take a picture and nothing else."""
IN_FLIGHT: Final = 256
TIMEOUT_S: Final = 120.0


def measure(url: str, jpeg: Array, effort: Effort, skip: Skip) -> Iterator[Measurement]:
    """Pictures a second with many requests at once; any that fails ends the figure."""
    for ensemble in ENSEMBLES:
        try:
            yield _one(url, ensemble, jpeg, effort)
        except InferenceServerException as error:
            skip(f"{ensemble}, Triton at {url}", str(error).splitlines()[0])


def _one(url: str, ensemble: str, jpeg: Array, effort: Effort) -> Measurement:
    callers = IN_FLIGHT if effort.round_s else 2
    with triton.InferenceServerClient(url) as client, ThreadPoolExecutor(callers) as pool:

        def ask(_: int) -> None:
            image = triton.InferInput("IMAGE", [1, len(jpeg)], "UINT8")
            image.set_data_from_numpy(jpeg[None])
            client.infer(ensemble, [image], client_timeout=TIMEOUT_S)

        list(pool.map(ask, range(callers)))
        count, began = 0, time.perf_counter()
        while not count or time.perf_counter() - began < effort.round_s * effort.rounds:
            list(pool.map(ask, range(4 * callers)))
            count += 4 * callers
        taken = time.perf_counter() - began
    return Measurement(
        ensemble, "Triton", "served", callers, count / taken, 1e3 * taken / count * callers,
        scope="end to end", inputs="real",
    )  # fmt: skip
