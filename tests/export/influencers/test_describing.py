"""What VGG16 sees in a post: the published layout of its last map, framing, weights, and the served graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from adlens import contract
from export.graph import TOLERANCE, open_session
from export.influencers import describing
from export.influencers.describing import SIDE, DescribeNetwork
from export.networks.vgg import Vgg16

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of ImageNet, as torchvision states them, times 255."""


class Small(Vgg16):
    """Without VGG16's many channels: what is between picture and last map, in little."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.features = nn.Sequential(nn.MaxPool2d(32), nn.Conv2d(3, 512, 1), nn.ReLU())


@pytest.fixture(scope="module")
def network() -> DescribeNetwork:
    torch.manual_seed(3)
    return DescribeNetwork(Small()).eval()


def canvases(*sizes: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """PIXELS and PICTURE_SIZE of pictures of noise."""
    pixels = np.zeros((len(sizes), contract.CANVAS, contract.CANVAS, 3), np.uint8)
    for number, (height, width) in enumerate(sizes):
        random = np.random.default_rng(number)
        pixels[number, :height, :width] = random.integers(0, 256, (height, width, 3), np.uint8)
    return torch.from_numpy(pixels), torch.tensor(sizes, dtype=torch.int32)


@torch.no_grad()
def test_features_are_rows_then_columns_then_channels_of_the_last_map(network: DescribeNetwork) -> None:
    pixels, size = canvases((SIDE, SIDE))  # which framing leaves as it is
    found = network(pixels, size)
    square = pixels[:, :SIDE, :SIDE].permute(0, 3, 1, 2).float()
    normal = (square - torch.tensor(MEAN).reshape(1, 3, 1, 1)) / torch.tensor(STD).reshape(1, 3, 1, 1)
    last = network.features(normal)
    assert found.shape == (1, contract.POST_FEATURES_LENGTH)
    for row, column, channel in ((0, 0, 0), (6, 2, 511), (3, 5, 77)):
        place = (row * 7 + column) * 512 + channel
        assert found[0, place] == pytest.approx(float(last[0, channel, row, column]), abs=1e-4)


def test_vgg16s_last_map_has_the_published_size() -> None:
    with torch.device("meta"):
        assert Vgg16().features(torch.zeros(1, 3, SIDE, SIDE)).shape == (1, 512, 7, 7)


@torch.no_grad()
def test_the_graph_gives_what_torch_gives_for_pictures_of_any_shape(
    network: DescribeNetwork, tmp_path: Path
) -> None:
    batch = canvases((640, 480), (90, 640), (31, 17))
    source = describing.Weights("none", "none", "", starter=True)
    manifest = describing.build(network, source, tmp_path, batch)
    assert max(manifest.parity.values()) <= 1e-4 <= TOLERANCE
    session = open_session(tmp_path / "model.onnx", threads=1)
    feeds = {contract.PIXELS: batch[0].numpy(), contract.PICTURE_SIZE: batch[1].numpy()}
    found, card = session.run([contract.POST_FEATURES, contract.CARD], feeds)
    alone = session.run([contract.POST_FEATURES], {name: value[2:] for name, value in feeds.items()})[0]
    np.testing.assert_allclose(found[2:], alone, atol=1e-5)
    told = contract.ModelCard.from_bytes(card[0].tobytes())
    assert (told.model, told.starter) == (contract.DESCRIBE_POST, True)
    assert told.weights == manifest.digest[:16]


def test_published_weights_are_taken_where_they_have_been_fetched(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def remember(name: str, build: object, weights: str) -> tuple[Vgg16, describing.Weights]:
        asked.append(weights)
        return Small(), describing.Weights(weights, "", "")

    monkeypatch.setattr(describing, "load_network", remember)
    describing.load()
    describing.load("own.safetensors")
    (cache / describing.URLS["vgg16"].file_name).write_bytes(b"weights")
    describing.load()
    assert asked == ["starter", "own.safetensors", "published"]
