"""The rule that our models take and give what ``adlens.contract`` says."""

from __future__ import annotations

from itertools import zip_longest

from adlens import contract
from server.lint.configurations import described
from server.lint.rules import Findings, Severity, rule
from server.lint.survey import Survey

TENSORS = {
    contract.IMAGE: "UINT8 [-1]",
    contract.PIXELS: f"UINT8 [{contract.CANVAS}, {contract.CANVAS}, 3]",
    contract.PICTURE_SIZE: "INT32 [2]",
    contract.BOXES: f"FP32 [{contract.MAX_FACES}, 4]",
    contract.FACE_SCORES: f"FP32 [{contract.MAX_FACES}]",
    contract.LANDMARKS: f"FP32 [{contract.MAX_FACES}, {len(contract.LANDMARK_NAMES)}, 2]",
    contract.FACE_COUNT: "INT32 [1]",
    contract.PROBABILITIES: f"FP32 [{contract.MAX_FACES}, {contract.MAX_LABELS}]",
    contract.CARD: f"UINT8 [{contract.CARD_BYTES}]",
}
"""Type and dims of each tensor, without the batch."""
FACES = (contract.BOXES, contract.FACE_SCORES, contract.LANDMARKS, contract.FACE_COUNT)
ATTRIBUTES = tuple(map(contract.attributes_model, contract.BACKBONES))
LEAVES = {
    contract.DECODE: ((contract.IMAGE,), (contract.PIXELS, contract.PICTURE_SIZE)),
    contract.DETECT_FACES: ((contract.PIXELS,), (*FACES, contract.CARD)),
} | dict.fromkeys(
    ATTRIBUTES,
    ((contract.PIXELS, contract.BOXES, contract.FACE_COUNT), (contract.PROBABILITIES, contract.CARD)),
)
"""Inputs and outputs of each leaf model, in order."""
MODELS = {
    name: tuple([f"{tensor} {TENSORS[tensor]}" for tensor in side] for side in sides)
    for name, sides in LEAVES.items()
} | {
    contract.RECOMMEND_PRODUCTS: (
        [f"{contract.IMAGE} {TENSORS[contract.IMAGE]}"],
        [
            *(f"{tensor} {TENSORS[tensor]}" for tensor in (contract.PICTURE_SIZE, *FACES)),
            *(
                f"{contract.probabilities_output(backbone)} {TENSORS[contract.PROBABILITIES]}"
                for backbone in contract.BACKBONES
            ),
            *(
                f"{contract.card_output(leaf)} {TENSORS[contract.CARD]}"
                for leaf in (contract.DETECT_FACES, *ATTRIBUTES)
            ),
        ],
    )
}
"""The same of every model, ensembles too, with type and dims."""


@rule(Severity.ERROR)
def contract_tensors(survey: Survey) -> Findings:
    """A model that client/adlens/contract.py names takes and gives the tensors that it says, in its order.

    Clients, exporters and DALI pipelines rely on it.
    """
    for model in survey.models:
        for side, expected in zip(("input", "output"), MODELS.get(model.name, ()), strict=False):
            found = [described(tensor) for tensor in getattr(model.configuration, side)]
            for theirs, ours in zip_longest(found, expected, fillvalue="nothing"):
                if theirs != ours:
                    yield model.path, f"{side} {theirs} where contract.py has {ours}; change one"


@rule(Severity.ERROR)
def contract_batch(survey: Survey) -> Findings:
    """A model that client/adlens/contract.py names takes batches of up to its MAX_BATCH.

    Clients send as many pictures in a request.
    """
    for model in survey.models:
        cap = model.configuration.max_batch_size
        if model.name in MODELS and cap != contract.MAX_BATCH:
            yield model.path, f"max_batch_size {cap}, but MAX_BATCH is {contract.MAX_BATCH}; change one"
