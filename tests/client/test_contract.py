"""The contract: cards travel whole or not at all, and every ``config.pbtxt`` says what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from adlens import contract
from adlens.contract import ModelCard

CHECKOUT = Path(__file__).resolve().parent.parent.parent
REPOSITORIES = ("model_repository", "ensembles")
CONFIGURATIONS = [
    path for repository in REPOSITORIES for path in (CHECKOUT / repository).rglob("config.pbtxt")
]
LEAVES = {
    contract.RECOMMEND_PRODUCTS: [
        contract.DECODE,
        contract.DETECT_FACES,
        *map(contract.attributes_model, contract.BACKBONES),
    ],
    contract.RECOMMEND_PRODUCTS_FAST: [
        contract.DECODE,
        contract.DETECT_FACES,
        contract.attributes_model(contract.FAST_BACKBONE),
    ],
    contract.match_faces_model(contract.EMBEDDER): [
        contract.DECODE,
        contract.DETECT_FACES,
        contract.embed_model(contract.EMBEDDER),
        contract.gallery_model(contract.EMBEDDER),
    ],
    contract.OPTIMISE_CREATIVE: [
        contract.CONVERSION,
        contract.DECODE,
        contract.VARY_CREATIVE,
        contract.ALTERNATES,
    ],
    contract.RENDER_CREATIVE: [contract.DECODE, contract.RENDER_VARIANTS],
    contract.PREDICT_ENGAGEMENT: [contract.DECODE, contract.ENGAGEMENT_MODEL],
    contract.DESCRIBE_POSTS: [contract.DECODE, contract.DESCRIBE_POST],
    contract.RANK_INFLUENCERS: [contract.BRAND_TOWER, contract.INFLUENCERS],
}
"""Steps of each ensemble, in the order of its configuration."""
CARD = ModelCard("attributes_dlib", "0123456789abcdef", False, ("hat", "Bärtchen"), (0.9, 0.123456789))


def configuration(path: Path) -> ModelConfig:
    return text_format.Parse(path.read_text(), ModelConfig())


def test_a_card_comes_back_as_it_went() -> None:
    assert ModelCard.from_bytes(CARD.to_bytes()) == CARD


def test_every_card_has_the_same_length() -> None:
    for card in (CARD, ModelCard(contract.DETECT_FACES, "0" * 16, True)):
        assert len(card.to_bytes()) == contract.CARD_BYTES


def test_there_is_room_for_as_many_labels_as_columns() -> None:
    labels = tuple(f"label of usual length {number}" for number in range(contract.MAX_LABELS))
    card = ModelCard("attributes_resnet50", "0" * 16, False, labels, (1 / 3,) * len(labels))
    assert ModelCard.from_bytes(card.to_bytes()) == card


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (("x" * contract.CARD_BYTES,), r"21\d\d bytes and 1 labels; at most 2048 and 32"),
        (("x",) * (contract.MAX_LABELS + 1), r"33 labels; at most 2048 and 32"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(labels: tuple[str, ...], reason: str) -> None:
    card = ModelCard("attributes_dlib", "0" * 16, False, labels, (0.5,) * len(labels))
    with pytest.raises(ValueError, match=reason):
        card.to_bytes()


def test_what_a_newer_server_adds_to_a_card_is_ignored() -> None:
    newer = json.loads(CARD.to_bytes()) | {"trained": "2031-01-01"}
    assert ModelCard.from_bytes(json.dumps(newer).encode()) == CARD


@pytest.mark.parametrize(
    "data", [b"", b" " * contract.CARD_BYTES, b"[]", b"{}", b"\xff\xfe\xfd", CARD.to_bytes()[:80]]
)
def test_what_is_no_card_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the reason is json's, and differs
        ModelCard.from_bytes(data)


def test_every_model_of_the_contract_has_a_configuration() -> None:
    """Which says the same, as ``python -m server.lint`` finds."""
    assert {path.parent.name for path in CONFIGURATIONS} == set(contract.MODELS)


@pytest.mark.parametrize("ensemble", LEAVES)
def test_an_ensemble_gives_each_leaf_s_own_outputs_under_the_names_of_the_contract(ensemble: str) -> None:
    steps = configuration(CHECKOUT / "ensembles" / ensemble / "config.pbtxt").ensemble_scheduling.step
    assert [step.model_name for step in steps] == LEAVES[ensemble]
    given = contract.MODELS[ensemble].outputs
    for step in steps:
        renamed = {contract.CARD: contract.card_output(step.model_name)}
        if contract.PROBABILITIES in contract.MODELS[step.model_name].outputs:
            backbone = step.model_name.removeprefix(contract.attributes_model(""))
            renamed[contract.PROBABILITIES] = contract.probabilities_output(backbone)
        inputs, outputs = contract.MODELS[step.model_name]
        assert dict(step.input_map) == {name: name for name in inputs}
        assert dict(step.output_map) == {name: renamed.get(name, name) for name in outputs}
        # Triton 24.10 leaves a step out, though a later one needs it, where none of its outputs is asked for.
        assert given.keys() & set(step.output_map.values())


def test_every_ensemble_is_known_here() -> None:
    ensembles = [path.parent.name for path in CONFIGURATIONS if configuration(path).platform == "ensemble"]
    assert set(ensembles) == set(LEAVES)
