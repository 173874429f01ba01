"""Faces of one picture, as every job that looks at people asks for them and reads them.

The server finds faces on a canvas; here their boxes and landmarks are brought back to the picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from adlens import contract
from adlens.answers import Box, Face
from adlens.contract import ModelCard
from adlens.pictures import Picture
from adlens.responses import output
from adlens.transport import InferResponse

OUTPUTS: Final = (
    contract.PICTURE_SIZE,
    contract.BOXES,
    contract.FACE_SCORES,
    contract.LANDMARKS,
    contract.FACE_COUNT,
    contract.card_output(contract.DETECT_FACES),
)
"""What to request: all of it, or Triton 24.10 may leave out the detector (server#7482)."""


@dataclass(frozen=True)
class Faces:
    """The faces of one picture of ``height`` x ``width`` pixels.

    ``found`` may exceed ``len(faces)``: the largest fill the slots.
    """

    height: int
    width: int
    found: int
    faces: tuple[Face, ...]


def request(picture: Picture) -> dict[str, npt.NDArray[np.uint8]]:
    """Input of an ensemble for one picture: IMAGE, uint8 [1, bytes]."""
    return {contract.IMAGE: np.frombuffer(picture.jpeg, np.uint8)[np.newaxis]}


def read(response: InferResponse) -> Faces:
    """Read the faces found, boxes and landmarks in pixels of the picture.

    Raises:
        ServerFault: the response breaks ``adlens.contract``.
    """
    height, width = (int(side) for side in output(response, contract.PICTURE_SIZE, (2,)))
    found = int(output(response, contract.FACE_COUNT, (1,))[0])
    slots = contract.MAX_FACES
    boxes = output(response, contract.BOXES, (slots, 4))
    scores = output(response, contract.FACE_SCORES, (slots,))
    landmarks = output(response, contract.LANDMARKS, (slots, len(contract.LANDMARK_NAMES), 2))
    scale = contract.letterbox_scale(height, width)
    corners = np.array([width, height], np.float64)
    faces = []
    for slot in range(min(found, slots)):
        box = np.clip(boxes[slot].reshape(2, 2) / scale, 0, corners)
        points = np.clip(landmarks[slot] / scale, 0, corners)
        faces.append(
            Face(Box(*box.ravel().tolist()), float(scores[slot]), tuple(map(tuple, points.tolist())))
        )
    return Faces(height, width, found, tuple(faces))


def main_face(boxes: npt.ArrayLike, height: float, width: float) -> int:
    """Index of the face that a picture is about: large and central.

    The one with the largest ``area - 2 * distance^2`` of its centre from the picture's, by the rule of
    facenet's ``align_dataset_mtcnn.py`` (David Sandberg, MIT).

    Args:
        boxes: of the faces, [faces, 4], at least one, in the unit of the next two.
        height: of the picture.
        width: of the picture.
    """
    corners = np.asarray(boxes, np.float64).reshape(-1, 2, 2)
    areas = (corners[:, 1] - corners[:, 0]).prod(axis=1)
    distances = np.square(corners.mean(axis=1) - (width / 2, height / 2)).sum(axis=1)
    return int((areas - 2 * distances).argmax())


def warnings(faces: Faces, cards: Iterable[ModelCard]) -> Iterator[str]:
    """Say where not all faces are in the answer, or it rests on chance."""
    if faces.found > contract.MAX_FACES:
        yield f"{faces.found} faces found; only the {contract.MAX_FACES} largest are judged"
    if any(card.starter for card in cards if card.model == contract.DETECT_FACES):
        yield (
            f"{contract.DETECT_FACES} runs on starter weights: faces are found at random; run `make models`"
        )
