"""The JPEG gate as a model of its own, for NVIDIA's native DALI backend, which has none.

IMAGE uint8 [bytes] -> IMAGE, the same bytes. One bad picture makes that backend fail every request of
its dynamic batch (triton-inference-server/dali_backend#287), so the ensembles of the GPU profile put
this step before ``decode``: a bad picture gets INVALID_ARGUMENT with the reason, and its neighbours
never learn of it.

It lies in a repository of its own, ``gpu/``: Triton starts every model that a repository holds, and
the pip server, whose stand-in backend has the gate inside, would spend a process on it for nothing.

Runs in Triton's Python backend, where the client package must be installed: ``pip install adlens``.
"""

from __future__ import annotations

import triton_python_backend_utils as pb_utils

from adlens import contract, jpeg
from adlens.errors import BadImage


class TritonPythonModel:
    """One instance of the gate."""

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Answer each request on its own."""
        return [_answer(request) for request in requests]


def _answer(request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
    pictures = pb_utils.get_input_tensor_by_name(request, contract.IMAGE).as_numpy()
    try:
        jpeg.inspect_all(pictures)
    except BadImage as error:
        refused = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse(error=refused)
    return pb_utils.InferenceResponse([pb_utils.Tensor(contract.IMAGE, pictures)])
