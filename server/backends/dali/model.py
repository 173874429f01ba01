"""Triton Python-based backend ``dali``: runs DALI pipelines by DALI's Python package.

What it accepts and answers is the contract of the native backend (``pipeline.py``), with two
differences, both for the sake of the requests that share a batch with a bad one: a batch that fails
is run again by halves, and only the bad requests get an error, INVALID_ARGUMENT with the reason;
and with the model parameter ``adlens_gate: "jpeg"`` a broken or oversized JPEG is refused before the
decoder sees it. The native backend fails the whole batch and ignores the parameter.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from server.backends.configuration import (
    InvalidConfigurationError,
    integer_parameter,
    parameter,
    version_folder,
)
from server.backends.isolation import BadRequestError, run_isolated
from server.backends.pulse import Pulse

Array = npt.NDArray[Any]


class TritonPythonModel:
    """One instance of one DALI pipeline, in a process of its own."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: pb_utils.ModelConfig) -> pb_utils.ModelConfig:
        """Fill in what the configuration leaves out from what the pipeline declares."""
        # DALI takes a second to import: only where there is something to complete.
        from server.backends.dali import pipeline

        configuration = auto_complete_model_config.as_dict()
        if pipeline.is_complete(configuration):
            return auto_complete_model_config
        try:
            serialized = pipeline.serialized_pipeline(version_folder(configuration), configuration)
            pipeline.complete(configuration, pipeline.Runner(serialized))
        except InvalidConfigurationError as error:
            raise pb_utils.TritonModelException(str(error)) from error
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        """Load the pipeline and hold it against its configuration."""
        from server.backends.dali import gate, pipeline

        configuration = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        device = int(args["model_instance_device_id"]) if args["model_instance_kind"] == "GPU" else None
        try:
            serialized = pipeline.serialized_pipeline(folder, configuration)
            threads = integer_parameter(configuration, "num_threads", 1)
            self.runner = pipeline.Runner(serialized, configuration["max_batch_size"], threads, device)
            pipeline.validate(configuration, self.runner)
            self.gate = gate.choose_gate(parameter(configuration, "adlens_gate"))
        except InvalidConfigurationError as error:
            raise pb_utils.TritonModelException(str(error)) from error
        self.pulse = Pulse()
        self.outputs = [entry["name"] for entry in configuration["output"]]
        split = parameter(configuration, "split_along_outer_axis") or ""
        self.split = set(filter(None, split.split(":")))

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Answer each request, running as one batch all that pass the checks."""
        with self.pulse.beating():
            return self._answers(requests)

    def _answers(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        answers: list[Any] = [self._checked(request) for request in requests]
        good = [index for index, answer in enumerate(answers) if not isinstance(answer, Exception)]
        results = run_isolated([answers[index] for index in good], self._run)
        for index, result in zip(good, results, strict=True):
            answers[index] = result
        return [_response(answer) for answer in answers]

    def finalize(self) -> None:
        """Let go of the pipeline before the interpreter ends."""
        del self.runner
        self.pulse.end()

    def _checked(self, request: pb_utils.InferenceRequest) -> dict[str, Array] | Exception:
        """The request's inputs, each ``[samples, ...]``, or what is wrong with it."""
        try:
            # In the native backend: AllocateOutputs in src/dali_model_instance.cc.
            wanted = len(request.requested_output_names())
            if wanted != len(self.outputs):
                raise BadRequestError(
                    f"Number of outputs expected by the requests ({wanted}) does not match the number of "
                    f"outputs from DALI pipeline ({len(self.outputs)})."
                )
            inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            if len({len(values) for values in inputs.values()}) > 1:
                raise BadRequestError("Each input in a request must have the same batch size.")
            if self.gate is not None:
                self._inspect(inputs)
        except BadRequestError as error:
            return error
        return inputs

    def _inspect(self, inputs: dict[str, Array]) -> None:
        for values in inputs.values():
            if values.dtype == np.uint8 and values.ndim == 2 and self.gate is not None:
                for sample in values:
                    self.gate(sample.tobytes())

    def _run(self, requests: Sequence[dict[str, Array]]) -> list[list[pb_utils.Tensor]]:
        """The output tensors of each request, all from one run of the pipeline."""
        names = list(requests[0])
        outputs = self.runner.run({name: [row for each in requests for row in each[name]] for name in names})
        answers, start = [], 0
        for request in requests:
            end = start + len(request[names[0]])
            answers.append(
                [
                    pb_utils.Tensor(name, _joined(values[start:end], name in self.split))
                    for name, values in zip(self.outputs, outputs, strict=True)
                ]
            )
            start = end
        return answers


def _joined(samples: Sequence[Array], split: bool) -> Array:
    """Samples as one array: stacked, or, split along their outer axis, one after the other."""
    if split:
        return np.concatenate(samples)
    return samples[0][np.newaxis] if len(samples) == 1 else np.stack(samples)


def _response(answer: list[pb_utils.Tensor] | Exception) -> pb_utils.InferenceResponse:
    if not isinstance(answer, Exception):
        return pb_utils.InferenceResponse(answer)
    if isinstance(answer, BadRequestError):
        message = str(answer)
    else:
        message = f"DALI could not run this request: {_reason(str(answer))}"
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, pb_utils.TritonError.INVALID_ARG))


def _reason(message: str) -> str:
    """DALI's message less the traceback of the pipeline definition around it."""
    _, _, reason = message.rpartition("encountered:")
    return reason.replace("Current pipeline object is no longer valid.", "").strip()
