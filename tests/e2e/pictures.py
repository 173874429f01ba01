"""Pictures that the end-to-end tests send, and how they ask for them and compare what comes back."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from PIL import ExifTags, Image

from adlens import Box, Face, contract
from adlens.transport import DEFAULT_TIMEOUT_S
from export import generated

TIMEOUT_S = DEFAULT_TIMEOUT_S
"""Of one picture: what callers get who ask for nothing else must do on a busy machine."""

FACES = (
    contract.PICTURE_SIZE,
    contract.BOXES,
    contract.FACE_SCORES,
    contract.LANDMARKS,
    contract.FACE_COUNT,
    contract.card_output(contract.DETECT_FACES),
)
"""All that is known of the faces of a picture but what they show."""


def encode(image: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    """``image`` as a file; ``options`` are Pillow's."""
    buffer = io.BytesIO()
    image.save(buffer, form, **{"quality": 95, **options})
    return buffer.getvalue()


def turned(image: Image.Image, orientation: int) -> bytes:
    """A JPEG whose stored pixels are turned, and whose EXIF ``orientation`` (CIPA DC-008) turns them back."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = image.transpose(undo[orientation]) if orientation in undo else image
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encode(stored, exif=exif, subsampling=0)


def astronauts(number: int) -> Image.Image:
    """The astronaut ``number`` times side by side."""
    one = generated.astronaut()
    row = Image.new("RGB", (number * one.width, one.height))
    for index in range(number):
        row.paste(one, (index * one.width, 0))
    return row


def crowd() -> Image.Image:
    """As many faces as an answer has slots."""
    face = generated.astronaut().crop((100, 0, 350, 250)).resize((160, 160), Image.Resampling.LANCZOS)
    picture = Image.new("RGB", (contract.CANVAS, contract.CANVAS))
    for index in range(contract.MAX_FACES):
        picture.paste(face, (160 * (index % 4), 160 * (index // 4)))
    return picture


def bomb() -> bytes:
    """A JPEG of a few kilobytes whose frame header promises 400 megapixels."""
    data = bytearray(encode(generated.astronaut()))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = (20_000).to_bytes(2, "big") * 2
    return bytes(data)


def backbone_outputs(backbone: str) -> tuple[str, str]:
    """What ``backbone`` adds to ``FACES``."""
    card = contract.card_output(contract.attributes_model(backbone))
    return contract.probabilities_output(backbone), card


def infer(
    client: triton.InferenceServerClient,
    jpeg: bytes,
    outputs: Sequence[str] | None = None,
    model: str = contract.RECOMMEND_PRODUCTS,
) -> triton.InferResult:
    """Ask an ensemble for ``outputs``, by default all, as any Triton client would."""
    image = triton.InferInput(contract.IMAGE, [1, len(jpeg)], "UINT8")
    image.set_data_from_numpy(np.frombuffer(jpeg, np.uint8)[np.newaxis])
    wanted = outputs and [triton.InferRequestedOutput(name) for name in outputs]
    return client.infer(model, [image], outputs=wanted, client_timeout=TIMEOUT_S)


def corners(face: Face) -> list[float]:
    """The box of ``face`` as x1, y1, x2, y2 in picture pixels."""
    box = face.box
    return [box.x1, box.y1, box.x2, box.y2]


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = min(one.x2, other.x2) - max(one.x1, other.x1)
    height = min(one.y2, other.y2) - max(one.y1, other.y1)
    common = max(width, 0) * max(height, 0)
    areas = [(box.x2 - box.x1) * (box.y2 - box.y1) for box in (one, other)]
    return common / (sum(areas) - common)
