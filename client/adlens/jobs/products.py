"""Job 1, one picture: which product to recommend to the people in it.

Builds the request for ``recommend_products`` and reads its response. The rules are those of the
IMG2RECOMMENDER project, mended: every face counts, not the last one; faces too small to be judged
are a clear result; the backbones' scores are weighted by their skill on real pictures. Labels come
from the models' cards: this file names none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adlens import contract
from adlens.answers import Box, Face, Outcome, PictureAnswer
from adlens.catalogue import Catalogue
from adlens.contract import ModelCard
from adlens.errors import ServerFault
from adlens.pictures import Picture
from adlens.transport import InferResponse

_CERTAIN: Final = 1e-6
"""Probabilities are kept this far from 0 and 1, or one sure backbone would outweigh all others."""
_PERFECT: Final = 0.999
"""Skill beyond this counts no more: held-out sets are too small to tell."""

_SHORTER_CROP_SIDE: Final = min(contract.CROP_WIDTH, contract.CROP_ABOVE + 1 + contract.CROP_BELOW)
"""In box heights."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class _Backbone:
    """Answer of one attribute model: ``probabilities`` is float [K, labels], columns as in the card."""

    name: str
    card: ModelCard
    probabilities: Array


def request(picture: Picture) -> dict[str, npt.NDArray[np.uint8]]:
    """Inputs of ``recommend_products`` for one picture: IMAGE, uint8 [1, bytes]."""
    return {contract.IMAGE: np.frombuffer(picture.jpeg, np.uint8)[np.newaxis]}


def interpret(response: InferResponse, path: str, catalogue: Catalogue) -> PictureAnswer:
    """Read the response for one picture and decide.

    Args:
        response: of ``recommend_products``, batch 1.
        path: the picture's name in the answer.
        catalogue: what is sold.

    Raises:
        ServerFault: the response breaks ``adlens.contract``.
    """
    cards = _cards(response)
    backbones = tuple(_backbones(response, cards))
    height, width = (int(side) for side in _output(response, contract.PICTURE_SIZE, (2,)))
    found = int(_output(response, contract.FACE_COUNT, (1,))[0])
    faces = _faces(response, backbones, height, width, min(found, contract.MAX_FACES))
    label, face = decide(faces, catalogue)
    outcome = _outcome(faces, label)
    product = catalogue[label] if label else None
    return PictureAnswer(
        path=path,
        outcome=outcome,
        product=product.product if product else None,
        label=label,
        score=faces[face].attributes[label] if label and face is not None else None,
        face=face,
        title=product.title if product else outcome.wording,
        height=height,
        width=width,
        faces=faces,
        warnings=(*_size_warnings(faces, found, height, width), *_trust_warnings(faces, cards, backbones)),
        model_versions={card.model: card.weights for card in cards.values()},
        starter=tuple(card.model for card in cards.values() if card.starter),
    )


def combine(probabilities: Sequence[float], skills: Sequence[float]) -> float:
    """Combine the probabilities of one label by several backbones.

    The mean of the logits, weighted by skill over its lack (a logarithmic opinion pool: C. Genest and
    J. Zidek, "Combining Probability Distributions", Statistical Science 1986; the weight, s / (1 - s), is
    ours: it halves when a backbone errs twice as often, as inverse variance weights do). Without any skill
    at all, the plain mean, as the IMG2RECOMMENDER project has it.

    Args:
        probabilities: one a backbone, in [0, 1].
        skills: one a backbone, in [0, 1].
    """
    weights = [skill / (1 - min(skill, _PERFECT)) for skill in skills]
    total = math.fsum(weights)
    if total <= 0:
        return math.fsum(probabilities) / len(probabilities)
    clipped = (min(max(probability, _CERTAIN), 1 - _CERTAIN) for probability in probabilities)
    logits = (math.log(probability / (1 - probability)) for probability in clipped)
    logit = math.fsum(weight * logit for weight, logit in zip(weights, logits, strict=True)) / total
    return 1 / (1 + math.exp(-logit))


