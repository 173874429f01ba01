"""The front door, sync and asyncio, against a fake Triton: one picture, many, and a server that goes."""

from __future__ import annotations

import inspect
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image

import adlens
from adlens import contract, errors
from adlens.answers import Failure, Outcome, PictureAnswer
from adlens.recommender import AsyncRecommender, Recommender
from tests.client.conftest import Album, Paint
from tests.client.fake_triton import COLOURS, FakeTriton


@pytest.fixture
def recommender(triton: FakeTriton) -> Iterator[Recommender]:
    with Recommender(triton.url, timeout_s=10, retries=1) as front:
        yield front


def test_a_path_bytes_an_array_and_a_pil_image_get_the_same_answer(
    recommender: Recommender, paint: Paint
) -> None:
    path = paint("hat.png", "hat")
    image = Image.open(path)
    for given in (path, str(path), path.read_bytes(), image, np.asarray(image)):
        answer = recommender.recommend_products(given)
        assert (answer.product, answer.title) == ("hat", "We recommend hat products to this user!")
        assert answer.faces[0].box.to_json() == [80, 60, 240, 180]
    assert recommender.recommend_products(path).path == str(path)


async def test_asyncio_has_the_same_methods_and_answers(triton: FakeTriton, paint: Paint) -> None:
    paint("anna/1.jpg", "beard")
    folder = paint("anna/2.jpg", "nobody").parent
    async with AsyncRecommender(triton.url) as front:
        assert (await front.recommend_products(folder / "1.jpg")).product == "beard-care"
        seen: list[PictureAnswer | Failure] = []
        user = await front.recommend_for_user(folder, on_answer=seen.append)
        assert (user.product, user.share, len(seen)) == ("beard-care", 1.0, 2)
        assert (await front.health()).model_versions["attributes_dlib"] == "a" * 16
        with pytest.raises(errors.BadImage):
            await front.recommend_products(b"no picture")
        answers = [answer async for answer in front.recommend_many([folder / "1.jpg"] * 20, workers=4)]
        assert [answer.to_json()["product"] for answer in answers] == ["beard-care"] * 20
        assert triton.most_busy <= 4
    for name, method in inspect.getmembers(Recommender, inspect.isfunction):
        if not name.startswith("_"):
            parameters = inspect.signature(getattr(AsyncRecommender, name)).parameters
            assert list(parameters) == list(inspect.signature(method).parameters), name


async def test_fast_has_faces_judged_by_one_backbone(triton: FakeTriton, paint: Paint) -> None:
    path = paint("anna/1.jpg", "hat")
    with Recommender(triton.url) as front:
        answers = [front.recommend_products(path, fast=True), *front.recommend_many([path], fast=True)]
        front.recommend_for_user(path.parent, on_answer=answers.append, fast=True)
    async with AsyncRecommender(triton.url) as other:
        answers.append(await other.recommend_products(path, fast=True))
        answers += [answer async for answer in other.recommend_many([path], fast=True)]
        await other.recommend_for_user(path.parent, on_answer=answers.append, fast=True)
    assert len(answers) == 6
    for answer in answers:
        assert isinstance(answer, PictureAnswer)
        assert answer.product == "hat"
        assert list(answer.faces[0].backbones) == [contract.FAST_BACKBONE]


async def test_asyncio_stops_when_the_server_goes(triton: FakeTriton, paint: Paint) -> None:
    triton.die_after = 3
    async with AsyncRecommender(triton.url, retries=0) as front:
        answers = [answer async for answer in front.recommend_many([paint("a.jpg", "hat")] * 40, workers=2)]
    assert len(answers) == 40
    kinds = [answer.kind for answer in answers if isinstance(answer, Failure)]
    assert 0 < kinds.count("Unavailable") <= 2
    assert kinds.count("NotSent") >= 35


