"""Galleries that a disk has damaged: Triton would not start with one, or would search it unnoticed.

Before each start the newest version is held against its manifest. Where it is not what was written, the
newest sound one before it is served. Nothing is lost by that: the damaged version stays under another name
until the gallery is changed, as a former one does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from adlens.contract import GALLERY_DAMAGED, GALLERY_MANIFEST, GALLERY_TABLE
from server.errors import DamagedGalleryError
from server.repository import Model

_GRAPH = "model.onnx"


def set_damaged_aside(models: Iterable[Model], report: Callable[[str], None]) -> None:
    """Have the newest version of each gallery be a sound one.

    Args:
        models: galleries and others.
        report: is told of each version that is renamed, in a line.

    Raises:
        DamagedGalleryError: no version of a gallery is sound, or one cannot be renamed.
    """
    for model in models:
        if model.is_gallery:
            _set_aside(model, report)


def _set_aside(model: Model, report: Callable[[str], None]) -> None:
    versions, faults = model.numbered, list[str]()
    for version in versions:
        if not (fault := _fault(version)):
            break
        faults.append(fault)
    if not faults:
        return
    if model.numbered != versions:  # changed meanwhile, and what was before wiped
        _set_aside(model, report)
        return
    damaged, sound = versions[: len(faults)], versions[len(faults) :]
    if not sound:
        raise DamagedGalleryError(
            f"gallery {model.name}: {faults[0]}, and no former version is left; restore {versions[0]} from a "
            "copy, or move it away and run make models, for an empty gallery to build anew"
        )
    for version, fault in zip(damaged, faults, strict=True):
        aside = version.with_name(f"{GALLERY_DAMAGED}{version.name}")
        try:
            version.rename(aside)
        except OSError as error:
            raise DamagedGalleryError(
                f"gallery {model.name}: {fault}, and cannot be renamed to {aside.name} ({error.strerror}); "
                f"move {version} away, for version {sound[0].name} to be served"
            ) from error
        report(
            f"goes back to version {sound[0].name} of {model.name}: {fault}. Version {version.name} is set "
            f"aside as {aside.name} until the gallery is changed next; to have it back, restore {version} "
            "from a copy"
        )


def _fault(version: Path) -> str:
    """The file of a version that is not what was written, and why; empty where there is none.

    The table of photos is left out: only who changes the gallery reads it, and is told then.
    """
    manifest = version / GALLERY_MANIFEST
    try:
        sums: dict[str, Any] = json.loads(manifest.read_bytes())["sha256"]
        expected = {_GRAPH: sums[_GRAPH], **sums}
    except OSError as error:
        return f"{manifest} is damaged ({error.strerror})"
    except (ValueError, KeyError, TypeError) as error:
        return f"{manifest} is damaged ({error!r})"
    for name in expected.keys() - {GALLERY_TABLE}:
        try:
            with (version / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            return f"{version / name} is damaged ({error.strerror})"
        if found != expected[name]:
            return (
                f"{version / name} is damaged (its checksum is {found[:16]}, not {str(expected[name])[:16]})"
            )
    return ""
