"""A model is written only when its ONNX graph computes what torch computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import pytest
import torch
from onnxscript import FLOAT, INT64
from onnxscript import opset18 as op
from torch import Tensor, nn

from adlens.contract import CARD, CARD_BYTES, MAX_BATCH, ModelCard
from export import graph
from export.graph import Manifest, ParityError, Signature, Weights, open_session, write_model
from export.networks.card import Carded
from export.networks.ops import TRANSLATIONS, roi_align

# torch.export warns of its own use of deprecated parts of itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")

SIGNATURE = Signature(("PICTURES",), ("MIDDLE", CARD))
MANIFEST = Manifest("tiny", Weights("here", "none", ""), "0" * 64, "nothing", {})


class Middle(nn.Module):
    """Cuts the middle out of each picture: [N, 1, 8, 8] -> [N, 1, 4, 4]."""

    def forward(self, pictures: Tensor) -> Tensor:
        count = pictures.shape[0]
        boxes = torch.tensor([2.0, 2.0, 6.0, 6.0]).expand(count, 4)
        return roi_align(pictures, boxes, torch.arange(count), 4)


class Root(nn.Module):
    """No number where the input is negative."""

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.sqrt()


def pictures(count: int) -> Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(count))


def write(folder: Path, network: nn.Module, batches: list[tuple[Tensor, ...]] | None = None) -> Manifest:
    carded = Carded(network, ModelCard("tiny", "0" * 16, starter=False)).eval()
    batches = batches or [(pictures(1),), (pictures(MAX_BATCH),)]
    return write_model(carded, SIGNATURE, batches, MANIFEST, folder)


@pytest.fixture
def wrong_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """A translation that takes crops for twice as far from the corner as they are."""

    def translation(
        features: FLOAT, boxes: FLOAT, picture: INT64, output_size: int, sampling_ratio: int = 0
    ) -> FLOAT:
        found = op.RoiAlign(
            features,
            boxes,
            picture,
            output_height=output_size,
            output_width=output_size,
            sampling_ratio=sampling_ratio,
            spatial_scale=0.5,
        )
        return cast(FLOAT, found)

    monkeypatch.setitem(TRANSLATIONS, torch.ops.adlens.roi_align.default, translation)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository") / "tiny" / "1"
    write(folder, Middle())
    return folder


def test_the_graph_answers_any_batch_with_its_card(written: Path) -> None:
    session = open_session(written / "model.onnx", threads=1)
    for count in (1, 3, MAX_BATCH):
        middle, card = session.run(list(SIGNATURE.outputs), {"PICTURES": pictures(count).numpy()})
        np.testing.assert_allclose(middle, pictures(count)[:, :, 2:6, 2:6].numpy(), atol=1e-6)
        assert card.shape == (count, CARD_BYTES)
        assert ModelCard.from_bytes(card[-1].tobytes()).model == "tiny"


def test_the_graph_names_its_tensors_and_its_batch_axis(written: Path) -> None:
    model = onnx.load(written / "model.onnx")
    assert [value.name for value in model.graph.input] == list(SIGNATURE.inputs)
    assert [value.name for value in model.graph.output] == list(SIGNATURE.outputs)
    for value in (*model.graph.input, *model.graph.output):
        first, *others = value.type.tensor_type.shape.dim
        assert first.dim_param == "batch"
        assert all(axis.dim_value for axis in others)


def test_the_manifest_says_how_the_graph_was_judged(written: Path) -> None:
    manifest = json.loads((written / "manifest.json").read_text())
    assert set(manifest["parity"]) == {"1", str(MAX_BATCH)}
    assert max(manifest["parity"].values()) <= manifest["tolerance"] == graph.TOLERANCE
    assert manifest["weights"]["source"] == "here"
    assert manifest["tools"]["torch"] == torch.__version__
    assert manifest["opset"] == graph.OPSET
    assert sorted(path.name for path in written.iterdir()) == ["manifest.json", "model.onnx"]


@pytest.mark.usefixtures("wrong_crops")
def test_a_graph_that_computes_something_else_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"tiny: ONNX Runtime differs from .* nothing was written"):
        write(tmp_path / "1", Middle())
    assert not (tmp_path / "1").exists()


@pytest.mark.usefixtures("wrong_crops")
def test_the_model_of_before_survives_a_failed_export(tmp_path: Path) -> None:
    for name in ("model.onnx", "manifest.json"):
        (tmp_path / name).write_text("of before")
    with pytest.raises(ParityError):
        write(tmp_path, Middle())
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "model.onnx": "of before",
        "manifest.json": "of before",
    }


def test_answers_that_are_no_numbers_are_no_parity(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="differs from the original by nan"):
        write(tmp_path / "1", Root(), [(pictures(1),), (pictures(4) - 0.5,)])
    assert not (tmp_path / "1").exists()
