"""A real inference: the only sign of health that can be trusted.

Triton calls a model ready when its process has started once; a stub that died later changes nothing
(triton-inference-server/server#8604). So a generated JPEG goes through every public ensemble, zeros
through the models that are no steps of one, and what comes back is held against the contract.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tritonclient.grpc as triton
from PIL import Image
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from adlens import contract
from server.door.triton import STUB_DIED
from server.errors import TritonFailedError
from server.repository import Model

PICTURE_SIZE = (120, 160)
"""Height and width of the generated picture, in pixels."""
_UNLOADED = "StatusCode.NOT_FOUND"
_NO_ANSWER = {"StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED", "StatusCode.CANCELLED"}


class Canary:
    """Sends a picture through every ensemble, and something through every model outside of them."""

    def __init__(self, url: str, models: Mapping[str, Model], timeout_s: float) -> None:
        """Ask the server, once, what its models take.

        Args:
            url: of Triton's gRPC service, as gRPC takes it.
            models: what is served.
            timeout_s: given to each model's description.

        Raises:
            TritonFailedError: it does not say.
        """
        self._client = triton.InferenceServerClient(url)
        steps = {step for model in models.values() for step in model.steps}
        try:
            self._configurations = {
                name: self._client.get_model_config(name, client_timeout=timeout_s).config
                for name in models
                if name not in steps
            }
        except InferenceServerException as error:
            raise TritonFailedError(f"the server does not describe its models: {error}") from error
        self._usual: dict[str, str | None] = {}

    def sing(self, timeout_s: float | None = None) -> None:
        """Run every one once, but for those that were unloaded meanwhile.

        Args:
            timeout_s: given to each; None: ``close`` ends it.

        Raises:
            TritonFailedError: a model does not answer, or not as the contract says.
        """
        for name, configuration in self._configurations.items():
            inputs = [_input(each, configuration.max_batch_size > 0) for each in configuration.input]
            try:
                answer = self._client.infer(name, inputs, client_timeout=timeout_s)
            except InferenceServerException as error:
                if error.status() == _UNLOADED or self._is_usual(name, error):
                    continue
                raise TritonFailedError(f"model '{name}' does not run: {error}") from error
            self._usual.setdefault(name, None)
            for output, expected in (ours.outputs if (ours := contract.MODELS.get(name)) else {}).items():
                _check_output(name, output, answer.as_numpy(output), expected)

    def _is_usual(self, name: str, error: InferenceServerException) -> bool:
        """Whether other people's model refuses zeros, and did so from the first; that too is an answer."""
        if name in contract.MODELS or error.status() in _NO_ANSWER or STUB_DIED in str(error):
            return False
        return bool(self._usual.setdefault(name, error.status()) == error.status())

    def close(self) -> None:
        """Cancel what is under way."""
        self._client.close()


def generated_picture() -> bytes:
    """A small JPEG, the same each time."""
    height, width = PICTURE_SIZE
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([rows, columns, rows + columns], axis=-1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def _input(tensor: model_config_pb2.ModelInput, batched: bool) -> triton.InferInput:
    data_type = model_config_pb2.DataType.Name(tensor.data_type).removeprefix("TYPE_")
    data_type = "BYTES" if data_type == "STRING" else data_type
    if tensor.name == contract.IMAGE:
        values = np.frombuffer(generated_picture(), np.uint8)
    else:
        shape = [max(1, size) for size in tensor.dims]
        values = np.full(shape, b"", object) if data_type == "BYTES" else _zeros(shape, data_type)
    values = values[np.newaxis] if batched else values
    tensor_input = triton.InferInput(tensor.name, list(values.shape), data_type)
    tensor_input.set_data_from_numpy(values)
    return tensor_input


def _zeros(shape: list[int], data_type: str) -> npt.NDArray[Any]:
    return np.zeros(shape, triton_to_np_dtype(data_type))


def _check_output(model: str, name: str, value: npt.NDArray[Any] | None, expected: contract.Tensor) -> None:
    if value is None:
        raise TritonFailedError(f"model '{model}' gives no {name}")
    if value.shape != (1, *expected.shape):
        raise TritonFailedError(
            f"model '{model}' gives {name} of shape {list(value.shape)}, the contract says "
            f"{[1, *expected.shape]}; build the models anew: make models"
        )
    if name == contract.PICTURE_SIZE and tuple(value[0]) != PICTURE_SIZE:
        raise TritonFailedError(f"model '{model}' gives {name} {value[0]} for {PICTURE_SIZE}")
    if expected is contract.TENSORS[contract.CARD]:
        try:
            contract.ModelCard.from_bytes(value[0].tobytes())
        except ValueError as error:
            raise TritonFailedError(f"model '{model}' gives a bad {name}: {error}") from error
