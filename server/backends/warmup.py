"""Warm-up samples tried before Triton tries them: one that fails is a reason not to load, no more.

Triton 24.10 takes an instance whose warm-up failed down while its thread still runs, and then often dies
of SIGSEGV (``TritonModelInstance::TritonBackendThread::StopBackendThread``), with every model it serves.
An instance that refuses while it loads is taken down in order, so the samples are run there first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from server.backends.configuration import Configuration


def rehearse(
    configuration: Configuration,
    model_folder: Path,
    answers: Callable[[list[pb_utils.InferenceRequest]], list[pb_utils.InferenceResponse]],
) -> None:
    """Let ``answers`` answer the warm-up samples of a model's configuration.

    Raises:
        pb_utils.TritonModelException: a sample fails; with the reason that warm-up would give.
        OSError: the file of a sample's data cannot be read.
    """
    if _is_changed_on_the_way(configuration):
        return
    for requests in _samples(configuration, model_folder):
        for response in answers(requests):
            if response.has_error():
                raise pb_utils.TritonModelException(response.error().message())


def _is_changed_on_the_way(configuration: Configuration) -> bool:
    """Whether Triton hands a sample over otherwise than as it is configured."""
    return "sequence_batching" in configuration or any("reshape" in entry for entry in configuration["input"])


def _samples(configuration: Configuration, model_folder: Path) -> Iterator[list[pb_utils.InferenceRequest]]:
    """Each sample: as many requests of one row as its batch size, which is how Triton simulates batches."""
    outputs = [entry["name"] for entry in configuration["output"]]
    rows = [1] if configuration["max_batch_size"] > 0 else []
    for sample in configuration.get("model_warmup", ()):
        inputs = [
            pb_utils.Tensor(name, _values(entry, [*rows, *map(int, entry["dims"])], model_folder / "warmup"))
            for name, entry in sample["inputs"].items()
        ]
        request = pb_utils.InferenceRequest(
            model_name=configuration["name"], requested_output_names=outputs, inputs=inputs
        )
        yield [request] * max(1, int(sample["batch_size"]))


def _values(entry: dict[str, str], shape: list[int], folder: Path) -> npt.NDArray[np.generic]:
    """An input as ``ModelWarmup.Input`` in ``model_config.proto`` of triton-inference-server/common says."""
    datatype = np.dtype(pb_utils.triton_string_to_numpy(entry["data_type"]))
    is_text = datatype == np.object_
    if file := entry.get("input_data_file"):
        raw = (folder / file).read_bytes()
        values = pb_utils.deserialize_bytes_tensor(raw) if is_text else np.frombuffer(raw, datatype)
        return values.reshape(shape)
    if entry.get("random_data") and not is_text:
        raw = np.random.default_rng().bytes(math.prod(shape) * datatype.itemsize)
        return np.frombuffer(raw, datatype).reshape(shape)
    return np.full(shape, b"") if is_text else np.zeros(shape, datatype)
