"""How the hostile tests ask a server: many requests at once, each with its outcome."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2, service_pb2_grpc

from adlens import contract
from adlens.transport import infer_request, read_response

TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Outcome:
    """How a request ended: the name of its gRPC status, the message, and the answer where it is OK."""

    status: str
    message: str = ""
    answer: service_pb2.ModelInferResponse | None = None

    @property
    def ok(self) -> bool:
        """Whether it was answered."""
        return self.status == "OK"

    @property
    def outputs(self) -> Mapping[str, npt.NDArray[Any]]:
        """The tensors of the answer."""
        assert self.answer is not None, self.message
        return read_response(self.answer).outputs


class Caller:
    """Calls ``ModelInfer`` without any care for what is sent."""

    def __init__(self, url: str) -> None:
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        # Triton says long names back in its messages, which travel as metadata.
        options += [("grpc.max_metadata_size", 1 << 20), ("grpc.absolute_max_metadata_size", 1 << 20)]
        self._channel = grpc.insecure_channel(url, options)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def send(self, request: service_pb2.ModelInferRequest, timeout_s: float = TIMEOUT_S) -> Outcome:
        """One request and its outcome."""
        return self._outcome(self._stub.ModelInfer.future(request, timeout=timeout_s))

    def send_all(
        self, requests: Iterable[service_pb2.ModelInferRequest], in_flight: int
    ) -> Iterator[Outcome]:
        """Outcomes in the order of ``requests``, of which ``in_flight`` are under way at a time."""
        waiting: list[grpc.Future] = []
        for request in requests:
            if len(waiting) == in_flight:
                yield self._outcome(waiting.pop(0))
            waiting.append(self._stub.ModelInfer.future(request, timeout=TIMEOUT_S))
        yield from map(self._outcome, waiting)

    def send_together(self, requests: Sequence[service_pb2.ModelInferRequest]) -> list[Outcome]:
        """All at the same moment, so that they can share a batch."""
        with ThreadPoolExecutor(len(requests)) as pool:
            return list(pool.map(self.send, requests))

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    @staticmethod
    def _outcome(call: grpc.Future) -> Outcome:
        try:
            return Outcome("OK", answer=call.result())
        except grpc.RpcError as error:
            return Outcome(error.code().name, error.details() or "")


def ask(model: str, *pictures: bytes) -> service_pb2.ModelInferRequest:
    """A request for ``pictures``; the shorter ones are filled up with zeros behind their end."""
    longest = max(map(len, pictures))
    rows = np.stack([np.frombuffer(picture.ljust(longest, b"\0"), np.uint8) for picture in pictures])
    return infer_request(model, {contract.IMAGE: rows})
