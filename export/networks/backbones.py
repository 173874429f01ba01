"""The backbones of job 1, each cut into a trunk that all labels share and one tail a label.

Fine-tuning leaves the trunk untouched (VGG16: blocks 1-4; ResNet50: all but the last 1x1
convolution; dlib: everything), so a trunk with three tails computes *exactly* what three separately
fine-tuned networks would, for little more than the price of one.

A tail judges a face twice and adds the logits: a *wide* part, linear in the trunk's middle levels
averaged to a coarse grid (where hats, beards and glasses are found best), and a *deep* part, the last
block with the head of the IMG2RECOMMENDER project (VGG16: flatten, 256, dropout 0.5; ResNet50: average, 512,
dropout 0.25).
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.networks import dlib_resnet, vgg
from export.networks.dlib_resnet import DlibResNet
from export.networks.resnet import Bottleneck, ResNet50, fold_batch_norm
from export.networks.vgg import Vgg16

DLIB_GRIDS = (8, 8, 8, 4, 2)
VGG16_GRIDS = (4, 4)
RESNET50_GRIDS = (4, 4)
"""Cells a side to which each level is averaged for the wide part; finer than 3 did better
for dlib in cross-validation, the other two are untried."""
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
"""RGB statistics in [0, 1] with which torchvision's ImageNet weights were trained."""

Shared = tuple[Tensor, ...]
"""What a trunk gives its tails: the wide features [M, wide], then the last block's inputs."""


class Tail(nn.Module):
    """One label: wide logit plus, where the backbone has a last block, deep logit."""

    def __init__(self, wide: int, block: nn.Module | None, head: nn.Module | None) -> None:
        super().__init__()
        self.wide = nn.Linear(wide, 1)
        self.block = block
        self.head = head

    def deep(self, inputs: Shared) -> Tensor:
        """Features of the last block, float32 [M, deep], from its inputs."""
        if self.block is None:
            raise ValueError("this backbone has no last block to fine-tune")
        features: Tensor = self.block(*inputs)
        return features

    def forward(self, shared: Shared) -> Tensor:
        """Logits float32 [M, 1]."""
        logits: Tensor = self.wide(shared[0])
        if self.head is not None:
            logits = logits + self.head(self.deep(shared[1:]))
        return logits


class Backbone(nn.Module, ABC):
    """Face chips float32 [M, 3, size, size], RGB in [0, 255]; trunk once, one tail a label."""

    name: str
    size: int
    wide: int
    """Length of the wide features."""

    @abstractmethod
    def trunk(self, chips: Tensor) -> Shared:
        """Run what all labels share."""

    @abstractmethod
    def new_tail(self) -> Tail:
        """A tail for one label: last block as in the backbone, head untrained (it answers 0.5)."""


class DlibBackbone(Backbone):
    """dlib's face ResNet; the wide part reads all five levels, and there is no deep part."""

    name = "dlib"
    size = dlib_resnet.SIZE
    wide = sum(c * g**2 for c, g in zip(dlib_resnet.LEVELS, DLIB_GRIDS, strict=True))

    def __init__(self, network: DlibResNet) -> None:
        super().__init__()
        self.network = network

    def trunk(self, chips: Tensor) -> Shared:
        """([M, 19456],)."""
        return (pooled(self.network.features(chips), DLIB_GRIDS),)

    def new_tail(self) -> Tail:
        """A linear tail."""
        return Tail(self.wide, None, None)


class Vgg16Backbone(Backbone):
    """VGG16 at 150x150; the wide part reads blocks 3 and 4, the deep part is block 5."""

    name = "vgg16"
    size = 150
    wide = 256 * VGG16_GRIDS[0] ** 2 + 512 * VGG16_GRIDS[1] ** 2

    def __init__(self, network: Vgg16) -> None:
        super().__init__()
        self.block3 = network.features[: vgg.BLOCK4_END]
        self.block4 = network.features[vgg.BLOCK4_END : vgg.BLOCK5_START]
        # A list keeps the pattern of tails out of the trunk's own parameters.
        self._last = [network.features[vgg.BLOCK5_START :]]
        self.normalise = ImageNetNormalise()

    def trunk(self, chips: Tensor) -> Shared:
        """([M, 12288], [M, 512, 9, 9])."""
        block3 = self.block3(self.normalise(chips))
        block4 = self.block4(block3)
        return pooled([block3, block4], VGG16_GRIDS), block4

    def new_tail(self) -> Tail:
        """Block 5, flattened to 8192, then 256 and 1."""
        side = self.size // 32
        head = _head(vgg.BLOCK5_CHANNELS * side * side, 256, 0.5)
        return Tail(self.wide, nn.Sequential(copy.deepcopy(self._last[0]), nn.Flatten()), head)


