"""The two ONNX operators that torch lacks, as torch operators: RoiAlign and NonMaxSuppression.

Each is a ``torch.library.custom_op`` with three faces: an eager kernel in plain torch (training, parity
tests), a fake kernel (shapes while exporting) and a translation to the ONNX operator of the same name
(``TRANSLATIONS``, the ``custom_translation_table`` of ``torch.onnx.export``). Eager and ONNX Runtime
agree, so a network built on them behaves alike before and after its export.

Semantics: https://onnx.ai/onnx/operators/onnx__RoiAlign.html and onnx__NonMaxSuppression.html, with the
corner cases of ONNX Runtime's CPU kernels (``roialign.cc``, ``non_max_suppression.cc``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, cast

import torch
from onnxscript import FLOAT, INT64
from onnxscript import opset18 as op
from torch import Tensor

WINDOW_BUDGET: Final = 1 << 24
"""Most float32 numbers that the eager RoiAlign gathers at a time, 64 MiB."""


@torch.library.custom_op("adlens::roi_align", mutates_args=())
def roi_align(
    features: Tensor, boxes: Tensor, picture: Tensor, output_size: int, sampling_ratio: int = 0
) -> Tensor:
    """Crop boxes out of feature maps, by bilinear samples averaged within each output pixel.

    Args:
        features: float32 [N, C, H, W].
        boxes: float32 [M, 4], x1, y1, x2, y2 in pixels of ``features``, where pixel i spans i to i + 1
            (``coordinate_transformation_mode="half_pixel"``). May reach outside: samples more than a
            pixel outside are 0. An empty box gives zeros. M may be 0.
        picture: int64 [M], the row of ``features`` that each box lies in.
        output_size: rows and columns of a crop.
        sampling_ratio: samples an output pixel and axis; 0 takes as many as input pixels fall into it.

    Returns:
        float32 [M, C, output_size, output_size].
    """
    crops = features.new_zeros(boxes.shape[0], features.shape[1], output_size, output_size)
    columns = _Axis(boxes[:, 0], boxes[:, 2], features.shape[3], output_size, sampling_ratio)
    rows = _Axis(boxes[:, 1], boxes[:, 3], features.shape[2], output_size, sampling_ratio)
    for chosen, side in _alike(torch.maximum(rows.extent, columns.extent), features.shape[1]):
        row, row_weight = rows.window(chosen, side)
        column, column_weight = columns.window(chosen, side)
        windows = features[picture[chosen, None, None], :, row[:, :, None], column[:, None, :]]
        # windows: [m, side, side, C]. Bilinear weights are separable, so two products do all samples.
        squeezed = torch.einsum("mpy,myxc->mpxc", row_weight, windows)
        crops[chosen] = torch.einsum("mqx,mpxc->mcpq", column_weight, squeezed)
    return crops


class _Axis:
    """One axis of RoiAlign: where its samples lie, and what each input pixel weighs in each output pixel."""

    def __init__(self, low: Tensor, high: Tensor, length: int, output_size: int, ratio: int) -> None:
        start = low - 0.5
        span = (high - 0.5) - start
        step = span / output_size
        counts = torch.full_like(span, ratio) if ratio else torch.ceil(step)
        self.counts = counts.clamp(min=0).long()
        self.start, self.step, self.length, self.output_size = start, step, length, output_size
        # First pixel read, and pixels from there to the last one (a box may be given upside down).
        ends = torch.stack([start, start + span])
        self.first = ends.amin(0).floor().clamp(0, length - 1).long()
        self.extent = ends.amax(0).ceil().clamp(0, length - 1).long() - self.first + 2

    def window(self, chosen: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Pixels [m, side] read for the ``chosen`` boxes, and their weights [m, output_size, side]."""
        counts = self.counts[chosen]
        most = int(counts.max())
        sample = torch.arange(most, device=counts.device)
        cell = torch.arange(self.output_size, device=counts.device)
        step = self.step[chosen, None, None]
        # Operands in the order of ONNX Runtime's kernel: the same rounding, hence the same samples.
        position = (
            self.start[chosen, None, None]
            + cell[:, None] * step
            + (sample + 0.5) * step / counts.clamp(min=1)[:, None, None]
        )
        inside = (sample < counts[:, None, None]) & (position >= -1) & (position <= self.length)
        position = position.clamp(0, self.length - 1)
        lower = position.floor()
        fraction = position - lower
        first = self.first[chosen]
        index = (lower.long() - first[:, None, None]).clamp(0, side - 1)
        share = inside / counts.clamp(min=1)[:, None, None].to(step.dtype)
        weight = step.new_zeros(len(chosen), self.output_size, side)
        weight.scatter_add_(2, index, share * (1 - fraction))
        # At the last pixel the fraction is 0: where its upper neighbour falls out, it adds nothing.
        weight.scatter_add_(2, (index + 1).clamp(max=side - 1), share * fraction)
        pixels = first[:, None] + torch.arange(side, device=first.device)
        return pixels.clamp(max=self.length - 1), weight


