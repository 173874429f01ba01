"""How each learned leaf is built: from weights and heads to a version folder with its manifest.

Backbones for which there are neither published weights nor trained heads get starter ones, and say so.
What a model is built from is kept beside it, so that one whose sources have not changed is left alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from adlens import contract
from export import (
    embedders,
    generated,
    train_attributes,
    train_conversion,
    train_engagement,
    train_uplift,
    train_variants,
)
from export.augmentation import Augmentation
from export.checkpoint import HeadsStory, find_heads, load_heads, read_story
from export.creative.config import read_config
from export.creative.conversion_graph import write_conversion
from export.creative.network import RenderNetwork
from export.datasets import LabelledPictures
from export.embedders import build_embedder, load_dlib
from export.faces import decode
from export.graph import Manifest, Signature, Weights, write_model
from export.heads import Recipe
from export.influencers import describing, towers
from export.networks import mtcnn
from export.networks.attributes import AttributeNetwork, digest
from export.networks.card import Carded
from export.uplift.graph import write_offer
from export.weights import STARTER, WeightsError, cache_folder, load_backbone, sha256

REPOSITORY: Final = Path(__file__).parent.parent / "model_repository"
BUILT_FROM: Final = "built_from"
DERIVED: Final = "model.int8*.onnx"
"""Beside a model, what ``export.quantisation`` has made of it, and is none of another's."""
DETECTOR_SIGNATURE: Final = Signature(
    (contract.PIXELS,),
    (contract.BOXES, contract.FACE_SCORES, contract.LANDMARKS, contract.FACE_COUNT, contract.CARD),
)
ATTRIBUTES_SIGNATURE: Final = Signature(
    (contract.PIXELS, contract.BOXES, contract.FACE_COUNT),
    (contract.PROBABILITIES, contract.CARD),
)
VARY_SIGNATURE: Final = Signature(
    (contract.PIXELS, contract.PICTURE_SIZE, contract.WANTED),
    (contract.VARIANT_LOGITS, contract.CREATIVE_EMBEDDING, contract.CARD),
)
RENDER_SIGNATURE: Final = Signature(
    (contract.PIXELS, contract.PICTURE_SIZE, contract.WANTED),
    (contract.RENDERED, contract.RENDERED_BOXES, contract.CARD),
)
ENGAGEMENT_SIGNATURE: Final = Signature(
    (contract.PIXELS, contract.PICTURE_SIZE, contract.POST), (contract.ENGAGEMENT, contract.CARD)
)
ENGAGEMENT_TOLERANCE: Final = 1e-4
"""Of probabilities."""
RENDER_TOLERANCE: Final = 1.0
"""A step of a byte: what lies between two of them may be rounded to either."""
_STARTER_PICTURES: Final = 96
_STARTER_SEED: Final = 1
_STARTER_RECIPE: Final = Recipe(penalties=(1e-1,))


def build_detector(weights: str | None, folder: Path, pictures: Sequence[Path]) -> Manifest:
    """Export ``detect_faces`` to ``folder``, judged on ``pictures``; its weights are always the package's.

    Raises:
        ParityError: the graph differs from torch.
    """
    network = mtcnn.load_mtcnn()
    found = digest(network)
    carded = Carded(network, contract.ModelCard(contract.DETECT_FACES, found[:16], starter=False))
    source = mtcnn.source()
    origin = Weights(source.package, source.licence, source.sha256)
    manifest = Manifest(contract.DETECT_FACES, origin, found, "by its authors (WIDER FACE, CelebA)", {})
    pixels = _canvases(pictures)
    return write_model(carded, DETECTOR_SIGNATURE, [(pixels[:1],), (pixels,)], manifest, folder)


def build_attributes(
    backbone_name: str, weights: str | None, folder: Path, pictures: Sequence[Path]
) -> Manifest:
    """Export one attribute model to ``folder``, judged on ``pictures``.

    Args:
        backbone_name: ``dlib``, ``vgg16`` or ``resnet50``.
        weights: as for ``load_backbone``; None takes what the heads were trained on.
        folder: version folder.
        pictures: ``contract.MAX_BATCH`` JPEG files with faces.

    Raises:
        ParityError: the graph differs from torch.
        WeightsError: weights cannot be had, or heads were trained on others.
    """
    network, source, story = load_network(backbone_name, weights)
    found = digest(network)
    model = contract.attributes_model(backbone_name)
    card = contract.ModelCard(model, found[:16], source.starter, story.labels, story.skill)
    manifest = Manifest(model, source, found, story.trained_on, story.held_out)
    pixels = _canvases(pictures)
    with torch.no_grad():
        boxes, _, _, count = mtcnn.load_mtcnn()(pixels)[:4]
    batch = (pixels, boxes, count)
    one = tuple(tensor[:1] for tensor in batch)
    return write_model(Carded(network, card), ATTRIBUTES_SIGNATURE, [one, batch], manifest, folder)


