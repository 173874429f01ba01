"""Which version of a picture converts best, from JPEG bytes to the answer: real models, real catalogue."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from adlens import AsyncRecommender, CreativeAnswer, Failure, Recommender, cli, contract, pictures
from adlens.contract import ModelCard
from adlens.errors import BadContext, BadFilter, BadImage
from adlens.galleries.files import GalleryFolder
from adlens.jobs import creatives
from adlens.transport import Connection, Endpoint
from adlens.vocabulary import Vocabulary
from export import generated_ads, generated_creatives
from export.faces import decode
from server.errors import MissingModelError
from server.launcher import ServerOptions
from server.repository import choose, read_models
from tests.e2e.pictures import TIMEOUT_S, encode, turned
from tests.e2e.test_photos import REFUSED
from tests.hostile.corpus import corpus
from tests.server.launched import Launched

SERVED = (contract.OPTIMISE_CREATIVE, contract.RENDER_CREATIVE)
LIKELY = {"brighter", "rotate"}
"""Variants that the starter's planted outcomes favour (``export.creative.planted``)."""
SHOES, VIEWS, SEED = 8, 3, 77
"""None of the seeds that ``export`` draws shoes for training with."""
DAMAGED = int(os.environ.get("ADLENS_HOSTILE_COUNT", "40"))
"""Damaged files of ``tests.hostile``; many are refused before they are sent."""
CAMPAIGN = {"campaign_type": "email", "industry": "fashion", "type": "women"}


@dataclass(frozen=True)
class Shop:
    """A server with a catalogue of generated shoes, filled by ``adlens alternates``."""

    url: str
    models: Path
    catalogue: Path

    @property
    def alternates(self) -> GalleryFolder:
        return GalleryFolder(self.models / contract.ALTERNATES)

    @property
    def rows(self) -> list[dict[str, str]]:
        with self.catalogue.open(newline="") as file:
            return list(csv.DictReader(file))

    def paths(self, **attributes: str) -> list[Path]:
        return [
            self.catalogue.parent / row[generated_creatives.COLUMNS[0]]
            for row in self.rows
            if all(row[name] == value for name, value in attributes.items())
        ]

    def run(self, *arguments: object) -> Result:
        environment = {"ADLENS_URL": self.url, "ADLENS_ALTERNATES": str(self.alternates.folder)}
        return CliRunner().invoke(cli.main, list(map(str, arguments)), env=environment)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("creative")
    catalogue = generated_creatives.write_catalogue(folder / "catalogue", SHOES, VIEWS, seed=SEED)
    generated_ads.link_models(folder / "models")
    repositories = (folder / "models", ServerOptions().repositories[1])
    try:
        choose(read_models(repositories), SERVED)
    except MissingModelError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    words = [word for repository in repositories for word in ("--model-repository", str(repository))]
    launched = Launched(*words, *(word for model in SERVED for word in ("--model", model)))
    try:
        made = Shop(launched.until_ready(), folder / "models", catalogue)
        filled = made.run("alternates", "build", catalogue)
        assert filled.exit_code == 0, filled.output
        yield made
    finally:
        launched.kill()


@pytest.fixture
def front(shop: Shop) -> Iterator[Recommender]:
    with Recommender(shop.url, timeout_s=TIMEOUT_S) as recommender:
        yield recommender


def ask(front: Recommender, photo: Any, target: str = "click_through", **options: Any) -> CreativeAnswer:
    return front.optimise_creative(photo, target, **{**CAMPAIGN, **options})


@pytest.fixture(scope="module")
def seen(shop: Shop) -> CreativeAnswer:
    """The answer for a woman's shoe of the catalogue."""
    with Recommender(shop.url, timeout_s=TIMEOUT_S) as front:
        return ask(front, shop.paths(shoe_gender="women")[0])


def test_the_planted_variants_are_told_from_the_others(front: Recommender, shop: Shop) -> None:
    """On drawn shoes that training has not seen."""
    answers = [ask(front, path, alternates=False) for path in shop.paths()[::2]]
    best = Counter(answer.recommended.label for answer in answers)
    assert best["brighter"] + best["rotate"] >= 0.9 * len(answers), best
    of: dict[str, list[float]] = {}
    for version in (version for answer in answers for version in answer.versions):
        of.setdefault(version.label, []).append(version.probability)
    means = {label: float(np.mean(values)) for label, values in of.items()}
    assert means == pytest.approx({label: 0.8 if label in LIKELY else 0.2 for label in of}, abs=0.1)


