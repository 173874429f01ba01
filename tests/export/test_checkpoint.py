"""Heads on disk: what is written is what is read, and whose heads are found first."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from export import checkpoint
from export.checkpoint import HeadsStory, cached_heads, find_heads, load_heads, read_story, save_heads
from export.datasets import DEFAULT_LABELS
from export.networks.attributes import AttributeNetwork, digest
from export.networks.backbones import Backbone, Tail
from export.weights import WeightsError

STORY = HeadsStory(
    backbone="dlib",
    labels=("hat", "beard"),
    weights="starter",
    trunk="0" * 64,
    trained_on="80 faces of some, judged on 20 others",
    held_out={"beard": {"auc": 0.9, "skill": 0.8}, "hat": {"auc": 0.6, "skill": 0.0}},
)


def tails(wide: int = 5, labels: tuple[str, ...] = STORY.labels) -> nn.ModuleDict:
    return nn.ModuleDict({label: Tail(wide, nn.Linear(2, 3), nn.Linear(3, 1)) for label in labels})


def test_heads_and_their_story_come_back_as_they_were(tmp_path: Path) -> None:
    path, trained, read = tmp_path / "new" / "heads.safetensors", tails(), tails()
    save_heads(trained, STORY, path)
    assert read_story(path) == STORY
    load_heads(read, path)
    for name, value in trained.state_dict().items():
        assert torch.equal(read.state_dict()[name], value), name


def test_skill_comes_in_the_order_of_the_labels() -> None:
    assert STORY.skill == (0.0, 0.8)


def test_heads_of_other_shapes_or_labels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "heads.safetensors"
    save_heads(tails(), STORY, path)
    for other in (tails(wide=6), tails(labels=("hat", "shoes"))):
        with pytest.raises(WeightsError, match="heads do not fit the backbone"):
            load_heads(other, path)


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(3)}, foreign)
    other_story = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, other_story, metadata={"adlens": '{"labels": []}'})
    text = tmp_path / "text.safetensors"
    text.write_text("not safetensors at all")
    for path in (foreign, other_story, text, tmp_path / "missing.safetensors"):
        with pytest.raises(WeightsError, match=f"{path.name}: not a heads file of adlens"):
            read_story(path)


def test_own_heads_come_before_the_committed_ones(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = tmp_path / "committed" / "attributes_dlib.safetensors"
    monkeypatch.setattr(checkpoint, "COMMITTED", committed.parent)
    assert find_heads("dlib") is None
    save_heads(tails(), STORY, committed)
    assert find_heads("dlib") == committed
    assert find_heads("vgg16") is None
    save_heads(tails(), STORY, cached_heads("dlib"))
    assert find_heads("dlib") == cached_heads("dlib") != committed
    assert cached_heads("dlib").is_relative_to(cache)


def test_the_committed_heads_fit_the_packaged_trunk_and_have_skill(dlib_backbone: Backbone) -> None:
    path = checkpoint.COMMITTED / "attributes_dlib.safetensors"
    story = read_story(path)
    assert story.labels == DEFAULT_LABELS
    assert story.trunk == digest(dlib_backbone)
    assert min(story.skill) > 0.9
    load_heads(AttributeNetwork(dlib_backbone, story.labels).tails, path)
