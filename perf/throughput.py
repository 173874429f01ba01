"""Pictures a second of ``recommend_products``, beside the same stages in one process.

Two ways take turns over the same pictures, A B A B, so that a drifting machine harms both alike:

* served: JPEG bytes over gRPC to a running server, from this process, a fixed number in flight;
* ceiling: the same DALI pipeline and the same ONNX graphs in this process, one thread for each core,
  each running whole pictures through all stages with one-thread sessions, and no server at all.

Not measured: large pictures, networks between client and server, more than one client. Any failed request
ends the run: with errors there is no figure.
"""

from __future__ import annotations

import json
import os
import platform
import runpy
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import numpy as np
import onnxruntime
import psutil
from numpy.typing import NDArray

from adlens import contract
from adlens.transport import Connection, Endpoint

CHECKOUT: Final = Path(__file__).parent.parent
Jpeg = NDArray[np.uint8]
Work = TypeVar("Work")


class InProcess:
    """All stages of ``recommend_products`` in this process, a pipeline a thread, sessions shared."""

    def __init__(self, threads: int = 1) -> None:
        """Load the models, each with ``threads`` of its own."""
        self._local = threading.local()
        self._detector = _session(contract.DETECT_FACES, threads)
        self._backbones = {
            contract.probabilities_output(name): _session(contract.attributes_model(name), threads)
            for name in contract.BACKBONES
        }

    def run(self, jpeg: Jpeg) -> dict[str, NDArray[Any]]:
        """What decoder, detector and all backbones find in one picture, by the ensemble's names."""
        if not hasattr(self._local, "pipeline"):
            self._local.pipeline = decoder()
        pixels = self._local.pipeline.run(**{contract.IMAGE: [jpeg]})[0].as_array()
        boxes, count = self._detector.run([contract.BOXES, contract.FACE_COUNT], {contract.PIXELS: pixels})
        inputs = {contract.PIXELS: pixels, contract.BOXES: boxes, contract.FACE_COUNT: count}
        found = {name: each.run(None, inputs)[0] for name, each in self._backbones.items()}
        return {contract.BOXES: boxes, contract.FACE_COUNT: count, **found}


def decoder() -> Any:  # noqa: ANN401 - DALI's pipelines have no public type
    """The served pipeline, one thread, one picture at a time."""
    definition = CHECKOUT / "ensembles" / contract.DECODE / "1" / "dali.py"
    pipeline = runpy.run_path(str(definition))[contract.DECODE](
        batch_size=1, num_threads=1, device_id=None, prefetch_queue_depth=1, exec_pipelined=False,
        exec_async=False,
    )  # fmt: skip
    pipeline.build()
    return pipeline


def _session(model: str, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    path = CHECKOUT / "model_repository" / model / "1" / "model.onnx"
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def rate(run: Callable[[Work], object], pictures: Sequence[Work], count: int, workers: int) -> float:
    """Pictures a second over ``count`` pictures with ``workers`` at a time; any error is raised."""
    work = [pictures[number % len(pictures)] for number in range(count)]
    with ThreadPoolExecutor(workers) as pool:
        # Started threads and warm caches, before the clock runs.
        list(pool.map(run, work[:workers]))
        began = time.perf_counter()
        list(pool.map(run, work))
        return count / (time.perf_counter() - began)


def measure(url: str, pictures: Sequence[Jpeg], count: int, rounds: int, in_flight: int) -> dict[str, Any]:
    """Both ways in turn; medians, their ratio round by round, and how busy the cores were when served."""
    ceiling = InProcess()
    cores = psutil.cpu_count() or 1
    served_rates, ceiling_rates, busy = [], [], []
    with Connection(Endpoint(url)) as connection:

        def serve(jpeg: Jpeg) -> object:
            return connection.infer(
                contract.RECOMMEND_PRODUCTS, {contract.IMAGE: jpeg[np.newaxis]}, timeout_s=120
            )

        for _ in range(rounds):
            psutil.cpu_percent()
            served_rates.append(rate(serve, pictures, count, in_flight))
            busy.append(psutil.cpu_percent())
            ceiling_rates.append(rate(ceiling.run, pictures, count, cores))
    ratios = [a / b for a, b in zip(served_rates, ceiling_rates, strict=True)]
    return {
        "served_pictures_per_s": round(statistics.median(served_rates), 2),
        "in_process_pictures_per_s": round(statistics.median(ceiling_rates), 2),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "cpu_percent_while_served": round(statistics.median(busy), 1),
        "in_flight": in_flight,
        "pictures": count,
        "rounds": rounds,
        "machine": machine(),
    }


def medians(
    rates: Mapping[str, Sequence[float]], ratios: Mapping[str, NDArray[np.float64]]
) -> dict[str, Any]:
    """Of rounds: the median rate of each way, of each ratio its median, and all ratios."""
    return {
        "pictures_per_s": {way: round(statistics.median(each), 2) for way, each in rates.items()},
        **{name: round(float(np.median(each)), 3) for name, each in ratios.items()},
        "ratios": {name: [round(ratio, 3) for ratio in each.tolist()] for name, each in ratios.items()},
    }


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {"cpu": _cpu(), "cores": psutil.cpu_count() or 1, "onnxruntime": onnxruntime.__version__}


def read_pictures(folder: Path) -> list[Jpeg]:
    """The JPEG files of a folder, by name.

    Raises:
        click.UsageError: there is none.
    """
    pictures = [np.fromfile(path, np.uint8) for path in sorted(folder.glob("*.jpg"))]
    if not pictures:
        raise click.UsageError(f"{folder}: no .jpg file")
    return pictures


def _cpu() -> str:
    """Name of the processor, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_BENCH"})
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--url", default=lambda: os.environ.get("ADLENS_URL", "127.0.0.1:8001"), show_default=False)
@click.option("--count", default=60, help="Pictures a round and way.")
@click.option("--rounds", default=3)
@click.option("--in-flight", default=16)
def main(folder: Path, url: str, count: int, rounds: int, in_flight: int) -> None:
    """Measure with the JPEG files of FOLDER and print the figures as JSON."""
    click.echo(json.dumps(measure(url, read_pictures(folder), count, rounds, in_flight), indent=2))


if __name__ == "__main__":
    main()
