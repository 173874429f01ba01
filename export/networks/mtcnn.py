"""Face detection: the whole MTCNN cascade as one module, and so as one ONNX graph.

Three small networks, each on what the one before it let pass (Zhang et al. 2016,
https://arxiv.org/abs/1604.02878): the proposal network slides over a pyramid of the picture, the
refinement network sees its candidates at 24x24, the output network the remaining ones at 48x48 and adds
landmarks. Everything between the networks - pyramid, suppression, crops, ordering - happens in the
graph too, for all pictures of a batch at once; nothing returns to Python in between.

Between stages, candidates are rows of scores [N, C] and boxes [N, C, 4]. A score is the log-odds of a face
(probabilities near 1 would tie in float32), and 0 where there is no candidate: what passes a stage is above.
Each stage gathers the candidates of the whole batch, looks at exactly those, and writes their scores back.
So a picture's result does not depend on its neighbours, and no candidate at all is no special case.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from adlens.contract import CANVAS, LANDMARK_NAMES, MAX_FACES
from export.networks.mtcnn_networks import (
    WEIGHT_FILES,
    OutputNet,
    ProposalNet,
    RefinementNet,
    load_weights,
    source,
)
from export.networks.ops import nms, roi_align

__all__ = ["Mtcnn", "load_mtcnn", "source"]

MIN_FACE: Final = 40
"""Side of the smallest faces looked for, in canvas pixels; those found reach down to about 30.

