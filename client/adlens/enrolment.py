"""Campaign photos become records of a gallery: the server embeds the main face of each.

Photos come from a folder or a table. One that has no face, or cannot be read, fails alone.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adlens import contract, pictures
from adlens.answers import Failure
from adlens.contract import EmbedderCard
from adlens.errors import BadRecord, InvalidConfiguration, NoFace, NoPictures, WrongEmbedder
from adlens.galleries.records import COLUMNS, Vectors, by_id, check_attributes, check_id
from adlens.jobs import faces, personal_ads
from adlens.pictures import ImageLike
from adlens.responses import card
from adlens.runs import ask_many
from adlens.transport import Connection


@dataclass(frozen=True)
class Photo:
    """A photo that is to go into a gallery."""

    id: str
    path: Path
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Embedded:
    """The main face of a photo.

    Attributes:
        vector: float32 [D], of length 1.
        faces: how many the photo has.
        embedder_weights: that made the vector.
    """

    vector: Vectors
    faces: int
    embedder_weights: str


def find_photos(source: Path, attribute: str | None = None) -> list[Photo]:
    """The photos of a folder and those below, or of a CSV table.

    Args:
        source: a folder, where a file's name less its suffix is the id; or a table with the columns
            ``id`` and ``path``, seen from the table, whose other columns are attributes.
        attribute: in a folder, named by the folder that a photo lies in.

    Raises:
        NoPictures: there are none, or they cannot be listed.
        InvalidConfiguration: the table cannot be read, or lacks a column.
        BadRecord: an id or attribute that a gallery cannot take.
        DuplicateId: two photos have one id.
    """
    photos = list(_of_folder(source, attribute) if source.is_dir() else _of_table(source))
    if not photos:
        raise NoPictures(f"{source}: no photos; check the path")
    for photo in photos:
        check_id(photo.id)
        check_attributes(photo.attributes, photo.attributes.values())
    return list(by_id(photos).values())


def _of_folder(folder: Path, attribute: str | None) -> Iterator[Photo]:
    for below in pictures.find_users(folder.absolute()):
        for path in pictures.find_pictures(below):
            yield Photo(path.stem, path, {attribute: below.name} if attribute else {})


def _of_table(table: Path) -> Iterator[Photo]:
    folder = table.absolute().parent
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            columns = rows.fieldnames or []
            if missing := [name for name in COLUMNS if name not in columns]:
                raise InvalidConfiguration(f"{table} lacks the column {' and '.join(missing)}; add it")
            if twice := [name for name, times in Counter(columns).items() if times > 1]:
                raise InvalidConfiguration(f"{table} has the column {' and '.join(twice)} twice; rename one")
            for row in rows:
                if None in row or None in row.values():
                    raise BadRecord(
                        f"{table}, line {rows.line_num}: not {len(columns)} columns; write one each"
                    )
                attributes = {name: text for name, text in row.items() if name not in COLUMNS}
                yield Photo(row["id"], folder / row["path"], attributes)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidConfiguration(f"{table} is no folder, nor a table in CSV: {error}") from error


def embedder_card(connection: Connection, embedder: str) -> EmbedderCard:
    """What the server's embedder says of itself.

    Raises:
        ServerError: no answer.
        UnknownModel: the server does not serve this embedder.
    """
    nobody: dict[str, npt.NDArray[Any]] = {
        contract.PIXELS: np.zeros((1, contract.CANVAS, contract.CANVAS, 3), np.uint8),
        contract.LANDMARKS: np.zeros((1, contract.MAX_FACES, len(contract.LANDMARK_NAMES), 2), np.float32),
        contract.FACE_COUNT: np.zeros((1, 1), np.int32),
    }
    answer = connection.infer(contract.embed_model(embedder), nobody, outputs=(contract.CARD,))
    return card(answer, contract.CARD, EmbedderCard)


def embed_many(
    connection: Connection, photos: Iterable[Photo], judge: EmbedderCard, workers: int
) -> Iterator[Embedded | Failure]:
    """Have the server embed the main face of each photo, ``workers`` at a time, answers in order.

    Args:
        connection: to the server.
        photos: any number; read as answers are taken.
        judge: of the embedder; a server that changes it meanwhile ends the run.
        workers: photos in flight.
    """
    model = contract.match_faces_model(judge.embedder)
    outputs = personal_ads.embedding_outputs(judge.embedder)

    def embed(image: ImageLike) -> Embedded:
        picture = pictures.load(image)
        answer = connection.infer(model, personal_ads.request(picture), outputs=outputs)
        found = faces.read(answer)
        if not found.faces:
            raise NoFace(
                f"{picture.source}: no face found; give a photo with a face, large enough and upright"
            )
        name = contract.card_output(contract.embed_model(judge.embedder))
        weights = card(answer, name, EmbedderCard).weights
        if weights != judge.weights:
            raise WrongEmbedder(
                f"the server's {judge.model} was replaced meanwhile, weights {judge.weights} by {weights}; "
                "build the gallery anew"
            )
        boxes = [(face.box.x1, face.box.y1, face.box.x2, face.box.y2) for face in found.faces]
        main = faces.main_face(boxes, found.height, found.width)
        vector = personal_ads.embeddings(answer, judge.embedder)[main]
        return Embedded(vector, found.found, weights)

    paths = (photo.path for photo in photos)
    return ask_many(embed, paths, workers, connection.endpoint.timeout_s)
