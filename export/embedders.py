"""Face embedders: ``embed_dlib``, and by ``python -m export.embedders NAME...`` any other one.

An embedder is a network of our own or an ONNX file, and an entry in ``embedders.yaml``. Each is aligned,
batched and normalised by the same graph about it (``export/networks/embeddings.py``). What is built here goes
into a repository of its own, ``embedders/``, that the server serves where it exists: ``embed_<name>``, an
empty ``gallery_<name>`` and the ensemble ``match_faces_<name>``, configured as the committed ones are.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
import onnx
import torch
import yaml
from torch import Tensor, nn

from adlens import contract
from adlens.galleries.files import GalleryFolder
from export import generated, profiles
from export.faces import decode
from export.foreign import ForeignNetwork
from export.graph import TOLERANCE, Manifest, ParityError, Signature, Weights, to_onnx, write_graph
from export.networks import mtcnn
from export.networks.alignment import DLIB, TEMPLATES, Alignment
from export.networks.attributes import digest
from export.networks.card import Carded
from export.networks.dlib_resnet import FoldedDlibResNet, load_dlib_resnet
from export.networks.embeddings import CHUNK, EmbeddingNetwork, splice
from export.networks.inception_resnet_v1 import LOGITS, InceptionResnetV1
from export.weights import (
    PUBLISHED,
    STARTER,
    PublishedWeights,
    WeightsError,
    dlib_source,
    fetch,
    load_strictly,
    seeded,
    sha256,
)

CHECKOUT: Final = Path(__file__).parent.parent
REPOSITORY: Final = CHECKOUT / "embedders"
ENTRIES: Final = Path(__file__).with_suffix(".yaml")
SIGNATURE: Final = Signature(
    (contract.PIXELS, contract.LANDMARKS, contract.FACE_COUNT), (contract.FACE_EMBEDDING, contract.CARD)
)
DLIB_THRESHOLD: Final = 0.911
"""Best balance of errors over 354 pairs of one person and 4.4 million of two, among 2,960 faces of LFW."""
FACENET: Final = "facenet"
_SEED: Final = 1
_FLOATS: Final = torch.finfo(torch.float32)
"""What the graph calculates in."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")


class EntryError(ValueError):
    """An entry of ``embedders.yaml``, or of one's own file like it, cannot be used."""


@dataclass(frozen=True)
class Entry:
    """What ``embedders.yaml`` says of an embedder; see there."""

    name: str
    licence: str
    template: str
    threshold: float
    file: Path | None = None
    weights: str = ""
    url: str = ""
    sha256: str = ""
    channels: str = "RGB"
    mean: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class Embedder:
    """A network that makes embeddings of chips, and what its card and manifest say of it.

    ``graph`` makes its ONNX graph, with one input and one output, which may take half a minute; ``chunk`` is
    the most chips that it takes.
    """

    name: str
    network: nn.Module
    graph: Callable[[], onnx.ModelProto]
    alignment: Alignment
    dimension: int
    threshold: float
    source: Weights
    trained_on: str
    chunk: int = CHUNK


def read_entries(file: Path) -> dict[str, Entry]:
    """The entries of a YAML file, by name.

    Raises:
        EntryError: the file cannot be read, or a key is missing, unknown or no such value.
    """
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise EntryError(f"{file}: {error}") from error
    if not isinstance(raw, Mapping):
        raise EntryError(f"{file}: no entries; write them as in {ENTRIES.name}")
    return {str(name): _read_entry(str(name), values, file) for name, values in raw.items()}


