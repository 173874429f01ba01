"""What each model is calibrated on and judged by: pictures, and what is read of its answers.

Without pictures of one's own all are generated, drawn with other seeds than those that starter heads have
learned from. They measure ranges well enough, and what they say of accuracy holds for such pictures alone;
labelled pictures of people (``--data``) make the verdict one on real faces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray

from adlens import contract
from export import datasets, generated, generated_creatives
from export.creative.reading import find_catalogue
from export.datasets import LabelledPictures
from export.faces import decode
from export.graph import open_session
from export.quantisation.gate import Exam
from export.quantisation.integers import Feed
from export.quantisation.trunk import wide_features
from export.train_attributes import cached_boxes
from export.weights import cache_folder, sha256

Item = TypeVar("Item")
CALIBRATION: Final = 32
"""Faces by which ranges are measured."""
HELD_OUT: Final = 128
"""Generated faces by which a graph is judged."""
MOST_JUDGED: Final = 512
"""Of those that are held out, as all their canvases are in memory."""
CALIBRATION_PRODUCTS: Final = 8
HELD_OUT_PRODUCTS: Final = 16
"""Fewer, as each is seen in all its variants."""
SEED: Final = 8
PRODUCT_MODELS: Final = 8
PRODUCT_VIEWS: Final = 4


@dataclass(frozen=True)
class Subject:
    """A model's pictures: ``calibration`` to measure ranges by, and others to judge by.

    ``pictures`` names where they come from.
    """

    calibration: Sequence[Feed]
    exam: Exam
    pictures: str


@dataclass(frozen=True)
class Pictures:
    """One's own: labelled ones of people, and a folder of products; None for generated ones."""

    faces: LabelledPictures | None = None
    products: Path | None = None


def of_faces(graph: bytes, own: Pictures) -> Subject:
    """For an attribute model: the main face of each picture.

    Raises:
        DatasetError: no face is found for one of the parts.
        TrunkError: the heads read no wide features.
    """
    pictures = own.faces
    if pictures is None:
        folder = cache_folder() / "generated" / f"int8-{sha256(Path(generated.__file__))[:12]}"
        pictures = generated.write_dataset(folder, CALIBRATION + HELD_OUT, SEED)
        held_out = np.arange(len(pictures)) >= CALIBRATION
    else:
        held_out = datasets.name_shares(pictures) < datasets.HELD_OUT
    boxes = cached_boxes(pictures).numpy()
    seen = ~np.isnan(boxes[:, 0])
    rows = np.array(_some(np.flatnonzero(seen & held_out).tolist(), MOST_JUDGED), np.int64)
    known = _some(np.flatnonzero(seen & ~held_out).tolist(), CALIBRATION)
    if not (len(rows) and known):
        raise datasets.DatasetError(f"{pictures.name}: no face to calibrate on, or none to judge by")
    calibration, feeds = (
        [_face(pixels, boxes[row]) for row, pixels in zip(chosen, _canvases(pictures, chosen), strict=True)]
        for chosen in (known, rows.tolist())
    )
    features = wide_features(onnx.load_from_string(graph))
    names = _labels(graph, feeds[0])
    # A label that the pictures do not tell of is not judged.
    truth = np.full((len(rows), len(names)), datasets.UNKNOWN, np.float32)
    for column, name in enumerate(names):
        if name in pictures.names:
            truth[:, column] = pictures.labels[rows, pictures.names.index(name)]
    exam = Exam(feeds, features, contract.PROBABILITIES, names, truth)
    return Subject(
        calibration, exam, f"{pictures.name}, {len(calibration)} faces, judged on {len(feeds)} others"
    )


