"""``adlens alternates`` with a real server: what goes in is found with its logits, what goes out is gone.

Networks that take no time stand in for ``vary_creative`` and ``conversion``.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from click.testing import CliRunner, Result
from PIL import Image

from adlens import cli, contract, filters
from adlens.contract import GalleryCard, ModelCard
from adlens.filters import Filter
from adlens.galleries.files import GalleryFolder
from adlens.galleries.journal import Journal, stamp
from adlens.galleries.records import Embedding
from adlens.jobs import faces
from adlens.pictures import load
from adlens.responses import matches
from adlens.transport import Connection, Endpoint
from tests.conftest import Add
from tests.server.callers import Callers
from tests.server.launched import CHECKOUT, Launched, wait_until

LABELS = ("brighter", "darker", contract.ORIGINAL, "rotate", "sketch", "swivel")
CARD = ModelCard(contract.VARY_CREATIVE, "5" * 16, True, LABELS, (0.0,) * len(LABELS))
ORIGINAL = LABELS.index(contract.ORIGINAL)
TYPES = ("women", "men")
TOKEN = "open sesame"  # noqa: S105 - opens a server of these tests only
KINDS = {"UINT8": "uint8", "INT32": "int32", "INT64": "int64", "FP32": "float"}
VARY = """
  # The embedding is the picture as a mosaic, of length 1; logits are its first numbers, by variant.
  strided = Slice (PIXELS, first, last, middle_axes, strides)
  bytes = Reshape (strided, mosaic)
  numbers = Cast <to = 1> (bytes)
  shifted = Sub (numbers, grey)
  some = Slice (shifted, zero, dimension, one)
  length = ReduceL2 (some, one)
  unit = Div (some, length)
  wanted = Cast <to = 1> (WANTED)
  original = Gather <axis = 1> (wanted, place)
  CREATIVE_EMBEDDING = Mul (unit, original)
  few = Slice (unit, zero, variants, one)
  row = Unsqueeze (few, one)
  column = Unsqueeze (wanted, two)
  scaled = Mul (column, scale)
  VARIANT_LOGITS = Mul (row, scaled)
  CARD = Expand (card, rows)"""


CONVERSION = """
  some = Slice (VARIANT_LOGITS, zero, targets, two)
  VARIANT_CONVERSION = Sigmoid (some)
  others = Slice (ALTERNATE_LOGITS, zero, targets, two)
  ALTERNATE_CONVERSION = Sigmoid (others)
  schema_shape = Concat <axis = 0> (batch, schema_size)
  SCHEMA = Expand (space, schema_shape)
  CARD = Expand (card, rows)"""


def declared(side: dict[str, contract.Tensor]) -> str:
    """Inputs or outputs in ONNX's text form."""
    return ", ".join(
        f"{KINDS[tensor.datatype]}[n, {', '.join(map(str, tensor.shape))}] {name}"
        for name, tensor in side.items()
    )


def configuration(signature: contract.Signature) -> str:
    """Of a leaf that has it."""
    text = f'backend: "onnxruntime"\nmax_batch_size: {contract.MAX_BATCH}\n'
    for side, tensors in zip(("input", "output"), signature, strict=True):
        for name, tensor in tensors.items():
            text += f'{side} {{ name: "{name}" data_type: TYPE_{tensor.datatype} dims: {[*tensor.shape]} }}\n'
    return text + "instance_group { count: 1 kind: KIND_CPU }\n"


def stand_in(add_onnx: Add, repository: Path, name: str, constants: str, lines: str) -> None:
    """Write a leaf of the contract that computes ``lines``, with the batch's number of rows in ``rows``."""
    signature = contract.MODELS[name]
    rows = f"batch = Shape <start = 0, end = 1> ({next(iter(signature.inputs))})"
    lines = f"{rows} rows = Concat <axis = 0> (batch, one) {lines}"
    graph = f"({declared(signature.inputs)}) => ({declared(signature.outputs)}) <{constants}> {{ {lines} }}"
    add_onnx(repository, name, graph, configuration(signature))


def constant(card: ModelCard) -> str:
    """A card as a constant in ONNX's text form."""
    return f"uint8[1, {contract.CARD_BYTES}] card = {{{', '.join(map(str, card.to_bytes()))}}}"


