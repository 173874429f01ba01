"""Fine-tuning of the judge's last layers and head, streaming, with checkpoints.

For where a frozen trunk is not enough. Only the last layers learn, so that what the earlier ones say needs
no gradients. Each time that a picture comes, it is cropped and maybe mirrored anew before its variants are
made, so that the judge cannot learn pictures by heart. A run that was killed goes on from its last
checkpoint, with the pictures that come next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from adlens import contract
from export.creative.network import CreativeNetwork, CreativeTrunk, Statistics
from export.creative.reading import read_canvases

LAYERS: Final = 2
"""Of the trunk that learn: which way up a picture is shows in the last but one."""
RATE: Final = 1e-4
HEAD_RATE: Final = 1e-5
"""Lower, as the head has been found already."""
WARM_UP: Final = 50
"""Steps in which both rise to these; then they fall along a cosine (arXiv:1608.03983)."""
BATCH: Final = 12
"""Pictures a step, each as it is and as one of its other variants, drawn anew each time."""
EVEN: Final = 0.4
"""Share of the draws that take all variants alike; the others go where the loss is: most are soon known."""
MEMORY: Final = 0.95
"""Of a step before in the running mean of each variant's loss."""
LEAST_CROP: Final = 0.8
"""Share of a side that a crop keeps at least."""
AVERAGED: Final = 0.998
"""Of a step before in the running mean of the weights, which is what is kept at last, and not where the last
steps happen to end (Polyak and Juditsky, SIAM J. Control Optim. 30(4), 1992)."""
STEPS: Final = 100
"""Between two checkpoints."""
_TINY: Final = 1e-6
_PLACE: Final = "place"
_LOSSES: Final = "losses"
_MODEL: Final = "model."
_MEAN: Final = "mean."
_MOMENTS: Final = ("exp_avg", "exp_avg_sq", "step")
"""What AdamW keeps of each parameter."""


def learning_layers(trunk: CreativeTrunk) -> nn.ModuleList:
    """Those of a trunk that fine-tuning changes."""
    return trunk.layers[-LAYERS:]


