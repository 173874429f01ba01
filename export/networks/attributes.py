"""Labels of all faces of a batch in one graph: crop, trunk once, one tail a label, scatter back.

Only real faces are computed: the filled slots of the whole batch are gathered, cropped and run as one
batch, and their probabilities are written back to the fixed [N, K, labels] shape, so no row is padding
and nothing returns to Python in between.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn
from torch.nn import functional

from adlens import contract
from export.networks.backbones import Backbone
from export.networks.ops import roi_align


def crop_boxes(boxes: Tensor) -> Tensor:
    """Face boxes float32 [M, 4] (x1, y1, x2, y2) -> generous crops [M, 4] that hold hat and beard."""
    x1, y1, x2, y2 = boxes.unbind(1)
    height, centre = y2 - y1, (x1 + x2) / 2
    half = contract.CROP_WIDTH / 2 * height
    top, bottom = y1 - contract.CROP_ABOVE * height, y2 + contract.CROP_BELOW * height
    return torch.stack((centre - half, top, centre + half, bottom), dim=1)


def crop_faces(pixels: Tensor, boxes: Tensor, picture: Tensor, size: int) -> Tensor:
    """Chips float32 [M, 3, size, size], RGB in [0, 255]; what lies outside the canvas is black.

    The one preprocessing of training and serving.

    Args:
        pixels: uint8 [N, S, S, 3].
        boxes: float32 [M, 4], crops in canvas pixels.
        picture: int64 [M], row of ``pixels`` for each box.
        size: side of a chip, in pixels.
    """
    chips: Tensor = roi_align(pixels.permute(0, 3, 1, 2).float(), boxes, picture, size)
    return chips


class AttributeNetwork(nn.Module):
    """PIXELS, BOXES, FACE_COUNT -> PROBABILITIES, as ``adlens.contract`` describes them."""

    def __init__(self, backbone: Backbone, labels: tuple[str, ...]) -> None:
        super().__init__()
        self.backbone = backbone
        self.labels = labels
        self.tails = nn.ModuleDict({label: backbone.new_tail() for label in labels})

    def logits(self, chips: Tensor) -> Tensor:
        """Chips float32 [M, 3, size, size] in [0, 255] -> logits [M, labels]: trunk once, then the tails."""
        shared = self.backbone.trunk(chips)
        return torch.cat([tail(shared) for tail in self.tails.values()], dim=1)

    def forward(self, pixels: Tensor, boxes: Tensor, face_count: Tensor) -> Tensor:
        """Probabilities float32 [N, K, MAX_LABELS], 0 in empty slots and behind the last label."""
        pictures, slots = boxes.shape[0], boxes.shape[1]
        # As the detector gives them. Of a box without bounds RoiAlign would take samples for ever.
        boxes = boxes.nan_to_num().clamp(0, contract.CANVAS)
        filled = torch.arange(slots, device=boxes.device) < face_count
        index = filled.flatten().nonzero().squeeze(1)
        crops = crop_boxes(boxes.reshape(-1, 4)[index])
        chips = crop_faces(pixels, crops, index // slots, self.backbone.size)
        found = self.logits(chips).sigmoid()
        found = functional.pad(found, (0, contract.MAX_LABELS - len(self.labels)))
        flat = torch.zeros(pictures * slots, contract.MAX_LABELS, device=boxes.device)
        flat = flat.index_put((index,), found)
        return flat.reshape(pictures, slots, -1)


def digest(network: nn.Module) -> str:
    """SHA-256 over names, shapes and values of all parameters and persistent buffers, in hex."""
    total = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        total.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        total.update(value.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()
