"""No work for callers who have gone: they cancelled, or their deadline has passed.

Triton 24.10 drops requests that were cancelled while they waited for a dynamic batch, and runs all others
that reach a model's own queue, however long nobody has been waiting for them. They get zeros here, which
nobody reads: an error would end an ensemble whose parallel steps still run, and 24.10 then dies of SIGSEGV
in ``TRITONBACKEND_ResponseSend`` when they answer.

Each question is a message to Triton's process and one back. So while everybody waits it is asked only now
and then, and work in vain lasts a moment at most.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import triton_python_backend_utils as pb_utils

from server.backends.configuration import Configuration

EVERY_S = 0.1
"""For so long, in seconds, nobody is taken to have gone where none had."""


class Absentees:
    """Tells requests that nobody waits for any longer, and answers them without work."""

    def __init__(self, configuration: Configuration) -> None:
        """Prepare for a model of this complete configuration."""
        self._batches = configuration["max_batch_size"] > 0
        self._next = 0.0
        self._outputs = {
            entry["name"]: (
                pb_utils.triton_string_to_numpy(entry["data_type"]),
                [max(1, int(size)) for size in entry["dims"]],
            )
            for entry in configuration["output"]
        }

    def answer_others(
        self,
        requests: list[pb_utils.InferenceRequest],
        answers: Callable[[list[pb_utils.InferenceRequest]], list[pb_utils.InferenceResponse]],
    ) -> list[pb_utils.InferenceResponse]:
        """``answers`` to the requests that somebody still waits for, zeros to the others, in order."""
        gone = self._gone(requests)
        waiting = [request for request, is_gone in zip(requests, gone, strict=True) if not is_gone]
        found = iter(answers(waiting) if waiting else [])
        return [
            self._zeros(request) if is_gone else next(found)
            for request, is_gone in zip(requests, gone, strict=True)
        ]

    def _gone(self, requests: Sequence[pb_utils.InferenceRequest]) -> list[bool]:
        """Of each request, whether nobody is known to wait for it any longer."""
        if time.monotonic() < self._next:
            return [False] * len(requests)
        gone = [bool(request.is_cancelled()) for request in requests]
        # Where one has gone, others may have, too.
        self._next = 0.0 if any(gone) else time.monotonic() + EVERY_S
        return gone

    def _zeros(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        rows = [len(request.inputs()[0].as_numpy())] if self._batches else []
        tensors = []
        for name in request.requested_output_names():
            datatype, dims = self._outputs[name]
            tensors.append(pb_utils.Tensor(name, np.zeros([*rows, *dims], datatype)))
        return pb_utils.InferenceResponse(tensors)