def add_leaves(add_onnx: Add, models: Path) -> None:
    """Write ``vary_creative`` and ``conversion``."""
    ranks = ", ".join(map(str, range(1, contract.MAX_VARIANTS + 1)))
    vary = (
        f"{constant(CARD)}, int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] two = {{2}}, "
        "int64[2] first = {0, 0}, int64[2] last = {480, 480}, int64[2] middle_axes = {1, 2}, "
        f"float grey = {{60}}, int64[2] strides = {{30, 30}}, int64[2] mosaic = {{-1, 768}}, "
        f"int64[1] place = {{{ORIGINAL}}}, int64[1] dimension = {{{contract.CREATIVE_DIMENSION}}}, "
        f"int64[1] variants = {{{contract.MAX_VARIANTS}}}, "
        f"float[1, {contract.MAX_VARIANTS}, 1] scale = {{{ranks}}}"
    )
    stand_in(add_onnx, models, contract.VARY_CREATIVE, vary, VARY)
    conversion = (
        f"{constant(replace(CARD, model=contract.CONVERSION))}, int64[1] zero = {{0}}, int64[1] one = {{1}}, "
        f"int64[1] two = {{2}}, int64[1] targets = {{{len(contract.TARGETS)}}}, "
        f"uint8[1, 1] space = {{32}}, int64[1] schema_size = {{{contract.SCHEMA_BYTES}}}"
    )
    stand_in(add_onnx, models, contract.CONVERSION, conversion, CONVERSION)


@dataclass(frozen=True)
class Shop:
    """A server with a catalogue of its own, and pictures to fill it with."""

    url: str
    catalogue: GalleryFolder
    pictures: Path

    def run(self, *arguments: object, **environment: str) -> Result:
        """The outcome of ``adlens alternates`` with these arguments."""
        given = {"ADLENS_URL": self.url, "ADLENS_ALTERNATES": str(self.catalogue.folder), **environment}
        return CliRunner().invoke(cli.main, ["alternates", *map(str, arguments)], env=given)

    def table(self, path: Path, names: list[str]) -> Path:
        """A catalogue in CSV of these of the pictures, of which every other is for men."""
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["relative_im_path", "shoe_brand", "shoe_gender", "shoe_name", "click_through"])
            rows.writerows([name, "A", TYPES[n % 2], f"shoe {n}", n % 3] for n, name in enumerate(names))
        return path

    def ask(self, name: str, chosen: Filter | None = None) -> dict[str, np.ndarray[Any, Any]]:
        """Outputs of ``optimise_creative`` for one of the pictures, all variants judged."""
        request = {
            **faces.request(load(self.pictures / name)),
            contract.WANTED: np.ones((1, contract.MAX_VARIANTS), np.uint8),
            contract.FILTER: filters.encode(chosen),
            contract.CONTEXT: np.zeros((1, len(contract.CONTEXT_NAMES)), np.int32),
        }
        with Connection(Endpoint(self.url, retries=0)) as connection:
            return dict(connection.infer(contract.OPTIMISE_CREATIVE, request).outputs)

    def found(self, name: str, chosen: Filter | None = None) -> list[str]:
        """Ids of the alternates for one of the pictures, the most similar first."""
        answer = self.ask(name, chosen)
        ids, scores = answer[contract.ALTERNATE_IDS][0], answer[contract.ALTERNATE_SCORES][0]
        return [match.id for match in matches(scores, ids)]

    def card(self) -> GalleryCard:
        """Of what is served."""
        answer = self.ask("0.jpg")[contract.card_output(contract.ALTERNATES)]
        return GalleryCard.from_bytes(answer.tobytes())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, add_onnx: Add) -> Iterator[Shop]:
    """One for all tests: eight pictures in strong colours."""
    folder = tmp_path_factory.mktemp("shop")
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
        (folder / "pictures").mkdir(exist_ok=True)
        image = Image.fromarray(pixels).resize((480, 480), Image.Resampling.NEAREST)
        image.save(folder / "pictures" / f"{number}.jpg", quality=95)
    models = folder / "models"
    add_leaves(add_onnx, models)
    (models / contract.ALTERNATES).mkdir()
    shutil.copy(
        CHECKOUT / "model_repository" / contract.ALTERNATES / "config.pbtxt", models / contract.ALTERNATES
    )
    for name in (contract.DECODE, contract.OPTIMISE_CREATIVE):
        (models / name).symlink_to(CHECKOUT / "ensembles" / name, target_is_directory=True)
    catalogue = GalleryFolder(models / contract.ALTERNATES)
    catalogue.ensure(contract.VARY_CREATIVE, contract.CREATIVE_DIMENSION)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADLENS_SERVER_ADMIN_TOKEN", TOKEN)
        launched = Launched("--model-repository", str(models))
    try:
        yield Shop(launched.until_ready(), catalogue, folder / "pictures")
    finally:
        launched.kill()


