"""What a server says of posts, made by hand from the contract: any figures a test wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adlens import contract
from adlens.contract import EngagementCard, ModelCard

CARD = EngagementCard(
    contract.ENGAGEMENT_MODEL, "e" * 16, False, contract.ENGAGEMENT_CLASSES, (0.6, 0.3, 0.7),
    signal=True, accuracy=0.71, picture_signal=True, picture_accuracy=0.62,
    majority=0.42, boundaries=(7_000.0, 11_000.0), reads=("image", "context"),
)  # fmt: skip
Arrays = dict[str, np.ndarray[Any, Any]]


def by_brightness(inputs: Arrays) -> tuple[float, float, float]:
    """The brighter a picture is, the more popular."""
    image = Image.open(BytesIO(inputs[contract.IMAGE].tobytes())).convert("L")
    high = float(np.asarray(image).mean()) / 255
    return (1 - high) * 0.6, (1 - high) * 0.4, high


@dataclass
class Said:
    """A server's model of engagement; what it was asked is noted in ``asked``."""

    figures: Callable[[Arrays], Sequence[float]] = by_brightness
    card: ModelCard = CARD
    size: tuple[int, int] = (240, 320)
    changes: Arrays = field(default_factory=dict)
    asked: list[Arrays] = field(default_factory=list)

    def predicted(self, inputs: Arrays) -> Arrays:
        """Outputs of ``predict_engagement``."""
        self.asked.append(inputs)
        return {
            contract.PICTURE_SIZE: np.array([self.size], np.int32),
            contract.ENGAGEMENT: np.array([self.figures(inputs)], np.float32),
            contract.card_output(contract.ENGAGEMENT_MODEL): np.frombuffer(self.card.to_bytes(), np.uint8)[
                None
            ],
            **self.changes,
        }

    @property
    def models(self) -> dict[str, Any]:
        """By name, for a fake Triton."""
        return {contract.PREDICT_ENGAGEMENT: self.predicted}


def grey(path: Path, brightness: int, size: tuple[int, int] = (320, 240)) -> Path:
    """A picture of that brightness, 0 to 255."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, brightness).save(path)
    return path
