"""The served answers on faces that no head was trained on, judged as ``export.evaluate_products`` does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from adlens import Catalogue, PictureAnswer, Recommender, contract, pictures
from adlens.contract import ModelCard
from adlens.jobs import products
from adlens.transport import InferResponse
from export import datasets, generated
from export.datasets import HELD_OUT, LabelledPictures
from export.evaluate_products import COMBINED, figures, scores
from tests.e2e.pictures import FACES, backbone_outputs, encode, infer

LEAST_AUC = {"hat": 0.965, "beard": 0.965, "eyewear": 0.965}
MOST_WITHOUT_FACE = 0.01


@pytest.fixture(scope="module")
def held_out(test_data: Path) -> LabelledPictures:
    """Faces of LFW with our labels, held out in every training."""
    everything = datasets.read_lfw(images=test_data / "hbe" / "images")
    return everything.subset(datasets.name_shares(everything) < HELD_OUT)


@pytest.fixture
def cards(client: triton.InferenceServerClient) -> dict[str, ModelCard]:
    """Card of each backbone."""
    answer = infer(client, encode(generated.astronaut()))
    names = {name: contract.card_output(contract.attributes_model(name)) for name in contract.BACKBONES}
    return {name: ModelCard.from_bytes(answer.as_numpy(card)[0].tobytes()) for name, card in names.items()}


def test_backbones_on_starter_weights_weigh_nothing(
    recommender: Recommender, held_out: LabelledPictures, cards: dict[str, ModelCard]
) -> None:
    starter = {name for name, card in cards.items() if card.starter}
    assert all(not any(cards[name].skill) for name in starter)
    if starter != {"vgg16", "resnet50"}:
        pytest.skip(f"only {starter or 'no backbone'} runs on starter weights")
    found, _, failures = scores(recommender.recommend_many(held_out.paths[:16]), held_out.names, 16)
    assert not failures
    np.testing.assert_allclose(found[COMBINED], found["dlib"], rtol=0, atol=1e-6)
    assert np.abs(found["vgg16"] - found["dlib"]).max() > 0.1


def test_held_out_faces_are_told_apart(
    client: triton.InferenceServerClient, held_out: LabelledPictures, cards: dict[str, ModelCard]
) -> None:
    """The area under the ROC curve of the combined answer.

    Only backbones that weigh anything are asked for, so only they run.
    """
    weighty = [name for name, card in cards.items() if any(card.skill)]
    answers = _answers(client, held_out, weighty)
    found, without_face, failures = scores(answers, held_out.names, len(held_out))
    aucs = {label: one["auc"] for label, one in figures(found, held_out)[COMBINED].items()}
    print(f"{len(held_out)} pictures, {without_face} without a face; AUC {aucs}")  # noqa: T201
    assert len(held_out) > 400
    assert not failures
    assert without_face <= MOST_WITHOUT_FACE * len(held_out)
    assert all(aucs[label] >= least for label, least in LEAST_AUC.items()), aucs


def _answers(
    client: triton.InferenceServerClient, held_out: LabelledPictures, backbones: list[str]
) -> Iterator[PictureAnswer]:
    catalogue = Catalogue.default()
    outputs = [*FACES, *(name for backbone in backbones for name in backbone_outputs(backbone))]
    for path in held_out.paths:
        answer = infer(client, pictures.load(path).jpeg, outputs)
        tensors = {name: answer.as_numpy(name) for name in outputs}
        yield products.interpret(
            InferResponse(contract.RECOMMEND_PRODUCTS, "1", tensors), str(path), catalogue
        )