def _read_entry(name: str, values: Any, file: Path) -> Entry:  # noqa: ANN401 - whatever YAML holds
    where = f"{file}: {name}"
    if not _NAME.fullmatch(name) or name == contract.EMBEDDER:
        raise EntryError(
            f"{where}: another name, please: small letters, digits and _, and not {contract.EMBEDDER}"
        )
    known = {field.name for field in fields(Entry)} - {"name"}
    if not isinstance(values, Mapping) or not {"licence", "template", "threshold"} <= set(values) <= known:
        given = sorted(map(str, values)) if isinstance(values, Mapping) else values
        raise EntryError(
            f"{where}: {given}; licence, template and threshold it needs, may have {sorted(known)}"
        )
    try:
        numbers = {key: float(values[key]) for key in ("threshold", "mean", "scale") if key in values}
    except (OverflowError, TypeError, ValueError) as error:
        raise EntryError(f"{where}: {error}; threshold, mean and scale are one number each") from error
    for key, number in numbers.items():
        if not abs(number) <= _FLOATS.max:  # NaN is not, either
            raise EntryError(f"{where}: {key} {number}; give a finite number that float32 holds")
    texts = {key: str(value) for key, value in values.items() if key not in {*numbers, "file"}}
    path = file.parent / str(values["file"]) if "file" in values else None
    entry = Entry(name, file=path, **{**texts, **numbers})  # type: ignore[arg-type]
    if entry.template not in TEMPLATES:
        raise EntryError(f"{where}: no template {entry.template!r}; there are {', '.join(TEMPLATES)}")
    if (
        entry.channels not in ("RGB", "BGR")
        or abs(entry.scale) < _FLOATS.tiny
        or not -1 < entry.threshold < 1
    ):
        raise EntryError(
            f"{where}: channels {entry.channels}, scale {entry.scale:g}, threshold {entry.threshold:g}; "
            "channels are RGB or BGR, a scale is not 0, a threshold a cosine"
        )
    if entry.file is None and name != FACENET:
        raise EntryError(f"{where}: names no file")
    return entry


def load_dlib() -> Embedder:
    """The ResNet of dlib with its own weights; always there."""
    network = FoldedDlibResNet(load_dlib_resnet()).eval()
    return _own(
        contract.EMBEDDER, network, DLIB, DLIB_THRESHOLD, dlib_source(), "by its author (3 million faces)"
    )


def load_embedder(entry: Entry) -> Embedder:
    """What an entry speaks of.

    Raises:
        WeightsError: the file is not there, has another checksum, or is no such network.
    """
    alignment = TEMPLATES[entry.template]
    if entry.file is None:
        network, source = _load_facenet(entry)
        trained_on = "nothing" if source.starter else "by its authors"
        return _own(entry.name, network, alignment, entry.threshold, source, trained_on)
    _check_file(entry.file, entry.sha256)
    network = ForeignNetwork(entry.file, alignment.size, entry.channels, entry.mean, entry.scale)
    source = Weights(entry.file.name, entry.licence, sha256(entry.file))
    return Embedder(
        entry.name, network, lambda: network.graph, alignment, network.dimension, entry.threshold, source,
        "by its authors", min(CHUNK, network.batch or CHUNK),
    )  # fmt: skip


def _check_file(file: Path, checksum: str) -> None:
    if not file.is_file():
        raise WeightsError(f"{file} is not there; correct `file`, which is relative to the entry's own file")
    if checksum and sha256(file) != checksum:
        raise WeightsError(f"{file} has the SHA-256 {sha256(file)}, not {checksum}: fetch it again")


def _load_facenet(entry: Entry) -> tuple[nn.Module, Weights]:
    if entry.weights == STARTER:
        return seeded(InceptionResnetV1), Weights("seeded starter", "Apache-2.0", "", starter=True)
    if entry.weights == PUBLISHED:
        if not entry.url or not entry.sha256:
            raise WeightsError(f"{entry.name}: published weights need url and sha256 in their entry")
        path, checksum = fetch(PublishedWeights(entry.url, entry.licence, entry.sha256)), entry.sha256
    else:
        path, checksum = Path(entry.weights), ""
    _check_file(path, checksum)
    network = InceptionResnetV1().eval()
    load_strictly(network, path, without=LOGITS)
    source = entry.url if entry.weights == PUBLISHED else path.name
    return network, Weights(source, entry.licence, sha256(path))


def _own(
    name: str, network: nn.Module, alignment: Alignment, threshold: float, source: Weights, trained_on: str
) -> Embedder:
    """An embedder of our own: its graph is what torch exports."""
    graph = partial(_exported, network, alignment.size)
    dimension = contract.EMBEDDERS[name]
    return Embedder(name, network, graph, alignment, dimension, threshold, source, trained_on)


def _exported(network: nn.Module, side: int) -> onnx.ModelProto:
    chips = torch.rand(2, 3, side, side)
    return onnx.load_from_string(to_onnx(_Alone(network), Signature(("CHIPS",), ("EMBEDDINGS",)), (chips,)))