def test_of_what_nobody_wants_the_lowest_is_best(front: Recommender, shop: Shop) -> None:
    answer = ask(front, shop.paths()[1], "abandoned_cart")
    probabilities = [version.probability for version in answer.versions]
    assert probabilities[0] == min(probabilities)
    assert answer.recommended.label not in LIKELY
    assert "lower is better" in answer.title


def test_alternates_are_other_pictures_of_the_same_type(seen: CreativeAnswer, shop: Shop) -> None:
    women = {str(path.relative_to(shop.catalogue.parent)) for path in shop.paths(shoe_gender="women")}
    given = str(Path(seen.path).relative_to(shop.catalogue.parent))
    assert {each.id for each in seen.alternates} == women - {given}
    probabilities = [each.probability for each in seen.alternates]
    assert probabilities == sorted(probabilities, reverse=True)
    assert all(-1 <= each.similarity < 0.9999 for each in seen.alternates)


def test_a_filter_decides_which_alternates_may_be_found(front: Recommender, shop: Shop) -> None:
    path = shop.paths(shoe_gender="women")[0]
    brand = next(row["shoe_brand"] for row in shop.rows if row["shoe_gender"] == "women")
    chosen = ask(front, path, filter={"brand": brand}).alternates
    allowed = shop.paths(shoe_gender="women", shoe_brand=brand)
    assert {each.id for each in chosen} == {
        str(other.relative_to(shop.catalogue.parent)) for other in allowed if other != path
    }
    nothing = ask(front, path, filter={"brand": "Elm"})
    assert (nothing.alternates, nothing.warnings[-1]) == (
        (), "no picture of the catalogue passes type=women, brand=Elm",
    )  # fmt: skip
    with pytest.raises(BadFilter, match="no attribute colour to filter by; it has "):
        ask(front, path, filter={"colour": "red"})


def test_starter_weights_are_named_and_warned_of(seen: CreativeAnswer, shop: Shop) -> None:
    assert seen.model_versions.keys() == {contract.VARY_CREATIVE, contract.ALTERNATES, contract.CONVERSION}
    for model, word in (
        (contract.VARY_CREATIVE, "train_variants"),
        (contract.CONVERSION, "train_conversion"),
    ):
        assert (model in seen.starter) == any(word in warning for warning in seen.warnings)


def test_a_campaign_that_is_unknown_is_told_what_is_known(front: Recommender, shop: Shop) -> None:
    with pytest.raises(BadContext, match=r"industry: unknown 'fashon', did you mean 'fashion'.; known: "):
        ask(front, shop.paths()[0], industry="fashon")
    with pytest.raises(BadContext, match="give one of open_rate, click_through"):
        ask(front, shop.paths()[0], "clicks")


def test_served_is_what_the_graphs_say_in_one_process(shop: Shop) -> None:
    """The same JPEGs through the served decoder and ONNX Runtime, without any server."""
    paths = [shop.paths()[0], shop.paths()[-1]]
    ((pixels, sizes),) = decode(paths)
    wanted = np.ones((len(paths), contract.MAX_VARIANTS), np.uint8)
    networks = {name: _session(shop.models / name) for name in (contract.VARY_CREATIVE, contract.CONVERSION)}
    judged = _run(
        networks[contract.VARY_CREATIVE],
        {contract.PIXELS: pixels.numpy(), contract.PICTURE_SIZE: sizes, contract.WANTED: wanted},
    )
    question = creatives.Question("open_rate", **CAMPAIGN)
    with Connection(Endpoint(shop.url, TIMEOUT_S)) as connection:
        (schema,) = connection.infer(contract.CONVERSION, creatives.probe()).outputs[contract.SCHEMA]
        known = creatives.Known(Vocabulary.from_bytes(schema.tobytes()))
        requests = [creatives.request(pictures.load(path), question, known) for path in paths]
        served = [connection.infer(contract.OPTIMISE_CREATIVE, request).outputs for request in requests]
    found = _run(
        _session(shop.alternates.versions()[0].parent),
        {
            contract.CREATIVE_EMBEDDING: judged[contract.CREATIVE_EMBEDDING],
            contract.FILTER: np.concatenate([request[contract.FILTER] for request in requests]),
        },
    )
    converted = _run(
        networks[contract.CONVERSION],
        {
            contract.VARIANT_LOGITS: judged[contract.VARIANT_LOGITS],
            contract.ALTERNATE_LOGITS: found[contract.ALTERNATE_LOGITS],
            contract.CONTEXT: np.concatenate([request[contract.CONTEXT] for request in requests]),
        },
    )
    for name, tolerance in (
        (contract.VARIANT_LOGITS, 1e-3),
        (contract.CREATIVE_EMBEDDING, 1e-4),
        (contract.ALTERNATE_SCORES, 1e-4),
        (contract.ALTERNATE_IDS, 0),
        (contract.VARIANT_CONVERSION, 1e-3),
        (contract.ALTERNATE_CONVERSION, 1e-3),
    ):
        expected = (judged | found | converted)[name]
        got = np.concatenate([outputs[name] for outputs in served])
        np.testing.assert_allclose(got, expected, atol=tolerance, err_msg=name)


