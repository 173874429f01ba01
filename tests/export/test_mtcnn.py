"""MTCNN as one module and one graph finds the faces of real pictures."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import skimage.data
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from adlens.contract import (
    BOXES,
    CANVAS,
    DETECT_FACES,
    FACE_COUNT,
    FACE_SCORES,
    LANDMARKS,
    MAX_FACES,
    PIXELS,
    letterbox_scale,
)
from export.graph import open_session
from export.models import REPOSITORY, is_built
from export.networks import mtcnn
from export.networks.ops import TRANSLATIONS

# torch.export warns of its own use of deprecated parts of itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")

TOLERANCE = 1e-3

Pixels = NDArray[np.uint8]
Answer = list[NDArray[Any]]


def canvas(image: Image.Image) -> Pixels:
    """Letterbox: upright, never enlarged, at the top left of a black canvas."""
    image = ImageOps.exif_transpose(image).convert("RGB")
    scale = letterbox_scale(image.height, image.width)
    if scale < 1:
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image = image.resize(size, Image.Resampling.BILINEAR)
    pixels = np.zeros((CANVAS, CANVAS, 3), np.uint8)
    pixels[: image.height, : image.width] = np.asarray(image)
    return pixels


def astronaut(size: int = 512, mirrored: bool = False) -> Pixels:
    image = Image.fromarray(skimage.data.astronaut()).resize((size, size), Image.Resampling.BILINEAR)
    return canvas(ImageOps.mirror(image) if mirrored else image)


def two_astronauts() -> Pixels:
    pixels = astronaut(300)
    pixels[320:620, 320:620] = pixels[:300, :300]
    return pixels


def blank() -> Pixels:
    return np.zeros((CANVAS, CANVAS, 3), np.uint8)


@pytest.fixture(scope="module")
def network() -> mtcnn.Mtcnn:
    return mtcnn.load_mtcnn()


@pytest.fixture(scope="module")
def session(network: mtcnn.Mtcnn, tmp_path_factory: pytest.TempPathFactory) -> onnxruntime.InferenceSession:
    """The graph as it is served, where today's code has built that; else one exported here."""
    if is_built(DETECT_FACES, None, REPOSITORY):
        return open_session(REPOSITORY / DETECT_FACES / "1" / "model.onnx")
    path = tmp_path_factory.mktemp("mtcnn") / "model.onnx"
    torch.onnx.export(
        network,
        (torch.from_numpy(np.stack([astronaut(), blank()])),),
        path,
        dynamo=True,
        opset_version=18,
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        custom_translation_table=TRANSLATIONS,
        input_names=[PIXELS],
        output_names=[BOXES, FACE_SCORES, LANDMARKS, FACE_COUNT],
        verbose=False,
    )
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def eager(network: mtcnn.Mtcnn, pictures: Sequence[Pixels]) -> Answer:
    with torch.inference_mode():
        return [output.numpy() for output in network(torch.from_numpy(np.stack(pictures)))]


def served(session: onnxruntime.InferenceSession, pictures: Sequence[Pixels]) -> Answer:
    names = [BOXES, FACE_SCORES, LANDMARKS, FACE_COUNT]
    return list(session.run(names, {PIXELS: np.stack(pictures)}))


def assert_equal(ours: Answer, theirs: Answer, tolerance: float) -> None:
    for our, their in zip(ours, theirs, strict=True):
        assert our.dtype == their.dtype
        np.testing.assert_allclose(our, their, rtol=0, atol=tolerance)


def test_the_astronaut_has_one_face_where_her_face_is(session: onnxruntime.InferenceSession) -> None:
    boxes, scores, landmarks, count = served(session, [astronaut()])
    assert count.tolist() == [[1]]
    assert scores[0, 0] > 0.99
    np.testing.assert_allclose(boxes[0, 0], [179, 62, 266, 173], atol=8)
    left_eye, right_eye, nose, mouth_left, mouth_right = landmarks[0, 0]
    # Read off the picture by eye.
    np.testing.assert_allclose(left_eye, [204, 101], atol=5)
    np.testing.assert_allclose(right_eye, [247, 102], atol=5)
    np.testing.assert_allclose(nose, [225, 128], atol=5)
    assert mouth_left[1] > nose[1]
    assert mouth_left[0] < nose[0] < mouth_right[0]


def test_landmarks_of_a_mirrored_picture_are_mirrored(session: onnxruntime.InferenceSession) -> None:
    landmarks = served(session, [astronaut(), astronaut(mirrored=True)])[2][:, 0]
    mirrored = landmarks[1] * [-1, 1] + [512, 0]
    np.testing.assert_allclose(mirrored[[1, 0, 2, 4, 3]], landmarks[0], atol=3)