class ResNet50Backbone(Backbone):
    """ResNet50 at 224x224; the wide part reads layers 2 and 3, the deep part ends layer 4."""

    name = "resnet50"
    size = 224
    wide = 512 * RESNET50_GRIDS[0] ** 2 + 1024 * RESNET50_GRIDS[1] ** 2

    def __init__(self, network: ResNet50) -> None:
        super().__init__()
        self.network = network
        fold_batch_norm(network)
        last = network.layer4[-1]
        if not isinstance(last, Bottleneck):
            raise TypeError(f"layer4 must end with a bottleneck, not {type(last).__name__}")
        self._last = [last]
        self.normalise = ImageNetNormalise()

    def trunk(self, chips: Tensor) -> Shared:
        """([M, 24576], [M, 512, 7, 7], [M, 2048, 7, 7])."""
        net = self.network
        layer2 = net.layer2(net.layer1(net.stem(self.normalise(chips))))
        layer3 = net.layer3(layer2)
        shortcut = net.layer4[:-1](layer3)
        return pooled([layer2, layer3], RESNET50_GRIDS), self._last[0].inner(shortcut), shortcut

    def new_tail(self) -> Tail:
        """The last 1x1 convolution with its shortcut, averaged to 2048, then 512 and 1."""
        last = self._last[0]
        return Tail(self.wide, _LastConvolution(last), _head(last.conv3.out_channels, 512, 0.25))


class _LastConvolution(nn.Module):
    """The end of a bottleneck: last 1x1 convolution, shortcut, global average."""

    def __init__(self, last: Bottleneck) -> None:
        super().__init__()
        self.conv3 = copy.deepcopy(last.conv3)

    def forward(self, inner: Tensor, shortcut: Tensor) -> Tensor:
        return functional.relu(self.conv3(inner) + shortcut).mean(dim=(2, 3))


class ImageNetNormalise(nn.Module):
    """[0, 255] to zero mean and unit variance over ImageNet."""

    def __init__(self) -> None:
        super().__init__()
        for name, values in (("mean", _IMAGENET_MEAN), ("std", _IMAGENET_STD)):
            self.register_buffer(name, 255.0 * torch.tensor(values).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, chips: Tensor) -> Tensor:
        """RGB float32 [M, 3, h, w]."""
        return (chips - self.get_buffer("mean")) / self.get_buffer("std")


def _head(features: int, hidden: int, dropout: float) -> nn.Sequential:
    """The head of the IMG2RECOMMENDER project; its last layer starts at zero, so that it adds nothing yet."""
    last = nn.Linear(hidden, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Dropout(dropout), last)


def pooled(levels: list[Tensor], grids: tuple[int, ...]) -> Tensor:
    """Levels [M, C, h, w] averaged to their grids, square roots taken, joined: [M, sum(C * grid**2)].

    Square roots make a linear classifier compare histograms as the Hellinger kernel does (Perronnin et al.,
    ECCV 2010). All levels come out of a ReLU, so none is negative.
    """
    cells = [averaged(x, grid).flatten(1) for x, grid in zip(levels, grids, strict=True)]
    return torch.cat(cells, dim=1).sqrt()


def averaged(x: Tensor, grid: int) -> Tensor:
    """Adaptive average pooling to ``grid`` x ``grid`` as one matrix product: any size exports to ONNX.

    The plain matrix stands on the right, as ONNX Runtime multiplies an empty batch only that way round.
    """
    rows, columns = (averaging(side, grid).to(x) for side in x.shape[2:])
    return x.flatten(2) @ torch.kron(rows, columns).T


def averaging(side: int, grid: int) -> Tensor:
    """[grid, side]: each row averages the positions of its cell, as ``adaptive_avg_pool2d`` does."""
    matrix = torch.zeros(grid, side)
    for cell in range(grid):
        start, end = cell * side // grid, -(-(cell + 1) * side // grid)
        matrix[cell, start:end] = 1.0 / (end - start)
    return matrix
