"""Embeddings of all faces of a batch in one graph: align, embed, scatter back.

Only real faces are computed: the filled slots of the whole batch are gathered, aligned and run as one
batch, and their embeddings are written back to the fixed [N, K, D] shape.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from adlens import contract
from export.networks.alignment import Reference, align, similarity


class EmbeddingNetwork(nn.Module):
    """PIXELS, LANDMARKS, FACE_COUNT -> FACE_EMBEDDING, as ``adlens.contract`` describes them."""

    def __init__(self, network: nn.Module, reference: Reference, dimension: int) -> None:
        super().__init__()
        self.network = network
        self.reference = reference
        self.dimension = dimension

    def forward(self, pixels: Tensor, landmarks: Tensor, face_count: Tensor) -> Tensor:
        """Embeddings float32 [N, K, D] of length 1, 0 in empty slots."""
        pictures, slots = landmarks.shape[0], landmarks.shape[1]
        landmarks = landmarks.nan_to_num().clamp(-contract.CANVAS, 2 * contract.CANVAS)
        filled = torch.arange(slots, device=landmarks.device) < face_count
        index = filled.flatten().nonzero().squeeze(1)
        faces = landmarks.reshape(-1, len(contract.LANDMARK_NAMES), 2)[index]
        chips = align(pixels, index // slots, similarity(faces, self.reference), self.reference.size)
        found = functional.normalize(self.network(chips))
        flat = torch.zeros(pictures * slots, self.dimension, device=landmarks.device)
        flat = flat.index_put((index,), found)
        return flat.reshape(pictures, slots, -1)
