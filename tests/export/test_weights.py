"""Weights come from where they were asked for, whole and unchanged, or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from export.networks.attributes import digest
from export.networks.resnet import ResNet50
from export.weights import (
    PUBLISHED,
    STARTER,
    URLS,
    PublishedWeights,
    WeightsError,
    cache_folder,
    fetch,
    load_backbone,
    sha256,
)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """A state dict with every name and shape of ResNet50, as small on disk as may be."""
    with torch.device("meta"):
        network = ResNet50()
    return {name: torch.full(value.shape, 0.5).half() for name, value in network.state_dict().items()}


def served(folder: Path, content: bytes, checksum: str | None = None) -> PublishedWeights:
    """A file on a server, its name ending as torchvision's do."""
    prefix = checksum or hashlib.sha256(content).hexdigest()[:8]
    folder.mkdir()
    file = folder / f"network-{prefix}.pth"
    file.write_bytes(content)
    return PublishedWeights(file.as_uri(), "none")


def test_starter_weights_are_the_same_in_every_run_and_leave_the_callers_seed_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first, source = load_backbone("resnet50", STARTER)
    assert torch.equal(torch.rand(3), expected)
    second, _ = load_backbone("resnet50", STARTER)
    assert digest(first) == digest(second)
    assert source.starter
    assert not first.training


def test_starter_activations_neither_vanish_nor_explode() -> None:
    backbone, _ = load_backbone("resnet50", STARTER)
    with torch.inference_mode():
        shared = backbone.trunk(255 * torch.rand(1, 3, backbone.size, backbone.size))
    for value in shared:
        assert 0.01 < value.std() < 100


def test_dlibs_weights_come_from_its_package_whatever_is_asked_for() -> None:
    backbone, source = load_backbone("dlib", PUBLISHED)
    assert backbone.name == "dlib"
    assert source.source.startswith("package face_recognition_models")
    assert not source.starter
    assert len(source.sha256) == 64


def test_an_unknown_backbone_is_refused_with_the_known_ones() -> None:
    with pytest.raises(WeightsError, match="no backbone 'alexnet': choose one of dlib, vgg16, resnet50"):
        load_backbone("alexnet")


def test_published_weights_are_fetched_once(cache: Path, tmp_path: Path) -> None:
    published = served(tmp_path / "server", b"weights")
    path = fetch(published)
    assert path.parent == cache
    assert path.read_bytes() == b"weights"
    (tmp_path / "server" / published.file_name).unlink()
    assert fetch(published) == path


def test_a_wrong_checksum_leaves_nothing_in_the_cache(cache: Path, tmp_path: Path) -> None:
    published = served(tmp_path / "server", b"something else", checksum="12345678")
    with pytest.raises(WeightsError, match=r"invalid hash value.*Put the file into .*cache"):
        fetch(published)
    assert list(cache.iterdir()) == []


def test_a_server_that_cannot_be_reached_is_named_with_the_remedy(cache: Path, tmp_path: Path) -> None:
    published = PublishedWeights((tmp_path / "gone-12345678.pth").as_uri(), "none")
    with pytest.raises(WeightsError, match=r"gone-12345678.pth: .*name a local file instead"):
        fetch(published)
    assert list(cache.iterdir()) == []


def test_a_file_put_into_the_cache_by_hand_is_checked_too(cache: Path, tmp_path: Path) -> None:
    published = served(tmp_path / "server", b"weights")
    cache.mkdir()
    (cache / published.file_name).write_bytes(b"half of the wei")
    with pytest.raises(WeightsError, match=r"does not have its checksum, .*: delete it"):
        fetch(published)


def test_every_published_file_has_its_checksum_in_its_name() -> None:
    assert {name: published.sha256_prefix for name, published in URLS.items()} == {
        "vgg16": "397923af",
        "resnet34": "b627a593",
        "resnet50": "0676ba61",
    }
    with pytest.raises(ValueError, match="no checksum in the file name"):
        _ = PublishedWeights("https://example.org/vgg16.pth", "none").sha256_prefix


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_local_state_dict_is_loaded(state: dict[str, Tensor], tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"resnet50{suffix}"
    if suffix == ".pth":
        torch.save(state, file)
    else:
        save_file(state, file)
    backbone, source = load_backbone("resnet50", str(file))
    assert (source.source, source.sha256, source.starter) == (file.name, sha256(file), False)
    # 1 / sqrt(0.5) of each normalisation is folded into its convolution.
    kernel = dict(backbone.named_parameters())["network.conv1.weight"]
    torch.testing.assert_close(kernel, torch.full_like(kernel, 0.5 * 0.5 / 0.5**0.5), rtol=1e-4, atol=0)


def test_a_state_dict_with_a_missing_key_is_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    file = tmp_path / "resnet50.safetensors"
    save_file({name: value for name, value in state.items() if name != "layer3.2.conv1.weight"}, file)
    with pytest.raises(WeightsError, match=r"(?s)not the state dict of ResNet50: .*layer3.2.conv1.weight"):
        load_backbone("resnet50", str(file))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_that_holds_no_state_dict_is_refused(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"resnet50{suffix}"
    file.write_bytes(b"<html>not found</html>")
    with pytest.raises(WeightsError, match="not the state dict of ResNet50"):
        load_backbone("resnet50", str(file))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere\.pth"):
        load_backbone("resnet50", str(tmp_path / "nowhere.pth"))


def test_the_cache_folder_is_the_users_unless_told_otherwise(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_folder() == cache
    assert cache.is_dir()
    monkeypatch.delenv("ADLENS_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "adlens"
