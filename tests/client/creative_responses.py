"""What a server says of pictures and campaigns, made by hand from the contract: any figures a test wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from adlens import contract
from adlens.contract import GalleryCard, ModelCard
from adlens.vocabulary import Vocabulary

LABELS = ("brighter", "darker", "original", "rotate", "sketch", "swivel")
ORIGINAL = LABELS.index("original")
NETWORK = ModelCard(contract.VARY_CREATIVE, "a" * 16, False, LABELS, (0.99,) * 6)
CATALOGUE = GalleryCard(
    contract.ALTERNATES, "c" * 16, False,
    embedder=contract.VARY_CREATIVE, embedder_weights="a" * 16, photos=40, attributes=("brand", "type"),
)  # fmt: skip
CONVERSION = ModelCard(contract.CONVERSION, "b" * 16, False, contract.TARGETS, (0.6,) * 4)
VOCABULARY = Vocabulary(
    {"campaign_type": ("email", "social"), "industry": ("retail", "sport"), "type": ("men", "women")},
    LABELS,
    "a" * 16,
    dict.fromkeys(contract.TARGETS, "none"),
)
CAMPAIGN = {"campaign_type": "social", "industry": "retail", "type": "women"}
TURNED = {"rotate"}
"""Variants that swap the sides of a picture."""
Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass
class Said:
    """A server's models, and what they find.

    ``variants`` are probabilities of LABELS; ``found`` the id, similarity and probability of alternates. They
    hold for every target, each next one .01 higher.
    """

    variants: Sequence[float] = (0.78, 0.22, 0.21, 0.75, 0.2, 0.19)
    found: Sequence[tuple[str, float, float]] = (("samba", 0.91, 0.2), ("gazelle", 0.84, 0.8))
    network: ModelCard = NETWORK
    catalogue: GalleryCard = CATALOGUE
    conversion: ModelCard = CONVERSION
    vocabulary: Vocabulary = VOCABULARY
    passing: int = 20
    size: tuple[int, int] = (480, 640)
    changes: Arrays = field(default_factory=dict)
    asked: list[Arrays] = field(default_factory=list)

    def optimised(self, inputs: Arrays | None = None) -> Arrays:
        """Outputs of ``optimise_creative``; what it was asked is noted in ``asked``."""
        if inputs is not None:
            self.asked.append(inputs)
        targets, most = len(contract.TARGETS), contract.MATCHES
        steps = np.arange(targets) / 100
        outputs: Arrays = {
            name: np.zeros((1, *contract.TENSORS[name].shape), np.float32)
            for name in (contract.VARIANT_CONVERSION, contract.ALTERNATE_CONVERSION)
        }
        outputs[contract.VARIANT_CONVERSION][0, : len(self.variants)] = (
            np.array(self.variants)[:, None] + steps
        )
        scores = np.full((1, most), contract.NO_MATCH, np.float32)
        ids = np.zeros((1, most, contract.ID_BYTES), np.uint8)
        for place, (name, score, probability) in enumerate(self.found):
            scores[0, place] = score
            ids[0, place, : len(name.encode())] = list(name.encode())
            outputs[contract.ALTERNATE_CONVERSION][0, place] = probability + steps
        return outputs | {
            contract.PICTURE_SIZE: np.array([self.size], np.int32),
            contract.ALTERNATE_SCORES: scores,
            contract.ALTERNATE_IDS: ids,
            contract.ALTERNATE_COUNT: np.array([[self.passing]], np.int32),
            contract.SCHEMA: _bytes(self.vocabulary.to_bytes()),
            **{
                contract.card_output(model): _bytes(card.to_bytes())
                for model, card in (
                    (contract.VARY_CREATIVE, self.network),
                    (contract.ALTERNATES, self.catalogue),
                    (contract.CONVERSION, self.conversion),
                )
            },
            **self.changes,
        }

    def converted(self, inputs: Arrays | None = None) -> Arrays:
        """Outputs of ``conversion``, as far as a client asks it."""
        if inputs is not None:
            self.asked.append(inputs)
        return {contract.SCHEMA: _bytes(self.vocabulary.to_bytes())}

    def rendered(self, inputs: Arrays | None = None) -> Arrays:
        """Outputs of ``render_creative``: each variant a picture of its own grey, on white."""
        side, number = contract.CANVAS, len(self.network.labels)
        canvases = np.zeros((1, contract.MAX_VARIANTS, side, side, 3), np.uint8)
        canvases[0, :number] = 255
        boxes = np.zeros((1, contract.MAX_VARIANTS, 4), np.int32)
        for place, label in enumerate(self.network.labels):
            height, width = reversed(self.size) if label in TURNED else self.size
            left, top = (side - width) // 2, (side - height) // 2
            boxes[0, place] = left, top, left + width, top + height
            canvases[0, place, top : top + height, left : left + width] = grey(place)
        card = replace(self.network, model=contract.RENDER_VARIANTS)
        outputs = {contract.RENDERED: canvases, contract.RENDERED_BOXES: boxes}
        named = contract.card_output(contract.RENDER_VARIANTS)
        return outputs | {named: _bytes(card.to_bytes()), **self.changes}

    @property
    def models(self) -> dict[str, Any]:
        """By name, for a fake Triton."""
        return {
            contract.OPTIMISE_CREATIVE: self.optimised,
            contract.CONVERSION: self.converted,
            contract.RENDER_CREATIVE: self.rendered,
        }


def grey(place: int) -> int:
    """Of the variant at ``place``, as ``Said.rendered`` paints it."""
    return 30 * (place + 1)


def picture(colour: tuple[int, int, int] = (200, 60, 40)) -> Image.Image:
    """Any picture of the size that ``Said`` says."""
    return Image.new("RGB", (640, 480), colour)


def _bytes(data: bytes) -> np.ndarray[Any, Any]:
    return np.frombuffer(data, np.uint8)[None]
