"""Search of a large gallery: through the server, in ONNX Runtime alone, and by numpy; and how it changes.

``repository FOLDER`` writes a model repository with a gallery of random directions, whose photos have
three attributes (60 combinations):

    python -m perf.gallery repository R
    python -m server --model-repository R -- python -m perf.gallery measure R

``measure`` takes turns, A B C A B C, so that a drifting machine harms all alike, and counts an answer only
where all three agree. Then it adds ADDED photos and waits for the server: ``add_s`` is all but the
embedding of those. Not measured: the network, and other requests at the same time.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import onnxruntime
import psutil
from numpy.typing import NDArray

from adlens import contract, filters
from adlens.filters import Filter
from adlens.galleries.contents import Contents
from adlens.galleries.files import FILES, GalleryFolder
from adlens.galleries.journal import Journal
from adlens.galleries.kinds import kind_of
from adlens.galleries.records import Embedding, Record
from adlens.galleries.served import ServedGallery
from adlens.transport import Connection, Endpoint

CHECKOUT: Final = Path(__file__).parent.parent
MODEL: Final = contract.gallery_model(contract.EMBEDDER)
DIMENSION: Final = contract.EMBEDDERS[contract.EMBEDDER]
PICTURES: Final = 4
ADDED: Final = 1000
VALUES: Final = {"hair": 4, "age": 3, "campaign": 5}
"""Attributes, and how many values each has."""
FILTER: Final[Filter] = {"hair": ["0", "1"], "age": "2"}
"""Passed by one photo of six."""
TOLERANCE: Final = 1e-5
Vectors = NDArray[np.float32]
Search = Callable[[], Vectors]
"""Gives the best similarities of each face, float32 [faces, MATCHES]."""


def directions(count: int, seed: int) -> Vectors:
    """Random directions, float32 [count, DIMENSION]."""
    vectors = np.random.default_rng(seed).standard_normal((count, DIMENSION), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def random_contents(count: int) -> Contents:
    """A gallery of ``count`` photos."""
    values = np.random.default_rng(1).integers(tuple(VALUES.values()), size=(count, len(VALUES)))
    return Contents(
        contract.EMBEDDER,
        "random",
        directions(count, 0),
        np.zeros((count, 0), np.float32),
        ids=tuple(f"photo-{number}" for number in range(count)),
        paths=tuple(f"/photos/{number}.jpg" for number in range(count)),
        attributes=tuple(VALUES),
        values=tuple(tuple(map(str, row)) for row in values.tolist()),
    )


def write_repository(folder: Path, contents: Contents) -> None:
    """Write a repository that holds a gallery of ``contents``, and nothing else."""
    model = kind_of(contents.embedder).model
    (folder / model).mkdir(parents=True)
    shutil.copy(CHECKOUT / "model_repository" / model / "config.pbtxt", folder / model)
    gallery = GalleryFolder(folder / model)
    with gallery.locked():
        gallery.publish(contents)


def passing(contents: Contents, chosen: Filter) -> NDArray[np.bool_]:
    """Of each record, whether it passes."""
    wanted = filters.alternatives(chosen)
    places = [contents.attributes.index(name) for name in wanted]
    return np.array(
        [
            all(row[n] in values for n, values in zip(places, wanted.values(), strict=True))
            for row in contents.values
        ]
    )


def take_turns(ways: Mapping[str, Search], rounds: int, tolerance: float = TOLERANCE) -> dict[str, Any]:
    """Milliseconds of each way.

    Raises:
        ClickException: one does not agree with ``numpy``.
    """
    took: dict[str, list[float]] = {name: [] for name in ways}
    expected = ways["numpy"]()
    for number in range(rounds + 2):
        for name, search in ways.items():
            began = time.perf_counter()
            found = search()
            elapsed_ms = 1e3 * (time.perf_counter() - began)
            if not np.allclose(found, expected, atol=tolerance):
                raise click.ClickException(f"{name} finds others than numpy")
            if number >= 2:  # the first warm up
                took[name].append(elapsed_ms)
    return {
        name: {"least": round(min(each), 1), "median": round(statistics.median(each), 1)}
        for name, each in took.items()
    }


def open_search(version: Path) -> onnxruntime.InferenceSession:
    """The graph of a version, with two threads, as it is served."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(
        str(version / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )


class Ways:
    """The same search in three ways, for ``faces`` in each of ``pictures``."""

    def __init__(
        self,
        contents: Contents,
        version: Path,
        connection: Connection,
        pictures: int,
        faces: int,
        chosen: Filter,
    ) -> None:
        slots = contract.MAX_FACES
        self._faces = directions(pictures * slots, 2).reshape(pictures, slots, DIMENSION)
        self._queries = self._faces[:, :faces].reshape(-1, DIMENSION)
        self._feed: dict[str, NDArray[Any]] = {
            contract.FACE_EMBEDDING: self._faces,
            contract.FACE_COUNT: np.full((pictures, 1), faces, np.int32),
            contract.FILTER: np.repeat(filters.encode(chosen), pictures, axis=0),
        }
        self._filled = faces
        self._connection = connection
        self._vectors = contents.vectors
        self._passes = passing(contents, chosen)
        self._session = open_search(version)

    def served(self) -> Vectors:
        """Over gRPC."""
        return self._read(self._connection.infer(MODEL, self._feed).outputs[contract.MATCH_SCORES])

    def onnxruntime(self) -> Vectors:
        """In this process."""
        return self._read(self._session.run([contract.MATCH_SCORES, contract.MATCH_IDS], self._feed)[0])

    def numpy(self) -> Vectors:
        """By comparing with all, and a partial sort."""
        scores = self._queries @ self._vectors.T
        scores[:, ~self._passes] = contract.NO_MATCH
        return -np.sort(np.partition(-scores, contract.MATCHES, axis=1)[:, : contract.MATCHES], axis=1)

    def _read(self, scores: Vectors) -> Vectors:
        return scores[:, : self._filled].reshape(-1, contract.MATCHES)

    def measure(self, rounds: int) -> dict[str, Any]:
        """Milliseconds of each way; see ``take_turns``."""
        ways = {"served": self.served, "onnxruntime": self.onnxruntime, "numpy": self.numpy}
        return take_turns(ways, rounds)


def change(gallery: GalleryFolder, connection: Connection, contents: Contents) -> dict[str, float]:
    """Seconds to add ADDED photos that are embedded, in all and by step."""
    served = ServedGallery(gallery, connection, contents.embedder_weights)
    marks = [time.perf_counter()]
    with gallery.locked():
        journal = Journal(gallery.folder, contents.embedder_weights)
        for number, vector in enumerate(directions(ADDED, 3)):
            journal.append(f"new-{number}", "", Embedding(vector))
        records = [Record(id_, noted.vector) for (id_, _), noted in journal.read().items()]
        marks.append(time.perf_counter())
        more = gallery.read().with_records(records, contents.embedder_weights, replace_ids=False)
        marks.append(time.perf_counter())
        settle = served.publish(more)
        marks.append(time.perf_counter())
        while (card := served.card()) is None or card.weights != more.card.weights:
            time.sleep(0.02)
        marks.append(time.perf_counter())
        journal.clear()
        settle()
    marks.append(time.perf_counter())
    names = ("journal", "read", "write", "load", "wipe")
    steps = {name: round(b - a, 2) for name, (a, b) in zip(names, pairwise(marks), strict=True)}
    return {"add_s": round(marks[-1] - marks[0], 2), **{f"{name}_s": took for name, took in steps.items()}}


def memory(version: Path) -> dict[str, float]:
    """MiB of the process that searches the gallery: its own, and mapped from the gallery's files."""
    files = {str(version / name) for name in FILES.values()}
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            regions = process.memory_maps()
        except psutil.Error:
            continue
        if any(region.path in files for region in regions):
            own = sum(region.private_dirty for region in regions)
            mapped = sum(region.rss for region in regions if region.path in files)
            return {"own_mib": round(own / 2**20, 1), "mapped_mib": round(mapped / 2**20, 1)}
    raise click.ClickException(f"no process of this machine searches {version}")


@click.group(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_BENCH"})
def main() -> None:
    """Measure the search of a large gallery."""


@main.command("repository")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--photos", type=click.IntRange(1), default=200_000)
def repository_command(folder: Path, photos: int) -> None:
    """Write the model repository to be served into FOLDER, which must be new."""
    write_repository(folder, random_contents(photos))


@main.command("measure")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--url", envvar="ADLENS_URL", required=True, help="The server of FOLDER.")
@click.option("--rounds", type=click.IntRange(1), default=15)
def measure_command(folder: Path, url: str, rounds: int) -> None:
    """Measure, and print JSON."""
    gallery = GalleryFolder(folder.resolve() / MODEL)
    contents = gallery.read()
    version = gallery.versions()[0]
    every = contract.MAX_FACES
    cases: dict[str, tuple[int, int, Filter]] = {
        f"{PICTURES * every} faces": (PICTURES, every, {}),
        f"{PICTURES * every} faces, a filter": (PICTURES, every, FILTER),
        "1 face": (1, 1, {}),
        "1 face, a filter": (1, 1, FILTER),
    }
    with Connection(Endpoint(url)) as connection:
        found = {
            name: Ways(contents, version, connection, *case).measure(rounds) for name, case in cases.items()
        }
        report = {
            "photos": len(contents.ids),
            "dimension": DIMENSION,
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "onnxruntime": onnxruntime.__version__,
            "search_ms": found,
            "memory": memory(version),
            "change": change(gallery, connection, contents),
        }
    click.echo(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