def _session(model: Path) -> ort.InferenceSession:
    version = max(
        (entry for entry in model.iterdir() if entry.name.isdigit()), key=lambda entry: int(entry.name)
    )
    return ort.InferenceSession(version / "model.onnx", providers=["CPUExecutionProvider"])


def _run(session: ort.InferenceSession, inputs: dict[str, Any]) -> dict[str, Any]:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def test_only_wanted_variants_are_judged_and_each_as_among_all(shop: Shop) -> None:
    question = creatives.Question("open_rate", **CAMPAIGN)
    with Connection(Endpoint(shop.url, TIMEOUT_S)) as connection:
        schema = connection.infer(contract.CONVERSION, creatives.probe()).outputs[contract.SCHEMA]
        vocabulary = Vocabulary.from_bytes(schema.tobytes())
        request = creatives.request(pictures.load(shop.paths()[0]), question, creatives.Known(vocabulary))
        everything = connection.infer(contract.OPTIMISE_CREATIVE, request).outputs
        some = request[contract.WANTED].copy()
        some[0, ::2] = 0
        part = connection.infer(contract.OPTIMISE_CREATIVE, request | {contract.WANTED: some}).outputs
        none = connection.infer(contract.OPTIMISE_CREATIVE, request | {contract.WANTED: some * 0}).outputs
    for name in (contract.VARIANT_LOGITS, contract.VARIANT_CONVERSION):
        np.testing.assert_allclose(part[name][some != 0], everything[name][some != 0], atol=1e-3)
        assert not part[name][some == 0].any()
        assert not none[name].any()
    assert (none[contract.ALTERNATE_SCORES] == contract.NO_MATCH).all()


async def test_many_at_once_and_asyncio_answer_as_one_by_one(front: Recommender, shop: Shop) -> None:
    paths = shop.paths()[:4]
    one_by_one = [ask(front, path) for path in paths]
    at_once = list(front.optimise_creatives(paths, **CAMPAIGN, workers=4))
    async with AsyncRecommender(shop.url, timeout_s=TIMEOUT_S) as other:
        by_asyncio = [answer async for answer in other.optimise_creatives(paths, **CAMPAIGN)]
    for answers in (at_once, by_asyncio):
        for one, two in zip(one_by_one, answers, strict=True):
            assert isinstance(two, CreativeAnswer)
            assert [version.label for version in two.variants] == [version.label for version in one.variants]
            np.testing.assert_allclose(
                [version.probability for version in two.versions],
                [version.probability for version in one.versions],
                atol=1e-3,
            )
            assert {each.id for each in two.alternates} == {each.id for each in one.alternates}


def test_an_exif_orientation_changes_nothing(front: Recommender, shop: Shop) -> None:
    image = Image.open(shop.paths()[2])
    upright, stored = ask(front, encode(image, subsampling=0)), ask(front, turned(image, 6))
    assert (stored.height, stored.width) == (upright.height, upright.width) == image.size[::-1]
    for one, two in zip(upright.versions, stored.versions, strict=True):
        assert (one.label, one.probability) == (two.label, pytest.approx(two.probability, abs=0.1))


