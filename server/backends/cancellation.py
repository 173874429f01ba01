"""No work for callers who have gone: they cancelled, or their deadline has passed.

Triton 24.10 drops requests that were cancelled while they waited for a dynamic batch, and runs all others
that reach a model's own queue, however long nobody has been waiting for them.
"""

from __future__ import annotations

from collections.abc import Callable

import triton_python_backend_utils as pb_utils


def answer_those_who_wait(
    requests: list[pb_utils.InferenceRequest],
    answers: Callable[[list[pb_utils.InferenceRequest]], list[pb_utils.InferenceResponse]],
) -> list[pb_utils.InferenceResponse]:
    """``answers`` to the requests that somebody still waits for, CANCELLED to the others, in order."""
    gone = [request.is_cancelled() for request in requests]
    found = iter(answers([request for request, is_gone in zip(requests, gone, strict=True) if not is_gone]))
    return [_cancelled() if is_gone else next(found) for is_gone in gone]


def _cancelled() -> pb_utils.InferenceResponse:
    error = pb_utils.TritonError("the caller has gone", pb_utils.TritonError.CANCELLED)
    return pb_utils.InferenceResponse(error=error)
