"""Inception-ResNet-v1 has the names and shapes of facenet-pytorch's published state dicts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from export.embedders import ENTRIES, FACENET, load_embedder, read_entries
from export.networks.attributes import digest
from export.networks.inception_resnet_v1 import InceptionResnetV1
from export.weights import PUBLISHED, WeightsError, sha256

CLASSES = 8631
"""Of VGGFace2."""


def published() -> dict[str, Tensor]:
    """A state dict laid out as 20180402-114759-vggface2.pt, with other numbers."""
    random = torch.Generator().manual_seed(4)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in InceptionResnetV1().state_dict().items()}
    state = {name: 0.05 * torch.rand(shape, generator=random) for name, shape in shapes.items()}
    state |= {name: torch.tensor(0) for name in shapes if name.endswith("num_batches_tracked")}
    state |= {name: 1 + state[name] for name in shapes if name.endswith("running_var")}
    return state | {"logits.weight": torch.zeros(CLASSES, 512), "logits.bias": torch.zeros(CLASSES)}


def test_names_and_shapes_are_those_of_facenet_pytorch() -> None:
    """Counted in its ``models/inception_resnet_v1.py``."""
    with torch.device("meta"):
        state = InceptionResnetV1().state_dict()
    blocks = Counter(name.split(".")[0] for name in state)
    # A convolution with batch normalisation has 6 entries, one with a bias 2.
    assert blocks == {
        **dict.fromkeys(("conv2d_1a", "conv2d_2a", "conv2d_2b", "conv2d_3b", "conv2d_4a", "conv2d_4b"), 6),
        "repeat_1": 5 * (6 * 6 + 2), "mixed_6a": 4 * 6, "repeat_2": 10 * (4 * 6 + 2), "mixed_7a": 7 * 6,
        "repeat_3": 5 * (4 * 6 + 2), "block8": 4 * 6 + 2, "last_linear": 1, "last_bn": 5,
    }  # fmt: skip
    shapes = {
        "conv2d_4b.conv.weight": (256, 192, 3, 3),
        "repeat_1.4.branch2.2.bn.running_var": (32,),
        "repeat_1.0.conv2d.weight": (256, 96, 1, 1),
        "mixed_6a.branch1.2.conv.weight": (256, 192, 3, 3),
        "repeat_2.9.branch1.1.conv.weight": (128, 128, 1, 7),
        "mixed_7a.branch2.2.conv.weight": (256, 256, 3, 3),
        "repeat_3.2.branch1.2.conv.weight": (192, 192, 3, 1),
        "block8.conv2d.bias": (1792,),
        "last_linear.weight": (512, 1792),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes
    weights = [value for name, value in state.items() if name.endswith(("weight", "bias"))]
    assert sum(value.numel() for value in weights) == 23_482_624


def test_it_takes_as_many_multiplications_as_facenet() -> None:
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        found = InceptionResnetV1().eval()(torch.rand(1, 3, 160, 160))
    assert found.shape == (1, 512)
    assert counter.get_total_flops() / 2e9 == pytest.approx(1.42, abs=0.02)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_published_file_loads_strictly_but_for_its_classifier(tmp_path: Path, suffix: str) -> None:
    state, file = published(), tmp_path / f"facenet{suffix}"
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    entry = replace(read_entries(ENTRIES)[FACENET], weights=str(file))
    embedder = load_embedder(entry)
    assert not embedder.source.starter
    assert embedder.dimension == 512
    loaded = embedder.network.state_dict()
    assert set(loaded) == set(state) - {"logits.weight", "logits.bias"}
    assert all(torch.equal(value, state[name]) for name, value in loaded.items())


@pytest.mark.usefixtures("cache")
def test_published_weights_are_fetched_and_checked(tmp_path: Path) -> None:
    file = tmp_path / "facenet.pt"
    torch.save(published(), file)
    entry = replace(read_entries(ENTRIES)[FACENET], weights=PUBLISHED, url=file.as_uri(), sha256=sha256(file))
    assert load_embedder(entry).source.sha256 == sha256(file)
    with pytest.raises(WeightsError, match=r"does not have its checksum, a{64}: delete it"):
        load_embedder(replace(entry, sha256="a" * 64))
    with pytest.raises(WeightsError, match="published weights need url and sha256"):
        load_embedder(replace(entry, sha256=""))


def test_a_file_that_lacks_a_layer_is_refused(tmp_path: Path) -> None:
    state, file = published(), tmp_path / "facenet.safetensors"
    del state["block8.conv2d.bias"]
    save_file(state, file)
    entry = replace(read_entries(ENTRIES)[FACENET], weights=str(file))
    with pytest.raises(
        WeightsError, match=r"not the state dict of InceptionResnetV1: (.|\n)*block8.conv2d.bias"
    ):
        load_embedder(entry)


def test_starter_weights_are_the_same_in_every_run() -> None:
    entry = read_entries(ENTRIES)[FACENET]
    first, second = load_embedder(entry), load_embedder(entry)
    assert first.source.starter
    assert digest(first.network) == digest(second.network)
