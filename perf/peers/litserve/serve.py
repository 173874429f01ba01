"""``python -m perf.peers.litserve.serve PORT``: a JPEG in base64 by POST to /predict, JSON out.

As LitServe's documentation sends pictures. A worker process for each core, with a pipeline and one-thread
sessions of its own: its way to several pictures at a time. LitServe reads the annotations of ``Products``,
and not as text: they are not postponed here.
"""

import base64
import os
import sys

import litserve
import numpy as np

from perf.peers.stages import Answer, answer
from perf.throughput import InProcess, Jpeg


class Products(litserve.LitAPI):  # type: ignore[misc, unused-ignore]
    """Job 1."""

    def setup(self, device: str) -> None:
        """Load the models into a worker."""
        self._stages = InProcess()

    def decode_request(self, request: dict[str, str]) -> Jpeg:
        """The picture's bytes."""
        return np.frombuffer(base64.b64decode(request["image"]), np.uint8)

    def predict(self, jpeg: Jpeg) -> Answer:
        """Faces and probabilities of one picture."""
        return answer(self._stages.run(jpeg))

    def encode_response(self, found: Answer) -> Answer:
        """As it is: it becomes JSON."""
        return found


if __name__ == "__main__":
    server = litserve.LitServer(Products(), accelerator="cpu", workers_per_device=os.cpu_count() or 1)
    server.run(port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
