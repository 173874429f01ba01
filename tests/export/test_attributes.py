"""All labels of all faces of a batch in one pass: cropped, compacted, scattered back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from adlens import contract
from export.networks.attributes import AttributeNetwork, crop_boxes, crop_faces, digest
from export.networks.backbones import Backbone, Shared, Tail

LABELS = ("hat", "beard", "eyewear")


class Tiny(Backbone):
    """Sees the chip itself, 6x6 pixels."""

    name = "tiny"
    size = 6
    wide = 3 * 6 * 6

    def trunk(self, chips: Tensor) -> Shared:
        return (chips.flatten(1) / 255,)

    def new_tail(self) -> Tail:
        return Tail(self.wide, None, None)


@pytest.fixture
def network() -> AttributeNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return AttributeNetwork(Tiny(), LABELS).eval()


def batch(counts: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Coarse noise with ``counts`` faces; slots without one hold no number."""
    random = torch.Generator().manual_seed(2)
    noise = torch.randint(0, 256, (len(counts), 3, 40, 40), dtype=torch.uint8, generator=random)
    pixels = nn.functional.interpolate(noise, size=contract.CANVAS, mode="nearest").permute(0, 2, 3, 1)
    boxes = torch.full((len(counts), contract.MAX_FACES, 4), torch.nan)
    for row, count in enumerate(counts):
        filled = min(count, contract.MAX_FACES)
        corner = 500 * torch.rand(filled, 2, generator=random)
        boxes[row, :filled] = torch.cat(
            (corner, corner + 40 + 100 * torch.rand(filled, 2, generator=random)), 1
        )
    return pixels.contiguous(), boxes, torch.tensor(counts, dtype=torch.int32).unsqueeze(1)


def test_a_batch_equals_its_faces_one_by_one(network: AttributeNetwork) -> None:
    pixels, boxes, counts = batch([1, 0, 20, 16, 3])
    with torch.inference_mode():
        found = network(pixels, boxes, counts)
        assert found.shape == (5, contract.MAX_FACES, contract.MAX_LABELS)
        for row, count in enumerate(counts[:, 0].tolist()):
            for slot in range(min(count, contract.MAX_FACES)):
                crop = crop_boxes(boxes[row, slot].unsqueeze(0))
                chip = crop_faces(pixels[row].unsqueeze(0), crop, torch.tensor([0]), Tiny.size)
                alone = network.logits(chip).sigmoid()[0]
                torch.testing.assert_close(found[row, slot, : len(LABELS)], alone, rtol=0, atol=1e-6)
    assert found[0, 0, : len(LABELS)].min() > 0


def test_empty_slots_and_columns_behind_the_labels_are_zero(network: AttributeNetwork) -> None:
    pixels, boxes, counts = batch([0, 2, 20])
    with torch.inference_mode():
        found = network(pixels, boxes, counts)
    assert (found[0] == 0).all()
    assert (found[1, 2:] == 0).all()
    assert (found[:, :, len(LABELS) :] == 0).all()
    assert (found[2, :, : len(LABELS)] > 0).all()


def test_a_batch_without_any_face_is_all_zero(network: AttributeNetwork) -> None:
    with torch.inference_mode():
        found = network(*batch([0, 0]))
    assert found.shape == (2, contract.MAX_FACES, contract.MAX_LABELS)
    assert (found == 0).all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 3e38])
def test_boxes_that_are_none_are_answered_at_once_and_harm_no_neighbour(
    network: AttributeNetwork, value: float
) -> None:
    """RoiAlign would take 1e34 samples of such a box."""
    pixels, boxes, counts = batch([2, 3])
    with torch.inference_mode():
        expected = network(pixels, boxes, counts)
        boxes[0, 0, 2:] = value
        found = network(pixels, boxes, counts)
    assert found.isfinite().all()
    assert torch.allclose(found[1], expected[1])


def test_with_a_real_trunk_a_face_does_not_depend_on_its_neighbours(dlib_backbone: Backbone) -> None:
    network = AttributeNetwork(dlib_backbone, LABELS).eval()
    pixels, boxes, counts = batch([2, 0, 3])
    with torch.inference_mode():
        together = network(pixels, boxes, counts)
        alone = network(pixels[2:], boxes[2:], counts[2:])
    torch.testing.assert_close(together[2:], alone, rtol=0, atol=1e-5)


def test_a_crop_holds_hat_and_beard_as_the_contract_says() -> None:
    x1, y1, x2, y2 = 100.0, 200.0, 180.0, 300.0
    crop = crop_boxes(torch.tensor([[x1, y1, x2, y2]]))[0]
    height = y2 - y1
    assert float(crop[1]) == pytest.approx(y1 - contract.CROP_ABOVE * height)
    assert float(crop[3]) == pytest.approx(y2 + contract.CROP_BELOW * height)
    assert float(crop[2] - crop[0]) == pytest.approx(contract.CROP_WIDTH * height)
    assert float(crop[0] + crop[2]) / 2 == pytest.approx((x1 + x2) / 2)


def test_outside_of_the_canvas_a_crop_is_black() -> None:
    pixels = torch.full((1, contract.CANVAS, contract.CANVAS, 3), 200, dtype=torch.uint8)
    chip = crop_faces(pixels, torch.tensor([[-100.0, 0.0, 100.0, 200.0]]), torch.tensor([0]), 20)[0]
    assert chip.shape == (3, 20, 20)
    assert (chip[:, :, :9] == 0).all()
    assert (chip[:, :, 11:] == 200).all()


def test_the_digest_changes_with_any_weight(network: AttributeNetwork) -> None:
    before = digest(network)
    assert digest(network) == before
    with torch.no_grad():
        network.tails["beard"].wide.bias.add_(1e-6)  # type: ignore[union-attr, operator]
    assert digest(network) != before