@pytest.fixture
def shop(served: Shop, tmp_path: Path) -> Shop:
    """The first four pictures in its catalogue."""
    four = [f"{number}.jpg" for number in range(4)]
    if served.catalogue.read().ids != tuple(four):  # what a test has left
        result = served.run("build", served.table(tmp_path / "four.csv", four), "--images", served.pictures)
        assert result.exit_code == 0, result.output
    return served


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def ran(shop: Shop, model: str) -> int:
    """Batches that a model has run."""
    with triton.InferenceServerClient(shop.url) as client:
        said = client.get_inference_statistics(model, headers={"triton-grpc-protocol-admin": TOKEN})
        return int(said.model_stats[0].execution_count)


class TestBuildAndAdd:
    """Pictures go in."""

    def test_a_catalogue_is_built_and_each_picture_finds_itself(self, shop: Shop, tmp_path: Path) -> None:
        names = [f"{number}.jpg" for number in range(8)]
        source = shop.table(tmp_path / "catalogue.csv", names)
        result = shop.run("build", source, "--images", shop.pictures, "--json")
        assert result.exit_code == 0
        assert result.stderr.startswith("warning: vary_creative runs on starter weights: what is found")
        assert result.stderr.count("\n") == 1
        *pictures, summary = rows(result)
        assert summary == {"gallery": str(shop.catalogue.folder), "added": 8, "photos": 8}
        assert [row["id"] for row in pictures] == names
        assert pictures[0].keys() == {"id", "path", "warnings"}
        held = shop.catalogue.read()
        for number, name in enumerate(names):
            answer = shop.ask(name)
            np.testing.assert_allclose(
                held.vectors[number], answer[contract.CREATIVE_EMBEDDING][0], atol=1e-6
            )
            logits = answer[contract.VARIANT_LOGITS][0, ORIGINAL]
            assert logits.any()
            np.testing.assert_allclose(held.payload[number], logits, atol=1e-6)
            np.testing.assert_allclose(answer[contract.ALTERNATE_LOGITS][0, 0], logits, atol=1e-6)
            assert shop.found(name)[0] == name
        assert not (shop.catalogue.folder / ".journal").exists()
        (stats,) = rows(shop.run("stats", "--json"))
        assert (stats["served"], stats["photos"]) == (True, 8)
        assert (stats["embedder"], stats["embedder_weights"]) == (contract.VARY_CREATIVE, CARD.weights)
        assert stats["attributes"].keys() == {"brand", "type", "name"}
        assert shop.card().embedder_weights == CARD.weights

    def test_alternates_are_those_of_the_type_that_is_asked_for(self, shop: Shop) -> None:
        assert shop.found("0.jpg", {"type": "men"}) == sorted(
            ["1.jpg", "3.jpg"], key=shop.found("0.jpg").index
        )
        assert shop.ask("0.jpg", {"type": "men"})[contract.ALTERNATE_COUNT].tolist() == [[2]]
        assert [row["id"] for row in rows(shop.run("list", "--json", "--filter", "type=women"))] == [
            "0.jpg", "2.jpg"
        ]  # fmt: skip

    def test_to_embed_pictures_no_alternates_are_searched_and_nothing_is_converted(
        self, shop: Shop, tmp_path: Path
    ) -> None:
        before = {model: ran(shop, model) for model in (contract.VARY_CREATIVE, contract.CONVERSION)}
        assert (
            shop.run("add", shop.table(tmp_path / "one.csv", ["7.jpg"]), "--images", shop.pictures).exit_code
            == 0
        )
        assert wait_until(lambda: ran(shop, contract.VARY_CREATIVE) == before[contract.VARY_CREATIVE] + 2)
        assert ran(shop, contract.CONVERSION) == before[contract.CONVERSION]

    def test_one_bad_picture_fails_alone(self, shop: Shop, tmp_path: Path) -> None:
        (tmp_path / "good").mkdir()
        shutil.copy(shop.pictures / "5.jpg", tmp_path / "good")
        (tmp_path / "bad.jpg").write_text("no picture")
        result = shop.run("add", tmp_path, "--json")
        assert result.exit_code == 1
        assert f"{tmp_path}/bad.jpg" in result.stderr
        assert shop.catalogue.read().ids[4:] == ("good/5",)

    def test_a_known_picture_is_refused_or_replaced(self, shop: Shop, tmp_path: Path) -> None:
        table = tmp_path / "same.csv"
        table.write_text(f"id,path,shoe_gender\n1.jpg,{shop.pictures}/6.jpg,boy\n")
        result = shop.run("add", table)
        assert (result.exit_code, "'1.jpg' is in the gallery" in result.stderr) == (1, True)
        assert shop.run("add", table, "--replace").exit_code == 0
        assert shop.found("6.jpg", {"type": "boy"}) == ["1.jpg"]

    def test_what_an_interrupted_run_has_embedded_is_not_sent_again(self, shop: Shop, tmp_path: Path) -> None:
        picture, vector = shop.pictures / "4.jpg", np.eye(512, dtype=np.float32)[3]
        logits = np.arange(8, dtype=np.float32)
        Journal(shop.catalogue.folder, CARD.weights).append(
            "4.jpg", stamp(picture), Embedding(vector, logits)
        )
        table = shop.table(shop.pictures / "two.csv", ["4.jpg", "5.jpg"])
        *sent, summary = rows(shop.run("add", table, "--json"))
        assert ([row["id"] for row in sent], summary["added"]) == (["5.jpg"], 2)
        np.testing.assert_array_equal(shop.catalogue.read().payload[4], logits)

    def test_pictures_cannot_join_those_of_other_weights(self, shop: Shop) -> None:
        with shop.catalogue.locked():
            shop.catalogue.publish(replace(shop.catalogue.read(), embedder_weights="other"))
        result = shop.run("add", shop.table(shop.pictures / "one.csv", ["7.jpg"]))
        assert result.exit_code == 1
        assert "made by vary_creative with weights other" in result.stderr

    def test_a_gallery_of_faces_is_not_overwritten(self, shop: Shop, tmp_path: Path) -> None:
        gallery = GalleryFolder(tmp_path / "gallery")
        gallery.ensure("dlib", contract.EMBEDDERS["dlib"])
        result = replace(shop, catalogue=gallery).run("build", shop.pictures)
        assert result.exit_code == 1
        assert "is a gallery of dlib, not of vary_creative; choose another with --alternates" in result.stderr

    def test_no_catalogue_is_made_where_none_is_served(self, shop: Shop, tmp_path: Path) -> None:
        nowhere = replace(shop, catalogue=GalleryFolder(tmp_path / "nowhere"))
        result = nowhere.run("build", shop.pictures)
        assert result.exit_code == 2
        assert "nowhere is no gallery; name its folder with --alternates" in result.stderr
        assert not (tmp_path / "nowhere").exists()

    def test_without_a_server_nothing_can_be_added(self, shop: Shop, free_port: int) -> None:
        result = shop.run("add", shop.pictures, ADLENS_URL=f"127.0.0.1:{free_port}", ADLENS_RETRIES="0")
        assert result.exit_code == 3
        assert result.stderr.startswith(f"error: 127.0.0.1:{free_port}: ")


