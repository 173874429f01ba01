"""Triton Python-based backend ``onnxruntime``: runs ONNX models by ONNX Runtime's Python package.

What it accepts and answers is the contract of the native backend (``signature.py``, ``session.py``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from server.backends.configuration import InvalidConfigurationError, version_folder
from server.backends.isolation import run_isolated
from server.backends.onnxruntime import signature
from server.backends.pulse import Pulse

Array = npt.NDArray[Any]


class TritonPythonModel:
    """One instance of one ONNX model, in a process of its own."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: pb_utils.ModelConfig) -> pb_utils.ModelConfig:
        """Fill in inputs, outputs, batch size and batcher where the configuration lists no tensors."""
        configuration = auto_complete_model_config.as_dict()
        if not signature.needs_completion(configuration):
            return auto_complete_model_config
        # ONNX Runtime takes a while to import: only where there is something to complete.
        from server.backends.onnxruntime.session import create_session, model_file

        try:
            path = model_file(version_folder(configuration), configuration)
            session = create_session(path, configuration, "CPU", 0)
            signature.complete(configuration, signature.Signature.of(session))
        except InvalidConfigurationError as error:
            raise pb_utils.TritonModelException(str(error)) from error
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model and hold it against its configuration."""
        from server.backends.onnxruntime.session import create_session, model_file, run_options

        configuration = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        try:
            path = model_file(folder, configuration)
            kind = args["model_instance_kind"]
            self.session = create_session(path, configuration, kind, int(args["model_instance_device_id"]))
            model = signature.Signature.of(self.session)
            signature.validate(configuration, model)
            self.run_options = run_options(configuration)
        except InvalidConfigurationError as error:
            raise pb_utils.TritonModelException(str(error)) from error
        self.pulse = Pulse()
        given = (*model.inputs.values(), *model.initializers.values())
        self.scalars = {tensor.name for tensor in given if not tensor.shape}
        self.batches = configuration["max_batch_size"] > 0
        self.output_dims = {entry["name"]: entry["dims"] for entry in configuration["output"]}

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Answer each request, running them as one batch where the model batches."""
        with self.pulse.beating():
            answers = run_isolated(requests, self._run if self.batches else self._run_each)
        return [_response(answer) for answer in answers]

    def finalize(self) -> None:
        """Let go of the session before the interpreter ends."""
        del self.session
        self.pulse.end()

    def _run_each(self, requests: Sequence[pb_utils.InferenceRequest]) -> list[list[pb_utils.Tensor]]:
        return [answer for request in requests for answer in self._run([request])]

    def _run(self, requests: Sequence[pb_utils.InferenceRequest]) -> list[list[pb_utils.Tensor]]:
        """The output tensors of each request, all from one run of the model."""
        feeds = [self._feed(request) for request in requests]
        feed = feeds[0]
        if len(feeds) > 1:
            feed = {name: np.concatenate([each[name] for each in feeds]) for name in feeds[0]}
        wanted = [list(request.requested_output_names()) for request in requests]
        names = list(dict.fromkeys(name for each in wanted for name in each))
        values = dict(zip(names, self.session.run(names, feed, self.run_options), strict=True))
        if len(feeds) == 1 and not self.batches:
            return [[pb_utils.Tensor(name, self._shaped(name, values[name])) for name in wanted[0]]]
        rows = [len(next(iter(each.values()))) for each in feeds]
        return [
            [pb_utils.Tensor(name, part) for name, part in zip(each, parts, strict=True)]
            for each, parts in zip(wanted, _split(values, wanted, rows), strict=True)
        ]

    def _feed(self, request: pb_utils.InferenceRequest) -> dict[str, Array]:
        feed = {}
        for tensor in request.inputs():
            name, value = tensor.name(), tensor.as_numpy()
            feed[name] = _text(name, value) if value.dtype == object else value
            if name in self.scalars:
                feed[name] = feed[name].reshape(())
        return feed

    def _shaped(self, name: str, value: Array) -> Array:
        """A scalar takes the dimensions that the configuration gives it."""
        return value.reshape([int(size) for size in self.output_dims[name]]) if value.ndim == 0 else value


def _text(name: str, value: Array) -> Array:
    """BYTES as ONNX Runtime takes them: text."""
    try:
        return np.array([item.decode() for item in value.flat], dtype=object).reshape(value.shape)
    except UnicodeDecodeError as error:
        raise pb_utils.TritonModelException(f"input '{name}' is no UTF-8 text: {error}") from error


def _split(values: dict[str, Array], wanted: list[list[str]], rows: list[int]) -> list[list[Array]]:
    """Each request's rows of the outputs it wants; views, not copies."""
    total = sum(rows)
    for name, value in values.items():
        # BackendOutputResponder::ProcessTensor in triton-inference-server/backend.
        if value.shape[:1] != (total,):
            raise pb_utils.TritonModelException(
                f"failed to split the output tensor '{name}' in responses: expected batch size of atleast "
                f"{total} in model output, got {len(value) if value.ndim else 0}"
            )
    ends = np.cumsum(rows)
    return [
        [values[name][end - count : end] for name in names]
        for names, end, count in zip(wanted, ends, rows, strict=True)
    ]


def _response(answer: list[pb_utils.Tensor] | Exception) -> pb_utils.InferenceResponse:
    if not isinstance(answer, Exception):
        return pb_utils.InferenceResponse(answer)
    message = str(answer)
    # ONNX Runtime's own form is "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : what is wrong".
    if found := re.match(r"\[ONNXRuntimeError\] : (\d+) : \w+ : (.*)", message, re.DOTALL):
        message = f"onnx runtime error {found[1]}: {found[2]}"
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, pb_utils.TritonError.INTERNAL))