def fine_tune(
    network: CreativeNetwork, paths: Sequence[Path], epochs: int, checkpoint: Path, seed: int
) -> None:
    """Train last layers and head by AdamW (arXiv:1711.05101) on cross-entropy, in place.

    Args:
        network: whose head is trained already.
        paths: pictures to learn from.
        epochs: passes over them, each in an order of its own.
        checkpoint: file, to go on from where it is there; it must be of the same network, pictures, epochs
            and seed.
        seed: of the orders, crops and variants.

    Raises:
        ArithmeticError: the loss is no number any longer.
    """
    network.requires_grad_(False)
    last = learning_layers(network.trunk)
    learning = nn.ModuleDict({"last": last, "head": network.head}).requires_grad_(True)
    parameters = dict(learning.named_parameters())
    optimiser = torch.optim.AdamW(
        [{"params": last.parameters(), "lr": RATE}, {"params": network.head.parameters(), "lr": HEAD_RATE}]
    )
    losses = torch.ones(len(network.labels))
    moving = get_ema_multi_avg_fn(AVERAGED)  # type: ignore[no-untyped-call]
    mean = AveragedModel(learning, multi_avg_fn=moving)
    done = _resume(learning, mean, parameters, optimiser, losses, checkpoint)
    rates = [float(group["lr"]) for group in optimiser.param_groups]
    steps = -(-len(paths) // BATCH)
    hooks = [layer.register_forward_hook(_lifted) for layer in last]
    try:
        with tqdm(
            total=epochs * steps, initial=done, desc="fine-tuning", unit="step", disable=None
        ) as progress:
            while done < epochs * steps:
                epoch, first = divmod(done, steps)
                order = np.random.default_rng((seed, epoch)).permutation(len(paths))[first * BATCH :]
                for canvases in read_canvases([paths[row] for row in order], BATCH):
                    if len(canvases.rows):
                        _set_rates(optimiser, rates, done, epochs * steps)
                        random = np.random.default_rng((seed, epoch, done))
                        _step(network, optimiser, canvases.pixels, canvases.sizes, losses, random)
                        if done >= WARM_UP:
                            mean.update_parameters(learning)
                    done += 1
                    progress.update()
                    if done % STEPS == 0 or done == epochs * steps:
                        _save(learning, mean, parameters, optimiser, losses, done, checkpoint)
        if mean.n_averaged:
            learning.load_state_dict(mean.module.state_dict())
    finally:
        for hook in hooks:
            hook.remove()
        network.requires_grad_(False)


def _lifted(layer: nn.Module, inputs: object, output: Tensor) -> Tensor:
    """The head reads roots of averages, and the root of 0 has no finite slope."""
    return output + _TINY


def _set_rates(optimiser: torch.optim.Optimizer, rates: Iterable[float], done: int, total: int) -> None:
    warmth = min(1.0, (done + 1) / WARM_UP)
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"] = rate * warmth * (1 + math.cos(math.pi * done / total)) / 2


def _step(
    network: CreativeNetwork,
    optimiser: torch.optim.Optimizer,
    pixels: Tensor,
    sizes: Tensor,
    losses: Tensor,
    random: np.random.Generator,
) -> None:
    """Learn from some pictures; ``losses``, a running mean for each variant, is brought up to date."""
    original = network.labels.index(contract.ORIGINAL)
    chances = _chances(losses, original)
    drawn = random.choice(len(chances), len(sizes), p=chances.numpy())
    truth = torch.from_numpy(np.stack([np.full(len(sizes), original), drawn], axis=1)).flatten()
    with torch.no_grad():
        every = network.variants(*cropped(pixels, sizes, random))
        squares = every[torch.arange(len(sizes)).repeat_interleave(2), truth]
    with torch.autocast("cpu", torch.bfloat16, enabled=_has_bfloat16()):
        wide = network.trunk(squares)[0].float()
    # In eight bits of precision statistics say nothing.
    logits = network.head(torch.cat((network.trunk.statistics(squares), wide[:, Statistics.length :]), dim=1))
    each = functional.cross_entropy(logits, truth, reduction="none")
    # So weighted, each variant counts alike in the end, however often it is drawn.
    weights = 1 / chances
    weights[original] = 1.0
    loss = (weights.float()[truth] * each).sum() / (len(chances) * len(sizes))
    if not loss.isfinite():
        raise ArithmeticError("fine-tuning diverged; remove its checkpoint, and take a lower RATE")
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    for kind in set(truth.tolist()):
        losses[kind] = MEMORY * losses[kind] + (1 - MEMORY) * float(each.detach()[truth == kind].mean())


def _chances(losses: Tensor, original: int) -> Tensor:
    """Of each variant to be drawn beside the original, which never is, float64 [labels], summing up to 1."""
    other = torch.ones(len(losses), dtype=torch.float64)
    other[original] = 0.0
    lost = losses.double() * other + _TINY * other
    return EVEN * other / other.sum() + (1 - EVEN) * lost / lost.sum()


def cropped(pixels: Tensor, sizes: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A part of each picture, mirrored or not, as a picture of its own.

    Args:
        pixels: uint8 [N, S, S, 3], as PIXELS.
        sizes: int32 [N, 2], as PICTURE_SIZE.
        random: says which part.

    Returns:
        PIXELS and PICTURE_SIZE, the latter in canvas pixels.
    """
    canvases, parts = torch.zeros_like(pixels), torch.zeros_like(sizes)
    for row, size in enumerate(sizes.tolist()):
        scale = contract.letterbox_scale(*size)
        whole = np.maximum(1, np.round(np.array(size) * scale)).astype(int)
        part = np.maximum(1, np.round(whole * random.uniform(LEAST_CROP, 1, 2))).astype(int)
        top, left = random.integers(0, whole - part + 1)
        found = pixels[row, top : top + part[0], left : left + part[1]]
        canvases[row, : part[0], : part[1]] = found.flip(1) if random.random() < 0.5 else found
        parts[row] = torch.tensor(part)
    return canvases, parts


def _has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16, in half the time."""
    known = Path("/proc/cpuinfo")
    return known.exists() and "bf16" in known.read_text()


def _save(
    learning: nn.Module,
    mean: AveragedModel,
    parameters: dict[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
    losses: Tensor,
    done: int,
    checkpoint: Path,
) -> None:
    state = {_MODEL + name: value.detach().contiguous() for name, value in learning.state_dict().items()}
    state |= {_MEAN + name: value.detach().contiguous() for name, value in mean.state_dict().items()}
    for name, parameter in parameters.items():
        kept = optimiser.state[parameter]
        state |= {f"{moment}.{name}": kept[moment].contiguous() for moment in _MOMENTS if moment in kept}
    state[_PLACE] = torch.tensor(done)
    state[_LOSSES] = losses
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    partial = checkpoint.with_suffix(".partial")
    save_file(state, partial)
    partial.rename(checkpoint)


def _resume(
    learning: nn.Module,
    mean: AveragedModel,
    parameters: dict[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
    losses: Tensor,
    checkpoint: Path,
) -> int:
    """Fill in what the checkpoint holds; the number of steps that it has behind it."""
    if not checkpoint.exists():
        return 0
    state = load_file(checkpoint)
    losses.copy_(state[_LOSSES])
    learning.load_state_dict({name: state[_MODEL + name] for name in learning.state_dict()})
    mean.load_state_dict({name: state[_MEAN + name] for name in mean.state_dict()})
    for name, parameter in parameters.items():
        if f"{_MOMENTS[0]}.{name}" in state:
            optimiser.state[parameter] = {moment: state[f"{moment}.{name}"] for moment in _MOMENTS}
    return int(state[_PLACE])
