"""All faces of a batch embedded in one pass; what is exported; and dlib's own answers as the measure."""

from __future__ import annotations

from pathlib import Path

import dlib
import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from adlens import contract
from export import embedders, generated
from export.graph import difference, to_onnx
from export.networks.alignment import DLIB, plan_warp, sample, similarities
from export.networks.card import Carded
from export.networks.dlib_resnet import find_weights
from export.networks.embeddings import EmbeddingNetwork, splice

CARD = contract.EmbedderCard(
    "embed_tiny", "0" * 16, starter=True, embedder="tiny", dimension=6, threshold=0.5
)


class Tiny(nn.Module):
    """Sees mean and corner of a chip."""

    def forward(self, *chips: Tensor) -> Tensor:
        (chip,) = chips
        return torch.cat([chip.mean((2, 3)), chip[:, :, 3, 5] + 1], 1)


@pytest.fixture(scope="module")
def network() -> EmbeddingNetwork:
    """Takes three chips at a time."""
    return EmbeddingNetwork(Tiny(), DLIB, 6, chunk=3).eval()


@pytest.fixture(scope="module")
def graph(network: EmbeddingNetwork) -> bytes:
    """The same as one ONNX graph."""
    chips = (torch.rand(2, 3, DLIB.size, DLIB.size),)
    inner = to_onnx(network.network, embedders.Signature(("CHIPS",), ("EMBEDDINGS",)), chips)
    frame = to_onnx(Carded(network, CARD), embedders.SIGNATURE, batch([1, 2]))
    whole = splice(onnx.load_from_string(frame), onnx.load_from_string(inner))
    return bytes(whole.SerializeToString())


def batch(counts: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Coarse noise with ``counts`` faces; slots without one hold no number."""
    random = torch.Generator().manual_seed(2)
    noise = torch.randint(0, 256, (len(counts), 3, 40, 40), dtype=torch.uint8, generator=random)
    pixels = functional.interpolate(noise, size=contract.CANVAS, mode="nearest").permute(0, 2, 3, 1)
    landmarks = torch.full((len(counts), contract.MAX_FACES, 5, 2), torch.nan)
    for row, count in enumerate(counts):
        filled = min(count, contract.MAX_FACES)
        scale = 0.3 + 2 * torch.rand(filled, 1, 1, generator=random)
        corner = 500 * torch.rand(filled, 1, 2, generator=random)
        jitter = 3 * torch.randn(filled, 5, 2, generator=random)
        landmarks[row, :filled] = scale * torch.tensor(DLIB.points) + corner + jitter
    return pixels.contiguous(), landmarks, torch.tensor(counts, dtype=torch.int32).unsqueeze(1)


def test_a_batch_equals_its_faces_one_by_one(network: EmbeddingNetwork) -> None:
    pixels, landmarks, counts = batch([1, 0, 20, 16, 3])
    with torch.inference_mode():
        found = network(pixels, landmarks, counts)
        assert found.shape == (5, contract.MAX_FACES, 6)
        for row, count in enumerate(counts[:, 0].tolist()):
            for slot in range(min(count, contract.MAX_FACES)):
                turned = similarities(landmarks[row, slot : slot + 1], DLIB.coefficients())
                chip = sample(plan_warp(pixels[row : row + 1], torch.tensor([0]), turned, DLIB.size))
                alone = functional.normalize(network.network(chip))[0]
                torch.testing.assert_close(found[row, slot], alone, rtol=0, atol=1e-4)


def test_embeddings_have_length_1_and_empty_slots_none(network: EmbeddingNetwork) -> None:
    with torch.inference_mode():
        found = network(*batch([0, 2, 20]))
    lengths = found.norm(dim=2)
    torch.testing.assert_close(lengths[1, :2], torch.ones(2))
    torch.testing.assert_close(lengths[2], torch.ones(contract.MAX_FACES))
    assert (found[0] == 0).all()
    assert (found[1, 2:] == 0).all()


@pytest.mark.parametrize("counts", [[1], [3, 1], [0], [0, 0, 0], [20, 16, 0, 4, 1, 1, 1, 7]])
def test_the_graph_computes_what_torch_does_for_any_number_of_faces(
    network: EmbeddingNetwork, graph: bytes, counts: list[int]
) -> None:
    assert difference(Carded(network, CARD), graph, embedders.SIGNATURE, batch(counts)) <= 1e-4


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 3e38])
def test_landmarks_that_are_none_are_answered_and_harm_no_neighbour(
    network: EmbeddingNetwork, graph: bytes, value: float
) -> None:
    pixels, landmarks, counts = batch([2, 3])
    with torch.inference_mode():
        expected = network(pixels, landmarks, counts)
        landmarks[0, 0, 2:] = value
        found = network(pixels, landmarks, counts)
    assert found.isfinite().all()
    torch.testing.assert_close(found[1], expected[1])
    rows = (pixels, landmarks, counts)
    assert difference(Carded(network, CARD), graph, embedders.SIGNATURE, rows) <= 1e-4


def dlib_chips(paths: list[Path]) -> list[np.ndarray]:
    """As dlib itself finds, turns and cuts faces: uint8 [150, 150, 3] each."""
    models = find_weights().path.parent
    find = dlib.get_frontal_face_detector()
    place = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
    chips = []
    for path in paths:
        picture = np.asarray(Image.open(path).convert("RGB"))
        faces = find(picture, 0)
        chips += [dlib.get_face_chip(picture, place(picture, face), DLIB.size, 0.25) for face in faces]
    return chips


def assert_as_dlib(chips: list[np.ndarray]) -> None:
    describe = dlib.face_recognition_model_v1(str(find_weights().path))
    expected = np.array([describe.compute_face_descriptor(chip) for chip in chips])
    with torch.inference_mode():
        tensor = torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2).float()
        found = embedders.load_dlib().network(tensor).numpy()
    assert np.abs(found - expected).max() <= 1e-5


def test_descriptors_of_a_face_are_those_of_dlib(astronaut: Path) -> None:
    chips = dlib_chips([astronaut])
    assert chips
    assert_as_dlib(chips)


def test_descriptors_of_many_faces_are_those_of_dlib(test_data: Path) -> None:
    chips = dlib_chips(sorted((test_data / "lfw_pairs" / "images").glob("*.jpg"))[:20])
    assert len(chips) >= 10
    assert_as_dlib(chips)


def test_our_alignment_of_a_face_is_close_to_that_of_dlib(astronaut: Path, detector: nn.Module) -> None:
    """Two pictures of one person differ by 0.3 and more."""
    pixels = torch.zeros(1, contract.CANVAS, contract.CANVAS, 3, dtype=torch.uint8)
    picture = np.asarray(generated.astronaut())
    pixels[0, : picture.shape[0], : picture.shape[1]] = torch.from_numpy(picture.copy())
    embedder = embedders.load_dlib()
    with torch.inference_mode():
        _, _, landmarks, count = detector(pixels)[:4]
        assert int(count) == 1
        ours = EmbeddingNetwork(embedder.network, embedder.alignment, 128)(pixels, landmarks, count)[0, 0]
        # To dlib a patch on her arm is a face, too.
        chips = torch.from_numpy(np.stack(dlib_chips([astronaut]))).permute(0, 3, 1, 2).float()
        theirs = functional.normalize(embedder.network(chips))
    assert float((theirs @ ours).max()) > 0.98
