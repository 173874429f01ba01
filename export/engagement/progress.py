"""How far a training is: the best so far, when it was, and a checkpoint on disk to go on from."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

EVERY_S: Final = 10.0
"""Least time between two checkpoints."""
_MODEL: Final = "model."
_BEST: Final = "best."
_PLACE: Final = "place"
_MOMENTS: Final = ("exp_avg", "exp_avg_sq", "step")
"""What AdamW keeps of each parameter."""


class Progress:
    """Of a training by epochs that stops early."""

    def __init__(self, learning: nn.Module, optimiser: torch.optim.Optimizer, checkpoint: Path) -> None:
        """Go on from ``checkpoint`` where it is there.

        Args:
            learning: what changes.
            optimiser: AdamW, of the parameters of ``learning``.
            checkpoint: file; it must be of the same training.
        """
        self._learning, self._optimiser, self._checkpoint = learning, optimiser, checkpoint
        self._best_state = _copy(learning)
        self._saved = time.monotonic()
        self.done = 0
        """Epochs."""
        self.since_best = 0
        """Epochs."""
        self.best = math.inf
        """Lowest loss."""
        if checkpoint.exists():
            self._resume(load_file(checkpoint))

    def note(self, loss: float) -> None:
        """An epoch is done, and its validation loss is this."""
        self.done += 1
        self.since_best += 1
        if loss < self.best:
            self.best, self.since_best = loss, 0
            self._best_state = _copy(self._learning)
        if time.monotonic() - self._saved >= EVERY_S:
            self.save()

    def save(self) -> None:
        """Write the checkpoint."""
        state = {_MODEL + name: value for name, value in _copy(self._learning).items()}
        state |= {_BEST + name: value for name, value in self._best_state.items()}
        for name, parameter in self._learning.named_parameters():
            kept = self._optimiser.state[parameter]
            state |= {f"{moment}.{name}": kept[moment].clone() for moment in _MOMENTS if moment in kept}
        place = [float(self.done), float(self.since_best), self.best]
        state[_PLACE] = torch.tensor(place, dtype=torch.float64)
        self._checkpoint.parent.mkdir(parents=True, exist_ok=True)
        partial = self._checkpoint.with_suffix(".partial")
        save_file(state, partial)
        partial.rename(self._checkpoint)
        self._saved = time.monotonic()

    def finish(self) -> None:
        """Leave what learned as it was at its best, and no checkpoint."""
        self._learning.load_state_dict(self._best_state)
        self._checkpoint.unlink(missing_ok=True)

    def _resume(self, state: dict[str, Tensor]) -> None:
        done, since_best, self.best = state[_PLACE].tolist()
        self.done, self.since_best = int(done), int(since_best)
        names = self._learning.state_dict()
        self._learning.load_state_dict({name: state[_MODEL + name] for name in names})
        self._best_state = {name: state[_BEST + name] for name in names}
        for name, parameter in self._learning.named_parameters():
            if f"{_MOMENTS[0]}.{name}" in state:
                self._optimiser.state[parameter] = {moment: state[f"{moment}.{name}"] for moment in _MOMENTS}


def _copy(learning: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone().contiguous() for name, value in learning.state_dict().items()}