def best_faces(faces: Sequence[Face]) -> dict[str, int]:
    """Index of the face with the highest score, by label, over the faces large enough to be judged."""
    best: dict[str, int] = {}
    for index, face in enumerate(faces):
        if face.too_small:
            continue
        for label, score in face.attributes.items():
            if label not in best or score > faces[best[label]].attributes[label]:
                best[label] = index
    return best


def decide(faces: Sequence[Face], catalogue: Catalogue) -> tuple[str | None, int | None]:
    """Choose the label to recommend for, and the face that shows it best; None without one.

    A picture is positive for a label when any of its faces is. Of the positive labels that the
    catalogue sells, the one with the highest score wins.
    """
    scores = {
        label: faces[index].attributes[label]
        for label, index in best_faces(faces).items()
        if label in catalogue
    }
    winner = max(scores, key=scores.__getitem__, default=None)
    if winner is None or scores[winner] < contract.POSITIVE:
        return None, None
    return winner, best_faces(faces)[winner]


def _outcome(faces: Sequence[Face], label: str | None) -> Outcome:
    if label:
        return Outcome.RECOMMENDED
    if not faces:
        return Outcome.NO_FACE
    return Outcome.FACES_TOO_SMALL if all(face.too_small for face in faces) else Outcome.NO_ITEMS


