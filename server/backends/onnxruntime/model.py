"""Triton Python-based backend ``onnxruntime``: runs ONNX models by ONNX Runtime's Python package.

What it accepts and answers is the contract of the native backend: ``session.py`` (how a model is
loaded), ``signature.py`` (what fits it), ``batch.py`` (how requests become one run) and ``states.py``.
Beyond it: a request that fails in a batch fails alone, and rows may run side by side (``abreast.py``).

What stays out, and why:

* decoupled models, and ``cc_model_filenames`` on a GPU: refused at load;
* BYTES that are no UTF-8: refused a request at a time, as ONNX Runtime's Python package has text only;
* ``--backend-config=onnxruntime,...``: Triton does not hand it to a Python-based backend, so
  ``default-max-batch-size`` is its default, 4;
* ``share_session_between_instances``: ignored, as each instance is a process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import triton_python_backend_utils as pb_utils

from server.backends.cancellation import Absentees
from server.backends.configuration import version_folder
from server.backends.heap import Heap
from server.backends.isolation import BadRequestError, run_isolated
from server.backends.onnxruntime import signature
from server.backends.onnxruntime.batch import Batcher, SplitError, Tensors
from server.backends.onnxruntime.states import States
from server.backends.pulse import Pulse
from server.backends.warmup import rehearse


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
            path = model_file(version_folder(configuration), configuration, "CPU")
            session = create_session(path, configuration, "CPU", 0)
            signature.complete(configuration, signature.Signature.of(session))
        except Exception as error:  # ONNX Runtime's own errors have no root in common
            raise pb_utils.TritonModelException(_native(error)) from error
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model and hold it against its configuration."""
        from server.backends.onnxruntime.abreast import Abreast
        from server.backends.onnxruntime.session import create_session, model_file, run_options

        configuration = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        try:
            kind = args["model_instance_kind"]
            path = model_file(folder, configuration, kind)
            session = create_session(path, configuration, kind, int(args["model_instance_device_id"]))
            model = signature.Signature.of(session)
            signature.validate(configuration, model)
            self.session = Abreast(session, configuration)
            self.options = run_options(configuration)
        except Exception as error:
            raise pb_utils.TritonModelException(_native(error)) from error
        self.pulse = Pulse()
        self.absentees = Absentees(configuration)
        self.batcher = Batcher(configuration, model)
        self.states = States(configuration)
        self.batches = configuration["max_batch_size"] > 0
        self.heap = Heap()
        rehearse(configuration, folder.parent, self._answers)
        self.heap.trim()

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Answer each request that somebody waits for, running them as one batch where the model batches."""
        with self.pulse.beating():
            responses = self.absentees.answer_others(requests, self._answers)
            self.heap.used()
            return responses

    def _answers(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        groups = [requests] if self.batches else [[request] for request in requests]
        answers = [answer for group in groups for answer in run_isolated(group, self._run)]
        return [_response(answer) for answer in answers]

    def finalize(self) -> None:
        """Let go of the session before the interpreter ends."""
        del self.session
        self.pulse.end()

    def _run(self, requests: Sequence[pb_utils.InferenceRequest]) -> list[list[pb_utils.Tensor] | Exception]:
        """The output tensors of each request, all from one run of the model."""
        inputs = [self._inputs(request) for request in requests]
        wanted = [list(request.requested_output_names()) for request in requests]
        names = list(dict.fromkeys([*(name for each in wanted for name in each), *self.states.outputs]))
        feed = self.batcher.feed(inputs)
        outputs = self.session.run(names, feed, self.options)
        parts = self.batcher.divide(dict(zip(names, outputs, strict=True)), inputs)
        return [
            self._answer(request, part, each)
            for request, part, each in zip(requests, parts, wanted, strict=True)
        ]

    def _inputs(self, request: pb_utils.InferenceRequest) -> Tensors:
        inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        starts = bool(request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START)
        self.states.recall(request.correlation_id(), starts=starts, inputs=inputs)
        return inputs

    def _answer(
        self, request: pb_utils.InferenceRequest, outputs: Tensors | SplitError, wanted: list[str]
    ) -> list[pb_utils.Tensor] | Exception:
        if isinstance(outputs, SplitError):
            return outputs
        ends = bool(request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END)
        self.states.keep(request.correlation_id(), ends=ends, outputs=outputs)
        return [pb_utils.Tensor(name, outputs[name]) for name in wanted]


def _response(answer: list[pb_utils.Tensor] | Exception) -> pb_utils.InferenceResponse:
    if not isinstance(answer, Exception):
        return pb_utils.InferenceResponse(answer)
    codes = {BadRequestError: pb_utils.TritonError.INVALID_ARG, SplitError: pb_utils.TritonError.UNSUPPORTED}
    code = codes.get(type(answer), pb_utils.TritonError.INTERNAL)
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(_native(answer), code))


def _native(error: Exception) -> str:
    """An error's message; ONNX Runtime's as the native backend gives it (``RETURN_IF_ORT_ERROR``)."""
    # Its own form is "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : what is wrong".
    found = re.match(r"\[ONNXRuntimeError\] : (\d+) : \w+ : (.*)", str(error), re.DOTALL)
    return f"onnx runtime error {found[1]}: {found[2]}" if found else str(error)