class _Alone(nn.Module):
    """A network without a card, called as the exporter calls those with one."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> Tensor:
        embeddings: Tensor = self.network(*inputs)
        return embeddings


def build_embedder(embedder: Embedder, folder: Path, pixels: Tensor) -> Manifest:
    """Export ``embed_<name>`` to ``folder``, judged on ``pixels``.

    Args:
        embedder: with its weights.
        folder: version folder.
        pixels: uint8 [MAX_BATCH, S, S, 3], pictures with faces.

    Raises:
        ParityError: the graph differs from torch.
    """
    network = EmbeddingNetwork(
        embedder.network, embedder.alignment, embedder.dimension, embedder.chunk
    ).eval()
    found = digest(network)
    model = contract.embed_model(embedder.name)
    card = contract.EmbedderCard(
        model, found[:16], embedder.source.starter,
        embedder=embedder.name, dimension=embedder.dimension, threshold=embedder.threshold,
    )  # fmt: skip
    carded = Carded(network, card)
    manifest = Manifest(model, embedder.source, found, embedder.trained_on, {})
    with torch.no_grad():
        _, _, landmarks, count = mtcnn.load_mtcnn()(pixels)[:4]
    batch = (pixels, landmarks, count)
    one = tuple(tensor[:1] for tensor in batch)
    frame = onnx.load_from_string(to_onnx(carded, SIGNATURE, batch))
    graph = splice(frame, embedder.graph()).SerializeToString()
    return write_graph(graph, carded, SIGNATURE, [one, batch], manifest, folder, TOLERANCE)


def write_repository(embedder: Embedder, repository: Path, pixels: Tensor) -> Manifest:
    """The three models of ``embedder`` in ``repository``; photos that are in its gallery stay.

    Raises:
        ParityError: the graph differs from torch.
    """
    name = embedder.name
    leaf = repository / contract.embed_model(name)
    manifest = build_embedder(embedder, leaf / "1", pixels)
    (repository / contract.match_faces_model(name) / "1").mkdir(parents=True, exist_ok=True)
    committed = {
        CHECKOUT / "model_repository": (contract.embed_model, contract.gallery_model),
        CHECKOUT / "ensembles": (contract.match_faces_model,),
    }
    for folder, models in committed.items():
        for model in models:
            text = (folder / model(contract.EMBEDDER) / "config.pbtxt").read_text(encoding="utf-8")
            target = repository / model(name)
            target.mkdir(parents=True, exist_ok=True)
            (target / "config.pbtxt").write_text(_configuration(text, embedder), encoding="utf-8")
    GalleryFolder(repository / contract.gallery_model(name)).ensure(name, embedder.dimension)
    profiles.write([repository])
    return manifest


def _configuration(text: str, embedder: Embedder) -> str:
    """The configuration of a model of dlib's, as one of ``embedder``'s."""
    for model in (contract.embed_model, contract.gallery_model):
        ours, theirs = model(contract.EMBEDDER), model(embedder.name)
        text = text.replace(contract.card_output(ours), contract.card_output(theirs))
        text = text.replace(f'model_name: "{ours}"', f'model_name: "{theirs}"')
    width = contract.EMBEDDERS[contract.EMBEDDER]
    slots = contract.MAX_FACES
    return text.replace(f"dims: [ {slots}, {width} ]", f"dims: [ {slots}, {embedder.dimension} ]")


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_EMBEDDERS"})
@click.argument("names", nargs=-1, required=True)
@click.option(
    "--config", type=click.Path(path_type=Path), default=ENTRIES, show_default=False, help="Your own entries."
)
@click.option("--weights", help="For facenet: starter, published or a file, instead of the entry's.")
@click.option("--repository", type=click.Path(path_type=Path), default=REPOSITORY, show_default=False)
def main(names: tuple[str, ...], config: Path, weights: str | None, repository: Path) -> None:
    """Build the embedders NAMES, with a gallery each, for the server to serve beside dlib's."""
    try:
        entries = read_entries(config)
        if unknown := set(names) - set(entries):
            raise EntryError(f"{config} has no {', '.join(sorted(unknown))}; it has {', '.join(entries)}")
        with tempfile.TemporaryDirectory() as folder:
            pictures = generated.write_dataset(Path(folder), contract.MAX_BATCH, _SEED).paths
            pixels = torch.cat([pixels for pixels, _ in decode(pictures)])
        for name in names:
            entry = replace(entries[name], weights=weights) if weights else entries[name]
            manifest = write_repository(load_embedder(entry), repository, pixels)
            gaps = ", ".join(f"batch {size}: {gap:.1e}" for size, gap in manifest.parity.items())
            click.echo(f"{manifest.model}: {manifest.weights.source}; parity {gaps}", err=True)
    except (EntryError, ParityError, WeightsError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