OVERLOADED = (grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")


def test_pictures_that_an_overloaded_server_refuses_are_sent_again(
    recommender: Recommender, triton: FakeTriton, paint: Paint
) -> None:
    triton.failures.extend([OVERLOADED] * 4)
    answers = list(recommender.recommend_many([paint("a.jpg", "hat")] * 6, workers=2))
    assert all(isinstance(answer, PictureAnswer) for answer in answers)


async def test_asyncio_sends_them_again_too_but_not_for_ever(triton: FakeTriton, paint: Paint) -> None:
    triton.always = OVERLOADED
    async with AsyncRecommender(triton.url, timeout_s=1, retries=0) as front:
        (answer,) = [answer async for answer in front.recommend_many([paint("a.jpg", "hat")])]
    assert isinstance(answer, Failure)
    assert answer.kind == "Overloaded"


def test_answers_come_in_input_order_with_a_bounded_number_in_flight(
    recommender: Recommender, triton: FakeTriton, paint: Paint
) -> None:
    triton.delay_s = 0.01
    colours = ["hat", "beard", "eyewear", "nobody", "nothing"]
    paths = [paint(f"{number}.jpg", colours[number % 5]) for number in range(30)]
    answers = list(recommender.recommend_many(paths, workers=3))
    assert [answer.path for answer in answers] == [str(path) for path in paths]
    assert triton.most_busy <= 3


def test_images_are_read_as_answers_are_taken(recommender: Recommender, paint: Paint) -> None:
    path, taken = paint("a.jpg", "hat"), itertools.count()
    endless = (path for _ in taken)
    answers = recommender.recommend_many(endless, workers=2)
    for _ in range(20):
        next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert next(taken) < 20 + 2 * 5


def test_one_bad_picture_harms_no_other(recommender: Recommender, paint: Paint) -> None:
    good = paint("anna/1.jpg", "eyewear")
    (good.parent / "2.jpg").write_bytes(good.read_bytes()[:200])
    (good.parent / "3.jpg").touch()
    user = recommender.recommend_for_user(good.parent)
    assert (user.product, user.pictures, user.failed) == ("eyewear", 3, 2)
    assert [failure.kind for failure in user.failures] == ["BadImage", "BadImage"]
    assert "2.jpg: truncated" in user.failures[0].message


def test_what_the_server_refuses_is_a_bad_image_with_its_name(
    recommender: Recommender, triton: FakeTriton, paint: Paint
) -> None:
    triton.always = (grpc.StatusCode.INVALID_ARGUMENT, "decode: broken Huffman code")
    with pytest.raises(errors.BadImage, match=r"a\.jpg: refused.*broken Huffman code"):
        recommender.recommend_products(paint("a.jpg", "hat"))


def test_a_folder_without_pictures_says_so(recommender: Recommender, tmp_path: Path) -> None:
    with pytest.raises(errors.NoPictures, match="no picture files in this folder"):
        recommender.recommend_for_user(tmp_path)
    with pytest.raises(errors.NoPictures, match="cannot be listed"):
        recommender.recommend_for_user(tmp_path / "none")


def test_when_the_server_goes_what_was_answered_stays_and_the_rest_is_accounted_for(
    recommender: Recommender, triton: FakeTriton, album: Album
) -> None:
    folder = album("anna", *["hat"] * 40)
    triton.die_after = 10
    user = recommender.recommend_for_user(folder, workers=2)
    assert user.product == "hat"
    assert user.pictures == 40
    assert user.failed >= 28
    assert "pictures were not answered" in user.warnings[0]
    kinds = {failure.kind for failure in user.failures}
    # Draining: a call that was under way when the server went.
    assert kinds - {"Draining"} == {"Unavailable", "NotSent"} or kinds == {"Draining", "NotSent"}
    assert triton.calls < 20


def test_a_server_that_only_fails_is_given_up(
    recommender: Recommender, triton: FakeTriton, paint: Paint
) -> None:
    triton.always = (grpc.StatusCode.INTERNAL, "broken")
    answers = list(recommender.recommend_many([paint("a.jpg", "hat")] * 50, workers=2))
    assert triton.calls <= 10
    assert answers[-1].to_json()["error"]["kind"] == "NotSent"


def test_a_server_that_fails_now_and_then_is_not_given_up(
    recommender: Recommender, triton: FakeTriton, paint: Paint
) -> None:
    triton.failures.extend([(grpc.StatusCode.INTERNAL, "once")] * 5)
    answers = list(recommender.recommend_many([paint("a.jpg", "hat")] * 50, workers=2))
    assert sum(isinstance(answer, PictureAnswer) for answer in answers) == 45


def test_health_is_a_real_answer_and_fails_where_the_model_does(
    recommender: Recommender, triton: FakeTriton
) -> None:
    found = recommender.health()
    assert (found.server, found.starter) == ("triton 2.51.0", ("attributes_vgg16",))
    triton.always = (grpc.StatusCode.INTERNAL, "stub process died")
    with pytest.raises(errors.ServerFault, match="stub process died"):
        recommender.health()


def test_a_recommender_is_shared_by_threads(recommender: Recommender, paint: Paint) -> None:
    path, outcomes = paint("a.jpg", "beard"), []

    def ask() -> None:
        outcomes.append(recommender.recommend_products(path).outcome)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [Outcome.RECOMMENDED] * 8


def test_wrong_settings_are_fatal_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidConfiguration, match="workers 0"), Recommender() as front:
        list(front.recommend_many([], workers=0))
    with pytest.raises(errors.InvalidConfiguration, match="cannot be read"):
        Recommender(catalogue=tmp_path / "none.yaml")


def test_the_package_gives_out_its_public_names() -> None:
    for name in adlens.__all__:
        assert getattr(adlens, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = adlens.nothing


def test_colours_of_the_fake_are_told_apart(recommender: Recommender) -> None:
    side = 2 * contract.MIN_CROP  # a face takes half of it
    for what in COLOURS:
        answer = recommender.recommend_products(np.full((side, side, 3), COLOURS[what], np.uint8))
        assert answer.label == (what if what in ("hat", "beard", "eyewear") else None)
