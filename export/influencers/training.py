"""Training of the published network on lists, with checkpoints: a killed run goes on where it ended."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from export.datasets import DatasetError
from export.influencers.baselines import finite, known_mean
from export.influencers.blocks import PLAIN, Blocks, Pairs
from export.influencers.losses import l1_penalty, listwise_cross_entropy
from export.influencers.networks import PICTURE, BilinearNetwork, BlockEmbedding, NetworkShape
from export.influencers.sampler import BUCKETS, RANDOM, KBucketsSampler, Lists

OPTIMISERS: Final = ("sgd", "adam")
FUSIONS: Final = ("product", "concatenation")
STEEPEST: Final = 1.0
"""Length to which longer gradients are cut."""
_MODEL: Final = "model."
_OPTIMISER: Final = "optimiser."
_RUN: Final = "run"
_DONE: Final = "done"


@dataclass(frozen=True)
class NetworkOptions:
    """How the published network is trained.

    Attributes:
        k: influencers in a list.
        sampling: ``buckets`` or ``random``.
        fusion: of blocks, ``product`` or ``concatenation``.
        blocks: names to use; empty for all.
        pooling: of the accounts' histories: ``weighted``, or ``plain`` for the blocks whose names end in
            ``_plain``.
        optimiser: ``sgd``, the paper's, which needs features as large as its own; or ``adam``.
        rate: of learning.
        decay: of the rate, every ``decay_steps``.
        decay_steps: see ``decay``.
        epochs: passes, each with as many lists as there are positive pairs.
        batch: lists a step.
        l1: weight of the penalty.
        seed: of weights and lists.
    """

    k: int = 4
    sampling: str = BUCKETS
    fusion: str = "product"
    blocks: tuple[str, ...] = ()
    pooling: str = "weighted"
    optimiser: str = "adam"
    rate: float = 0.001
    decay: float = 0.99
    decay_steps: int = 400
    epochs: int = 30
    batch: int = 64
    l1: float = 0.001
    seed: int = 20

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            DatasetError: a value is unknown or out of its range.
        """
        choices: tuple[tuple[str, str, tuple[str, ...]], ...] = (
            ("sampling", self.sampling, (BUCKETS, RANDOM)),
            ("fusion", self.fusion, FUSIONS),
            ("pooling", self.pooling, ("weighted", "plain")),
            ("optimiser", self.optimiser, OPTIMISERS),
        )
        for name, value, known in choices:
            if value not in known:
                raise DatasetError(f"network: {name} {value!r} is unknown; choose {' or '.join(known)}")
        if self.k < 2 or self.epochs < 1 or self.batch < 1 or self.decay_steps < 1 or not self.rate > 0:
            raise DatasetError(f"network: k is at least 2, all others are above 0, not {asdict(self)}")


def choose_blocks(pairs: Pairs, options: NetworkOptions) -> Pairs:
    """``pairs`` with the blocks that ``options`` name.

    Raises:
        DatasetError: one is not there.
    """
    names = options.blocks or pairs.block_names
    if options.pooling == "plain":
        names = tuple(name + PLAIN for name in names)
    missing = [name for name in names if name not in pairs.brands and name not in pairs.influencers]
    if missing:
        raise DatasetError(f"{pairs.name} has no block {', '.join(missing)}; it has {_names(pairs)}")
    return pairs.only(names)


def train_network(pairs: Pairs, options: NetworkOptions, checkpoint: Path | None = None) -> BilinearNetwork:
    """Train on all of ``pairs``.

    Args:
        pairs: to learn from.
        options: how.
        checkpoint: file, written after each epoch; where it is there, and of the same run, training goes on.

    Returns:
        The network in evaluation mode.

    Raises:
        DatasetError: the options do not suit the data, or the checkpoint is of another run.
        ArithmeticError: the loss is no number any longer.
    """
    chosen = choose_blocks(pairs, options)
    sampler = KBucketsSampler(chosen.labels, options.k, options.sampling)
    torch.manual_seed(options.seed)
    network = build_network(chosen, options.fusion)
    kind = torch.optim.SGD if options.optimiser == "sgd" else torch.optim.Adam
    optimiser = kind(network.parameters(), options.rate, fused=True)
    run = _fingerprint(chosen, options)
    done = _resume(network, optimiser, checkpoint, run) if checkpoint else 0
    brands, influencers = _tensors(chosen.brands), _tensors(chosen.influencers)
    with tqdm(total=options.epochs, initial=done, desc="network", unit="epoch", disable=None) as progress:
        for epoch in range(done, options.epochs):
            torch.manual_seed(options.seed * 1000 + epoch)
            lists = sampler.draw(np.random.default_rng((options.seed, epoch)))
            loss = _epoch(network, optimiser, lists, brands, influencers, options, epoch)
            progress.set_postfix(loss=f"{loss:.4f}")
            progress.update()
            if checkpoint:
                _save(network, optimiser, checkpoint, run, epoch + 1)
    return network.eval()