def of_products(embedding: str, scores: str | None, graph: bytes, own: Pictures) -> Subject:
    """For a model of whole pictures: products, of which no model, a sub-folder, is in both parts.

    Args:
        embedding: the output that is held against the original's.
        scores: the output that tells the variants of a picture apart; None where there is none.
        graph: serialised.
        own: pictures.

    Raises:
        DatasetError: there is no picture, or only one product model.
    """
    folder = own.products or _generated_products()
    catalogue = find_catalogue(folder)
    half = sorted(set(catalogue.groups))[::2]
    parts: tuple[list[Path], list[Path]] = ([], [])
    for path, group in zip(catalogue.paths, catalogue.groups, strict=True):
        parts[group not in half].append(path)
    if not all(parts):
        raise datasets.DatasetError(f"{folder}: one product model; give two or more, a sub-folder each")
    calibration, judged = (
        list(_products(_some(part, most), graph))
        for part, most in zip(parts, (CALIBRATION_PRODUCTS, HELD_OUT_PRODUCTS), strict=True)
    )
    names = _labels(graph, judged[0]) if scores else ()
    # Each variant is of its own kind.
    truth = np.tile(np.eye(len(names), dtype=np.float32), (len(judged), 1))
    source = folder.name if own.products else "generated products"
    told = f"{len(calibration)} pictures of {source}, judged on {len(judged)} of other models"
    return Subject(calibration, Exam(judged, embedding, scores, names, truth), told)


def _generated_products() -> Path:
    folder = cache_folder() / "generated" / f"int8-{sha256(Path(generated_creatives.__file__))[:12]}"
    generated_creatives.write_catalogue(folder, PRODUCT_MODELS, PRODUCT_VIEWS, SEED)
    return folder


def _products(paths: Sequence[Path], graph: bytes) -> Iterator[Feed]:
    """Of what a model of whole pictures may take, what ``graph`` takes, picture by picture."""
    taken = {each.name for each in open_session(graph, threads=1).get_inputs()}
    for pixels, sizes in decode(paths):
        for picture in range(len(pixels)):
            feed = {
                contract.PIXELS: pixels[picture : picture + 1].numpy(),
                contract.PICTURE_SIZE: sizes[picture : picture + 1],
                contract.WANTED: np.ones((1, contract.MAX_VARIANTS), np.uint8),
            }
            yield {name: values for name, values in feed.items() if name in taken}


def _some(found: Sequence[Item], most: int) -> list[Item]:
    """At most ``most``, from all over ``found``, whose order may mean something."""
    rows = np.linspace(0, len(found) - 1, min(most, len(found))).astype(np.int64)
    return [found[row] for row in rows]


def _labels(graph: bytes, feed: Feed) -> tuple[str, ...]:
    """Those that a graph's card names."""
    (card,) = open_session(graph, threads=1).run([contract.CARD], dict(feed))
    return contract.ModelCard.from_bytes(card[0].tobytes()).labels


def _canvases(pictures: LabelledPictures, rows: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    """PIXELS of the pictures in ``rows``, uint8 [1, S, S, 3] each."""
    for pixels, _ in decode([pictures.paths[row] for row in rows]):
        yield from pixels.numpy()[:, np.newaxis]


def _face(pixels: NDArray[np.uint8], box: NDArray[np.float32]) -> Feed:
    """Inputs of an attribute model for one face of one picture."""
    boxes = np.zeros((1, contract.MAX_FACES, 4), np.float32)
    boxes[0, 0] = box
    return {
        contract.PIXELS: pixels,
        contract.BOXES: boxes,
        contract.FACE_COUNT: np.ones((1, 1), np.int32),
    }


SUBJECTS: Final[Mapping[str, Callable[[bytes, Pictures], Subject]]] = {
    **{contract.attributes_model(backbone): of_faces for backbone in contract.BACKBONES},
    contract.VARY_CREATIVE: partial(of_products, contract.CREATIVE_EMBEDDING, contract.VARIANT_LOGITS),
    contract.DESCRIBE_POST: partial(of_products, contract.POST_FEATURES, None),
}
"""Of each model that has a form in integers."""
