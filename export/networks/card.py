"""The card of a learned leaf as one more output of its graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adlens.contract import ModelCard


class Carded(nn.Module):
    """A network that answers with its outputs and then CARD, uint8 [N, bytes], one row a picture."""

    card: Tensor

    def __init__(self, network: nn.Module, card: ModelCard) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("card", torch.frombuffer(bytearray(card.to_bytes()), dtype=torch.uint8))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The network's outputs, and the card repeated for each row of the inputs."""
        outputs = self.network(*inputs)
        several = outputs if isinstance(outputs, tuple) else (outputs,)
        return (*several, self.card.expand(inputs[0].shape[0], -1))
