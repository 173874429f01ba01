"""Requests in flight together, which may share batches, are answered as they are alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adlens import AsyncRecommender, Failure, PictureAnswer, Recommender, UserAnswer
from export import generated
from server.launcher import Server
from tests.e2e.pictures import TIMEOUT_S, astronauts, corners, encode

SIDES = range(260, 580, 20)
TOLERANCE = 1e-5
"""On probabilities: a batch computes what a single row does, but for the order of sums."""


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    """16 pictures, each of its own size and its own number of faces, from none to three."""
    pictures = [
        Image.new("RGB", (300, 200), "grey"),
        astronauts(2),
        astronauts(3),
        *(generated.astronaut().resize((side, side)) for side in SIDES[3:]),
    ]
    return [encode(picture) for picture in pictures]


def assert_same(one: PictureAnswer | Failure, other: PictureAnswer | Failure) -> None:
    assert isinstance(one, PictureAnswer), one
    assert isinstance(other, PictureAnswer), other
    assert (one.outcome, one.label, one.face) == (other.outcome, other.label, other.face)
    assert len(one.faces) == len(other.faces)
    for our, their in zip(one.faces, other.faces, strict=True):
        np.testing.assert_allclose(corners(our), corners(their), rtol=0, atol=1e-3)
        assert our.backbones.keys() == their.backbones.keys()
        for name, labels in our.backbones.items():
            for label, probability in labels.items():
                assert their.backbones[name][label] == pytest.approx(probability, abs=TOLERANCE, rel=0)


async def test_16_in_flight_answer_as_one_by_one_and_asyncio_as_threads(
    server: Server, files: list[bytes]
) -> None:
    with Recommender(server.url, timeout_s=TIMEOUT_S) as recommender:
        alone = [recommender.recommend_products(data) for data in files]
        together = list(recommender.recommend_many(files, workers=16))
    async with AsyncRecommender(server.url, timeout_s=TIMEOUT_S) as recommender:
        awaited = [answer async for answer in recommender.recommend_many(files, workers=16)]
    assert [len(answer.faces) for answer in alone] == [0, 2, 3, *[1] * 13]
    for one, threaded, asynchronous in zip(alone, together, awaited, strict=True):
        assert_same(one, threaded)
        assert_same(one, asynchronous)


def test_a_user_s_pictures_come_in_one_after_the_other_and_are_counted(
    recommender: Recommender, tmp_path: Path, demo: dict[str, Path]
) -> None:
    for number, name in enumerate(["painted-hat", "astronaut", "painted-hat", "painted-eyewear"]):
        (tmp_path / f"{number}.jpg").write_bytes(demo[name].read_bytes())
    seen: list[PictureAnswer | Failure] = []
    user = recommender.recommend_for_user(tmp_path, on_answer=seen.append)
    assert [answer.path for answer in seen] == [str(tmp_path / f"{number}.jpg") for number in range(4)]
    assert_counted(user)


async def test_a_user_gets_the_same_by_asyncio(server: Server, tmp_path: Path, demo: dict[str, Path]) -> None:
    for number, name in enumerate(["painted-hat", "astronaut", "painted-hat", "painted-eyewear"]):
        (tmp_path / f"{number}.jpg").write_bytes(demo[name].read_bytes())
    async with AsyncRecommender(server.url, timeout_s=TIMEOUT_S) as recommender:
        assert_counted(await recommender.recommend_for_user(tmp_path))


def assert_counted(user: UserAnswer) -> None:
    assert (user.product, user.share, user.pictures, user.pictures_with_face) == ("hat", 0.5, 4, 4)
    assert user.shares == {"hat": 0.5, "beard": 0.0, "eyewear": 0.25}
    assert (user.failed, user.warnings) == (0, ())
    assert user.shown is not None
    assert user.shown.label == "hat"
