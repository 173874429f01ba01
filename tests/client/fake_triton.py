"""A Triton that judges people by the colour of their picture: a real gRPC server, no models.

A red picture shows one face with a hat, a green one a beard, a blue one eyewear; a grey one a face with
nothing, a black one no face. What fails, and how, and what other models answer, the test says beforehand.
"""

from __future__ import annotations

import io
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc
import numpy as np
from PIL import Image, ImageOps
from tritonclient.grpc import service_pb2, service_pb2_grpc

from adlens import contract, transport
from adlens.contract import ModelCard
from adlens.transport import InferResponse

LABELS = ("hat", "beard", "eyewear")
COLOURS = {"hat": (220, 20, 20), "beard": (20, 220, 20), "eyewear": (20, 20, 220)}
COLOURS |= {"nothing": (130, 130, 130), "nobody": (0, 0, 0)}

CARDS = {
    "detect_faces": ModelCard("detect_faces", "d" * 16, False),
    "attributes_dlib": ModelCard("attributes_dlib", "a" * 16, False, LABELS, (0.9, 0.8, 0.7)),
    "attributes_vgg16": ModelCard("attributes_vgg16", "b" * 16, True, LABELS, (0.0, 0.0, 0.0)),
}

Model = Callable[[dict[str, np.ndarray[Any, Any]]], dict[str, np.ndarray[Any, Any]]]
Faces = list[tuple[tuple[float, float, float, float], dict[str, tuple[float, ...]]]]
"""Box in canvas pixels, and the probabilities of LABELS by backbone, of each face."""


def outputs_for(
    size: tuple[int, int],
    faces: Faces,
    *,
    cards: dict[str, ModelCard] | None = None,
    found: int | None = None,
) -> dict[str, np.ndarray[Any, Any]]:
    """Outputs of ``recommend_products`` for a picture of ``size`` (height, width) with ``faces``."""
    slots = contract.MAX_FACES
    cards = cards or CARDS
    outputs: dict[str, np.ndarray[Any, Any]] = {
        contract.PICTURE_SIZE: np.array([size], np.int32),
        contract.BOXES: np.zeros((1, slots, 4), np.float32),
        contract.FACE_SCORES: np.zeros((1, slots), np.float32),
        contract.LANDMARKS: np.zeros((1, slots, 5, 2), np.float32),
        contract.FACE_COUNT: np.array([[len(faces) if found is None else found]], np.int32),
    }
    for model, card in cards.items():
        outputs[contract.card_output(model)] = np.frombuffer(card.to_bytes(), np.uint8)[None]
        if card.labels:
            name = contract.probabilities_output(model.removeprefix("attributes_"))
            outputs[name] = np.zeros((1, slots, contract.MAX_LABELS), np.float32)
    for slot, (box, backbones) in enumerate(faces):
        outputs[contract.BOXES][0, slot] = box
        outputs[contract.FACE_SCORES][0, slot] = 0.99
        outputs[contract.LANDMARKS][0, slot] = np.array(box[:2]) + 10
        for backbone, probabilities in backbones.items():
            outputs[contract.probabilities_output(backbone)][0, slot, : len(probabilities)] = probabilities
    return outputs


def response(outputs: dict[str, np.ndarray[Any, Any]]) -> InferResponse:
    """What the transport would give for ``outputs``."""
    return InferResponse(contract.RECOMMEND_PRODUCTS, "1", outputs)


def _look(jpeg: bytes) -> dict[str, np.ndarray[Any, Any]]:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(jpeg))).convert("RGB")
    colour = np.asarray(image).mean((0, 1))
    seen = min(COLOURS, key=lambda name: float(np.abs(colour - COLOURS[name]).sum()))
    scale = contract.letterbox_scale(image.height, image.width)
    width, height = image.width * scale, image.height * scale
    box = (width * 0.25, height * 0.25, width * 0.75, height * 0.75)
    sure = tuple(0.9 if label == seen else 0.1 for label in LABELS)
    faces: Faces = [] if seen == "nobody" else [(box, {"dlib": sure, "vgg16": (0.5, 0.5, 0.5)})]
    return outputs_for((image.height, image.width), faces)


class FakeTriton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Listens on a free port of this machine until ``stop``.

    ``failures`` are answered first, each once; ``always`` is answered for ever; both with ``reason``, as
    the door in front of a real one gives; ``die_after`` calls the server stops. ``calls`` counts ModelInfer.
    ``models`` are further ones, by name: from inputs to outputs.
    """

    def __init__(self) -> None:
        self.failures: deque[tuple[grpc.StatusCode, str]] = deque()
        self.always: tuple[grpc.StatusCode, str] | None = None
        self.reason: contract.Reason | None = None
        self.models: dict[str, Model] = {}
        self.delay_s = 0.0
        self.die_after: int | None = None
        self.calls = 0
        self.busy = 0
        self.most_busy = 0
        self.metadata: dict[str, str] = {}
        self._lock = threading.Lock()
        limit = ("grpc.max_receive_message_length", contract.MAX_REQUEST_BYTES)
        self._server = grpc.server(ThreadPoolExecutor(32), options=[limit, ("grpc.so_reuseport", 0)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.url = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        """Drop all calls and listen no longer."""
        self._server.stop(grace=None).wait()

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        with self._lock:
            self.calls += 1
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
            failure = self.failures.popleft() if self.failures else self.always
            dying = self.die_after is not None and self.calls > self.die_after
        try:
            self.metadata = dict(context.invocation_metadata())
            time.sleep(self.delay_s)
            if dying:
                self._server.stop(grace=None)
                context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            if failure:
                if self.reason:
                    context.set_trailing_metadata(((contract.REASON_HEADER, self.reason.value),))
                context.abort(*failure)
            return self._answer(request)
        finally:
            with self._lock:
                self.busy -= 1

    def _answer(self, request: Any) -> Any:
        if request.model_name in self.models:
            given = zip(request.inputs, request.raw_input_contents, strict=True)
            inputs = {tensor.name: _array(tensor, raw) for tensor, raw in given}
            outputs = self.models[request.model_name](inputs)
        elif request.model_name == contract.RECOMMEND_PRODUCTS:
            outputs = _look(request.raw_input_contents[0])
        elif request.model_name == contract.RECOMMEND_PRODUCTS_FAST:
            looked = _look(request.raw_input_contents[0])
            outputs = {name: looked[name] for name in looked if not name.endswith("VGG16")}
        else:
            return _echo(
                request.model_name, list(zip(request.inputs, request.raw_input_contents, strict=True))
            )
        reply = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1")
        for name, array in outputs.items():
            datatype = transport.np_to_triton_dtype(array.dtype)
            reply.outputs.add(name=name, datatype=datatype, shape=array.shape)
            reply.raw_output_contents.append(array.tobytes())
        return reply

    def ModelReady(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return service_pb2.ModelReadyResponse(ready=request.name == contract.RECOMMEND_PRODUCTS)

    def ServerMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return service_pb2.ServerMetadataResponse(name="triton", version="2.51.0")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _array(tensor: Any, raw: bytes) -> np.ndarray[Any, Any]:
    dtype: Any = transport.triton_to_np_dtype(tensor.datatype)
    return np.frombuffer(raw, dtype).reshape(tuple(tensor.shape))


def _echo(model: str, inputs: list[tuple[Any, bytes]]) -> Any:
    """Give every input back as an output."""
    reply = service_pb2.ModelInferResponse(model_name=model, model_version="7")
    for tensor, raw in inputs:
        reply.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        reply.raw_output_contents.append(raw)
    return reply
