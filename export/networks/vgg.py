"""VGG16 with torchvision's parameter names, so that its published weights load with ``strict=True``.

Source: Simonyan and Zisserman, arXiv:1409.1556, configuration D; names as in torchvision ``models/vgg.py``.
"""

from __future__ import annotations

from torch import Tensor, nn

_CHANNELS = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
BLOCK4_END = 17
"""``features[:17]`` ends behind the third pooling; block 4 is ``features[17:24]``."""
BLOCK5_START = 24
"""``features[24:]`` is block 5 (three convolutions and a pooling)."""
BLOCK5_CHANNELS = 512


class Vgg16(nn.Module):
    """Pictures float32 [M, 3, 224, 224], RGB normalised as ImageNet -> logits [M, classes]."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in _CHANNELS:
            if isinstance(width, str):
                layers.append(nn.MaxPool2d(2, 2))
            else:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Dropout(),
            nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(),
            nn.Linear(4096, classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Class logits."""
        logits: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return logits
