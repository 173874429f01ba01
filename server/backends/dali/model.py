"""Triton Python-based backend ``dali``: runs DALI pipelines by DALI's Python package.

What it accepts and answers is the contract of the native backend (``pipeline.py``), with two
differences, both for the sake of the requests that share a batch with a bad one: a batch that fails
is run again by halves, and only the bad requests get an error, INVALID_ARGUMENT with the reason;
and with the model parameter ``adlens_gate: "jpeg"`` a broken or oversized JPEG is refused before the
decoder sees it. The native backend fails the whole batch and ignores the parameter, as this one fails
it with ``adlens_isolation: "off"``, so that both can be compared (``perf/isolation.py``).

What stays out, and why:

* ``fn.experimental.inputs.video``, ``max_batch_size: 0`` and decoupled models, which make several answers
  of one request: refused at load;
* a request whose samples come out in different shapes: refused, where the native backend lays them out
  as if all had the largest one's (``array_shape`` in ``src/dali_executor/utils/utils.h``);
* ``--backend-config=dali,plugin_libs=...``: Triton does not hand it to a Python-based backend; load
  plugins in ``dali.py``, by ``nvidia.dali.plugin_manager``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from server.backends.cancellation import Absentees
from server.backends.configuration import (
    InvalidConfigurationError,
    boolean_parameter,
    integer_parameter,
    parameter,
    version_folder,
)
from server.backends.heap import Heap
from server.backends.isolation import BadRequestError, forgetful, run_isolated, run_together
from server.backends.pulse import Pulse
from server.backends.warmup import rehearse

Array = npt.NDArray[Any]
Sample = dict[str, Array]
"""One row of each input, by name."""


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
            folder = version_folder(configuration)
            pipeline.refuse_unbatched(folder, configuration)
            device = pipeline.configured_device(configuration)
            serialized = pipeline.serialized_pipeline(folder, configuration, device)
            pipeline.complete(configuration, pipeline.Runner(serialized, device=device))
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
            serialized = pipeline.serialized_pipeline(folder, configuration, device)
            threads = integer_parameter(configuration, "num_threads", pipeline.OWN_THREADS)
            self.runner = pipeline.Runner(serialized, configuration["max_batch_size"], threads, device)
            pipeline.validate(configuration, self.runner)
            self.gate = gate.choose_gate(parameter(configuration, "adlens_gate"))
            self.isolates = boolean_parameter(configuration, "adlens_isolation", default=True)
        except InvalidConfigurationError as error:
            raise pb_utils.TritonModelException(str(error)) from error
        self.pulse = Pulse()
        self.absentees = Absentees(configuration)
        self.outputs = [entry["name"] for entry in configuration["output"]]
        self.split = pipeline.split_outputs(configuration)
        self.heap = Heap()
        rehearse(configuration, folder.parent, self._answers)
        self.heap.trim()

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Answer each request that somebody waits for, running as one batch all that pass the checks."""
        with self.pulse.beating():
            responses = self.absentees.answer_others(requests, self._answers)
            self.heap.used()
            return responses

    def _answers(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        checked = [self._checked(request) for request in requests]
        good = [sample for each in checked if isinstance(each, list) for sample in each]
        results = (
            run_isolated(good, self._run, self._run_part) if self.isolates else run_together(good, self._run)
        )
        left = iter(results)
        return [
            self._response(list(islice(left, len(each)))) if isinstance(each, list) else _refusal(each)
            for each in checked
        ]

    def finalize(self) -> None:
        """Let go of the pipeline before the interpreter ends."""
        del self.runner
        self.pulse.end()

    def _checked(self, request: pb_utils.InferenceRequest) -> list[Sample] | Exception:
        """The request's samples, or what is wrong with it."""
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
            if not all(map(len, inputs.values())):
                raise BadRequestError("A request must have at least one sample.")
            if self.gate is not None:
                for values in inputs.values():
                    self.gate(values)
        except BadRequestError as error:
            return forgetful(error)
        return [dict(zip(inputs, rows, strict=True)) for rows in zip(*inputs.values(), strict=True)]

    def _run(self, samples: Sequence[Sample]) -> list[tuple[Array, ...]]:
        """The outputs of each sample, all from one run of the pipeline, whose next run changes them."""
        outputs = self.runner.run({name: [sample[name] for sample in samples] for name in samples[0]})
        return list(zip(*outputs, strict=True))

    def _run_part(self, samples: Sequence[Sample]) -> list[tuple[Array, ...]]:
        """As ``_run``, and the outputs stay as they are when the next part runs."""
        return [tuple(output.copy() for output in outputs) for outputs in self._run(samples)]

    def _response(self, results: list[tuple[Array, ...] | Exception]) -> pb_utils.InferenceResponse:
        """The answer to one request, from the outputs of its samples."""
        for number, result in enumerate(results, 1):
            if isinstance(result, Exception):
                which = f"sample {number} of {len(results)}: " if len(results) > 1 else ""
                return _refusal(BadRequestError(f"DALI could not run this request: {which}{_reason(result)}"))
        try:
            return pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor(name, _joined(name, samples, name in self.split))
                    for name, samples in zip(self.outputs, zip(*results, strict=True), strict=True)
                ]
            )
        except BadRequestError as error:
            return _refusal(error)


def _joined(name: str, samples: Sequence[Array], split: bool) -> Array:
    """Samples as one array: stacked, or, split along their outer axis, one after the other."""
    if len({sample.shape[split:] for sample in samples}) > 1:
        raise BadRequestError(
            f"output '{name}' has samples of different shapes: send those pictures as requests of their own"
        )
    if split:
        return np.concatenate(samples)
    return samples[0][np.newaxis] if len(samples) == 1 else np.stack(samples)


def _refusal(error: Exception) -> pb_utils.InferenceResponse:
    return pb_utils.InferenceResponse(
        error=pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
    )


def _reason(error: Exception) -> str:
    """DALI's message less the traceback of the pipeline definition around it."""
    _, _, reason = str(error).rpartition("encountered:")
    return reason.replace("Current pipeline object is no longer valid.", "").strip(" :\n")