def build_embed_dlib(weights: str | None, folder: Path, pictures: Sequence[Path]) -> Manifest:
    """Export ``embed_dlib`` to ``folder``, judged on ``pictures``; its weights are always the package's.

    Raises:
        ParityError: the graph differs from torch.
    """
    return build_embedder(load_dlib(), folder, _canvases(pictures))


def build_offer(weights: str | None, folder: Path, pictures: Sequence[Path]) -> Manifest:
    """Export ``uplift_offer`` to ``folder``: an own training run's, else one of generated customers.

    Raises:
        DatasetError: the own one cannot be read.
        ParityError: the graph differs from XGBoost.
    """
    model, schema, story = train_uplift.load()
    found = model.digest
    card = contract.ModelCard(contract.UPLIFT_OFFER, found[:16], story.starter, story.offers, story.skill)
    source = "generated customers" if story.starter else "own training run"
    origin = Weights(source, "Apache-2.0" if story.starter else "that of the data", "", story.starter)
    manifest = Manifest(contract.UPLIFT_OFFER, origin, found, story.trained_on, story.held_out)
    return write_offer(model, card, schema, manifest, folder)


def build_vary_creative(weights: str | None, folder: Path, pictures: Sequence[Path]) -> Manifest:
    """Export ``vary_creative`` to ``folder``: an own training run's, else one of generated pictures.

    Raises:
        DatasetError: ``creative.yaml`` cannot be read.
        ParityError: the graph differs from torch.
        WeightsError: weights cannot be had, or the own judge is none of this configuration.
    """
    network, story, source = train_variants.load()
    found = digest(network)
    card = contract.ModelCard(contract.VARY_CREATIVE, found[:16], story.starter, story.labels, story.skill)
    manifest = Manifest(contract.VARY_CREATIVE, source, found, story.trained_on, story.held_out)
    batch = _creatives()
    one = tuple(tensor[:1] for tensor in batch)
    return write_model(Carded(network, card), VARY_SIGNATURE, [one, batch], manifest, folder)


def build_render_variants(weights: str | None, folder: Path, pictures: Sequence[Path]) -> Manifest:
    """Export ``render_variants`` to ``folder``: the same functions, for people to look at.

    Raises:
        DatasetError: ``creative.yaml`` cannot be read.
        ParityError: the graph differs from torch.
    """
    labels = read_config().variants
    network = RenderNetwork(labels)
    # It has no parameters: what it is, its code says.
    found = hashlib.sha256("".join([*labels, *map(sha256, train_variants.drawing())]).encode()).hexdigest()
    nothing = (0.0,) * len(labels)  # there is no skill to measure
    card = contract.ModelCard(contract.RENDER_VARIANTS, found[:16], False, labels, nothing)
    manifest = Manifest(contract.RENDER_VARIANTS, Weights("none", "Apache-2.0", ""), found, "nothing", {})
    batch = _creatives()
    one = tuple(tensor[:1] for tensor in batch)
    carded = Carded(network, card)
    return write_model(carded, RENDER_SIGNATURE, [one, batch], manifest, folder, RENDER_TOLERANCE)


def build_conversion(weights: str | None, folder: Path, pictures: Sequence[Path]) -> Manifest:
    """Export ``conversion`` to ``folder``: an own training run's, else one of planted outcomes.

    Raises:
        DatasetError: the own one cannot be read, or has learned from another judge's logits.
        ParityError: the graph differs from XGBoost.
        WeightsError: as for ``build_vary_creative``; or the one beside it was built of another judge.
    """
    judge = train_conversion.Judge.load()
    beside = folder.parent.parent / contract.VARY_CREATIVE / folder.name / "manifest.json"
    if beside.exists() and (built := json.loads(beside.read_text())["digest"][:16]) != judge.weights:
        raise WeightsError(
            f"{beside.parent} was built of the judge {built}, and today's is {judge.weights}, from whose "
            f"logits conversion learns: build both, `python -m export {contract.VARY_CREATIVE} "
            f"{contract.CONVERSION}`"
        )
    model, story = train_conversion.load(judge)
    found = model.digest
    card = contract.ModelCard(contract.CONVERSION, found[:16], story.starter, contract.TARGETS, story.skill)
    source = "planted outcomes, or starter logits" if story.starter else "own training run"
    origin = Weights(source, "that of the data", "", story.starter)
    manifest = Manifest(contract.CONVERSION, origin, found, story.trained_on, story.held_out)
    return write_conversion(model, card, manifest, folder)


