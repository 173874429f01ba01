"""A ResNet of a few layers, so that tests of training and export take seconds."""

from __future__ import annotations

import torch

from export.creative.network import CreativeTrunk, Tones
from export.networks.resnet import BasicBlock, ResNet
from export.weights import seeded


class Tiny(ResNet):
    """One block a layer."""

    block = BasicBlock
    blocks = (1, 1, 1, 1)


def trunk() -> CreativeTrunk:
    """With seeded weights."""
    return CreativeTrunk(seeded(Tiny), Tones).eval()


def randomise(module: torch.nn.Module, seed: int = 1) -> None:
    """Fill all parameters, but for thresholds, so that no branch is without influence."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            spread = 1.5 / parameter.shape[-1] ** 0.5 if parameter.ndim > 1 else 0.1
            if parameter.ndim:  # thresholds stay
                parameter.copy_(spread * torch.randn(parameter.shape, generator=random))
