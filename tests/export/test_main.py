"""``python -m export`` refuses what it cannot build, and heads that were trained on other weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from torch import nn

from adlens import contract
from export.__main__ import main
from export.checkpoint import HeadsStory, cached_heads, save_heads
from export.models import build_attributes
from export.networks.backbones import Backbone
from export.weights import WeightsError

LABELS = ("hat",)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["attributes_alexnet"], "no model attributes_alexnet; there are detect_faces, attributes_dlib"),
        (["--weights", "alexnet=published"], "'alexnet' is no backbone; write resnet50=published"),
        (["--weights", "resnet50"], "'resnet50' names no weights; write resnet50=published"),
        (["--weights", "resnet50="], "'resnet50' names no weights; write resnet50=published"),
    ],
)
def test_what_cannot_be_built_is_refused_before_anything_is_done(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    result = CliRunner().invoke(main, [*arguments, "--repository", str(tmp_path / "repository")])
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("cache")
def test_heads_trained_on_other_weights_are_refused(dlib_backbone: Backbone, tmp_path: Path) -> None:
    story = HeadsStory("dlib", LABELS, "published", "0" * 64, "some", {"hat": {"auc": 0.9, "skill": 0.8}})
    save_heads(nn.ModuleDict({"hat": dlib_backbone.new_tail()}), story, cached_heads("dlib"))
    with pytest.raises(WeightsError, match="was trained on 'published', not on 'starter': train again with"):
        build_attributes("dlib", "starter", tmp_path / "1", [])
    assert not (tmp_path / "1").exists()
    assert contract.attributes_model("dlib") == cached_heads("dlib").stem
