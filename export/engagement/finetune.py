"""Fine-tuning of a predictor's last trunk layers with its head, streaming, with early stopping.

For where a frozen trunk is not enough. The same layers learn as in the judge of creatives, each time from
another view of the pictures; what made the loss on posts for validation no lower is forgotten again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from export.creative.finetune import learning_layers
from export.creative.framing import frame
from export.creative.network import SIDE, CreativeTrunk
from export.creative.reading import read_canvases
from export.engagement.features import seen_anew
from export.engagement.network import Head, log_loss
from export.engagement.posts import Posts
from export.engagement.progress import Progress
from export.engagement.training import DECAY, DROP, left_out

RATE: Final = 3e-5
HEAD_RATE: Final = 1e-4
BATCH: Final = 16
"""Pictures a step."""
_TINY: Final = 1e-6


def fine_tune(
    trunk: CreativeTrunk,
    head: Head,
    posts: Posts,
    classes: NDArray[np.int64],
    fitting: NDArray[np.bool_],
    validation: NDArray[np.bool_],
    *,
    epochs: int,
    seed: int,
    checkpoint: Path,
) -> float:
    """Train last layers and head by AdamW (arXiv:1711.05101) in place, and leave the best of all epochs.

    Args:
        trunk: in evaluation mode.
        head: trained already; it reads pictures.
        posts: all of them.
        classes: [posts].
        fitting: [posts], those to learn from.
        validation: [posts], those whose loss says which epoch is the best; the start is one, too.
        epochs: passes.
        seed: of orders, views, and what is left out.
        checkpoint: file to go on from where it is there; removed in the end.

    Returns:
        The validation loss of the best epoch.

    Raises:
        ArithmeticError: the loss is no number any longer.
    """
    trunk.requires_grad_(False)
    last = learning_layers(trunk)
    learning = nn.ModuleDict({"last": last, "head": head}).requires_grad_(True)
    optimiser = torch.optim.AdamW(
        [{"params": last.parameters(), "lr": RATE}, {"params": head.parameters(), "lr": HEAD_RATE}],
        weight_decay=DECAY,
    )
    progress = Progress(learning, optimiser, checkpoint)
    known, unseen = np.flatnonzero(fitting), np.flatnonzero(validation)
    if not progress.done:
        progress.note(_loss(trunk, head, posts, classes, unseen))
    total = epochs * len(known)
    with tqdm(total=total, initial=(progress.done - 1) * len(known), desc="fine-tuning", disable=None) as bar:
        while progress.done <= epochs:
            random = np.random.default_rng((seed, progress.done))
            torch.manual_seed(int(random.integers(2**31)))
            rows = random.permutation(known)
            hooks = [layer.register_forward_hook(_lifted) for layer in last]
            try:
                for canvases in read_canvases([posts.pictures[row] for row in rows], BATCH):
                    some = rows[canvases.rows]
                    if len(some):
                        post = left_out(torch.from_numpy(posts.context[some]), random)
                        views = seen_anew(canvases.pixels, canvases.sizes, random)
                        _step(trunk, head, optimiser, views, post, torch.from_numpy(classes[some]))
                    bar.update(len(some))
            finally:
                for hook in hooks:
                    hook.remove()
            progress.note(_loss(trunk, head, posts, classes, unseen))
            progress.save()
    progress.finish()
    trunk.requires_grad_(False)
    return progress.best


def _step(
    trunk: CreativeTrunk,
    head: Head,
    optimiser: torch.optim.Optimizer,
    views: tuple[Tensor, Tensor],
    post: Tensor,
    classes: Tensor,
) -> None:
    with torch.no_grad():
        squares = frame(*views, SIDE).squares
    loss = log_loss(head.score(trunk(squares)[0], post, DROP), head.thresholds, classes)
    if not loss.isfinite():
        raise ArithmeticError("fine-tuning diverged; take a lower RATE")
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def _loss(
    trunk: CreativeTrunk, head: Head, posts: Posts, classes: NDArray[np.int64], rows: NDArray[np.int64]
) -> float:
    """Mean negative log-likelihood of the posts of ``rows``, their pictures as they are."""
    total, count = 0.0, 0
    with torch.no_grad():
        for canvases in read_canvases([posts.pictures[row] for row in rows], BATCH):
            some = rows[canvases.rows]
            if len(some):
                features = trunk(frame(canvases.pixels, canvases.sizes, SIDE).squares)[0]
                scores = head.score(features, torch.from_numpy(posts.context[some]))
                loss = log_loss(scores, head.thresholds, torch.from_numpy(classes[some]))
                total, count = total + float(loss) * len(some), count + len(some)
    return total / max(count, 1)


def _lifted(layer: nn.Module, inputs: object, output: Tensor) -> Tensor:
    """The head reads roots of averages, and the root of 0 has no finite slope."""
    return output + _TINY
