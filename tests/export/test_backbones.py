"""Backbones: torchvision's names, and one trunk with three tails that equals three whole networks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from export.networks.attributes import AttributeNetwork
from export.networks.backbones import (
    DLIB_GRIDS,
    RESNET50_GRIDS,
    VGG16_GRIDS,
    Backbone,
    DlibBackbone,
    ResNet50Backbone,
    Tail,
    Vgg16Backbone,
)
from export.networks.dlib_resnet import DlibResNet, load_dlib_resnet
from export.networks.resnet import ResNet50, fold_batch_norm
from export.networks.vgg import Vgg16
from export.weights import load_backbone

LABELS = ("hat", "beard", "eyewear")
FACES = 2
Network = TypeVar("Network", bound=nn.Module)


def chips(size: int) -> Tensor:
    return 255 * torch.rand(FACES, 3, size, size, generator=torch.Generator().manual_seed(size))


def make_all_different(network: AttributeNetwork) -> None:
    """Move every weight of every tail at random, as training would."""
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for tail in network.tails.values():
            for parameter in tail.parameters():
                scale = float(parameter.std()) if parameter.numel() > 1 else 0.0
                # Last layers start at zero: here they have to say something.
                noise = torch.randn(parameter.shape, generator=random)
                parameter.add_(noise * max(0.1 * scale, 1e-3))


def normalised(pixels: Tensor) -> Tensor:
    """As torchvision prepares pictures for ImageNet weights."""
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
    return (pixels / 255 - mean) / std


def wide_features(levels: list[Tensor], grids: tuple[int, ...]) -> Tensor:
    pooled = [functional.adaptive_avg_pool2d(x, grid) for x, grid in zip(levels, grids, strict=True)]
    return torch.cat([x.sqrt().flatten(1) for x in pooled], dim=1)


class Vgg16Alone(nn.Module):
    """One label's own VGG16, whole: the network as published, but block 5 and head are the label's."""

    def __init__(self, network: Vgg16, tail: Tail) -> None:
        super().__init__()
        assert tail.block is not None
        self.features = copy.deepcopy(
            nn.Sequential(*network.features[:24], *tail.block.get_submodule("0").children())
        )
        self.tail = copy.deepcopy(tail)

    def forward(self, pixels: Tensor) -> Tensor:
        x, levels = normalised(pixels), []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                levels.append(x)
        assert self.tail.head is not None
        logits: Tensor = self.tail.wide(wide_features(levels[2:4], VGG16_GRIDS)) + self.tail.head(
            x.flatten(1)
        )
        return logits


class ResNet50Alone(nn.Module):
    """One label's own ResNet50, whole: its last 1x1 convolution and head are the label's."""

    def __init__(self, network: ResNet50, tail: Tail) -> None:
        super().__init__()
        assert tail.block is not None
        assert tail.head is not None
        self.network = copy.deepcopy(network)
        fold_batch_norm(self.network)
        self.network.layer4.get_submodule("2").conv3 = copy.deepcopy(tail.block.get_submodule("conv3"))
        self.network.fc = copy.deepcopy(tail.head)  # type: ignore[assignment]
        self.wide = copy.deepcopy(tail.wide)
        self.levels: list[Tensor] = []
        for layer in (self.network.layer2, self.network.layer3):
            layer.register_forward_hook(lambda _module, _inputs, output: self.levels.append(output))

    def forward(self, pixels: Tensor) -> Tensor:
        self.levels.clear()
        deep: Tensor = self.network(normalised(pixels))
        return deep + self.wide(wide_features(self.levels, RESNET50_GRIDS))


class DlibAlone(nn.Module):
    """One label's own copy of dlib's network."""

    def __init__(self, network: DlibResNet, tail: Tail) -> None:
        super().__init__()
        self.network, self.wide = copy.deepcopy(network), copy.deepcopy(tail.wide)

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.wide(wide_features(self.network.features(pixels), DLIB_GRIDS))
        return logits


@pytest.mark.parametrize(
    ("build", "wrap", "alone"),
    [
        (load_dlib_resnet, DlibBackbone, DlibAlone),
        (lambda: random_network(Vgg16), Vgg16Backbone, Vgg16Alone),
        (lambda: random_network(ResNet50), ResNet50Backbone, ResNet50Alone),
    ],
    ids=["dlib", "vgg16", "resnet50"],
)
def test_a_trunk_with_three_tails_equals_three_whole_networks(
    build: Callable[[], nn.Module], wrap: Callable[..., Backbone], alone: Callable[..., nn.Module]
) -> None:
    published = build()
    backbone = wrap(copy.deepcopy(published))
    network = AttributeNetwork(backbone, LABELS).eval()
    make_all_different(network)
    pixels = chips(backbone.size)
    with torch.inference_mode():
        together = network.logits(pixels).sigmoid()
        separate = [alone(published, tail).eval()(pixels).sigmoid() for tail in network.tails.values()]
    expected = torch.cat(separate, dim=1)
    # Three different answers, none of them saturated: otherwise equality would say nothing.
    assert expected.diff(dim=1).abs().min() > 1e-3
    assert ((expected > 0.001) & (expected < 0.999)).all()
    torch.testing.assert_close(together, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("build", [DlibBackbone, Vgg16Backbone, ResNet50Backbone])
def test_a_new_tail_keeps_the_backbones_last_block_and_adds_nothing_yet(build: type[Backbone]) -> None:
    backbone = meta_backbone(build)
    tail = backbone.new_tail()
    assert tail.wide.in_features == backbone.wide
    if tail.head is None:
        with pytest.raises(ValueError, match="no last block"):
            tail.deep((torch.zeros(1),))
    else:
        head = torch.nn.Sequential(*tail.head.children())
        assert [layer.out_features for layer in head if isinstance(layer, nn.Linear)][-1] == 1


def meta_backbone(build: type[Backbone]) -> Backbone:
    """A backbone of shapes alone, which costs neither time nor memory."""
    networks: dict[type[Backbone], Callable[[], nn.Module]] = {
        DlibBackbone: DlibResNet,
        Vgg16Backbone: Vgg16,
        ResNet50Backbone: ResNet50,
    }
    with torch.device("meta"):
        return build(networks[build]()).eval()


@pytest.mark.parametrize("build", [DlibBackbone, Vgg16Backbone, ResNet50Backbone])
def test_three_labels_cost_at_most_1_3_times_one(build: type[Backbone]) -> None:
    def multiply_accumulates(labels: tuple[str, ...]) -> int:
        with torch.device("meta"):
            network = AttributeNetwork(meta_backbone(build), labels).eval()
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                network.logits(torch.empty(1, 3, build.size, build.size))
        return int(counter.get_total_flops()) // 2

    one, three = multiply_accumulates(LABELS[:1]), multiply_accumulates(LABELS)
    print(f"{build.name}: {one:,} for one label, {three:,} for three, {three / one:.3f} times")  # noqa: T201
    assert one > 1e8
    assert three / one <= 1.3


@pytest.mark.parametrize(
    ("build", "parameters", "names"),
    [
        (
            Vgg16,
            138_357_544,
            {
                "features.0.weight": (64, 3, 3, 3),
                "features.28.bias": (512,),
                "classifier.0.weight": (4096, 25088),
                "classifier.6.bias": (1000,),
            },
        ),
        (
            ResNet50,
            25_557_032,
            {
                "conv1.weight": (64, 3, 7, 7),
                "bn1.running_var": (64,),
                "bn1.num_batches_tracked": (),
                "layer1.0.downsample.0.weight": (256, 64, 1, 1),
                "layer1.0.downsample.1.running_mean": (256,),
                "layer3.5.conv2.weight": (256, 256, 3, 3),
                "layer4.2.bn3.bias": (2048,),
                "fc.weight": (1000, 2048),
            },
        ),
    ],
)
def test_parameters_are_those_of_torchvision(
    build: Callable[[], nn.Module], parameters: int, names: dict[str, tuple[int, ...]]
) -> None:
    with torch.device("meta"):
        network = build()
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    state = network.state_dict()
    assert {name: tuple(state[name].shape) for name in names} == names


def test_published_resnet50_weights_load_strictly(test_data: Path) -> None:
    file = test_data / "weights" / "resnet50_imagenet_fp16.safetensors"
    if not file.is_file():
        pytest.skip(f"no {file}")
    backbone, source = load_backbone("resnet50", str(file))
    assert not source.starter
    assert source.source == file.name
    with torch.inference_mode():
        shared = backbone.trunk(chips(backbone.size))
    assert all(value.isfinite().all() for value in shared)


def test_folding_batch_normalisation_changes_nothing() -> None:
    network = random_network(ResNet50)
    pixels = torch.randn(FACES, 3, 96, 96, generator=torch.Generator().manual_seed(8))
    with torch.inference_mode():
        before = network(pixels)
        fold_batch_norm(network)
        after = network(pixels)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert before.std() > 0.01
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)


def random_network(build: Callable[[], Network]) -> Network:
    """With statistics and affine parameters as training leaves them: not 0 and 1."""
    with torch.random.fork_rng():
        torch.manual_seed(9)
        network = build().eval()
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, 0, 0.1)  # type: ignore[arg-type]
                nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
                nn.init.uniform_(module.weight, 0.3, 0.6)
                nn.init.normal_(module.bias, 0, 0.1)
    return network
