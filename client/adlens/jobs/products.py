"""Job 1, one picture: which product to recommend to the people in it.

Reads the response of ``recommend_products``, or of the fast one. The rules are those of the
IMG2RECOMMENDER project, mended: every face counts, not the last one; faces too small to be judged
are a clear result; the backbones' scores are weighted by their skill on real pictures. Labels come
from the models' cards: this file names none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from adlens import contract, responses
from adlens.answers import Face, JudgedFace, Outcome, PictureAnswer
from adlens.catalogue import Catalogue
from adlens.contract import ModelCard
from adlens.errors import ServerFault
from adlens.jobs import faces as people
from adlens.jobs.faces import Faces
from adlens.responses import Array, output
from adlens.transport import InferResponse

_CERTAIN: Final = 1e-6
"""Probabilities are kept this far from 0 and 1, or one sure backbone would outweigh all others."""
_PERFECT: Final = 0.999
"""Skill beyond this counts no more: held-out sets are too small to tell."""

_SHORTER_CROP_SIDE: Final = min(contract.CROP_WIDTH, contract.CROP_ABOVE + 1 + contract.CROP_BELOW)
"""In box heights."""


@dataclass(frozen=True)
class _Backbone:
    """Answer of one attribute model: ``probabilities`` is float [K, labels], columns as in the card."""

    name: str
    card: ModelCard
    probabilities: Array


def model(fast: bool) -> str:
    """The ensemble to ask: all backbones, or the one that takes the least time."""
    return contract.RECOMMEND_PRODUCTS_FAST if fast else contract.RECOMMEND_PRODUCTS


def interpret(response: InferResponse, path: str, catalogue: Catalogue) -> PictureAnswer:
    """Read the response for one picture and decide.

    Args:
        response: of either ensemble, batch 1.
        path: the picture's name in the answer.
        catalogue: what is sold.

    Raises:
        ServerFault: the response breaks ``adlens.contract``.
    """
    cards = responses.cards(response)
    backbones = tuple(_backbones(response, cards))
    found = people.read(response)
    faces = tuple(_judged(response, slot, face, backbones) for slot, face in enumerate(found.faces))
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
        height=found.height,
        width=found.width,
        faces=faces,
        warnings=(
            *people.warnings(found, cards.values()),
            *_size_warnings(faces, found),
            *_trust_warnings(faces, backbones),
        ),
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


def best_faces(faces: Sequence[JudgedFace]) -> dict[str, int]:
    """Index of the face with the highest score, by label, over the faces large enough to be judged."""
    best: dict[str, int] = {}
    for index, face in enumerate(faces):
        if face.too_small:
            continue
        for label, score in face.attributes.items():
            if label not in best or score > faces[best[label]].attributes[label]:
                best[label] = index
    return best


def decide(faces: Sequence[JudgedFace], catalogue: Catalogue) -> tuple[str | None, int | None]:
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


def _outcome(faces: Sequence[JudgedFace], label: str | None) -> Outcome:
    if label:
        return Outcome.RECOMMENDED
    if not faces:
        return Outcome.NO_FACE
    return Outcome.FACES_TOO_SMALL if all(face.too_small for face in faces) else Outcome.NO_ITEMS


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
        columns = output(response, contract.probabilities_output(name), shape)
        yield _Backbone(name, card, columns[:, : len(card.labels)])


def _judged(response: InferResponse, slot: int, face: Face, backbones: Sequence[_Backbone]) -> JudgedFace:
    """Add to the ``face`` in ``slot`` what it shows."""
    attributes, evidence = _probabilities(backbones, slot)
    # As the models see it: on the canvas, beyond the picture's edge.
    box = output(response, contract.BOXES, (contract.MAX_FACES, 4))[slot]
    too_small = bool((box[3] - box[1]) * _SHORTER_CROP_SIDE < contract.MIN_CROP)
    return JudgedFace(face.box, face.score, face.landmarks, attributes, evidence, too_small)


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


def _size_warnings(faces: Sequence[JudgedFace], found: Faces) -> Iterator[str]:
    """Say which faces are too small to play a part."""
    small = [math.floor(face.box.height) for face in faces if face.too_small]
    if small:
        scale = contract.letterbox_scale(found.height, found.width)
        needed = math.ceil(contract.MIN_CROP / _SHORTER_CROP_SIDE / scale)
        yield (
            f"{len(small)} of {len(faces)} faces too small to be judged: {', '.join(map(str, small))} "
            f"pixels high, and {needed} are needed at this picture's size; give a closer picture"
        )


def _trust_warnings(faces: Sequence[JudgedFace], backbones: Sequence[_Backbone]) -> Iterator[str]:
    """Say which weights the scores should not rest on, but do. Without a judged face there are none."""
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
