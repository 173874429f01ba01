"""Requests that harm others, or are never answered, in Triton 24.10.

It keeps the number of rows in 32 bits, where 0 stands for a model without a batch dimension. So a request of
0 rows, or of a multiple of 2**32, reaches a Python backend without its first dimension, and the second one is
taken for the number of rows: all requests of the batch fail, or this one is never answered.
"""

from __future__ import annotations

import grpc
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from server.door.refusals import Refusal


def check(body: bytes) -> None:
    """See that the inference request ``body`` harms nobody.

    Raises:
        Refusal: it would.
    """
    try:
        request = service_pb2.ModelInferRequest.FromString(body)
    except DecodeError:
        return  # Triton says what is wrong with it
    for tensor in request.inputs:
        if tensor.shape and tensor.shape[0] % 2**32 == 0:
            raise Refusal(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"input '{tensor.name[:100]}' has shape {list(tensor.shape[:10])}; send at least one row",
            )