def build_engagement(weights: str | None, folder: Path, pictures: Sequence[Path]) -> Manifest:
    """Export ``engagement`` to ``folder``: an own training run's, else one of generated posts.

    Raises:
        DatasetError: ``engagement.yaml`` cannot be read.
        ParityError: the graph differs from torch.
        WeightsError: weights cannot be had, or the own predictor is none of today's network.
    """
    network, story, source = train_engagement.load()
    found = digest(network)
    manifest = Manifest(contract.ENGAGEMENT_MODEL, source, found, story.trained_on, story.held_out)
    pixels, sizes, _ = _creatives()
    batch = (pixels, sizes, _posts(len(pixels)))
    one = tuple(tensor[:1] for tensor in batch)
    carded = Carded(network, story.card(found))
    return write_model(carded, ENGAGEMENT_SIGNATURE, [one, batch], manifest, folder, ENGAGEMENT_TOLERANCE)


def _posts(count: int) -> Tensor:
    """POST of ``count`` posts; of the second nothing is known, and of the last fields are out of range."""
    random = torch.Generator().manual_seed(_STARTER_SEED)
    most = torch.tensor([24.0, 7.0, 2_200.0, 30.0, 1e6, 1.0])
    posts = torch.rand(count, len(contract.POST_FIELDS), generator=random) * most
    posts[1] = torch.nan
    posts[-1] = torch.tensor([torch.inf, -torch.inf, -1.0, 3e38, -3e38, 1e30])
    return posts


def build_describe_post(weights: str | None, folder: Path, pictures: Sequence[Path]) -> Manifest:
    """Export ``describe_post`` to ``folder``, its weights as for ``describing.load``.

    Raises:
        ParityError: the graph differs from torch.
        WeightsError: the weights cannot be had, or are none of VGG16's.
    """
    network, source = describing.load(weights)
    return describing.build(network, source, folder, _creatives()[:2])


def build_tower(model: str, weights: str | None, folder: Path, pictures: Sequence[Path]) -> Manifest:
    """Export ``brand_tower`` or ``influencer_tower`` to ``folder``, as ``towers.build``.

    Raises:
        DatasetError: the ranker is too large to travel.
        ParityError: the graph differs from torch.
        WeightsError: a file is missing, or does not fit.
    """
    return towers.build(model, folder)


def _creatives() -> tuple[Tensor, Tensor, Tensor]:
    """PIXELS, PICTURE_SIZE and WANTED for all variants of a full batch of generated products."""
    paths = train_variants.generated_catalogue().paths[: contract.MAX_BATCH]
    pixels, sizes = next(decode(paths))
    wanted = torch.ones(len(pixels), contract.MAX_VARIANTS, dtype=torch.uint8)
    return pixels, torch.from_numpy(sizes), wanted


def load_network(
    backbone_name: str, weights: str | None = None
) -> tuple[AttributeNetwork, Weights, HeadsStory]:
    """The network of an attribute model, where its weights come from, and the story of its heads.

    Starter heads are trained where there are none of any kind.

    Args:
        backbone_name: ``dlib``, ``vgg16`` or ``resnet50``.
        weights: as for ``load_backbone``; None takes what the heads were trained on.

    Raises:
        WeightsError: weights cannot be had, or heads were trained on others.
    """
    heads = find_heads(backbone_name) or _train_starter(backbone_name)
    story = read_story(heads)
    backbone, source = load_backbone(backbone_name, weights or story.weights)
    if digest(backbone) != story.trunk:
        raise WeightsError(
            f"{heads.name} was trained on {story.weights!r}, not on {weights!r}: train again with "
            f"`python -m export.train_attributes --backbone {backbone_name} --weights {weights}`"
        )
    network = AttributeNetwork(backbone, story.labels).eval()
    load_heads(network.tails, heads)
    return network, source, story


