"""Answers to requests that came before, so that a repeated picture costs no inference.

Triton 24.10's own cache knows a request by its inputs alone: who asks for some outputs gets those that the
first to ask has asked for, and so does everyone after (seen); and a canary that it answers tells nothing of
the models. Here a request is known by all of its bytes, less its id.

Only what always answers alike is kept: ensembles that read no gallery (``server.repository.constant``), and
requests without parameters, which may name shared memory or belong to a sequence.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Collection

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

_OVERHEAD_BYTES = 200
"""Of an entry, besides its answer, roughly."""


class Cache:
    """The latest answers, of which those not asked for the longest go first. For one event loop.

    Attributes:
        hits: requests that were answered from it.
        misses: requests that could have been.
    """

    def __init__(self, size: int) -> None:
        """Keep answers of ``size`` bytes together; 0 keeps none."""
        self.hits = self.misses = 0
        self._size = size
        self._used = 0
        self._beginning = 0
        self._models: frozenset[str] = frozenset()
        self._answers: OrderedDict[bytes, bytes] = OrderedDict()

    def start_anew(self, models: Collection[str]) -> None:
        """Forget all answers, as other models may give others; keep those of ``models`` from now on."""
        self._models = frozenset(models)
        self._beginning += 1
        self._answers.clear()
        self._used = 0

    def entry(self, body: bytes) -> Entry | None:
        """Where the answer to the inference request ``body`` is, or may be put; None where it is not kept."""
        if not self._size or not self._models:
            return None
        try:
            request = service_pb2.ModelInferRequest.FromString(body)
        except DecodeError:
            return None
        if request.model_name not in self._models or _has_parameters(request):
            return None
        name = request.id
        request.ClearField("id")
        key = hashlib.blake2b(request.SerializeToString(deterministic=True), digest_size=32).digest()
        return Entry(self, self._beginning, key, name)

    def find(self, key: bytes) -> bytes | None:
        """The answer under ``key``, less its id."""
        answer = self._answers.get(key)
        if answer is None:
            self.misses += 1
            return None
        self.hits += 1
        self._answers.move_to_end(key)
        return answer

    def keep(self, beginning: int, key: bytes, answer: bytes) -> None:
        """Put an ``answer``, less its id, under ``key``.

        One that is too large is not kept, nor one of before all were forgotten.
        """
        room = len(answer) + _OVERHEAD_BYTES
        if beginning != self._beginning or room > self._size or key in self._answers:
            return
        self._answers[key] = answer
        self._used += room
        while self._used > self._size:
            _, former = self._answers.popitem(last=False)
            self._used -= len(former) + _OVERHEAD_BYTES


class Entry:
    """The place of one request's answer; ``name`` is the id by which its caller knows it."""

    def __init__(self, cache: Cache, beginning: int, key: bytes, name: str) -> None:
        self._cache = cache
        self._beginning = beginning
        self._key = key
        self._name = name

    def find(self) -> bytes | None:
        """The answer with the caller's id; None where there is none yet."""
        answer = self._cache.find(self._key)
        if answer is None or not self._name:
            return answer
        # Messages of protocol buffers that stand behind each other are one.
        return answer + bytes(service_pb2.ModelInferResponse(id=self._name).SerializeToString())

    def keep(self, answer: bytes) -> None:
        """Put what Triton has answered."""
        if self._name:
            response = service_pb2.ModelInferResponse.FromString(answer)
            response.ClearField("id")
            answer = response.SerializeToString()
        self._cache.keep(self._beginning, self._key, answer)


def _has_parameters(request: service_pb2.ModelInferRequest) -> bool:
    tensors = (*request.inputs, *request.outputs)
    return bool(request.parameters) or any(tensor.parameters for tensor in tensors)
