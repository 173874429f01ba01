"""dlib's face recognition ResNet in torch, with its real weights read without dlib.

The network and its weights are Davis King's ``dlib_face_recognition_resnet_model_v1.dat`` (public
domain), which the package ``face_recognition_models`` carries. Layout of the network:
dlib ``examples/dnn_face_recognition_ex.cpp``; layout of the file: dlib ``dlib/serialize.h`` and
``dlib/cuda/tensor.h``, where integers are one byte with the number of bytes (0x80 set when
negative) followed by the bytes, little end first, and a tensor is the version 2, four sizes and raw
float32.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

SIZE = 150
"""Side of the input, in pixels."""
EMBEDDING = 128
LEVELS = (32, 64, 128, 256, 256)
"""Channels of the five levels of residual blocks."""
_BLOCKS = (3, 4, 3, 3, 1)
_MEAN_RGB = (122.782, 117.001, 104.298)
_SCALE = 256.0
_FILE = "dlib_face_recognition_resnet_model_v1.dat"
_TENSOR_VERSION = 2


class Block(nn.Module):
    """conv3x3, relu, conv3x3, add; a ``down`` block halves the sides and averages its shortcut 2x2.

    dlib's affine layers (gamma, beta) are folded into the convolutions. dlib's addition pads the
    smaller of its two operands with zeros, in channels, rows and columns.
    """

    def __init__(self, channels_in: int, channels_out: int, *, down: bool) -> None:
        super().__init__()
        self.down = down
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, 2 if down else 1, 0 if down else 1)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[M, channels_in, h, w] -> [M, channels_out, h', w']."""
        residual = self.conv2(functional.relu(self.conv1(x)))
        shortcut = functional.avg_pool2d(x, 2, 2) if self.down else x
        return functional.relu(_padded_to(residual, shortcut) + _padded_to(shortcut, residual))


def _padded_to(x: Tensor, other: Tensor) -> Tensor:
    """``x`` with zeros appended in channels, rows and columns up to the sizes of ``other``."""
    missing = [max(0, other.shape[axis] - x.shape[axis]) for axis in (3, 2, 1)]
    if not any(missing):
        return x
    return functional.pad(x, (0, missing[0], 0, missing[1], 0, missing[2]))


class DlibResNet(nn.Module):
    """Face chips float32 [M, 3, 150, 150], RGB in [0, 255] -> descriptors float32 [M, 128]."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_MEAN_RGB).reshape(1, 3, 1, 1), persistent=False)
        self.stem = nn.Conv2d(3, LEVELS[0], 7, 2)
        levels, channels = [], LEVELS[0]
        for index, (width, blocks) in enumerate(zip(LEVELS, _BLOCKS, strict=True)):
            level = [Block(channels, width, down=index > 0)]
            level += [Block(width, width, down=False) for _ in range(blocks - 1)]
            levels.append(nn.Sequential(*level))
            channels = width
        self.levels = nn.ModuleList(levels)
        self.fc = nn.Linear(LEVELS[-1], EMBEDDING, bias=False)

    def features(self, chips: Tensor) -> list[Tensor]:
        """The outputs of the five levels, float32 [M, LEVELS[i], h, w] with h = w = 35, 17, 8, 4, 2."""
        x = functional.relu(self.stem((chips - self.mean) / _SCALE))
        x = functional.max_pool2d(x, 3, 2)
        outputs = []
        for level in self.levels:
            x = level(x)
            outputs.append(x)
        return outputs

    def forward(self, chips: Tensor) -> Tensor:
        """Descriptors as ``compute_face_descriptor`` of dlib gives them (not normalised)."""
        descriptors: Tensor = self.fc(self.features(chips)[-1].mean(dim=(2, 3)))
        return descriptors


class FoldedDlibResNet(nn.Module):
    """The same with the scaling of its input inside its first convolution, which has no padding."""

    def __init__(self, network: DlibResNet) -> None:
        super().__init__()
        self.stem = copy.deepcopy(network.stem)
        with torch.no_grad():
            self.stem.weight /= _SCALE
            if self.stem.bias is not None:
                self.stem.bias -= (self.stem.weight * network.mean).sum((1, 2, 3))
        self.levels = network.levels
        self.fc = network.fc

    def forward(self, chips: Tensor) -> Tensor:
        """As ``DlibResNet``."""
        x = functional.max_pool2d(functional.relu(self.stem(chips)), 3, 2)
        for level in self.levels:
            x = level(x)
        descriptors: Tensor = self.fc(x.mean(dim=(2, 3)))
        return descriptors


@dataclass(frozen=True)
class DlibWeights:
    """The weights file of the installed package, and its SHA-256."""

    path: Path
    sha256: str


def find_weights() -> DlibWeights:
    """The file in package ``face_recognition_models``, found without importing the package.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("package face_recognition_models is not installed: run `make install`")
    path = Path(spec.origin).parent / "models" / _FILE
    return DlibWeights(path, hashlib.sha256(path.read_bytes()).hexdigest())


def load_dlib_resnet() -> DlibResNet:
    """The network with dlib's own weights, in evaluation mode.

    Raises:
        FileNotFoundError: the package with the weights is not installed.
        ValueError: the file does not hold the expected sequence of tensors.
    """
    network = DlibResNet()
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    sizes: list[int] = []
    for conv in convolutions:
        sizes += [conv.weight.numel() + conv.out_channels, 2 * conv.out_channels]
    tensors = _read_tensors(find_weights().path.read_bytes(), [*sizes, network.fc.weight.numel()])
    with torch.no_grad():
        for conv in convolutions:
            weights, affine = next(tensors), next(tensors)
            gamma, beta = affine.chunk(2)
            kernel, bias = weights[: conv.weight.numel()], weights[conv.weight.numel() :]
            conv.weight.copy_(kernel.reshape(conv.weight.shape) * gamma.reshape(-1, 1, 1, 1))
            if conv.bias is not None:
                conv.bias.copy_(bias * gamma + beta)
        network.fc.weight.copy_(next(tensors).reshape(LEVELS[-1], EMBEDDING).T)
    return network.eval()


def _read_tensors(data: bytes, sizes: list[int]) -> Iterator[Tensor]:
    """The tensors with just these ``sizes``, in the order in which the file holds them."""
    position = 0
    for size in sizes:
        start = _find_tensor(data, position, size)
        position = start + 4 * size
        yield torch.from_numpy(np.frombuffer(data, "<f4", size, start).copy())


def _find_tensor(data: bytes, position: int, size: int) -> int:
    """Where the float32 of the next tensor of ``size`` numbers begin, from ``position`` on."""
    version = bytes((1, _TENSOR_VERSION))
    while (position := data.find(version, position)) >= 0:
        cursor, shape = position + len(version), []
        for _ in range(4):
            value, cursor = _read_integer(data, cursor)
            shape.append(value)
        if prod(shape) == size and cursor + 4 * size <= len(data):
            return cursor
        position += 1
    raise ValueError(f"no tensor of {size} numbers where dlib's face network should have one")


def _read_integer(data: bytes, cursor: int) -> tuple[int, int]:
    """One serialised integer at ``cursor``, and the position behind it; -1 where there is none."""
    if cursor >= len(data) or not 0 < data[cursor] <= 8:
        return -1, cursor
    end = cursor + 1 + data[cursor]
    return int.from_bytes(data[cursor + 1 : end], "little"), end
