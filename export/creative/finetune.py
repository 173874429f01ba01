"""Fine-tuning of the judge's last layer and head, streaming, with checkpoints.

For where a frozen trunk is not enough. Only the last layer learns, so that what the earlier ones say needs
no gradients. A run that was killed goes on from its last checkpoint, with the pictures that come next.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from export.creative.network import CreativeNetwork
from export.creative.reading import read_canvases

RATE: Final = 5e-4
MOMENTUM: Final = 0.9
BATCH: Final = 4
"""Pictures a step, each with all its variants."""
STEPS: Final = 100
"""Between two checkpoints."""
_PLACE: Final = "place"
_MODEL: Final = "model."
_MOMENTUM: Final = "momentum."


def fine_tune(
    network: CreativeNetwork, paths: Sequence[Path], epochs: int, checkpoint: Path, seed: int
) -> None:
    """Train last layer and head by SGD on cross-entropy, in place.

    Args:
        network: whose head is trained already.
        paths: pictures to learn from.
        epochs: passes over them, each in an order of its own.
        checkpoint: file, to go on from where it is there; it must be of the same network, pictures and seed.
        seed: of the orders.
    """
    network.requires_grad_(False)
    learning = nn.ModuleDict({"last": network.trunk.layers[-1], "head": network.head}).requires_grad_(True)
    parameters = dict(learning.named_parameters())
    optimiser = torch.optim.SGD(parameters.values(), RATE, MOMENTUM)
    done = _resume(learning, parameters, optimiser, checkpoint)
    steps = -(-len(paths) // BATCH)
    with tqdm(total=epochs * steps, initial=done, desc="fine-tuning", unit="step", disable=None) as progress:
        while done < epochs * steps:
            epoch, first = divmod(done, steps)
            order = np.random.default_rng((seed, epoch)).permutation(len(paths))[first * BATCH :]
            for canvases in read_canvases([paths[row] for row in order], BATCH):
                if len(canvases.rows):
                    _step(network, optimiser, canvases.pixels, canvases.sizes)
                done += 1
                progress.update()
                if done % STEPS == 0 or done == epochs * steps:
                    _save(learning, parameters, optimiser, done, checkpoint)
    network.requires_grad_(False)


def _step(network: CreativeNetwork, optimiser: torch.optim.Optimizer, pixels: Tensor, sizes: Tensor) -> None:
    with torch.no_grad():
        squares = network.variants(pixels, sizes).flatten(0, 1)
    logits = network.head(network.trunk(squares)[0])
    truth = torch.arange(len(network.labels)).repeat(len(pixels))
    loss = functional.cross_entropy(logits, truth)
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def _save(
    learning: nn.Module,
    parameters: dict[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
    done: int,
    checkpoint: Path,
) -> None:
    state = {_MODEL + name: value.detach().contiguous() for name, value in learning.state_dict().items()}
    for name, parameter in parameters.items():
        if (momentum := optimiser.state[parameter].get("momentum_buffer")) is not None:
            state[_MOMENTUM + name] = momentum.contiguous()
    state[_PLACE] = torch.tensor(done)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    partial = checkpoint.with_suffix(".partial")
    save_file(state, partial)
    partial.rename(checkpoint)


def _resume(
    learning: nn.Module,
    parameters: dict[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
    checkpoint: Path,
) -> int:
    """Fill in what the checkpoint holds; the number of steps that it has behind it."""
    if not checkpoint.exists():
        return 0
    state = load_file(checkpoint)
    learning.load_state_dict({name: state[_MODEL + name] for name in learning.state_dict()})
    for name, parameter in parameters.items():
        if (momentum := state.get(_MOMENTUM + name)) is not None:
            optimiser.state[parameter]["momentum_buffer"] = momentum
    return int(state[_PLACE])