def _alike(extent: Tensor, channels: int) -> Iterator[tuple[Tensor, int]]:
    """Group boxes of about one size: the indices of at most a budget's worth of boxes, and their side."""
    sides = torch.exp2(torch.ceil(torch.log2(extent.double()))).long()
    for side in set(sides.tolist()):
        members = torch.nonzero(sides == side)[:, 0]
        largest = int(extent[members].max())
        for chosen in torch.split(members, max(1, WINDOW_BUDGET // (largest * largest * channels))):
            yield chosen, largest


@roi_align.register_fake
def _(features: Tensor, boxes: Tensor, picture: Tensor, output_size: int, sampling_ratio: int = 0) -> Tensor:
    return features.new_empty(boxes.shape[0], features.shape[1], output_size, output_size)


@torch.library.custom_op("adlens::nms", mutates_args=())
def nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float, max_output: int
) -> Tensor:
    """Greedy non-maximum suppression by intersection over union, picture by picture.

    Args:
        boxes: float32 [N, M, 4], two opposite corners each. Boxes without area suppress nothing.
        scores: float32 [N, M].
        iou_threshold: a box is dropped where it overlaps a kept, higher-scored one by more than this.
        score_threshold: boxes at or below it are not considered.
        max_output: most boxes kept a picture.

    Returns:
        int64 [selected, 2]: picture and box index, by picture, then by descending score (equal scores
        by ascending index).
    """
    order = torch.sort(scores, dim=1, descending=True, stable=True).indices
    candidates = torch.gather(scores, 1, order) > score_threshold
    most = int(candidates.sum(1).max()) if candidates.numel() else 0
    order, candidates = order[:, :most], candidates[:, :most]
    ranked = torch.gather(boxes, 1, order[:, :, None].expand(-1, -1, 4))
    overlaps = _iou(ranked) > iou_threshold
    above = torch.ones(most, most, dtype=torch.bool, device=boxes.device).tril(-1)
    kept = suppress(overlaps & above, candidates)
    kept &= kept.cumsum(1) <= max_output
    selected = torch.nonzero(kept)
    return torch.stack([selected[:, 0], order[kept]], 1)


def suppress(overlaps: Tensor, candidates: Tensor) -> Tensor:
    """Greedy suppression as a fixed point: a box stays unless a box that stays suppresses it.

    Every round settles at least one more box of each chain, and most chains are short.

    Args:
        overlaps: bool [N, M, M], ``overlaps[:, i, j]``: j, higher scored, suppresses i if j stays.
        candidates: bool [N, M], boxes that take part.

    Returns:
        bool [N, M], boxes that stay.
    """
    kept = candidates
    while True:
        settled = candidates & ~(overlaps & kept[:, None, :]).any(2)
        if torch.equal(settled, kept):
            return kept
        kept = settled


def _iou(boxes: Tensor) -> Tensor:
    """Intersection over union of all pairs, [N, M, M]; 0 where a box has no area."""
    low = torch.minimum(boxes[..., :2], boxes[..., 2:])
    high = torch.maximum(boxes[..., :2], boxes[..., 2:])
    sides = (
        torch.minimum(high[:, :, None], high[:, None]) - torch.maximum(low[:, :, None], low[:, None])
    ).clamp(min=0)
    shared = sides[..., 0] * sides[..., 1]
    area = (high - low).prod(2)
    union = area[:, :, None] + area[:, None] - shared
    return torch.where((shared > 0) & (union > 0), shared / union, torch.zeros_like(shared))


@nms.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float, max_output: int) -> Tensor:
    selected = torch.library.get_ctx().new_dynamic_size()
    return boxes.new_empty(selected, 2, dtype=torch.int64)


def _roi_align_to_onnx(
    features: FLOAT, boxes: FLOAT, picture: INT64, output_size: int, sampling_ratio: int = 0
) -> FLOAT:
    return op.RoiAlign(
        features,
        boxes,
        picture,
        coordinate_transformation_mode="half_pixel",
        mode="avg",
        output_height=output_size,
        output_width=output_size,
        sampling_ratio=sampling_ratio,
        spatial_scale=1.0,
    )


def _nms_to_onnx(
    boxes: FLOAT, scores: FLOAT, iou_threshold: float, score_threshold: float, max_output: int
) -> INT64:
    selected = op.NonMaxSuppression(
        boxes,
        op.Unsqueeze(scores, _integers(1)),
        _integers(max_output),
        cast(FLOAT, op.Constant(value_floats=[iou_threshold])),
        cast(FLOAT, op.Constant(value_floats=[score_threshold])),
    )
    # Columns are picture, class, box; there is one class.
    return op.Gather(selected, _integers(0, 2), axis=1)


def _integers(*values: int) -> INT64:
    return cast(INT64, op.Constant(value_ints=values))


TRANSLATIONS: Final[dict[Callable[..., Any], Callable[..., Any]]] = {
    torch.ops.adlens.roi_align.default: _roi_align_to_onnx,
    torch.ops.adlens.nms.default: _nms_to_onnx,
}
"""What ``torch.onnx.export(dynamo=True, opset_version=18)`` takes as ``custom_translation_table``."""
