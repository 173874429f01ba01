"""Faces of a response: where they are in the picture, and which of them the picture is about."""

from __future__ import annotations

import numpy as np
import pytest

from adlens import contract
from adlens.contract import ModelCard
from adlens.errors import ServerFault
from adlens.jobs import faces
from adlens.pictures import Picture
from tests.client.fake_triton import CARDS, Faces, outputs_for, response

BOX = (20.0, 30.0, 60.0, 90.0)


def read(people: Faces, size: tuple[int, int] = (480, 640), **options: int) -> faces.Faces:
    return faces.read(response(outputs_for(size, people, **options)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "scale"), [((480, 640), 1.0), ((240, 320), 1.0), ((960, 1280), 0.5), ((3200, 1600), 0.2)]
)
def test_boxes_and_landmarks_are_in_pixels_of_the_picture(size: tuple[int, int], scale: float) -> None:
    (face,) = read([(BOX, {})], size).faces
    assert face.box.to_json() == [round(side / scale, 1) for side in BOX]
    np.testing.assert_allclose(face.landmarks, [(30.0 / scale, 40.0 / scale)] * 5)


def test_boxes_are_clipped_to_the_picture() -> None:
    (face,) = read([((-20.0, -5.0, 700.0, 500.0), {})]).faces
    assert face.box.to_json() == [0, 0, 640, 480]


def test_more_faces_than_slots_are_warned_of() -> None:
    found = read([(BOX, {})] * contract.MAX_FACES, found=23)
    assert len(found.faces) == contract.MAX_FACES
    assert list(faces.warnings(found, ())) == ["23 faces found; only the 16 largest are judged"]


def test_a_detector_on_starter_weights_is_warned_of() -> None:
    starter = ModelCard(contract.DETECT_FACES, "0" * 16, True)
    (warning,) = faces.warnings(read([]), [starter])
    assert "faces are found at random" in warning
    assert not list(faces.warnings(read([]), CARDS.values()))


@pytest.mark.parametrize("name", [contract.BOXES, contract.PICTURE_SIZE, contract.LANDMARKS])
def test_a_response_that_lacks_something_is_the_servers_fault(name: str) -> None:
    outputs = outputs_for((480, 640), [(BOX, {})])
    del outputs[name]
    with pytest.raises(ServerFault, match=f"no output {name}"):
        faces.read(response(outputs))


@pytest.mark.parametrize(
    ("boxes", "size", "expected"),
    [
        ([[0, 0, 50, 50], [250, 250, 350, 350]], (600, 600), 1),
        ([[250, 250, 350, 350], [0, 0, 50, 50]], (600, 600), 0),
        # A little smaller, but in the middle.
        ([[0, 0, 110, 110], [250, 250, 350, 350]], (600, 600), 1),
        # Far larger, though aside.
        ([[0, 0, 500, 500], [290, 290, 310, 310]], (600, 600), 0),
        # The middle is that of the picture, height first.
        ([[200, 100, 300, 200], [270, 270, 370, 370]], (400, 600), 0),
        ([[10, 10, 20, 20]], (600, 600), 0),
    ],
)
def test_the_main_face_is_large_and_central(
    boxes: list[list[float]], size: tuple[int, int], expected: int
) -> None:
    assert faces.main_face(boxes, *size) == expected


def test_the_request_is_one_row_of_jpeg_bytes() -> None:
    image = faces.request(Picture(b"\xff\xd8jpeg", 1, 1, "x"))[contract.IMAGE]
    assert (image.shape, image.dtype) == ((1, 6), np.uint8)
    assert image.tobytes() == b"\xff\xd8jpeg"