def test_empty_slots_are_zero(session: onnxruntime.InferenceSession) -> None:
    boxes, scores, landmarks, _ = served(session, [astronaut()])
    assert boxes.shape == (1, MAX_FACES, 4)
    assert landmarks.shape == (1, MAX_FACES, 5, 2)
    for output in (boxes, scores, landmarks):
        assert (output[0, 1:] == 0).all()


def test_faces_come_largest_first_and_within_the_canvas(session: onnxruntime.InferenceSession) -> None:
    pixels = astronaut(360)
    pixels[:220, 400:620] = astronaut(220)[:220, :220]
    # A face cut by the edge of the canvas.
    pixels[440:, :300] = astronaut(300)[20:220, :300]
    boxes, _, _, count = served(session, [pixels])
    assert count.tolist() == [[3]]
    area = (boxes[0, :3, 2:] - boxes[0, :3, :2]).prod(1)
    assert (np.diff(area) <= 0).all()
    assert boxes.min() >= 0
    assert boxes.max() <= CANVAS


def test_more_faces_than_slots_are_counted(session: onnxruntime.InferenceSession) -> None:
    face = astronaut(320)[30:130, 90:190]
    pixels = blank()
    for index in range(20):
        row, column = divmod(index, 5)
        pixels[row * 128 : row * 128 + 100, column * 128 : column * 128 + 100] = face
    _, scores, _, count = served(session, [pixels])
    assert count.tolist() == [[20]]
    assert (scores > 0.8).all()


def test_a_blank_picture_has_no_face(network: mtcnn.Mtcnn, session: onnxruntime.InferenceSession) -> None:
    for answer in (eager(network, [blank()]), served(session, [blank()])):
        assert all((output == 0).all() for output in answer)


def test_a_batch_equals_its_pictures_one_by_one(session: onnxruntime.InferenceSession) -> None:
    pictures = [
        blank(),
        astronaut(),
        two_astronauts(),
        astronaut(200, mirrored=True),
        blank(),
        astronaut(300),
    ]
    batch = served(session, pictures)
    assert batch[3][:, 0].tolist() == [0, 1, 2, 1, 0, 1]
    for index, picture in enumerate(pictures):
        assert_equal([output[index : index + 1] for output in batch], served(session, [picture]), 1e-4)


def test_graph_and_torch_agree(network: mtcnn.Mtcnn, session: onnxruntime.InferenceSession) -> None:
    pictures = [astronaut(160 + 60 * index, mirrored=index % 2 == 0) for index in range(7)] + [
        two_astronauts()
    ]
    assert_equal(served(session, pictures), eager(network, pictures), TOLERANCE)
    assert_equal(served(session, pictures[:1]), eager(network, pictures[:1]), TOLERANCE)


def test_of_boxes_within_one_another_the_best_stays() -> None:
    boxes = torch.tensor([[[0.0, 0, 100, 100], [10, 10, 50, 50], [60, 60, 160, 160], [10, 10, 50, 50]]])
    scores = torch.tensor([[4.0, 3.0, 2.0, 0.0]])
    assert mtcnn._not_nested(boxes, scores).tolist() == [[1, 0, 1, 0]]


def test_a_box_within_a_suppressed_box_stays() -> None:
    boxes = torch.tensor([[[0.0, 0, 100, 100], [20, 0, 120, 100], [105, 0, 120, 20]]])
    assert mtcnn._not_nested(boxes, torch.tensor([[3.0, 2.0, 1.0]])).tolist() == [[1, 0, 1]]


def test_the_source_names_its_licence() -> None:
    source = mtcnn.source()
    assert source.package == "mtcnn 1.0.0"
    assert source.licence == "MIT"
    assert len(source.sha256) == 64


def test_ordinary_photos_have_their_number_of_faces(
    session: onnxruntime.InferenceSession, test_data: Path
) -> None:
    """At least 92 % exactly; counts that the manifest calls approximate ("~52") never count as exact."""
    photos = test_data / "photos"
    with (photos / "MANIFEST.tsv").open(encoding="utf-8") as manifest:
        rows = [row for row in csv.DictReader(manifest, delimiter="\t") if row["category"] != "odd"]
    misses = []
    for row in rows:
        with Image.open(photos / row["file"]) as image:
            found = int(served(session, [canvas(image)])[3][0, 0])
        if str(found) != row["faces"]:
            misses.append(f"{row['file']}: {found} for {row['faces']}")
    exact = 1 - len(misses) / len(rows)
    print(f"{exact:.1%} of {len(rows)} photos exact; misses:", *misses, sep="\n  ")  # noqa: T201
    assert exact >= 0.92, misses
