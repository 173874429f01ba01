"""What benchmarks send: pictures of the size and faces that were asked for, and files of their own."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adlens import contract, jpeg
from export import generated
from perf import inputs
from perf.embedding import read_model, session
from perf.throughput import Jpeg


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Jpeg]:
    folder = tmp_path_factory.mktemp("pictures")
    generated.write_demo(folder)
    return inputs.generated(folder)


def opened(picture: Jpeg) -> Image.Image:
    return Image.open(io.BytesIO(picture.tobytes()))


def test_pictures_have_the_size_asked_for_and_files_grow_with_it(pictures: list[Jpeg]) -> None:
    sized = [inputs.sized(pictures[0], side) for side in (128, 512, 1024)]
    assert [opened(each).size for each in sized] == [(128, 128), (512, 512), (1024, 1024)]
    assert len(sized[0]) < len(sized[1]) < len(sized[2])
    assert inputs.sized(pictures[0], 128).tobytes() == sized[0].tobytes()


def test_crowds_show_the_faces_asked_for(pictures: list[Jpeg]) -> None:
    detector = session(read_model(contract.DETECT_FACES))
    for wanted in (0, 1, 4):
        pixels = np.asarray(opened(inputs.crowd(pictures, wanted)))[np.newaxis]
        (count,) = detector.run([contract.FACE_COUNT], {contract.PIXELS: pixels})
        assert count[0, 0] == wanted


def test_the_same_picture_in_a_file_of_its_own(pictures: list[Jpeg]) -> None:
    first, second = (inputs.unique(pictures[0], number) for number in (1, 2))
    assert first.tobytes() != second.tobytes()
    jpeg.inspect(first.tobytes())
    assert np.array_equal(np.asarray(opened(first)), np.asarray(opened(pictures[0])))


def test_every_model_of_the_contract_can_be_asked() -> None:
    """No input is missing that neither callers give nor a step makes."""
    made = {name for _, outputs in contract.MODELS.values() for name in outputs}
    for model, (needed, _) in contract.MODELS.items():
        for name in needed:
            assert name in inputs.GIVEN or name in made or name == contract.IMAGE, (model, name)
    for name, value in inputs.GIVEN.items():
        assert value.shape == contract.TENSORS[name].shape, name


def test_pictures_are_generated_where_there_are_none(tmp_path: Path) -> None:
    assert len(inputs.generated(tmp_path / "new")) == 4
