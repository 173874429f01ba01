"""Inception-ResNet-v1 with facenet-pytorch's parameter names, so that its state dicts load strictly.

Network: Szegedy et al., arXiv:1602.07261, as David Sandberg's facenet has it (``inception_resnet_v1.py``,
MIT); names: facenet-pytorch (Tim Esler, MIT), ``models/inception_resnet_v1.py``, whose published
``20180402-114759-vggface2.pt`` and ``20180408-102900-casia-webface.pt`` also hold the classifier that
embeddings do not need: ``LOGITS``.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

SIZE: Final = 160
"""Side of the input, in pixels."""
EMBEDDING: Final = 512
LOGITS: Final = ("logits.weight", "logits.bias")
"""Names, in the published files, of what only training needs."""
_EPSILON: Final = 1e-3
"""Of TensorFlow's batch normalisation, from which the weights were converted."""


class BasicConv2d(nn.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """[M, inputs, h, w] -> [M, outputs, h', w']."""
        return functional.relu(self.bn(self.conv(x)))


class Block(nn.Module):
    """Branches side by side, joined by a 1x1 convolution, scaled and added to the input."""

    def __init__(self, channels: int, scale: float, *branches: nn.Module, joined: int, relu: bool) -> None:
        super().__init__()
        self.scale = scale
        self.relu = relu
        self.branches = len(branches)
        for index, branch in enumerate(branches):
            self.add_module(f"branch{index}", branch)
        self.conv2d = nn.Conv2d(joined, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[M, channels, h, w] -> the same."""
        out = x + self.scale * self.conv2d(_side_by_side(self, self.branches, x))
        return functional.relu(out) if self.relu else out


class Reduction(nn.Module):
    """Branches side by side, each with half the rows and columns; the last one takes maxima."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = len(branches) + 1
        for index, branch in enumerate((*branches, nn.MaxPool2d(3, 2))):
            self.add_module(f"branch{index}", branch)

    def forward(self, x: Tensor) -> Tensor:
        """[M, channels, h, w] -> [M, channels', h', w']."""
        return _side_by_side(self, self.branches, x)


def _side_by_side(block: nn.Module, branches: int, x: Tensor) -> Tensor:
    return torch.cat([block.get_submodule(f"branch{index}")(x) for index in range(branches)], 1)


def _block35() -> Block:
    return Block(
        256, 0.17,
        BasicConv2d(256, 32, 1),
        nn.Sequential(BasicConv2d(256, 32, 1), BasicConv2d(32, 32, 3, padding=1)),
        nn.Sequential(
            BasicConv2d(256, 32, 1), BasicConv2d(32, 32, 3, padding=1), BasicConv2d(32, 32, 3, padding=1)
        ),
        joined=96, relu=True,
    )  # fmt: skip


def _block17() -> Block:
    return Block(
        896, 0.10,
        BasicConv2d(896, 128, 1),
        nn.Sequential(
            BasicConv2d(896, 128, 1),
            BasicConv2d(128, 128, (1, 7), padding=(0, 3)),
            BasicConv2d(128, 128, (7, 1), padding=(3, 0)),
        ),
        joined=256, relu=True,
    )  # fmt: skip


def _block8(scale: float, *, relu: bool) -> Block:
    return Block(
        1792, scale,
        BasicConv2d(1792, 192, 1),
        nn.Sequential(
            BasicConv2d(1792, 192, 1),
            BasicConv2d(192, 192, (1, 3), padding=(0, 1)),
            BasicConv2d(192, 192, (3, 1), padding=(1, 0)),
        ),
        joined=384, relu=relu,
    )  # fmt: skip


class InceptionResnetV1(nn.Module):
    """Face chips float32 [M, 3, 160, 160], RGB in [0, 255] -> embeddings float32 [M, 512]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv2d_1a = BasicConv2d(3, 32, 3, 2)
        self.conv2d_2a = BasicConv2d(32, 32, 3)
        self.conv2d_2b = BasicConv2d(32, 64, 3, padding=1)
        self.conv2d_3b = BasicConv2d(64, 80, 1)
        self.conv2d_4a = BasicConv2d(80, 192, 3)
        self.conv2d_4b = BasicConv2d(192, 256, 3, 2)
        self.repeat_1 = nn.Sequential(*(_block35() for _ in range(5)))
        self.mixed_6a = Reduction(
            BasicConv2d(256, 384, 3, 2),
            nn.Sequential(
                BasicConv2d(256, 192, 1), BasicConv2d(192, 192, 3, padding=1), BasicConv2d(192, 256, 3, 2)
            ),
        )
        self.repeat_2 = nn.Sequential(*(_block17() for _ in range(10)))
        self.mixed_7a = Reduction(
            nn.Sequential(BasicConv2d(896, 256, 1), BasicConv2d(256, 384, 3, 2)),
            nn.Sequential(BasicConv2d(896, 256, 1), BasicConv2d(256, 256, 3, 2)),
            nn.Sequential(
                BasicConv2d(896, 256, 1), BasicConv2d(256, 256, 3, padding=1), BasicConv2d(256, 256, 3, 2)
            ),
        )
        self.repeat_3 = nn.Sequential(*(_block8(0.20, relu=True) for _ in range(5)))
        # Not 0.20 as the blocks before: facenet leaves this one's scale at its default.
        self.block8 = _block8(1.0, relu=False)
        self.last_linear = nn.Linear(1792, EMBEDDING, bias=False)
        self.last_bn = nn.BatchNorm1d(EMBEDDING, eps=_EPSILON)

    def forward(self, chips: Tensor) -> Tensor:
        """Embeddings, not normalised; the input is scaled as the 2018 weights want it, (x - 127.5) / 128."""
        x = self.conv2d_2b(self.conv2d_2a(self.conv2d_1a((chips - 127.5) / 128)))
        x = self.conv2d_3b(functional.max_pool2d(x, 3, 2))
        x = self.repeat_1(self.conv2d_4b(self.conv2d_4a(x)))
        x = self.repeat_2(self.mixed_6a(x))
        x = self.block8(self.repeat_3(self.mixed_7a(x)))
        embeddings: Tensor = self.last_bn(self.last_linear(x.mean(dim=(2, 3))))
        return embeddings
