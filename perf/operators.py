"""Where the time of one graph goes, by ONNX Runtime's profile: one thread, one request at a time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import onnxruntime

from perf.embedding import Feed

RUNS: Final = 12
"""That are counted, after two that are not."""
WARM_UP: Final = 2
LONGEST: Final = 6
"""Kinds of operators that are told; all others come together."""
OTHERS: Final = "all others"


def operator_ms(model: Path, feeds: Sequence[Feed]) -> dict[str, float]:
    """Milliseconds a run of the kinds of operators that take longest, and of OTHERS; a mean over RUNS.

    Args:
        model: an ONNX file.
        feeds: requests with their batch dimension, taken in turn.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_profiling = True
    with TemporaryDirectory() as folder:
        options.profile_file_prefix = f"{folder}/profile"
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        for number in range(WARM_UP + RUNS):
            session.run(None, feeds[number % len(feeds)])
        events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text())
    runs = sorted(event["ts"] for event in events if event["name"] == "model_run")
    spent: Counter[str] = Counter()
    for event in events:
        if event["name"].endswith("_kernel_time") and event["ts"] >= runs[WARM_UP]:
            spent[event["args"]["op_name"]] += event["dur"]
    told = dict(spent.most_common(LONGEST))
    told[OTHERS] = spent.total() - sum(told.values())
    return {name: round(microseconds / 1e3 / RUNS, 3) for name, microseconds in told.items()}
