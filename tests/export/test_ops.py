"""The torch operators RoiAlign and NonMaxSuppression behave as ONNX Runtime's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from export.networks import ops

# torch.export warns of its own use of deprecated parts of itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")

CROP = 24
DYNAMIC = torch.export.Dim.DYNAMIC


class Crops(nn.Module):
    """RoiAlign alone."""

    def __init__(self, sampling_ratio: int) -> None:
        super().__init__()
        self.sampling_ratio = sampling_ratio

    def forward(self, features: Tensor, boxes: Tensor, picture: Tensor) -> Tensor:
        return ops.roi_align(features, boxes, picture, CROP, self.sampling_ratio)


class Suppression(nn.Module):
    """NonMaxSuppression alone."""

    def forward(self, boxes: Tensor, scores: Tensor) -> Tensor:
        return ops.nms(boxes, scores, 0.5, 0.3, 20)


def export(module: nn.Module, inputs: tuple[Tensor, ...], shapes: tuple[Any, ...], path: Path) -> Any:
    torch.onnx.export(
        module.eval(),
        inputs,
        path,
        dynamo=True,
        opset_version=18,
        dynamic_shapes=shapes,
        custom_translation_table=ops.TRANSLATIONS,
        verbose=False,
    )
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def run(session: Any, *inputs: Tensor) -> np.ndarray[Any, Any]:
    names = [node.name for node in session.get_inputs()]
    feeds = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
    return np.asarray(session.run(None, feeds)[0])


def random_boxes(count: int, size: float, generator: torch.Generator) -> Tensor:
    """Boxes [count, 4] of all sizes; about a third reach outside of a ``size`` x ``size`` picture."""
    centre = torch.rand(count, 2, generator=generator) * size
    half = torch.rand(count, 2, generator=generator) ** 2 * size / 2
    return torch.cat([centre - half, centre + half], 1)


@pytest.fixture(scope="module", params=[0, 2], ids=["adaptive", "two_samples"])
def crops(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Crops, Any]:
    module = Crops(request.param)
    inputs = (torch.rand(2, 3, 64, 64), torch.rand(5, 4), torch.zeros(5, dtype=torch.int64))
    shapes = ({0: DYNAMIC, 2: DYNAMIC, 3: DYNAMIC}, {0: DYNAMIC}, {0: DYNAMIC})
    return module, export(module, inputs, shapes, tmp_path_factory.mktemp("crops") / "crops.onnx")


@pytest.mark.parametrize(("height", "width"), [(32, 32), (96, 160), (320, 320)])
def test_crops_equal_those_of_onnx_runtime(crops: tuple[Crops, Any], height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(height)
    features = torch.rand(3, 3, height, width, generator=generator)
    boxes = random_boxes(300, min(height, width), generator)
    picture = torch.randint(0, 3, (300,), generator=generator)
    module, session = crops
    np.testing.assert_allclose(
        module(features, boxes, picture).numpy(), run(session, features, boxes, picture), rtol=0, atol=1e-5
    )


def test_boxes_outside_or_without_area_equal_those_of_onnx_runtime(crops: tuple[Crops, Any]) -> None:
    features = torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(0)) + 1
    boxes = torch.tensor(
        [
            [-90.0, -90, -50, -50],
            [60, 60, 90, 90],
            [5, 5, 5, 5],
            [9, 9, 3, 3],
            [-40, -40, 90, 90],
            [0, 0, 50, 40],
        ]
    )
    picture = torch.zeros(len(boxes), dtype=torch.int64)
    module, session = crops
    ours = module(features, boxes, picture).numpy()
    np.testing.assert_allclose(ours, run(session, features, boxes, picture), rtol=0, atol=1e-5)
    assert (ours[:2] == 0).all()


def test_no_box_gives_no_crop(crops: tuple[Crops, Any]) -> None:
    features, boxes, picture = torch.rand(1, 3, 8, 8), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    module, session = crops
    assert module(features, boxes, picture).shape == (0, 3, CROP, CROP)
    assert run(session, features, boxes, picture).shape == (0, 3, CROP, CROP)


def test_a_box_on_whole_pixels_gives_the_pixels_themselves() -> None:
    features = torch.rand(2, 3, 50, 60, generator=torch.Generator().manual_seed(1))
    boxes = torch.tensor([[7.0, 3.0, 7.0 + CROP, 3.0 + CROP]])
    crop = ops.roi_align(features, boxes, torch.tensor([1]), CROP)
    torch.testing.assert_close(crop[0], features[1, :, 3 : 3 + CROP, 7 : 7 + CROP])


@pytest.fixture(scope="module")
def suppression(tmp_path_factory: pytest.TempPathFactory) -> Any:
    inputs = (torch.rand(2, 6, 4), torch.rand(2, 6))
    shapes = ({0: DYNAMIC, 1: DYNAMIC}, {0: DYNAMIC, 1: DYNAMIC})
    return export(Suppression(), inputs, shapes, tmp_path_factory.mktemp("nms") / "nms.onnx")


@pytest.mark.parametrize("pictures", [1, 4])
@pytest.mark.parametrize("boxes_each", [0, 1, 20, 300])
def test_suppression_equals_that_of_onnx_runtime(suppression: Any, pictures: int, boxes_each: int) -> None:
    generator = torch.Generator().manual_seed(boxes_each)
    boxes = random_boxes(pictures * boxes_each, 100, generator).view(pictures, boxes_each, 4)
    # Few distinct scores, so that there are ties.
    scores = torch.randint(0, 50, (pictures, boxes_each), generator=generator) / 50
    np.testing.assert_array_equal(Suppression()(boxes, scores).numpy(), run(suppression, boxes, scores))


def test_a_box_suppressed_by_a_dropped_box_stays() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]]])
    kept = ops.nms(boxes, torch.tensor([[0.9, 0.8, 0.7]]), 0.4, 0.0, 10)
    assert kept.tolist() == [[0, 0], [0, 2]]