def _train_starter(backbone_name: str) -> Path:
    """Heads for seeded weights, trained on generated pictures; kept in the cache folder."""
    model = contract.attributes_model(backbone_name)
    path = cache_folder() / "starter" / _painter() / f"{model}.safetensors"
    backbone, _ = load_backbone(backbone_name, STARTER)
    if path.exists() and read_story(path).trunk == digest(backbone):
        return path
    pictures = _generated_pictures()
    train_attributes.train(
        backbone_name, STARTER, pictures,
        passes=1, recipe=_STARTER_RECIPE, augmentation=Augmentation(), deep=False, output=path,
    )  # fmt: skip
    return path


def _generated_pictures() -> LabelledPictures:
    return generated.write_dataset(
        cache_folder() / "generated" / _painter(), _STARTER_PICTURES, _STARTER_SEED
    )


def _painter() -> str:
    """Names the painting code, so that pictures of an older one are not taken for today's."""
    return sha256(Path(generated.__file__))[:12]


def _canvases(pictures: Sequence[Path]) -> Tensor:
    """uint8 [len(pictures), S, S, 3] through the served decoder."""
    return torch.cat([pixels for pixels, _ in decode(pictures)])


def fingerprint(model: str, weights: str | None = None) -> str:
    """Changes whenever the model has to be built again; kept beside it in ``BUILT_FROM``."""
    total = hashlib.sha256(json.dumps([model, weights, torch.__version__]).encode())
    sources = sorted((Path(__file__).parent / "networks").glob("*.py"))
    sources += [Path(contract.__file__), Path(__file__), Path(__file__).with_name("graph.py")]
    backbone = model.removeprefix(contract.attributes_model(""))
    if backbone in contract.BACKBONES:
        sources.append(find_heads(backbone) or Path(generated.__file__))
    if model == contract.embed_model(contract.EMBEDDER):
        sources.append(Path(embedders.__file__))
    if model == contract.UPLIFT_OFFER:
        sources += train_uplift.sources()
    if model in (contract.VARY_CREATIVE, contract.RENDER_VARIANTS):
        sources += train_variants.sources()
    if model == contract.CONVERSION:
        sources += train_conversion.sources()
    if model == contract.ENGAGEMENT_MODEL:
        sources += train_engagement.sources()
    if model == contract.DESCRIBE_POST:
        sources += describing.sources()
    if model in towers.SIDES:
        sources += towers.sources()
    for source in sources:
        total.update(sha256(source).encode())
    return total.hexdigest()


Build = Callable[[str | None, Path, Sequence[Path]], Manifest]
"""Takes weights as named by the caller, a version folder, and JPEG files to judge the export on."""

BUILDERS: Final[Mapping[str, Build]] = {
    contract.DETECT_FACES: build_detector,
    **{contract.attributes_model(name): partial(build_attributes, name) for name in contract.BACKBONES},
    contract.embed_model(contract.EMBEDDER): build_embed_dlib,
    contract.UPLIFT_OFFER: build_offer,
    contract.VARY_CREATIVE: build_vary_creative,
    contract.RENDER_VARIANTS: build_render_variants,
    contract.CONVERSION: build_conversion,
    contract.ENGAGEMENT_MODEL: build_engagement,
    contract.DESCRIBE_POST: build_describe_post,
    **{model: partial(build_tower, model) for model in towers.SIDES},
}
"""How each leaf model is built, in order."""

TOGETHER: Final = (
    tuple(contract.attributes_model(name) for name in contract.BACKBONES),
    (contract.VARY_CREATIVE, contract.CONVERSION),
    (contract.ENGAGEMENT_MODEL,),
    tuple(towers.SIDES),
)
"""Models that share faces found, a judge or a ranker, in the order in which they are built; slowest first."""


def draw() -> None:
    """Draw what several models learn from or are judged on, where it is not there yet."""
    _generated_pictures()
    train_variants.generated_catalogue()


def is_built(model: str, weights: str | None, repository: Path) -> bool:
    """Whether today's sources and weights have built what is in ``repository``."""
    mark = repository / model / "1" / BUILT_FROM
    return mark.exists() and mark.read_text() == fingerprint(model, weights)


def build(model: str, weights: str | None, repository: Path) -> Manifest:
    """Build a model into ``repository``.

    Raises:
        DatasetError: an own training run's data or configuration cannot be read.
        ParityError: the graph differs from its original.
        WeightsError: weights cannot be had, or do not fit.
    """
    folder = repository / model / "1"
    manifest = BUILDERS[model](weights, folder, _generated_pictures().paths[: contract.MAX_BATCH])
    for former in folder.glob(DERIVED):
        former.unlink()
    (folder / BUILT_FROM).write_text(fingerprint(model, weights))
    return manifest
