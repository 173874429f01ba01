"""What VGG16 sees in the picture of a post: its last map of features, framed and normalised within the graph.

The features of the published data set of brands and micro-influencers (Gan et al., "Seeking Micro-influencers
for Brand Promotion", ACM Multimedia 2019): VGG16 behind its last pooling, 7 x 7 x 512.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from torch import Tensor, nn

from adlens import contract
from export.creative import framing
from export.creative.framing import frame
from export.graph import Manifest, Signature, Weights, write_model
from export.networks.attributes import digest
from export.networks.backbones import ImageNetNormalise
from export.networks.card import Carded
from export.networks.vgg import Vgg16
from export.weights import PUBLISHED, STARTER, URLS, cache_folder, load_network

NAME: Final = "vgg16"
"""In ``export.weights``."""
SIDE: Final = 224
"""Of the square that a picture is framed into, in pixels; five poolings leave 7."""
SIGNATURE: Final = Signature(
    (contract.PIXELS, contract.PICTURE_SIZE), (contract.POST_FEATURES, contract.CARD)
)


class DescribeNetwork(nn.Module):
    """PIXELS, PICTURE_SIZE -> POST_FEATURES, as ``adlens.contract`` describes them.

    Places before channels, rows first, as TensorFlow's map is flattened in the published features: number
    ``(row * 7 + column) * 512 + channel``. Torch's own map has the channels first.
    """

    def __init__(self, network: Vgg16) -> None:
        super().__init__()
        self.features = network.features
        self.normalise = ImageNetNormalise()

    def forward(self, pixels: Tensor, picture_size: Tensor) -> Tensor:
        """Features float32 [N, 25088], none below 0: the last layer is a ReLU, then a pooling."""
        squares = frame(pixels, picture_size, SIDE).squares
        maps: Tensor = self.features(self.normalise(squares))
        return maps.permute(0, 2, 3, 1).flatten(1)


def published() -> Path | None:
    """VGG16's published ImageNet weights where they lie in the cache folder; else None."""
    path = cache_folder() / URLS[NAME].file_name
    return path if path.exists() else None


def sources() -> list[Path]:
    """Files on which the graph depends, besides those of all networks."""
    return [Path(__file__), Path(framing.__file__), *filter(None, [published()])]


def load(weights: str | None = None) -> tuple[DescribeNetwork, Weights]:
    """The network in evaluation mode, and where its weights come from.

    Args:
        weights: ``starter``, ``published``, or the path of a state dict of torchvision's VGG16. None takes
            the published ones where they have been fetched before, and starter ones elsewhere.

    Raises:
        WeightsError: the weights cannot be had, or are none of VGG16's.
    """
    network, source = load_network(NAME, Vgg16, weights or (PUBLISHED if published() else STARTER))
    return DescribeNetwork(network).eval(), source


def build(network: DescribeNetwork, source: Weights, folder: Path, batch: tuple[Tensor, Tensor]) -> Manifest:
    """Export ``describe_post`` to ``folder``, judged on ``batch``, PIXELS and PICTURE_SIZE.

    Raises:
        ParityError: the graph differs from torch.
    """
    found = digest(network)
    card = contract.ModelCard(contract.DESCRIBE_POST, found[:16], source.starter)
    by_authors = source.source == URLS[NAME].url
    trained_on = "ImageNet, by its authors" if by_authors else "nothing" if source.starter else "not known"
    manifest = Manifest(contract.DESCRIBE_POST, source, found, trained_on, {})
    one = (batch[0][:1], batch[1][:1])
    return write_model(Carded(network, card), SIGNATURE, [one, batch], manifest, folder)