def _output(response: InferResponse, name: str, shape: tuple[int, ...]) -> Array:
    """The output ``name``, of ``shape``, for the one picture of the batch."""
    array = response.outputs.get(name)
    if array is None:
        raise ServerFault(f"{response.model_name} gave no output {name}; is the server of another version?")
    if array.shape != (1, *shape):
        raise ServerFault(f"{response.model_name}: {name} is {list(array.shape)}, not {[1, *shape]}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ServerFault(f"{response.model_name}: {name} holds numbers that are not finite")
    row: Array = array[0]
    return row


@lru_cache(maxsize=64)
def _card(data: bytes) -> ModelCard:
    card = ModelCard.from_bytes(data)
    if len(card.labels) > contract.MAX_LABELS:
        raise ValueError(f"card of {card.model}: {len(card.labels)} labels for {contract.MAX_LABELS} columns")
    if len(card.labels) != len(card.skill) or not all(0 <= skill <= 1 for skill in card.skill):
        raise ValueError(f"card of {card.model}: {len(card.labels)} labels and skills {card.skill}")
    return card


def _cards(response: InferResponse) -> dict[str, ModelCard]:
    """Cards of all leaf models, by output."""
    names = [name for name in response.outputs if name.startswith(contract.card_output(""))]
    try:
        return {name: _card(_output(response, name, (contract.CARD_BYTES,)).tobytes()) for name in names}
    except ValueError as error:
        raise ServerFault(f"{response.model_name}: {error}") from error


def _backbones(response: InferResponse, cards: Mapping[str, ModelCard]) -> Iterator[_Backbone]:
    """Pair the probabilities of each backbone with its card."""
    prefix = contract.probabilities_output("")
    names = [name.removeprefix(prefix).lower() for name in response.outputs if name.startswith(prefix)]
    if not names:
        raise ServerFault(
            f"{response.model_name} gave no output {prefix}*; is the server of another version?"
        )
    for name in names:
        card = cards.get(contract.card_output(contract.attributes_model(name)))
        if card is None:
            raise ServerFault(f"{response.model_name} gave no card of the backbone {name}")
        shape = (contract.MAX_FACES, contract.MAX_LABELS)
        columns = _output(response, contract.probabilities_output(name), shape)
        yield _Backbone(name, card, columns[:, : len(card.labels)])


def _faces(
    response: InferResponse, backbones: Sequence[_Backbone], height: int, width: int, count: int
) -> tuple[Face, ...]:
    """The first ``count`` face slots, with boxes and landmarks brought from the canvas to the picture."""
    slots = contract.MAX_FACES
    boxes = _output(response, contract.BOXES, (slots, 4))
    scores = _output(response, contract.FACE_SCORES, (slots,))
    landmarks = _output(response, contract.LANDMARKS, (slots, len(contract.LANDMARK_NAMES), 2))
    scale = contract.letterbox_scale(height, width)
    corners = np.array([width, height], np.float64)
    faces = []
    for slot in range(count):
        box = np.clip(boxes[slot].reshape(2, 2) / scale, 0, corners)
        points = np.clip(landmarks[slot] / scale, 0, corners)
        attributes, evidence = _probabilities(backbones, slot)
        faces.append(
            Face(
                box=Box(*box.ravel().tolist()),
                score=float(scores[slot]),
                landmarks=tuple((float(x), float(y)) for x, y in points),
                attributes=attributes,
                backbones=evidence,
                too_small=bool((boxes[slot, 3] - boxes[slot, 1]) * _SHORTER_CROP_SIDE < contract.MIN_CROP),
            )
        )
    return tuple(faces)


def _probabilities(
    backbones: Sequence[_Backbone], slot: int
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Of one face: combined by label, and by backbone and label. Backbones may differ in labels."""
    evidence = {
        backbone.name: dict(zip(backbone.card.labels, backbone.probabilities[slot].tolist(), strict=True))
        for backbone in backbones
    }
    skills = _skills(backbones)
    attributes = {
        label: combine([evidence[name][label] for name in by_backbone], list(by_backbone.values()))
        for label, by_backbone in skills.items()
    }
    return attributes, evidence


def _skills(backbones: Sequence[_Backbone]) -> dict[str, dict[str, float]]:
    """Skill by label and backbone, labels in the order of the cards."""
    skills: dict[str, dict[str, float]] = {}
    for backbone in backbones:
        for label, skill in zip(backbone.card.labels, backbone.card.skill, strict=True):
            skills.setdefault(label, {})[backbone.name] = skill
    return skills


def _size_warnings(faces: Sequence[Face], found: int, height: int, width: int) -> Iterator[str]:
    """Say which faces found played no part, and why."""
    if found > contract.MAX_FACES:
        yield f"{found} faces found; only the {contract.MAX_FACES} largest are judged"
    small = [math.floor(face.box.height) for face in faces if face.too_small]
    if small:
        scale = contract.letterbox_scale(height, width)
        needed = math.ceil(contract.MIN_CROP / _SHORTER_CROP_SIDE / scale)
        yield (
            f"{len(small)} of {len(faces)} faces too small to be judged: {', '.join(map(str, small))} "
            f"pixels high, and {needed} are needed at this picture's size; give a closer picture"
        )


def _trust_warnings(
    faces: Sequence[Face], cards: Mapping[str, ModelCard], backbones: Sequence[_Backbone]
) -> Iterator[str]:
    """Say which weights the answer should not rest on, but does. Without a judged face it rests on none."""
    judging = {backbone.card.model for backbone in backbones}
    starter = [card.model for card in cards.values() if card.starter]
    blind = [model for model in starter if model not in judging]
    if blind:
        yield f"{', '.join(blind)} runs on starter weights: faces are found at random; run `make models`"
    if all(face.too_small for face in faces):
        return
    unproven = [label for label, skills in _skills(backbones).items() if not any(skills.values())]
    if unproven:
        yield (
            f"{', '.join(unproven)}: no model has shown skill on real pictures, so the scores rest on "
            "starter or unmeasured weights and mean little; run `make models`"
        )
    weighty = [
        backbone.card.model for backbone in backbones if backbone.card.starter and any(backbone.card.skill)
    ]
    if weighty:
        yield f"the scores rest in part on starter weights ({', '.join(weighty)}); run `make models`"
