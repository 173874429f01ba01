"""Face embedders: from a network of our own to a served leaf ``embed_<name>``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from adlens import contract
from export.graph import Manifest, Signature, write_model
from export.networks import mtcnn
from export.networks.alignment import REFERENCES
from export.networks.attributes import digest
from export.networks.card import Carded
from export.networks.dlib_resnet import load_dlib_resnet
from export.networks.embeddings import EmbeddingNetwork
from export.weights import dlib_source

SIGNATURE: Final = Signature(
    (contract.PIXELS, contract.LANDMARKS, contract.FACE_COUNT), (contract.FACE_EMBEDDING, contract.CARD)
)
THRESHOLD: Final = 0.9


def build_embedder(folder: Path, pixels: Tensor) -> Manifest:
    """Export ``embed_dlib`` to ``folder``, judged on ``pixels``.

    Args:
        folder: version folder.
        pixels: uint8 [MAX_BATCH, S, S, 3], pictures with faces.

    Raises:
        ParityError: the graph differs from torch.
    """
    name = contract.EMBEDDER
    dimension = contract.EMBEDDERS[name]
    network = EmbeddingNetwork(load_dlib_resnet(), REFERENCES[name], dimension).eval()
    found = digest(network)
    model = contract.embed_model(name)
    card = contract.EmbedderCard(
        model, found[:16], starter=False, embedder=name, dimension=dimension, threshold=THRESHOLD
    )
    manifest = Manifest(model, dlib_source(), found, "by its author (3 million faces)", {})
    with torch.no_grad():
        _, _, landmarks, count = mtcnn.load_mtcnn()(pixels)[:4]
    batch = (pixels, landmarks, count)
    one = tuple(tensor[:1] for tensor in batch)
    return write_model(Carded(network, card), SIGNATURE, [one, batch], manifest, folder)