Looking for smaller ones costs more time (20: 2.2 times) and finds more false faces than true ones.
"""
PYRAMID_FACTOR: Final = 0.709
"""Each level of the pyramid to the one before: half the area."""
PASSES: Final = tuple(math.log(p / (1 - p)) for p in (0.6, 0.7, 0.8))
"""Log-odds above which a candidate passes each stage; probabilities and overlaps are those of ``mtcnn``."""
LEVEL_OVERLAP: Final = 0.5
"""Suppression within a level of the pyramid, intersection over union."""
STAGE_OVERLAP: Final = 0.7
"""Suppression across levels and after the refinement network, intersection over union."""
NESTED_OVERLAP: Final = 0.7
"""Last suppression, intersection over the *smaller* box, so that no box stays within another."""

CELL: Final = 12
"""Side of what one position of the proposal network sees, in pixels of its level."""
STRIDE: Final = 2
OCTAVES: Final = 6
"""Halvings of the canvas, itself included, that levels and crops are taken from."""
CROP_OCTAVES: Final = 4
SAMPLES: Final = 1
"""Bilinear samples a pixel and axis of a crop: the networks were trained on plain bilinear crops."""
LEVEL_PROPOSALS: Final = 512
"""Most candidates a picture after suppression within levels."""
PROPOSALS: Final = 256
"""Most candidates a picture that the refinement network looks at."""
FINALISTS: Final = 96
"""Most candidates a picture that reach the last suppression."""
SUPPRESSION_ROUNDS: Final = 6
"""Longest chain of boxes suppressing one another that the last suppression resolves exactly."""


class Mtcnn(nn.Module):
    """The cascade from canvas to faces; without weights, see ``load_mtcnn``.

    Attributes:
        sides: side of each level of the pyramid, in its pixels.
        cells: float32 [cells, 4], the box of every cell, x1, y1, x2, y2 in canvas pixels.
        cells_apart: the same in pixels of their level, and each level moved to where it overlaps no other.
            Whole numbers, as the overlap of two cells of a level may be LEVEL_OVERLAP exactly.
    """

    cells: Tensor
    cells_apart: Tensor

    def __init__(self, min_face: int = MIN_FACE) -> None:
        super().__init__()
        self.proposal = ProposalNet()
        self.refinement = RefinementNet()
        self.output = OutputNet()
        self.sides = pyramid(min_face)
        grids = [_grid(side) for side in self.sides]
        cells = [grid * (CANVAS / side) for grid, side in zip(grids, self.sides, strict=True)]
        apart = [grid + 2 * CANVAS * level for level, grid in enumerate(grids)]
        self.register_buffer("cells", torch.cat(cells), persistent=False)
        self.register_buffer("cells_apart", torch.cat(apart), persistent=False)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Find the faces of every picture.

        Args:
            pixels: uint8 [N, CANVAS, CANVAS, 3], RGB, black outside of the picture.

        Returns:
            As ``adlens.contract`` lays down, largest face first, zeros in empty slots: BOXES float32
            [N, K, 4] clipped to the canvas, FACE_SCORES float32 [N, K], LANDMARKS float32 [N, K, 5, 2]
            and FACE_COUNT int32 [N, 1], which may exceed K.
        """
        octaves = _octaves(pixels.permute(0, 3, 1, 2).float())
        scores, boxes = self._propose(octaves)
        scores, boxes = self._refine(octaves, scores, boxes)
        scores, boxes, landmarks = self._conclude(octaves, scores, boxes)
        return _fill_slots(scores, boxes, landmarks)

    def _propose(self, octaves: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Candidates of the proposal network: scores [N, C], 0 for none, and boxes [N, C, 4]."""
        levels = [self.proposal(_normalised(_level(octaves, side))) for side in self.sides]
        regression = torch.cat([level[0] for level in levels], 1)
        scores = torch.cat([level[1] for level in levels], 1)
        apart = self.cells_apart.expand(scores.shape[0], -1, -1)
        found = nms(apart, scores, LEVEL_OVERLAP, PASSES[0], LEVEL_PROPOSALS)
        scores, cell = torch.topk(_kept(scores, found), LEVEL_PROPOSALS, 1)
        cells = self.cells[cell]
        found = nms(cells, scores, STAGE_OVERLAP, PASSES[0], PROPOSALS)
        return _kept(scores, found), _moved(cells, _gathered(regression, cell))

    def _refine(self, octaves: list[Tensor], scores: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Candidates that the refinement network lets pass, with its scores and boxes."""
        place, squares, crops = _crops(octaves, scores, boxes, 24)
        regression, odds = self.refinement(_normalised(crops))
        scores = torch.zeros_like(scores).index_put(place, odds)
        boxes = boxes.index_put(place, _moved(squares, regression))
        found = nms(boxes, scores, STAGE_OVERLAP, PASSES[1], PROPOSALS)
        return _kept(scores, found), boxes

    def _conclude(
        self, octaves: list[Tensor], scores: Tensor, boxes: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Faces: scores [N, C], 0 for none, boxes [N, C, 4], landmarks [N, C, 10] (x, y five times).

        The output network looks twice, the second time at the few boxes that stay, from where it has
        moved them itself. Not in the paper: what only looked like a face from one chance position goes, and
        boxes and landmarks depend less on where the pyramid happened to find the face.
        """
        scores, boxes, _ = _unnested(*self._look(octaves, scores, boxes))
        return _unnested(*self._look(octaves, scores, boxes))

    def _look(self, octaves: list[Tensor], scores: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, boxes and landmarks [N, C, 10] by the output network, of boxes that have a score."""
        place, squares, crops = _crops(octaves, scores, boxes, 48)
        regression, offsets, odds = self.output(_normalised(crops))
        odds = torch.where(odds > PASSES[2], odds, 0)
        points = torch.stack(offsets.chunk(2, 1), 2)
        corner, size = squares[:, None, :2], squares[:, None, 2:] - squares[:, None, :2]
        landmarks = torch.zeros(*scores.shape, 2 * len(LANDMARK_NAMES), device=scores.device)
        return (
            torch.zeros_like(scores).index_put(place, odds),
            boxes.index_put(place, _moved(squares, regression)),
            landmarks.index_put(place, (corner + size * points).flatten(1)),
        )


def pyramid(min_face: int) -> list[int]:
    """Sides of the levels on which faces from ``min_face`` canvas pixels up to the canvas are one cell."""
    side, sides = CANVAS * CELL / min_face, []
    while side >= CELL:
        sides.append(round(side))
        side *= PYRAMID_FACTOR
    return sides


def _grid(side: int) -> Tensor:
    """Boxes [cells, 4] of the cells of a level, by row, in pixels of the level."""
    # The pooling rounds up: of an odd side, the last cell reaches one pixel out.
    start = torch.arange((side - CELL + 1) // STRIDE + 1) * STRIDE
    y, x = torch.meshgrid(start, start, indexing="ij")
    corner = torch.stack([x, y], 2).flatten(0, 1)
    return torch.cat([corner, corner + CELL], 1).float()


def _octaves(picture: Tensor) -> list[Tensor]:
    """``picture`` [N, 3, CANVAS, CANVAS] and its averages over 2x2, 4x4, ... pixels."""
    octaves = [picture]
    for _ in range(1, OCTAVES):
        octaves.append(functional.avg_pool2d(octaves[-1], 2))
    return octaves


def _level(octaves: list[Tensor], side: int) -> Tensor:
    """A level of the pyramid, bilinear from the smallest octave that is no smaller, so without aliasing."""
    octave = min((each for each in octaves if each.shape[-1] >= side), key=lambda each: each.shape[-1])
    return functional.interpolate(octave, (side, side), mode="bilinear")


def _crops(
    octaves: list[Tensor], scores: Tensor, boxes: Tensor, size: int
) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor]:
    """What the next stage looks at: a square crop about every box that has a score.

    Each is cut from the first octave in which it spans at most 2 ``size`` pixels: a crop of a large face
    costs no more than one of a small face.

    Args:
        octaves: the picture and its averages.
        scores: float32 [N, C], 0 for no candidate.
        boxes: float32 [N, C, 4].
        size: side of a crop.

    Returns:
        Place of the M candidates in ``scores`` (two int64 [M]), squares float32 [M, 4] in canvas pixels,
        crops float32 [M, 3, size, size].
    """
    places = torch.nonzero(scores)
    squares = _squared(boxes[places[:, 0], places[:, 1]])
    side = squares[:, 2] - squares[:, 0]
    orders, crops = [], []
    for index, octave in enumerate(octaves[:CROP_OCTAVES]):
        smallest = size << index if index > 0 else -1
        largest = size << index + 1 if index < CROP_OCTAVES - 1 else float("inf")
        here = torch.nonzero((side > smallest) & (side <= largest))[:, 0]
        orders.append(here)
        crops.append(roi_align(octave, squares[here] / (1 << index), places[here, 0], size, SAMPLES))
    order = torch.cat(orders)
    row, column = places[order].unbind(1)
    return (row, column), squares[order], torch.cat(crops)


def _normalised(pixels: Tensor) -> Tensor:
    return (pixels - 127.5) / 128


def _kept(scores: Tensor, found: Tensor) -> Tensor:
    """``scores`` [N, cells], 0 but for the ``found`` [selected, 2] picture and cell."""
    place = (found[:, 0], found[:, 1])
    return torch.zeros_like(scores).index_put(place, scores[place])


def _gathered(values: Tensor, order: Tensor) -> Tensor:
    """``values`` [N, C, width] in ``order`` [N, slots] of the second axis."""
    return torch.gather(values, 1, order[:, :, None].expand(-1, -1, values.shape[2]))


def _moved(boxes: Tensor, regression: Tensor) -> Tensor:
    """``boxes`` [..., 4] with each edge moved by ``regression`` [..., 4] in shares of their size."""
    size = boxes[..., 2:] - boxes[..., :2]
    return boxes + regression * torch.cat([size, size], -1)


def _squared(boxes: Tensor) -> Tensor:
    """Squares about ``boxes`` [..., 4], as large as their longer sides, edges on whole pixels.

    As in the authors' code; it also keeps the rounding errors of one stage from the crops of the next.
    """
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    half = (boxes[..., 2:] - boxes[..., :2]).amax(-1, keepdim=True) / 2
    return torch.cat([centre - half, centre + half], -1).round()


def _unnested(scores: Tensor, boxes: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The FINALISTS candidates of highest score, by descending score, those nested in a better one at 0."""
    scores, order = torch.topk(scores, FINALISTS, 1)
    boxes = _gathered(boxes, order)
    return scores * _not_nested(boxes, scores), boxes, _gathered(landmarks, order)


def _not_nested(boxes: Tensor, scores: Tensor) -> Tensor:
    """Greedy suppression by intersection over the smaller box, as products of small matrices.

    Args:
        boxes: float32 [N, C, 4].
        scores: float32 [N, C], descending; 0 where there is no box.

    Returns:
        float32 [N, C], 1 for a box that stays.
    """
    low = torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
    high = torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
    shared = (high - low).clamp(min=0).prod(3)
    area = (boxes[:, :, 2:] - boxes[:, :, :2]).prod(2)
    smaller = torch.minimum(area[:, :, None], area[:, None, :])
    above = torch.ones(boxes.shape[1], boxes.shape[1], device=boxes.device).tril(-1)
    suppresses = (shared > NESTED_OVERLAP * smaller).float() * above
    present = (scores > 0).float()
    stays = present
    for _ in range(SUPPRESSION_ROUNDS):
        suppressors = torch.matmul(suppresses, stays[:, :, None])[:, :, 0]
        stays = present * (suppressors == 0).float()
    return stays


def _fill_slots(scores: Tensor, boxes: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The MAX_FACES largest faces of each picture, and how many there are."""
    boxes = boxes.clamp(0, CANVAS)
    present = (scores > 0).float()
    area = (boxes[:, :, 2:] - boxes[:, :, :2]).prod(2)
    order = torch.topk(area * present, MAX_FACES, 1).indices
    filled = torch.gather(present, 1, order)
    probability = torch.gather(torch.sigmoid(scores), 1, order) * filled
    boxes = _gathered(boxes, order) * filled[:, :, None]
    landmarks = _gathered(landmarks, order) * filled[:, :, None]
    landmarks = landmarks.reshape(-1, MAX_FACES, len(LANDMARK_NAMES), 2)
    return boxes, probability, landmarks, present.sum(1, keepdim=True).to(torch.int32)


def load_mtcnn(min_face: int = MIN_FACE) -> Mtcnn:
    """The cascade with the weights of the ``mtcnn`` package, in evaluation mode.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    network = Mtcnn(min_face)
    for part, file in WEIGHT_FILES.items():
        load_weights(network.get_submodule(part), file)
    return network.eval()
