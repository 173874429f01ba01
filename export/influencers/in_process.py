"""A few accounts become pairs without a server, as by `adlens influencers describe` and `collected`.

The pictures go through the network that ``describe_post`` is exported from, in ONNX Runtime, all before the
accounts are pooled: 100 KB each stay in memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch

from adlens import contract
from adlens.accounts import Unused, find_accounts
from adlens.contract import ModelCard
from adlens.describing import Features, describe_accounts
from adlens.errors import BadImage
from adlens.pictures import ImageLike
from export.creative.reading import read_canvases
from export.graph import open_session, to_onnx
from export.influencers import describing
from export.influencers.blocks import Pairs
from export.influencers.collected import collect
from export.networks.attributes import digest
from export.networks.card import Carded

_TIMEOUT_S: Final = 60.0


class _Seen:
    """What the network says of some pictures."""

    def __init__(self, pictures: list[Path]) -> None:
        network, source = describing.load()
        self.card = ModelCard(contract.DESCRIBE_POST, digest(network)[:16], source.starter)
        self.timeout_s = _TIMEOUT_S
        side = contract.CANVAS
        example = (
            torch.zeros(2, side, side, 3, dtype=torch.uint8),
            torch.full((2, 2), side, dtype=torch.int32),
        )
        session = open_session(to_onnx(Carded(network, self.card), describing.SIGNATURE, example), 0)
        self._features: dict[Path, Features] = {}
        for canvases in read_canvases(pictures):
            if len(canvases.rows):
                feed = {
                    contract.PIXELS: canvases.pixels.numpy(),
                    contract.PICTURE_SIZE: canvases.sizes.numpy(),
                }
                found = np.asarray(session.run([contract.POST_FEATURES], feed)[0], np.float32)
                self._features |= {pictures[row]: found[place] for place, row in enumerate(canvases.rows)}

    def describe(self, image: ImageLike) -> Features:
        """As ``adlens.describing.Describer``."""
        if isinstance(image, Path) and image in self._features:
            return self._features[image]
        raise BadImage(f"{image!r} could not be read")


def described_pairs(accounts: Path, folder: Path) -> Pairs:
    """Pairs of ``accounts``, described by their pictures alone into ``folder``.

    Raises:
        DatasetError: as ``collected.collect``.
        InvalidConfiguration: ``accounts`` has none in it, or ``folder`` cannot be written to.
        WeightsError: the network's weights do not fit.
    """
    unused = Unused()
    found = list(find_accounts(accounts, unused))
    pictures = [post.image for account in found for post in account.posts(unused) if post.image]
    describe_accounts(found, _Seen(pictures), folder)
    return collect(accounts, folder, unused)[0]