class TestRemove:
    """Pictures go out."""

    def test_what_is_removed_is_in_no_file_and_no_answer(self, shop: Shop) -> None:
        held = shop.catalogue.read()
        row = held.ids.index("2.jpg")
        traces = [held.vectors[row].tobytes(), held.payload[row].tobytes(), b"2.jpg"]
        result = shop.run("remove", "2.jpg", "nothing", "--json")
        assert result.exit_code == 1
        assert rows(result) == [
            {"gallery": str(shop.catalogue.folder), "removed": 1, "missing": ["nothing"], "photos": 3}
        ]
        kept = b"".join(file.read_bytes() for file in shop.catalogue.folder.rglob("*") if file.is_file())
        assert not any(trace in kept for trace in traces)
        assert held.payload[row + 1].tobytes() in kept
        assert sorted(shop.found("2.jpg")) == ["0.jpg", "1.jpg", "3.jpg"]


def test_callers_notice_nothing_while_the_catalogue_changes(shop: Shop, tmp_path: Path) -> None:
    def call() -> None:
        assert shop.found("1.jpg")[0] == "1.jpg"

    with Callers(call) as callers:
        for number in (4, 5):
            one = shop.table(shop.pictures / "one.csv", [f"{number}.jpg"])
            assert shop.run("add", one).exit_code == 0
            assert callers.wait_for_answers()
        assert shop.run("remove", "4.jpg", "0.jpg").exit_code == 0
        assert callers.wait_for_answers()
    assert callers.failures == []
    assert wait_until(lambda: shop.card().photos == 4)
