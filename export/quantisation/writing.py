"""Graphs in integers beside their original, and what became of them in its manifest.

They belong to one original: ``python -m export`` removes them where it writes another.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from export.graph import replace_file
from export.quantisation.integers import FORMS, Quantiser
from export.quantisation.search import Quantised, search
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


def quantise(model: str, repository: Path, own: Pictures, pictures: str) -> list[Quantised]:
    """Write all forms of a model beside its original, each of which has passed the gate.

    Args:
        model: of ``SUBJECTS``.
        repository: model repository.
        own: pictures to measure ranges and to judge by.
        pictures: describes these; others make other files.

    Raises:
        DatasetError: the pictures do not do.
        GateError: a form does not pass.
        NotBuiltError: there is no original.
        TrunkError: there is nothing in it to quantise.
    """
    folder = _folder(model, repository)
    graph = (folder / ORIGINAL).read_bytes()
    subject = SUBJECTS[model](graph, own)
    original = subject.exam.take(graph)
    with tempfile.TemporaryDirectory() as between:
        quantiser = Quantiser(graph, subject.calibration, Path(between))
        found = [search(quantiser, form, subject.exam, original) for form in FORMS]
    manifest = _read(folder)
    manifest[KEY] = {
        MADE_OF: _made_of(folder, pictures),
        "pictures": subject.pictures,
        **{each.form.file: each.to_json() for each in found},
    }
    for each in found:
        replace_file(folder / each.form.file, each.graph)
    replace_file(folder / "manifest.json", json.dumps(manifest, indent=2).encode() + b"\n")
    return found


def _folder(model: str, repository: Path) -> Path:
    folder = repository / model / "1"
    if not (folder / ORIGINAL).exists():
        raise NotBuiltError(f"{model} is not built: there is no {folder / ORIGINAL}; run `make models` first")
    return folder


def _read(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return manifest


def _made_of(folder: Path, pictures: str) -> str:
    """Changes whenever the files have to be made again."""
    code: Mapping[str, str] = {file.name: sha256(file) for file in sorted(Path(__file__).parent.glob("*.py"))}
    parts = [sha256(folder / ORIGINAL), pictures, json.dumps(code)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
