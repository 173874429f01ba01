"""The rows of a batch side by side: as many runs of one session at a time as ``adlens_rows_abreast`` says.

Threads within a run wait for each other at every operator, and some operators have work for one alone; runs
of their own wait for nobody. So a crowd of faces is embedded in .85 of the time on two cores, with one copy
of the weights, where two instances would have two. The native backend does not read the parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import onnxruntime

from server.backends.configuration import Configuration, InvalidConfigurationError, integer_parameter
from server.backends.onnxruntime.batch import Array, SplitError, Tensors

PARAMETER = "adlens_rows_abreast"


def rows_abreast(configuration: Configuration) -> int:
    """Runs at a time; 1 where the configuration does not say.

    Raises:
        InvalidConfigurationError: it is below 1, or the model's rows cannot be told apart.
    """
    count = integer_parameter(configuration, PARAMETER, 1)
    if count < 1:
        raise InvalidConfigurationError(f"{PARAMETER} is {count}; it must be at least 1")
    if count == 1:
        return count
    inseparable = {
        "max_batch_size 0": configuration["max_batch_size"] < 1,
        "batch_input": bool(configuration.get("batch_input")),
        "batch_output": bool(configuration.get("batch_output")),
        "allow_ragged_batch": any(entry.get("allow_ragged_batch") for entry in configuration["input"]),
        "sequence_batching": "sequence_batching" in configuration,
    }
    for what, is_so in inseparable.items():
        if is_so:
            raise InvalidConfigurationError(
                f"{PARAMETER} is {count}, and with {what} a batch has no rows to run apart; remove one"
            )
    return count


class Abreast:
    """Runs a session, on several parts of a batch at a time where there is more than one row."""

    def __init__(self, session: onnxruntime.InferenceSession, configuration: Configuration) -> None:
        """Read from a configuration that fits the session's model.

        Raises:
            InvalidConfigurationError: as ``rows_abreast``.
        """
        self._session = session
        self._most = rows_abreast(configuration)
        self._pool = ThreadPoolExecutor(self._most) if self._most > 1 else None

    def run(
        self, names: Sequence[str], feed: Tensors, options: onnxruntime.RunOptions | None = None
    ) -> list[Array]:
        """The outputs ``names`` of all rows of ``feed``, in their order.

        Raises:
            SplitError: a part of the batch gave fewer or more rows than it was given.
            Exception: ONNX Runtime's own, of the first part that failed.
        """
        rows = {len(value) if value.ndim else 0 for value in feed.values()}
        # An initializer that a request replaces has no rows.
        if self._pool is None or len(rows) > 1 or max(rows) < 2:
            return self._run(names, feed, options)
        (whole,) = rows
        parts = min(self._most, whole)
        cuts = [whole * part // parts for part in range(parts + 1)]
        feeds = [{name: value[start:end] for name, value in feed.items()} for start, end in pairwise(cuts)]
        found = list(self._pool.map(lambda each: self._run(names, each, options), feeds))
        return [
            _joined(name, [outputs[place] for outputs in found], np.diff(cuts).tolist())
            for place, name in enumerate(names)
        ]

    def _run(self, names: Sequence[str], feed: Tensors, options: Any) -> list[Array]:  # noqa: ANN401 - ONNX Runtime has no types
        return list(self._session.run(names, feed, options))


def _joined(name: str, values: list[Array], rows: list[int]) -> Array:
    given = [len(value) if value.ndim else 0 for value in values]
    if given != rows:
        raise SplitError(
            f"output '{name}' has {given} rows where its inputs had {rows}: rows of this model cannot run "
            f"apart; remove {PARAMETER}"
        )
    if len({value.shape[1:] for value in values}) > 1:
        raise SplitError(
            f"output '{name}' has rows of different shapes, {[value.shape[1:] for value in values]}; "
            f"remove {PARAMETER}"
        )
    return np.concatenate(values)
