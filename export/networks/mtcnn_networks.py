"""The three networks of MTCNN and their weights; ``mtcnn`` beside this file makes the cascade of them.

Layers after Zhang et al. 2016 (https://arxiv.org/abs/1604.02878). Weights are those of the PyPI package
``mtcnn`` 1.0.0, which took them from the authors' own release.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import joblib
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

WEIGHT_FILES: Final = {"proposal": "pnet.lz4", "refinement": "rnet.lz4", "output": "onet.lz4"}


@dataclass(frozen=True)
class Source:
    """Where weights come from, for a manifest."""

    package: str
    licence: str
    sha256: str
    """Over the three files in the order of the cascade."""


class ProposalNet(nn.Module):
    """P-Net: 12x12 windows at every second pixel; what remains of the input is (size - 10) / 2."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            *_block(3, 10, 3), nn.MaxPool2d(2, 2, ceil_mode=True), *_block(10, 16, 3), *_block(16, 32, 3)
        )
        self.regression = nn.Conv2d(32, 4, 1)
        self.face = nn.Conv2d(32, 2, 1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Regression [N, cells, 4] and log-odds [N, cells] of ``pixels`` [N, 3, H, W], cells by row."""
        features = self.trunk(pixels)
        regression = self.regression(features).flatten(2).transpose(1, 2)
        return regression, _log_odds(self.face(features)).flatten(1)


class RefinementNet(nn.Module):
    """R-Net: one candidate at 24x24."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            *_block(3, 28, 3),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            *_block(28, 48, 3),
            nn.MaxPool2d(3, 2),
            *_block(48, 64, 2),
            Flatten(),
            nn.Linear(576, 128),
            PReLU(128, 2),
        )
        self.regression = nn.Linear(128, 4)
        self.face = nn.Linear(128, 2)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Regression [M, 4] and log-odds [M] of ``crops`` [M, 3, 24, 24]."""
        features = self.trunk(crops)
        return self.regression(features), _log_odds(self.face(features))


class OutputNet(nn.Module):
    """O-Net: one candidate at 48x48."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            *_block(3, 32, 3),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            *_block(32, 64, 3),
            nn.MaxPool2d(3, 2),
            *_block(64, 64, 3),
            nn.MaxPool2d(2, 2, ceil_mode=True),
            *_block(64, 128, 2),
            Flatten(),
            nn.Linear(1152, 256),
            PReLU(256, 2),
        )
        self.regression = nn.Linear(256, 4)
        self.landmarks = nn.Linear(256, 10)
        self.face = nn.Linear(256, 2)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Regression [M, 4], landmarks [M, 10] (five x, five y), log-odds [M] of 48x48 ``crops``."""
        features = self.trunk(crops)
        return self.regression(features), self.landmarks(features), _log_odds(self.face(features))


class PReLU(nn.Module):
    """PReLU with a slope a channel, of operators that ONNX Runtime runs faster than its own PRelu."""

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, *[1] * (dimensions - 2)))

    def forward(self, values: Tensor) -> Tensor:
        """Apply to ``values`` [N, channels, ...]."""
        return self.weight * values + (1 - self.weight) * functional.relu(values)


class Flatten(nn.Module):
    """Features column by column, channels innermost: the order in which the weights expect them."""

    def forward(self, features: Tensor) -> Tensor:
        """[N, C, H, W] to [N, W * H * C]."""
        return features.permute(0, 3, 2, 1).flatten(1)


def _block(inputs: int, outputs: int, kernel: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, kernel), PReLU(outputs, 4)


def _log_odds(logits: Tensor) -> Tensor:
    """Log-odds of class 1 of two, ``logits`` [N, 2, ...]."""
    return logits[:, 1] - logits[:, 0]


def source() -> Source:
    """Where the weights come from.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    folder = _weight_folder()
    digest = hashlib.sha256(b"".join((folder / file).read_bytes() for file in WEIGHT_FILES.values()))
    return Source("mtcnn 1.0.0", "MIT", digest.hexdigest())


def _weight_folder() -> Path:
    """Where the package keeps its weights; the package itself would import TensorFlow."""
    found = importlib.util.find_spec("mtcnn")
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError(
            "the weights of MTCNN are in the package mtcnn 1.0.0: pip install 'mtcnn==1.0.0'"
        )
    return Path(found.submodule_search_locations[0], "assets", "weights")


def load_weights(network: nn.Module, file: str) -> None:
    """Fill ``network`` from a file of the package: Keras arrays in the order of the network's parameters.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    arrays: list[np.ndarray[Any, Any]] = joblib.load(_weight_folder() / file)
    parameters = network.named_parameters()
    network.load_state_dict(
        {
            name: _from_keras(torch.from_numpy(array)).reshape(parameter.shape)
            for (name, parameter), array in zip(parameters, arrays, strict=True)
        }
    )


def _from_keras(array: Tensor) -> Tensor:
    """Kernels HWIO to OIHW, dense inputs-outputs to outputs-inputs; slopes and biases stay."""
    if array.ndim == 4:
        return array.permute(3, 2, 0, 1)
    return array.T if array.ndim == 2 else array
