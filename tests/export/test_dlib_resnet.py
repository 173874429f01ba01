"""dlib's face network in torch gives dlib's own descriptors."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dlib
import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray
from PIL import Image

from export.networks import dlib_resnet
from export.networks.dlib_resnet import LEVELS, SIZE, DlibResNet, DlibWeights, load_dlib_resnet

TOLERANCE = 1e-5
LFW_FACES = 10


@pytest.fixture(scope="module")
def network() -> DlibResNet:
    return load_dlib_resnet()


@pytest.fixture(scope="module")
def oracle() -> Any:
    return dlib.face_recognition_model_v1(str(dlib_resnet.find_weights().path))


def face_chips(pictures: Iterable[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """The largest face of each picture in which dlib finds one, cut out and aligned by dlib."""
    find = dlib.get_frontal_face_detector()
    models = dlib_resnet.find_weights().path.parent
    landmarks = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
    chips = []
    for picture in pictures:
        if faces := find(picture):
            largest = max(faces, key=lambda face: face.area())
            chips.append(dlib.get_face_chip(picture, landmarks(picture, largest), SIZE, 0.25))
    return chips


def assert_descriptors_equal(network: DlibResNet, oracle: Any, chips: list[NDArray[np.uint8]]) -> None:
    theirs = np.array([oracle.compute_face_descriptor(chip) for chip in chips])
    with torch.inference_mode():
        ours = network(torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2).float()).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)


def test_the_astronaut_has_dlibs_descriptor(network: DlibResNet, oracle: Any) -> None:
    chips = face_chips([skimage.data.astronaut()])
    assert len(chips) == 1
    assert_descriptors_equal(network, oracle, chips)


def test_faces_of_lfw_have_dlibs_descriptors(network: DlibResNet, oracle: Any, test_data: Path) -> None:
    files = sorted((test_data / "hbe" / "images").glob("*/*.jpg"))[:: 2500 // LFW_FACES][: LFW_FACES + 2]
    chips = face_chips(np.asarray(Image.open(file).convert("RGB")) for file in files)
    assert len(chips) >= LFW_FACES
    assert_descriptors_equal(network, oracle, chips)


def test_each_level_has_its_channels_and_size(network: DlibResNet) -> None:
    with torch.inference_mode():
        levels = network.features(torch.zeros(1, 3, SIZE, SIZE))
    sides = (35, 17, 8, 4, 2)
    assert [tuple(level.shape) for level in levels] == [
        (1, channels, side, side) for channels, side in zip(LEVELS, sides, strict=True)
    ]


def test_a_weights_file_that_breaks_off_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = tmp_path / "short.dat"
    short.write_bytes(dlib_resnet.find_weights().path.read_bytes()[:1_000_000])
    monkeypatch.setattr(dlib_resnet, "find_weights", lambda: DlibWeights(short, ""))
    with pytest.raises(ValueError, match=r"no tensor of .* numbers"):
        load_dlib_resnet()
