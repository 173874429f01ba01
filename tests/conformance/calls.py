"""Requests to models, as arrays by name."""

from __future__ import annotations

from typing import Any

import tritonclient.grpc as triton
from tritonclient.utils import np_to_triton_dtype


def infer(
    client: triton.InferenceServerClient,
    model: str,
    outputs: list[str] | None = None,
    options: dict[str, Any] | None = None,
    **inputs: Any,
) -> Any:
    """Ask ``model``; ``outputs`` None for all, ``options`` such as ``model_version`` or ``sequence_id``."""
    tensors = []
    for name, values in inputs.items():
        tensors.append(triton.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype)))
        tensors[-1].set_data_from_numpy(values)
    wanted = [triton.InferRequestedOutput(name) for name in outputs] if outputs else None
    return client.infer(model, tensors, outputs=wanted, client_timeout=30, **(options or {}))
