"""The judge runs on what is wanted alone, at any size, and its graph computes what torch computes."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from adlens import contract
from adlens.contract import CREATIVE_DIMENSION, MAX_VARIANTS, ModelCard
from export import generated_creatives
from export.creative.framing import frame
from export.creative.judging import judge
from export.creative.network import (
    BACKBONES,
    SIDE,
    CreativeNetwork,
    CreativeTrunk,
    Edges,
    RenderNetwork,
    Variants,
    find_variants,
)
from export.creative.story import load_trunk
from export.creative.variants import VARIANTS
from export.faces import decode
from export.graph import difference, open_session, to_onnx
from export.models import RENDER_SIGNATURE, RENDER_TOLERANCE, VARY_SIGNATURE
from export.networks.card import Carded
from export.networks.resnet import ResNet
from export.weights import STARTER, seeded

# torch.export warns of its own use of deprecated parts of itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")

LABELS = ("brighter", "darker", "original", "rotate", "sketch", "swivel")
Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """JPEG files of several shapes, one wider than the canvas."""
    folder, random = tmp_path_factory.mktemp("creatives"), Random(3)
    shoe = generated_creatives.new_shoe(random)
    found = []
    for number, size in enumerate([(300, 200), (90, 1), (1000, 700)]):
        found.append(folder / f"{number}.jpg")
        generated_creatives.draw(shoe, random).resize(size).save(found[-1], quality=95)
    return found


@pytest.fixture(scope="module")
def inputs(paths: list[Path]) -> tuple[Tensor, Tensor]:
    """PIXELS and PICTURE_SIZE, through the served decoder."""
    pixels, sizes = next(decode(paths))
    return pixels, torch.from_numpy(sizes)


@pytest.fixture(scope="module")
def network() -> CreativeNetwork:
    """A seeded one, with a head by chance."""
    network = CreativeNetwork(load_trunk("resnet34", STARTER)[0], LABELS).eval()
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        network.head.weight.copy_(torch.randn(network.head.weight.shape, generator=random) / 30)
    return network.requires_grad_(False)


@pytest.fixture(scope="module")
def carded(network: CreativeNetwork) -> Carded:
    return Carded(network, ModelCard(contract.VARY_CREATIVE, "0" * 16, starter=True, labels=LABELS)).eval()


@pytest.fixture(scope="module")
def graph(carded: Carded, inputs: tuple[Tensor, Tensor]) -> bytes:
    wanted = torch.ones(len(inputs[0]), MAX_VARIANTS, dtype=torch.uint8)
    return to_onnx(carded, VARY_SIGNATURE, (*inputs, wanted))


@pytest.fixture(scope="module")
def session(graph: bytes) -> onnxruntime.InferenceSession:
    return open_session(graph, threads=1)


def run(
    session: onnxruntime.InferenceSession, inputs: tuple[Tensor, Tensor], wanted: list[list[int]]
) -> tuple[Floats, Floats]:
    """VARIANT_LOGITS and CREATIVE_EMBEDDING where these places are wanted, a list a picture."""
    asked = np.zeros((len(wanted), MAX_VARIANTS), np.uint8)
    for row, places in enumerate(wanted):
        asked[row, places] = 1
    feed = {
        contract.PIXELS: inputs[0][: len(wanted)].numpy(),
        contract.PICTURE_SIZE: inputs[1][: len(wanted)].numpy(),
    }
    names = [contract.VARIANT_LOGITS, contract.CREATIVE_EMBEDDING]
    logits, embedding = session.run(names, {**feed, contract.WANTED: asked})
    return logits, embedding


@pytest.mark.parametrize(
    "wanted",
    [
        [[0, 1, 2, 3, 4, 5]],
        [[0, 1, 2, 3, 4, 5]] * 3,
        [[], [], []],
        [[]],
        [[2], [], [0, 5]],
        [[6, 7], [1, 6], [2, 7]],
    ],
)
def test_the_graph_computes_what_torch_computes(
    carded: Carded, graph: bytes, inputs: tuple[Tensor, Tensor], wanted: list[list[int]]
) -> None:
    asked = torch.zeros(len(wanted), MAX_VARIANTS, dtype=torch.uint8)
    for row, places in enumerate(wanted):
        asked[row, places] = 1
    rows = (inputs[0][: len(wanted)], inputs[1][: len(wanted)], asked)
    assert difference(carded, graph, VARY_SIGNATURE, rows) <= 1e-3


def test_only_what_is_wanted_is_judged_and_as_with_all(
    session: onnxruntime.InferenceSession, inputs: tuple[Tensor, Tensor]
) -> None:
    every, embedding = run(session, inputs, [[0, 1, 2, 3, 4, 5]] * 3)
    some, fewer = run(session, inputs, [[2], [], [0, 5]])
    assert np.abs(every[:, : len(LABELS), : len(LABELS)]).max() > 0.1
    np.testing.assert_allclose(some[0, 2], every[0, 2], atol=1e-4)
    np.testing.assert_allclose(some[2, [0, 5]], every[2, [0, 5]], atol=1e-4)
    assert not some[0, [0, 1, 3, 4, 5, 6, 7]].any()
    assert not some[1].any()
    assert not every[:, len(LABELS) :].any()
    assert not every[:, :, len(LABELS) :].any()
    # The embedding is the original's, and there is none where that is not wanted.
    np.testing.assert_allclose(fewer[0], embedding[0], atol=1e-5)
    assert not fewer[1:].any()
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-5)
    assert embedding.shape == (3, CREATIVE_DIMENSION)


def test_the_trunk_runs_on_the_wanted_variants_alone(
    network: CreativeNetwork, inputs: tuple[Tensor, Tensor]
) -> None:
    seen: list[int] = []
    handle = network.trunk.register_forward_hook(lambda module, given, out: seen.append(len(given[0])))
    asked = torch.zeros(3, MAX_VARIANTS, dtype=torch.uint8)
    asked[0, 1] = asked[2, 4] = asked[2, 2] = 1
    network(*inputs, asked)
    handle.remove()
    assert seen == [3]


def test_judging_files_gives_what_the_network_says(
    network: CreativeNetwork, paths: list[Path], inputs: tuple[Tensor, Tensor], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(paths[0].read_bytes()[:400])
    png = tmp_path / "same.png"
    Image.open(paths[0]).save(png)
    found = judge([paths[0], broken, paths[2], png], network)
    expected = network(*inputs, torch.ones(3, MAX_VARIANTS, dtype=torch.uint8))[0].numpy()
    np.testing.assert_allclose(found[[0, 2]], expected[[0, 2]], atol=1e-4)
    assert np.isnan(found[1]).all()
    assert f"left out: {broken}" in capsys.readouterr().err
    assert found.shape == (4, MAX_VARIANTS, MAX_VARIANTS)
    assert np.isfinite(found[3]).all()


def test_what_is_rendered_is_what_the_functions_make(inputs: tuple[Tensor, Tensor]) -> None:
    labels = tuple(VARIANTS)
    carded = Carded(
        RenderNetwork(labels), ModelCard(contract.RENDER_VARIANTS, "0" * 16, starter=False)
    ).eval()
    wanted = torch.ones(3, MAX_VARIANTS, dtype=torch.uint8)
    graph = to_onnx(carded, RENDER_SIGNATURE, (*inputs, wanted))
    assert difference(carded, graph, RENDER_SIGNATURE, (*inputs, wanted)) <= RENDER_TOLERANCE
    feed = {contract.PIXELS: inputs[0].numpy(), contract.PICTURE_SIZE: inputs[1].numpy()}
    session = open_session(graph, threads=1)
    names = [contract.RENDERED, contract.RENDERED_BOXES]
    rendered, boxes = session.run(names, {**feed, contract.WANTED: wanted.numpy()})
    framed = frame(*inputs, contract.CANVAS)
    for number, each in enumerate(find_variants(labels)):
        expected = each.apply(framed.squares, framed.background).permute(0, 2, 3, 1).numpy()
        assert np.abs(rendered[:, number] - expected).max() <= RENDER_TOLERANCE + 0.01, each.label
    some = np.zeros_like(wanted.numpy())
    some[0, 4] = some[2, 0] = 1
    for asked in (some, 0 * some):
        part, part_boxes = session.run(names, {**feed, contract.WANTED: asked})
        is_asked = asked.astype(bool)
        assert np.array_equal(part[is_asked], rendered[is_asked])
        assert np.array_equal(part_boxes[is_asked], boxes[is_asked])
        assert not part[~is_asked].any()
        assert not part_boxes[~is_asked].any()


def test_behind_the_labels_nothing_is_rendered(inputs: tuple[Tensor, Tensor]) -> None:
    rendered, boxes = RenderNetwork(LABELS)(*inputs, torch.ones(3, MAX_VARIANTS, dtype=torch.uint8))
    assert rendered.shape == (3, MAX_VARIANTS, contract.CANVAS, contract.CANVAS, 3)
    assert rendered.dtype == torch.uint8
    assert boxes.dtype == torch.int32
    assert not rendered[:, len(LABELS) :].any()
    assert not boxes[:, len(LABELS) :].any()


def test_training_makes_the_squares_that_serving_makes(
    network: CreativeNetwork, inputs: tuple[Tensor, Tensor]
) -> None:
    seen: list[Tensor] = []
    handle = network.trunk.register_forward_hook(lambda module, given, out: seen.append(given[0]))
    network(*inputs, torch.ones(3, MAX_VARIANTS, dtype=torch.uint8))
    handle.remove()
    assert torch.equal(seen[0], Variants(LABELS, SIDE)(*inputs).flatten(0, 1))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("original", "bigger"), "no variant 'bigger'; there are brighter, darker"),
        (("darker", "rotate"), "'original' is missing"),
        (("original", "darker", "darker"), "stands twice"),
    ],
)
def test_labels_that_do_not_go_together_are_refused(labels: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RenderNetwork(labels)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_folding_changes_nothing_a_trunk_says(backbone: str) -> None:
    network: ResNet = seeded(BACKBONES[backbone])
    squares = 255 * torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        # Normalisations that do something.
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean += torch.linspace(-0.1, 0.1, module.num_features)
        mean = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
        deviation = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
        x = network.stem((squares / 255 - mean) / deviation)
        expected = network.layer4(network.layer3(network.layer2(network.layer1(x)))).mean(dim=(2, 3))
        trunk = CreativeTrunk(network).eval()
        wide, last = trunk(squares)
    torch.testing.assert_close(last, expected, atol=1e-4, rtol=1e-3)
    assert wide.shape == (1, trunk.wide)


def test_edges_tell_rows_from_columns_and_nothing_else() -> None:
    random = torch.Generator().manual_seed(4)
    rough = torch.rand(1, 3, 64, 64, generator=random)
    # Smooth along the rows: edges are steep along the columns alone.
    lying = 255 * rough.cumsum(3) / torch.arange(1, 65)
    edges = Edges()
    found = edges(lying)
    assert found.shape == (1, Edges.length)
    assert (found < 0).all()
    torch.testing.assert_close(edges(lying.transpose(2, 3)), -found)
    assert (edges(255 * rough).abs() < 0.3).all()
    assert (edges(torch.full((1, 3, 64, 64), 90.0)) == 0).all()
