"""What the real server answers on pictures whose content is known, in every form a caller may send."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from adlens import Box, PictureAnswer, Recommender, annotate
from adlens.answers import Outcome
from adlens.pictures import ImageLike
from export import generated
from tests.e2e.pictures import astronauts, corners, encode, overlap, turned

FORMS: dict[str, Callable[[Image.Image], ImageLike]] = {
    "JPEG bytes": encode,
    "progressive": lambda image: encode(image, progressive=True),
    "CMYK": lambda image: encode(image.convert("CMYK")),
    "grey": lambda image: encode(image.convert("L")),
    "PNG": lambda image: encode(image, "PNG"),
    "WebP": lambda image: encode(image, "WEBP"),
    "bytearray": lambda image: bytearray(encode(image)),
    "array": np.asarray,
    "grey array": lambda image: np.asarray(image.convert("L")),
    "PIL image": lambda image: image,
}


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


@pytest.fixture
def plain(recommender: Recommender, demo: dict[str, Path]) -> PictureAnswer:
    """The answer for the unpainted photo."""
    return recommender.recommend_products(demo["astronaut"])


def test_the_astronaut_has_one_face_that_shows_no_product(plain: PictureAnswer) -> None:
    (face,) = plain.faces
    assert overlap(face.box, Box(179, 62, 266, 173)) > 0.9
    assert face.score > 0.99
    assert plain.outcome is Outcome.NO_ITEMS
    assert (plain.product, plain.title) == (None, "No items detected")
    assert (plain.height, plain.width) == (512, 512)
    assert max(face.attributes.values()) < 0.5


def test_landmarks_lie_where_eyes_nose_and_mouth_are(plain: PictureAnswer) -> None:
    real = generated.ASTRONAUT
    expected = [real.left_eye, real.right_eye, real.nose, real.mouth_left, real.mouth_right]
    np.testing.assert_allclose(plain.faces[0].landmarks, expected, atol=6)


@pytest.mark.parametrize("label", ["hat", "eyewear"])
def test_a_painted_thing_is_what_is_recommended(
    recommender: Recommender, demo: dict[str, Path], label: str
) -> None:
    answer = recommender.recommend_products(demo[f"painted-{label}"])
    assert (answer.outcome, answer.product, answer.label) == (Outcome.RECOMMENDED, label, label)
    assert answer.title == f"We recommend {label} products to this user!"
    assert answer.face == 0
    assert answer.score == answer.faces[0].attributes[label] > 0.8


def test_a_painted_beard_makes_a_beard_clearly_likelier(
    recommender: Recommender, demo: dict[str, Path], plain: PictureAnswer
) -> None:
    """Heads trained on real beards need not take paint for one, but must see it."""
    painted = recommender.recommend_products(demo["painted-beard"]).faces[0].attributes["beard"]
    assert logit(painted) > logit(plain.faces[0].attributes["beard"]) + 2


def test_three_people_give_three_faces_alike(recommender: Recommender) -> None:
    answer = recommender.recommend_products(astronauts(3))
    faces = sorted(answer.faces, key=lambda face: face.box.x1)
    assert len(faces) == 3
    for index, face in enumerate(faces):
        moved = Box(179 + 512 * index, 62, 266 + 512 * index, 173)
        assert overlap(face.box, moved) > 0.85
    # Each lies elsewhere between the pixels of the shrunk canvas, so they are alike but not the same.
    for label in faces[0].attributes:
        seen = [face.attributes[label] for face in faces]
        assert max(seen) - min(seen) < 0.1
        assert max(seen) < 0.5


def test_faces_come_largest_first(recommender: Recommender) -> None:
    picture = astronauts(2)
    picture.paste(generated.astronaut().resize((256, 256)), (0, 0))
    picture.paste((0, 0, 0), (0, 256, 512, 512))
    picture.paste((0, 0, 0), (256, 0, 512, 256))
    heights = [face.box.height for face in recommender.recommend_products(picture).faces]
    assert len(heights) == 2
    assert heights[0] > 1.8 * heights[1]


@pytest.mark.parametrize(
    "picture",
    [np.full((480, 640, 3), 255, np.uint8), skimage.data.rocket(), skimage.data.coffee()],  # type: ignore[no-untyped-call]
    ids=["blank", "landscape", "still life"],
)
def test_a_picture_of_nobody_has_no_face(recommender: Recommender, picture: ImageLike) -> None:
    answer = recommender.recommend_products(picture)
    assert (answer.outcome, answer.faces, answer.title) == (Outcome.NO_FACE, (), "No face detected")
    assert answer.warnings == ()


def test_faces_too_small_to_be_judged_are_given_with_their_sizes(recommender: Recommender) -> None:
    picture = Image.new("RGB", (640, 480), (90, 110, 130))
    small = generated.astronaut().resize((130, 130), Image.Resampling.LANCZOS)
    for left in (40, 300):
        picture.paste(small, (left, 40))
    answer = recommender.recommend_products(picture)
    assert (answer.outcome, answer.title) == (Outcome.FACES_TOO_SMALL, "Faces too small")
    assert [face.too_small for face in answer.faces] == [True, True]
    (warning,) = answer.warnings
    sizes = ", ".join(str(math.floor(face.box.height)) for face in answer.faces)
    assert f"2 of 2 faces too small to be judged: {sizes} pixels high" in warning


@pytest.mark.parametrize("orientation", range(2, 9))
def test_every_exif_orientation_gives_the_box_of_the_upright_picture(
    recommender: Recommender, orientation: int
) -> None:
    wide = generated.astronaut().crop((0, 0, 512, 400))
    upright, same = (recommender.recommend_products(turned(wide, turn)) for turn in (1, orientation))
    assert (same.height, same.width) == (400, 512)
    assert len(same.faces) == 1
    np.testing.assert_allclose(corners(same.faces[0]), corners(upright.faces[0]), atol=2)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_picture_gives_the_same_face(
    recommender: Recommender, plain: PictureAnswer, form: str
) -> None:
    (face,) = recommender.recommend_products(FORMS[form](generated.astronaut())).faces
    assert overlap(face.box, plain.faces[0].box) > 0.9
    assert max(face.attributes.values()) < 0.5


@pytest.mark.parametrize("place", [(0, 0), (1700, 800)])
def test_boxes_of_a_picture_larger_than_the_canvas_are_in_its_own_pixels(
    recommender: Recommender, place: tuple[int, int]
) -> None:
    picture = Image.new("RGB", (3000, 2000), (70, 90, 110))
    picture.paste(generated.astronaut().resize((1024, 1024), Image.Resampling.LANCZOS), place)
    answer = recommender.recommend_products(picture)
    (face,) = answer.faces
    left, top = place
    assert (answer.height, answer.width) == (2000, 3000)
    assert overlap(face.box, Box(left + 2 * 179, top + 2 * 62, left + 2 * 266, top + 2 * 173)) > 0.85


def test_the_drawing_of_a_turned_picture_is_upright(recommender: Recommender) -> None:
    data = turned(generated.astronaut().crop((0, 0, 512, 400)), 6)
    drawing = annotate.draw(data, recommender.recommend_products(data))
    assert drawing.width > drawing.height


def test_the_answer_says_which_weights_spoke_and_which_stand_in(plain: PictureAnswer) -> None:
    backbones = plain.faces[0].backbones
    assert {f"attributes_{name}" for name in backbones} | {"detect_faces"} == set(plain.model_versions)
    assert all(len(digest) == 16 for digest in plain.model_versions.values())
    assert set(plain.starter) <= {"attributes_vgg16", "attributes_resnet50"}
    assert plain.warnings == ()


def test_the_server_is_healthy(recommender: Recommender) -> None:
    health = recommender.health()
    assert health.model == "recommend_products"
    assert len(health.model_versions) == 4