def test_variants_are_rendered_as_they_are_judged(front: Recommender, shop: Shop) -> None:
    path = shop.paths()[0]
    rendered = front.render_creative(path)
    answer = ask(front, path)
    assert set(rendered) == {version.label for version in answer.versions}
    original = pictures.open_upright(pictures.load(path))
    assert rendered["original"].width / rendered["original"].height == pytest.approx(
        original.width / original.height, rel=0.01
    )
    assert rendered["rotate"].size == rendered["original"].size[::-1]
    shown = np.asarray(rendered["original"].resize(original.size, Image.Resampling.BILINEAR), float)
    assert np.abs(shown - np.asarray(original, float)).mean() < 4
    means = {label: np.asarray(image, float).mean() for label, image in rendered.items()}
    assert means["brighter"] > means["original"] > means["darker"]
    with pytest.raises(BadImage):
        front.render_creative(b"no picture")


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (2, 900)])
def test_pictures_of_any_shape_are_judged_and_rendered(front: Recommender, size: tuple[int, int]) -> None:
    odd = Image.new("RGB", size, (120, 40, 200))
    assert 0 <= ask(front, odd).probability <= 1
    assert min(min(image.size) for image in front.render_creative(odd).values()) >= 1


def test_damaged_files_are_answered_or_refused_with_the_reason(front: Recommender) -> None:
    files = [each.data for each in corpus(DAMAGED, seed=5)]
    answers = list(front.optimise_creatives(files, **CAMPAIGN, alternates=False))
    unexplained = [
        answer.to_json()
        for answer in answers
        if isinstance(answer, Failure) and (answer.server or answer.kind not in ("BadImage", "TooLarge"))
    ]
    assert len(answers) == DAMAGED
    assert not unexplained
    assert any(isinstance(answer, CreativeAnswer) for answer in answers)


@pytest.mark.filterwarnings("ignore:Truncated File Read:UserWarning")
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_real_photos_odd_and_ordinary_are_answered_or_refused_with_the_reason(
    front: Recommender, test_data: Path
) -> None:
    """All odd ones, and of the others every eighth."""
    with (test_data / "photos" / "MANIFEST.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    odd = [row["file"] for row in rows if row["category"] == "odd"]
    chosen = [*odd, *[row["file"] for row in rows if row["category"] != "odd"][::8]]
    files = [test_data / "photos" / name for name in chosen]
    refused = []
    for path, answer in zip(files, front.optimise_creatives(files, **CAMPAIGN), strict=True):
        if isinstance(answer, CreativeAnswer):
            assert all(0 <= value <= 1 for each in answer.versions for value in each.conversions.values())
            continue
        assert answer.kind in ("BadImage", "TooLarge"), answer
        assert answer.message.startswith(f"{path}: ")
        refused.append(path.name)
    assert set(refused) == set(REFUSED)


def test_the_command_writes_a_sheet_and_the_variants(shop: Shop, tmp_path: Path) -> None:
    path = shop.paths(shoe_gender="women")[0]
    options = [f"--{name.replace('_', '-')}={value}" for name, value in CAMPAIGN.items()]
    result = shop.run(
        "creative", path, *options, "--json", "--out", tmp_path / "sheets", "--variants", tmp_path / "sent"
    )
    assert (result.exit_code, result.stderr) == (0, "")
    row = json.loads(result.stdout)
    assert not [warning for warning in row["warnings"] if "not shown" in warning]
    assert row["best_alternate"]["id"] == row["alternates"][0]["id"]
    assert Path(row["drawing"]) == tmp_path / "sheets" / path.name
    with Image.open(row["drawing"]) as sheet:
        assert sheet.width > 1600
    assert row["files"].keys() == {variant["label"] for variant in row["variants"]}
    assert all(Path(file).read_bytes().startswith(b"\xff\xd8") for file in row["files"].values())


def test_cards_belong_together(shop: Shop) -> None:
    with Connection(Endpoint(shop.url, TIMEOUT_S)) as connection:
        found = connection.infer(contract.CONVERSION, creatives.probe()).outputs
    vocabulary = Vocabulary.from_bytes(found[contract.SCHEMA].tobytes())
    card = ModelCard.from_bytes(found[contract.CARD].tobytes())
    assert card.labels == contract.TARGETS
    assert vocabulary.variants_weights == shop.alternates.manifest().embedder_weights
