"""A gallery on disk: a model folder of Triton's whose versions are the states of the gallery.

A version holds ``model.onnx`` (see ``graph.py``), the big arrays in files of their own, ``photos.csv`` and
the manifest ``gallery.json`` with the checksum of each. It is written under another name and renamed when
all of it is on the disk, so that there is either all of it or none. An older version is overwritten with
zeros before it is unlinked: what was removed is in no file any longer. One that a server has found damaged
and set aside goes likewise, and its number is not given again.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from adlens import contract
from adlens.errors import CorruptGallery, GalleryError, InvalidConfiguration
from adlens.galleries import graph
from adlens.galleries.arrays import initializers
from adlens.galleries.contents import Contents
from adlens.galleries.kinds import Kind, kind_of
from adlens.galleries.records import COLUMNS
from adlens.locks import only_writer

FORMAT: Final = 1
FILES: Final = {"vectors": "vectors.bin", "ids": "ids.bin", "groups": "groups.bin"}
"""Initializers of the graph that lie in files of their own."""
_TABLE: Final = contract.GALLERY_TABLE
_ANY_NAME: Final = "surrogatepass"
"""How the table takes names of files, which need not be UTF-8."""
_UNFINISHED, _DISCARDED = ".new-", ".old-"
_CHUNK: Final = 1 << 20


@dataclass(frozen=True)
class Manifest:
    """``gallery.json``."""

    format: int
    embedder: str
    embedder_weights: str
    dimension: int
    photos: int
    attributes: tuple[str, ...]
    origin: str
    digest: str
    sha256: dict[str, str]
    """Of each other file of the version, by name."""


class GalleryFolder:
    """The model folder of a gallery."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def versions(self) -> list[Path]:
        """The version folders, newest first."""
        found = [entry for entry in self.folder.glob("[1-9]*") if entry.name.isdigit() and entry.is_dir()]
        return sorted(found, key=lambda version: int(version.name), reverse=True)

    def manifest(self) -> Manifest:
        """The newest version's.

        Raises:
            InvalidConfiguration: there is no version.
            CorruptGallery: it cannot be read.
        """
        return _manifest(self._newest())

    def _newest(self) -> Path:
        version = next(iter(self.versions()), None)
        if version is None:
            raise InvalidConfiguration(f"{self.folder} holds no gallery; check the path, or run: make models")
        return version

    def read(self) -> Contents:
        """The newest version, held against its checksums.

        Raises:
            InvalidConfiguration: there is no version.
            CorruptGallery: its files are not what was written.
        """
        while True:
            version = self._newest()
            try:
                return _read(version)
            except CorruptGallery:
                if self._newest() == version:  # else another program has changed the gallery and wiped it
                    raise

    def paths(self) -> dict[str, str]:
        """Where the photos of the newest version lie, by id, as its builder was told.

        Raises:
            InvalidConfiguration: there is no version.
            CorruptGallery: its table of photos cannot be read.
        """
        version = self._newest()
        try:
            return {row[0]: row[1] for row in _rows(version)}
        except (OSError, ValueError, IndexError, csv.Error) as error:
            raise _corrupt(version / _TABLE, str(error)) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers out, and clear what one that was killed has left.

        Raises:
            GalleryBusy: one is at work.
            GalleryError: the folder cannot be written to.
        """
        with only_writer(self.folder, unwritable=GalleryError):
            for prefix in (_UNFINISHED, _DISCARDED):
                for leftover in self.folder.glob(f"{prefix}*"):
                    _wipe_folder(leftover)
            yield

    def ensure(self, embedder: str, dimension: int) -> bool:
        """Write an empty version where there is none, so that a server can start; whether it did.

        Raises:
            GalleryError: as ``locked`` and ``publish``.
        """
        if self.versions():
            return False
        with self.locked():
            self.publish(Contents.empty(embedder, dimension))
        return True

    def publish(self, contents: Contents) -> Path:
        """Write ``contents`` as the next version, which a server that serves this folder then loads.

        To be called while ``locked``.

        Raises:
            InvalidConfiguration: the package ``onnx`` is missing.
            GalleryError: the disk does not take it.
        """
        given = [*self.versions(), *self._set_aside()]
        numbers = (int(version.name.removeprefix(contract.GALLERY_DAMAGED)) for version in given)
        number = max(numbers, default=0) + 1
        try:
            temporary = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.folder))
            try:
                _write_version(temporary, contents)
                temporary.chmod(0o755)
                published = temporary.rename(self.folder / str(number))
            except BaseException:
                with suppress(GalleryError):
                    _wipe_folder(temporary)
                raise
            _sync(self.folder)
        except OSError as error:
            raise GalleryError(f"{self.folder} cannot be written to: {error}") from error
        return published

    def wipe_old(self, timeout_s: float) -> list[Path]:
        """Overwrite and remove all versions but the newest, as soon as no server of this machine uses them.

        Returns:
            Those that were still in use after ``timeout_s`` seconds, and stay.

        Raises:
            GalleryError: one cannot be wiped.
        """
        deadline = time.monotonic() + timeout_s
        for version in self._not_newest():
            while _is_mapped(version / FILES["vectors"]) and time.monotonic() < deadline:
                time.sleep(0.05)
            if not _is_mapped(version / FILES["vectors"]):
                _wipe_folder(version.rename(self.folder / f"{_DISCARDED}{version.name}"))
        return self._not_newest()

    def _not_newest(self) -> list[Path]:
        return [*self.versions()[1:], *self._set_aside()]

    def _set_aside(self) -> list[Path]:
        """Versions that a server has found damaged."""
        found = self.folder.glob(f"{contract.GALLERY_DAMAGED}[1-9]*")
        return [entry for entry in found if entry.name.removeprefix(contract.GALLERY_DAMAGED).isdigit()]


def wipe(file: Path) -> None:
    """Overwrite ``file`` with zeros on the disk, then unlink it."""
    with file.open("r+b") as opened:
        left = file.stat().st_size
        while left > 0:
            left -= opened.write(bytes(min(left, _CHUNK)))
        opened.flush()
        os.fsync(opened.fileno())
    file.unlink()


def _wipe_folder(folder: Path) -> None:
    """Overwrite all files of ``folder``, then remove it.

    Raises:
        GalleryError: the disk or the rights do not allow it.
    """
    try:
        for file in folder.rglob("*"):
            if file.is_file() and not file.is_symlink():
                wipe(file)
        shutil.rmtree(folder)
    except OSError as error:
        raise GalleryError(f"{folder} cannot be wiped, and stays: {error}") from error


def _is_mapped(file: Path) -> bool:
    """Whether a process of this machine, of those that we may look at, has ``file`` in its memory.

    By ``/proc/PID/maps`` (proc_pid_maps(5)); by inode, as a container sees it under another path.
    """
    if not file.exists():  # damaged
        return False
    region = re.compile(rf" {file.stat().st_ino} .*/{re.escape(file.name)}$".encode(), re.MULTILINE)
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            if region.search(maps.read_bytes()):
                return True
    return False


def _read(version: Path) -> Contents:
    """A version, held against its checksums.

    Raises:
        CorruptGallery: its files are not what was written.
    """
    manifest = _manifest(version)
    kind = kind_of(manifest.embedder)
    for name in (*_files(kind).values(), "model.onnx", _TABLE):
        try:
            expected = manifest.sha256[name]
            with (version / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _corrupt(version / name, error.strerror or str(error)) from error
        except (KeyError, TypeError) as error:
            raise _corrupt(version / contract.GALLERY_MANIFEST, f"no checksum of {name}") from error
        if found != expected:
            raise _corrupt(version / name, f"its checksum is {found[:16]}, not {expected[:16]}")
    try:
        rows = _rows(version)
        vectors = np.fromfile(version / FILES["vectors"], np.float32).reshape(-1, manifest.dimension)
        contents = Contents(
            manifest.embedder,
            manifest.embedder_weights,
            vectors[: manifest.photos],
            _payload(version, kind, manifest.photos)[: manifest.photos],
            ids=tuple(row[0] for row in rows),
            paths=tuple(row[1] for row in rows),
            attributes=manifest.attributes,
            values=tuple(tuple(row[len(COLUMNS) :]) for row in rows),
            origin=manifest.origin,
        )
        if contents.digest == manifest.digest:
            return contents
    except (TypeError, ValueError, IndexError, csv.Error) as error:
        raise _corrupt(version / contract.GALLERY_MANIFEST, repr(error)) from error
    raise _corrupt(version / contract.GALLERY_MANIFEST, "it does not fit the files beside it")


def _files(kind: Kind) -> dict[str, str]:
    """FILES of a gallery of that kind, and the one of its payload."""
    return FILES | ({kind.payload.name: f"{kind.payload.name}.bin"} if kind.payload else {})


def _payload(version: Path, kind: Kind, photos: int) -> graph.Array:
    """Padded, where it lies in a file."""
    if kind.payload:
        return np.fromfile(version / _files(kind)[kind.payload.name], np.float32).reshape(-1, kind.width)
    return np.zeros((photos, 0), np.float32)


def _rows(version: Path) -> list[list[str]]:
    """The table of photos, without its header."""
    with (version / _TABLE).open(encoding="utf-8", errors=_ANY_NAME, newline="") as table:
        return list(csv.reader(table))[1:]


def _manifest(version: Path) -> Manifest:
    path = version / contract.GALLERY_MANIFEST
    try:
        raw: dict[str, Any] = json.loads(path.read_bytes())
        if (found := raw["format"]) != FORMAT:
            raise CorruptGallery(f"{path}: format {found}; this adlens reads {FORMAT}, use a newer one")
        return Manifest(**(raw | {"attributes": tuple(raw["attributes"])}))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _corrupt(path, repr(error)) from error


def _corrupt(path: Path, why: str) -> CorruptGallery:
    return CorruptGallery(
        f"{path} is damaged ({why}); restore the folder from a copy, or build the gallery anew"
    )


def _write_version(folder: Path, contents: Contents) -> None:
    arrays, kind = initializers(contents), kind_of(contents.embedder)
    files = _files(kind)
    sums = {name: _write(folder / name, arrays[key].data) for key, name in files.items()}
    sums["model.onnx"] = _write(folder / "model.onnx", graph.build(kind, arrays, files))
    sums[_TABLE] = _write(folder / _TABLE, _table(contents))
    manifest = Manifest(
        FORMAT,
        contents.embedder,
        contents.embedder_weights,
        contents.vectors.shape[1],
        len(contents.ids),
        contents.attributes,
        contents.origin,
        contents.digest,
        sums,
    )
    _write(folder / contract.GALLERY_MANIFEST, json.dumps(vars(manifest), indent=2).encode())
    _sync(folder)


def _table(contents: Contents) -> bytes:
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow([*COLUMNS, *contents.attributes])
    table.writerows(
        [id_, path, *values]
        for id_, path, values in zip(contents.ids, contents.paths, contents.values, strict=True)
    )
    return text.getvalue().encode(errors=_ANY_NAME)


def _write(path: Path, data: bytes | memoryview) -> str:
    """Write to the disk; the SHA-256 in hex."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    # The server may be another user, in a container; whom to keep out is said by the folder's own mode.
    path.chmod(0o644)
    return hashlib.sha256(data).hexdigest()


def _sync(folder: Path) -> None:
    """Have the names in ``folder`` survive a power cut, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
