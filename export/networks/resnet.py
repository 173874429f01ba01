"""ResNets with torchvision's parameter names, so that their published weights load with ``strict=True``.

Source: He et al., arXiv:1512.03385, with the stride on the 3x3 convolution of a bottleneck as in
torchvision ``models/resnet.py``, from which the names come.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut."""

    expansion = 4
    """Output channels over the inner width."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = width * self.expansion
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def inner(self, x: Tensor) -> Tensor:
        """All but the last 1x1 convolution: [M, channels, h, w] -> [M, width, h', w']."""
        x = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(x)))

    def forward(self, x: Tensor) -> Tensor:
        """[M, channels, h, w] -> [M, 4 width, h', w']."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return functional.relu(self.bn3(self.conv3(self.inner(x))) + shortcut)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1
    """Output channels over the width."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """[M, channels, h, w] -> [M, width, h', w']."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(x)) + shortcut)


class ResNet(nn.Module):
    """Pictures float32 [M, 3, 224, 224], RGB normalised as ImageNet -> logits [M, classes]."""

    block: type[Bottleneck] | type[BasicBlock]
    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential
    blocks: tuple[int, int, int, int]
    """Blocks of each layer."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for number, blocks in enumerate(self.blocks):
            width = 64 * 2**number
            layer = _layer(self.block, channels, width, blocks, 2 if number else 1)
            setattr(self, f"layer{number + 1}", layer)
            channels = width * self.block.expansion
        self.fc = nn.Linear(channels, classes)

    def stem(self, x: Tensor) -> Tensor:
        """[M, 3, 224, 224] -> [M, 64, 56, 56]."""
        return functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Class logits."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


class ResNet34(ResNet):
    """Two convolutions a block."""

    block = BasicBlock
    blocks = (3, 4, 6, 3)


class ResNet50(ResNet):
    """Three convolutions a block."""

    block = Bottleneck
    blocks = (3, 4, 6, 3)


def _layer(
    block: type[Bottleneck] | type[BasicBlock], channels: int, width: int, blocks: int, stride: int
) -> nn.Sequential:
    first = block(channels, width, stride)
    rest = [block(width * block.expansion, width, 1) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


def fold_batch_norm(module: nn.Module) -> None:
    """Fold every batch normalisation into the convolution before it, in place.

    A pair is a convolution and the normalisation that stands next in its module. The network computes what
    it did in evaluation mode, faster; and the exporter cannot trace a normalisation over an unknown number
    of faces.
    """
    children = list(module.named_children())
    for (name, first), (next_name, second) in pairwise(children):
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(first.eval(), second.eval()))
            setattr(module, next_name, nn.Identity())
    for _, child in children:
        fold_batch_norm(child)
