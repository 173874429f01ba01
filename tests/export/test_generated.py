"""Generated pictures show what their names say, and are the same on every machine."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from export import generated
from export.faces import decode
from export.networks.mtcnn import Mtcnn


def test_the_landmarks_agree_with_the_detectors(astronaut: Path, detector: Mtcnn) -> None:
    (pixels, _) = next(decode([astronaut]))
    with torch.inference_mode():
        _, _, landmarks, counts = detector(pixels)[:4]
    assert counts.tolist() == [[1]]
    np.testing.assert_allclose(landmarks[0, 0].numpy(), astuple(generated.ASTRONAUT), atol=4)


def changed(*labels: str) -> NDArray[np.bool_]:
    """Mask [512, 512] of the pixels that painting ``labels`` changes by more than a shade."""
    painted = np.asarray(generated.paint(labels, Random(4)), dtype=int)
    difference: NDArray[np.bool_] = np.abs(painted - np.asarray(generated.astronaut())).max(axis=2) > 8
    return difference


def test_without_labels_the_photo_stays_as_it_is() -> None:
    assert not changed().any()


def test_a_hat_lies_above_the_eyes() -> None:
    rows, columns = np.nonzero(changed("hat"))
    assert len(rows) > 2000
    assert rows.max() < generated.ASTRONAUT.left_eye[1]
    assert abs(columns.mean() - generated.ASTRONAUT.nose[0]) < 10


def test_glasses_lie_around_the_eyes() -> None:
    mask = changed("eyewear")
    (left, eye_row), (right, _) = generated.ASTRONAUT.left_eye, generated.ASTRONAUT.right_eye
    rows, columns = np.nonzero(mask)
    assert len(rows) > 200
    assert eye_row - 25 < rows.min() < rows.max() < eye_row + 25
    assert columns.min() < left < right < columns.max()


def test_a_beard_lies_below_the_nose_and_leaves_the_mouth_free() -> None:
    mask = changed("beard")
    rows, _ = np.nonzero(mask)
    assert len(rows) > 1000
    assert rows.min() > generated.ASTRONAUT.nose[1] - 5
    x = round((generated.ASTRONAUT.mouth_left[0] + generated.ASTRONAUT.mouth_right[0]) / 2)
    y = round(generated.ASTRONAUT.mouth_left[1])
    assert mask[y + 10 : y + 35, x].mean() > 0.5
    assert mask[y - 1 : y + 2, x].mean() < 0.5


def test_several_things_can_be_worn_at_once() -> None:
    everything = changed(*generated.LABELS)
    assert everything.sum() > max(changed(label).sum() for label in generated.LABELS)


def test_what_cannot_be_painted_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot paint shoes; only hat, beard, eyewear"):
        generated.paint(["hat", "shoes"], Random(1))


def test_a_data_set_is_the_same_wherever_it_is_written(tmp_path: Path) -> None:
    first = generated.write_dataset(tmp_path / "first", 4, seed=1)
    second = generated.write_dataset(tmp_path / "second", 4, seed=1)
    assert [path.name for path in first.paths] == [path.name for path in second.paths]
    for ours, theirs in zip(first.paths, second.paths, strict=True):
        assert ours.read_bytes() == theirs.read_bytes()
    other = generated.write_dataset(tmp_path / "third", 4, seed=2)
    assert any(
        ours.read_bytes() != theirs.read_bytes()
        for ours, theirs in zip(first.paths, other.paths, strict=True)
    )


def test_names_and_labels_of_a_data_set_agree(tmp_path: Path) -> None:
    pictures = generated.write_dataset(tmp_path, 12, seed=1)
    assert len(pictures) == 12
    assert pictures.names == generated.LABELS
    for path, labels in zip(pictures.paths, pictures.labels, strict=True):
        shown = [name for name, value in zip(pictures.names, labels, strict=True) if value]
        assert path.stem.split("-", 1)[1] == ("+".join(shown) or "none")
    assert (pictures.labels.mean(axis=0) > 0).all()
    assert (pictures.labels.mean(axis=0) < 1).all()


def test_a_data_set_is_made_once(tmp_path: Path) -> None:
    first, second = generated.write_dataset(tmp_path, 2, seed=1).paths
    times = first.stat().st_mtime_ns
    second.unlink()
    generated.write_dataset(tmp_path, 2, seed=1)
    assert first.stat().st_mtime_ns == times
    assert second.is_file()


def test_the_demo_has_the_photo_and_a_picture_for_each_label(tmp_path: Path) -> None:
    result = CliRunner().invoke(generated.main, [str(tmp_path / "demo")])
    assert result.exit_code == 0, result.output
    paths = [Path(line) for line in result.output.splitlines()]
    assert [path.stem for path in paths] == ["astronaut", "painted-hat", "painted-beard", "painted-eyewear"]
    for path in paths:
        with Image.open(path) as picture:
            assert picture.size == (512, 512)