def build_network(pairs: Pairs, fusion: str) -> BilinearNetwork:
    """A network for the blocks of ``pairs``, which standardises those that are no pictures."""
    sides = [{name: blocks[name].shape[1] for name in blocks} for blocks in (pairs.brands, pairs.influencers)]
    if not all(sides):
        raise DatasetError(f"{pairs.name}: a side has none of the blocks {_names(pairs)}")
    network = BilinearNetwork(NetworkShape(sides[0], sides[1], fusion))
    for side, blocks in ((network.brand, pairs.brands), (network.influencer, pairs.influencers)):
        for name, values in blocks.items():
            embedding = side.embeddings[name]
            if isinstance(embedding, BlockEmbedding) and values.shape[1] < PICTURE:
                embedding.centre.copy_(torch.from_numpy(known_mean(values)))
                # One scale a block: values that are hardly ever there would be blown up by their own.
                spread = float(np.sqrt(known_mean(np.square(finite(values) - known_mean(values))).mean()))
                embedding.scale.fill_(spread or 1.0)
    return network


def score_network(network: BilinearNetwork, brands: Blocks, influencers: Blocks) -> NDArray[np.float64]:
    """Scores float64 [brands, influencers].

    Raises:
        DatasetError: a block has another number of values than were learned, or none of them is there.
    """
    for side, known, blocks in (
        ("brand", network.shape.brand, brands),
        ("influencer", network.shape.influencer, influencers),
    ):
        if not set(known) & set(blocks):
            raise DatasetError(f"{side}: none of the blocks {', '.join(known)} is there: {', '.join(blocks)}")
        for name, values in known.items():
            if name in blocks and blocks[name].shape[1] != values:
                raise DatasetError(
                    f"{side} block {name!r} has {blocks[name].shape[1]} values; {values} were learned"
                )
    with torch.no_grad():
        scores = network(_tensors(brands), _tensors(influencers))
    return np.asarray(scores.numpy().astype(np.float64))


def _epoch(
    network: BilinearNetwork,
    optimiser: torch.optim.Optimizer,
    lists: Lists,
    brands: Mapping[str, Tensor],
    influencers: Mapping[str, Tensor],
    options: NetworkOptions,
    epoch: int,
) -> float:
    network.train()
    steps = -(-len(lists) // options.batch)
    total = 0.0
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = options.rate * options.decay ** ((epoch * steps + step) // options.decay_steps)
        part = slice(step * options.batch, (step + 1) * options.batch)
        rows = torch.from_numpy(lists.brands[part])
        columns = torch.from_numpy(lists.influencers[part])
        left = network.brand({name: values[rows] for name, values in brands.items()})
        right = network.influencer({name: values[columns.flatten()] for name, values in influencers.items()})
        scores = (left[:, None] * right.reshape(*columns.shape, -1)).mean(dim=2)
        loss = listwise_cross_entropy(scores, torch.from_numpy(lists.labels[part]))
        loss = loss + l1_penalty(network.named_parameters(), options.l1)
        if not loss.isfinite():
            raise ArithmeticError("training diverged; take a lower rate")
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        # A product of blocks has no bound, nor has its slope.
        torch.nn.utils.clip_grad_norm_(network.parameters(), STEEPEST)
        optimiser.step()
        total += float(loss.detach())
    return total / steps


def _fingerprint(pairs: Pairs, options: NetworkOptions) -> str:
    """Of a run, but for the number of epochs: more may be asked for later."""
    found = hashlib.sha256(json.dumps({**asdict(options), "epochs": 0}).encode())
    for blocks in (pairs.brands, pairs.influencers, {"": pairs.labels}):
        for name, values in sorted(blocks.items()):
            found.update(name.encode() + str(values.shape).encode() + values.tobytes())
    return found.hexdigest()


def _save(
    network: BilinearNetwork, optimiser: torch.optim.Optimizer, checkpoint: Path, run: str, done: int
) -> None:
    state = {_MODEL + name: value.detach().contiguous() for name, value in network.state_dict().items()}
    for number, kept in optimiser.state_dict()["state"].items():
        state |= {
            f"{_OPTIMISER}{number}.{name}": value.contiguous()
            for name, value in kept.items()
            if isinstance(value, Tensor)
        }
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    partial = checkpoint.with_suffix(".partial")
    save_file(state, partial, metadata={_RUN: run, _DONE: str(done)})
    partial.rename(checkpoint)


def _resume(network: BilinearNetwork, optimiser: torch.optim.Optimizer, checkpoint: Path, run: str) -> int:
    """Epochs that are done."""
    if not checkpoint.exists():
        return 0
    try:
        with safe_open(checkpoint, framework="pt") as opened:
            said = opened.metadata()
        if said[_RUN] != run:
            raise DatasetError(f"{checkpoint} is of another run: remove it, or name another folder")
        state = load_file(checkpoint)
        network.load_state_dict(
            {name.removeprefix(_MODEL): value for name, value in state.items() if name.startswith(_MODEL)}
        )
        kept: dict[int, dict[str, Tensor]] = {}
        for name, value in state.items():
            if name.startswith(_OPTIMISER):
                number, moment = name.removeprefix(_OPTIMISER).split(".", 1)
                kept.setdefault(int(number), {})[moment] = value
        optimiser.load_state_dict({"state": kept, "param_groups": optimiser.state_dict()["param_groups"]})
        return int(said[_DONE])
    except (KeyError, RuntimeError, SafetensorError) as error:
        raise DatasetError(f"{checkpoint} is no checkpoint of this ({error}): remove it") from error


def _tensors(blocks: Blocks) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.asarray(values, np.float32)) for name, values in blocks.items()}


def _names(pairs: Pairs) -> str:
    return ", ".join(sorted({*pairs.brands, *pairs.influencers}))
