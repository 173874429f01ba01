"""A leaf without a server: the same graph, or pipeline, in this process with the best thread settings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from adlens import contract
from perf.callers import Answered, closed
from perf.embedding import Feed
from perf.throughput import decoder


def best(model: Path, rows: Sequence[Feed], cores: int, seconds: float) -> Answered:
    """The better of two ways: a one-thread session for each core, or all cores in one session.

    Args:
        model: folder of the model, in a repository.
        rows: requests, without the batch dimension.
        cores: of this machine.
        seconds: of each way.
    """
    feeds = [{name: value[np.newaxis] for name, value in row.items()} for row in rows]
    if model.name == contract.DECODE:
        return closed([_decoding()] * cores, feeds, seconds, seconds / 4)
    version = max((each for each in model.iterdir() if each.name.isdigit()), key=lambda each: int(each.name))
    ways = [_session(version / "model.onnx", threads) for threads in (1, cores)]
    apart = closed([ways[0]] * cores, feeds, seconds, seconds / 4)
    together = closed([ways[1]], feeds, seconds, seconds / 4)
    return max(apart, together, key=lambda each: each.rate)


def _session(path: Path, threads: int) -> Callable[[Feed], object]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    opened = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda feed: opened.run(None, feed)


def _decoding() -> Callable[[Feed], object]:
    local = threading.local()

    def run(feed: Feed) -> Any:  # noqa: ANN401 - what DALI gives has no public type
        if not hasattr(local, "pipeline"):
            local.pipeline = decoder()
        return local.pipeline.run(**{contract.IMAGE: list(feed[contract.IMAGE])})

    return run
