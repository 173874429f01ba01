"""Graphs in integers beside their original, and what became of them in its manifest.

They belong to one original: ``python -m export`` removes them where it writes another.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from export.graph import replace_file
from export.quantisation.integers import FORMS, Quantiser
from export.quantisation.search import GateError, Quantised, search
from export.quantisation.subjects import SUBJECTS, Pictures
from export.weights import sha256

KEY: Final = "int8"
"""Of ``manifest.json``: by file, what is known of each; and ``MADE_OF``."""
MADE_OF: Final = "made_of"
ORIGINAL: Final = "model.onnx"


class NotBuiltError(RuntimeError):
    """A model whose original is not there."""


def is_quantised(model: str, repository: Path, pictures: str) -> bool:
    """Whether today's code has made the files beside today's original, by ``pictures``, as described."""
    folder = _folder(model, repository)
    made_of = _read(folder).get(KEY, {}).get(MADE_OF)
    return made_of == _made_of(folder, pictures) and all((folder / form.file).exists() for form in FORMS)


def quantise(model: str, repository: Path, own: Pictures, pictures: str) -> Iterator[Quantised]:
    """Write all forms of a model beside its original that pass the gate, and give them.

    Args:
        model: of ``SUBJECTS``.
        repository: model repository.
        own: pictures to measure ranges and to judge by.
        pictures: describes these; others make other files.

    Raises:
        DatasetError: the pictures do not do.
        GateError: a form does not pass; those that do are written all the same.
        NotBuiltError: there is no original.
        TrunkError: there is nothing in it to quantise.
    """
    folder = _folder(model, repository)
    graph = (folder / ORIGINAL).read_bytes()
    subject = SUBJECTS[model](graph, own)
    original = subject.exam.take(graph)
    told: dict[str, Any] = {MADE_OF: _made_of(folder, pictures), "pictures": subject.pictures}
    failures = list[str]()
    with tempfile.TemporaryDirectory() as between:
        quantiser = Quantiser(graph, subject.calibration, Path(between))
        for form in FORMS:
            (folder / form.file).unlink(missing_ok=True)
            try:
                found = search(quantiser, form, subject.exam, original)
            except GateError as error:
                failures.append(f"{model}: {error}")
                continue
            told[form.file] = found.to_json()
            replace_file(folder / form.file, found.graph)
            replace_file(folder / "manifest.json", _written({**_read(folder), KEY: told}))
            yield found
    if failures:
        raise GateError("; ".join(failures))


def _folder(model: str, repository: Path) -> Path:
    folder = repository / model / "1"
    if not (folder / ORIGINAL).exists():
        raise NotBuiltError(f"{model} is not built: there is no {folder / ORIGINAL}; run `make models` first")
    return folder


def _read(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return manifest


def _written(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, indent=2).encode() + b"\n"


def _made_of(folder: Path, pictures: str) -> str:
    """Changes whenever the files have to be made again."""
    code: Mapping[str, str] = {file.name: sha256(file) for file in sorted(Path(__file__).parent.glob("*.py"))}
    parts = [sha256(folder / ORIGINAL), pictures, json.dumps(code)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
