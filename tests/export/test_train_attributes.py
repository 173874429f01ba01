"""From pictures to a heads file, its held-out figures and a ROC picture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from export import generated, train_attributes
from export.augmentation import Augmentation
from export.checkpoint import HeadsStory, load_heads, read_story
from export.datasets import HELD_OUT, DatasetError, LabelledPictures, name_shares
from export.heads import Recipe
from export.networks.attributes import AttributeNetwork, digest
from export.networks.backbones import Backbone
from export.train_attributes import read_pictures, train
from export.weights import STARTER

PICTURES = 24
QUICK = Recipe(epochs=1, penalties=(1e-2,))


@pytest.fixture(scope="module")
def cache_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache folder for the file, so that faces are looked for once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADLENS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> LabelledPictures:
    return generated.write_dataset(tmp_path_factory.mktemp("pictures"), PICTURES, seed=1)


def faces_judged(story: HeadsStory) -> tuple[int, int]:
    """Faces trained on and held out."""
    trained_on, held_out = (int(word) for word in story.trained_on.split() if word.isdigit())
    return trained_on, held_out


def quickly(backbone: str, pictures: LabelledPictures, output: Path, *, deep: bool = False) -> HeadsStory:
    return train(
        backbone, STARTER, pictures,
        passes=1, recipe=QUICK, augmentation=Augmentation(), deep=deep, output=output,
    )  # fmt: skip


@pytest.mark.usefixtures("cache_of_all")
def test_training_leaves_heads_figures_and_curves(
    pictures: LabelledPictures, dlib_backbone: Backbone, tmp_path: Path
) -> None:
    output = tmp_path / "new" / "heads.safetensors"
    story = quickly("dlib", pictures, output)
    assert read_story(output) == story
    assert story.labels == generated.LABELS
    assert story.trunk == digest(dlib_backbone)
    assert "faces of generated, judged on" in story.trained_on
    # The detector may miss a painted face.
    assert sum(faces_judged(story)) > 0.8 * PICTURES
    network = AttributeNetwork(dlib_backbone, story.labels)
    load_heads(network.tails, output)
    figures = json.loads(output.with_suffix(".json").read_text())["held_out"]
    for column, label in enumerate(story.labels):
        judged = figures[label]["positives"] + figures[label]["negatives"]
        assert judged == faces_judged(story)[1]
        shown = pictures.labels[name_shares(pictures) < HELD_OUT, column].sum()
        assert 0 <= shown - figures[label]["positives"] <= 0.2 * PICTURES
    with Image.open(output.with_suffix(".png")) as curves:
        assert min(curves.size) > 300


def test_starter_weights_promise_nothing(
    pictures: LabelledPictures, cache_of_all: Path, tmp_path: Path
) -> None:
    few = pictures.subset(np.arange(PICTURES) < 14)
    story = quickly("vgg16", few, tmp_path / "heads.safetensors", deep=True)
    assert story.skill == (0.0, 0.0, 0.0)
    # The trunk ran once a picture, and its features were kept.
    assert len(list((cache_of_all / "features").glob("*/pass-0/1.npy"))) == 1


@pytest.mark.usefixtures("cache_of_all")
def test_pictures_without_a_face_are_left_out(pictures: LabelledPictures, tmp_path: Path) -> None:
    blank = tmp_path / "blank.jpg"
    Image.new("RGB", (300, 200), (90, 120, 150)).save(blank)
    with_blank = LabelledPictures(
        "some", (*pictures.paths, blank), pictures.names, np.vstack([pictures.labels, [[1, 1, 1]]])
    )
    story = quickly("dlib", with_blank, tmp_path / "heads.safetensors")
    assert faces_judged(story) == faces_judged(quickly("dlib", pictures, tmp_path / "others.safetensors"))


@pytest.mark.usefixtures("cache_of_all")
def test_without_any_face_training_says_so(tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), (90, 120, 150)).save(tmp_path / "blank.jpg")
    pictures = LabelledPictures("some", (tmp_path / "blank.jpg",), ("hat",), np.ones((1, 1), np.float32))
    with pytest.raises(DatasetError, match="some: no face in any of its 1 pictures"):
        quickly("dlib", pictures, tmp_path / "heads.safetensors")


@pytest.mark.usefixtures("cache_of_all")
def test_too_few_pictures_to_hold_some_out_are_refused(pictures: LabelledPictures, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="generated: 2 faces are too few to hold some out; give at least"):
        quickly("dlib", pictures.subset(np.array([0, 1])), tmp_path / "heads.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("cache_of_all")
def test_the_command_trains_on_folders(pictures: LabelledPictures, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for path in pictures.paths:
        labels = path.stem.split("-")[1]
        (root / labels).mkdir(parents=True, exist_ok=True)
        (root / labels / path.name).symlink_to(path)
    output = tmp_path / "heads.safetensors"
    arguments = [
        "--backbone",
        "dlib",
        "--data",
        "folder",
        "--images",
        str(root),
        "--labels",
        "hat,eyewear,beard",
    ]
    result = CliRunner().invoke(
        train_attributes.main, [*arguments, "--passes", "1", "--wide-only", "--output", str(output)]
    )
    assert result.exit_code == 0, result.output
    assert set(json.loads(result.stdout)) == {"hat", "eyewear", "beard"}
    assert read_story(output).labels == ("hat", "eyewear", "beard")


def test_the_command_says_what_is_wrong_with_the_data(tmp_path: Path) -> None:
    (tmp_path / "hats").mkdir()
    arguments = ["--backbone", "dlib", "--data", "folder", "--images", str(tmp_path)]
    result = CliRunner().invoke(train_attributes.main, arguments)
    assert result.exit_code == 1
    assert "Error: " in result.stderr
    assert "hats: not a label set" in result.stderr


@pytest.mark.parametrize(
    ("kind", "needs"),
    [("folder", "--images"), ("csv", "--labels-file"), ("celeba", "--labels-file and --images")],
)
def test_a_kind_of_data_names_the_options_that_it_needs(kind: str, needs: str) -> None:
    with pytest.raises(click.UsageError, match=f"--data {kind} needs {needs}"):
        read_pictures(kind, None, None, ("hat",))
