"""From a folder of pictures to an exported model, as users go: the command, the build, what it refuses."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from adlens import contract
from adlens.contract import TARGETS, ModelCard
from adlens.vocabulary import Vocabulary
from export import generated_creatives, train_conversion, train_variants
from export.creative import planted
from export.creative.config import read_config
from export.creative.conversion_graph import SIGNATURE, TOLERANCE, answer, draw_requests
from export.creative.network import CreativeNetwork
from export.creative.story import JudgeStory, load_trunk, save_judge
from export.datasets import DatasetError
from export.graph import open_session
from export.models import build_conversion, fingerprint
from export.networks.attributes import digest
from export.train_conversion import Judge
from export.weights import WeightsError

PRODUCTS = 8
SENDS = 20
"""Of every version."""


def save_new_judge(seed: int) -> CreativeNetwork:
    """Where `make models` looks for an own judge: one of real size, said to be trained on real pictures."""
    config = read_config()
    trunk, _ = load_trunk(config.backbone, config.weights)
    first = digest(trunk)
    network = CreativeNetwork(trunk, config.variants).eval()
    torch.manual_seed(seed)
    torch.nn.init.normal_(network.head.weight)
    told = JudgeStory(
        config.backbone, config.variants, config.weights, first, "a test", False,
        {"skill": dict.fromkeys(config.variants, 0.5)},
    )  # fmt: skip
    save_judge(network, False, told, train_variants.cached_judge())
    return network


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Pictures of products, one of them broken; and a cache folder with a judge."""
    folder = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADLENS_CACHE", str(folder / "cache"))
        generated_creatives.write_catalogue(folder / "pictures", PRODUCTS, 1)
        next(iter(sorted((folder / "pictures").rglob("*.jpg")))).write_bytes(b"no picture")
        save_new_judge(1)
        yield folder / "pictures"


def run(*arguments: str | int | Path) -> Result:
    return CliRunner().invoke(train_conversion.main, [*map(str, arguments)])


def write_sends(shop: Path, file: Path) -> Path:
    """A campaign of those pictures, whose outcomes were planted but are not called so."""
    labels = read_config().variants
    catalogue = train_variants.find_catalogue(shop)
    sends = planted.plant(catalogue, labels, sends_each=SENDS)
    names = [str(path.relative_to(shop)) for path in catalogue.paths]
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["relative_im_path", "variant", *contract.CONTEXT_NAMES, *TARGETS])
        for picture, variant, context, outcomes in zip(
            sends.pictures, sends.variants, sends.context, sends.outcomes, strict=True
        ):
            writer.writerow([names[picture], variant, *context, *outcomes.astype(int)])
    return file


@pytest.fixture(scope="module")
def trained(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """By an own campaign."""
    before = fingerprint(contract.CONVERSION)
    file = write_sends(shop, tmp_path_factory.mktemp("campaign") / "sends.csv")
    result = run("--data", file, "--images", shop)
    assert result.exit_code == 0, result.output
    assert fingerprint(contract.CONVERSION) != before
    return result


def test_a_campaign_is_learned_from_and_a_broken_picture_is_named_and_left_out(trained: Result) -> None:
    assert "left out: " in trained.stderr
    report = json.loads(trained.stdout)
    assert f"{(PRODUCTS - 1) * 6 * SENDS} sends of {PRODUCTS - 1} pictures" in report["trained_on"]
    assert tuple(report["held_out"]) == TARGETS
    assert "ceiling" not in {name for name, value in report["held_out"]["open_rate"].items() if value}


def test_it_is_exported_with_its_vocabulary_and_says_what_xgboost_says(
    trained: Result, tmp_path: Path
) -> None:
    judge = Judge.load()
    manifest = build_conversion(None, tmp_path / "1", [])
    assert max(manifest.parity.values()) <= TOLERANCE
    model, story = train_conversion.load(judge)
    request = draw_requests(model, 8, seed=3)
    outputs = open_session(tmp_path / "1" / "model.onnx").run(
        list(SIGNATURE.outputs), dict(zip(SIGNATURE.inputs, request, strict=True))
    )
    np.testing.assert_allclose(outputs[0], answer(model, *request)[0], rtol=0, atol=TOLERANCE)
    card = ModelCard.from_bytes(outputs[2][0].tobytes())
    assert (card.labels, card.skill, card.starter) == (TARGETS, story.skill, False)
    assert card.weights == model.digest[:16]
    vocabulary = Vocabulary.from_bytes(outputs[3][0].tobytes())
    assert vocabulary.variants == read_config().variants
    assert vocabulary.variants_weights == judge.weights == digest(judge.network)[:16]
    assert dict(vocabulary.context) == dict(planted.VALUES)
    assert set(vocabulary.calibration) == set(TARGETS)


def test_it_is_not_built_beside_a_judge_that_is_another(trained: Result, tmp_path: Path) -> None:
    beside = tmp_path / contract.VARY_CREATIVE / "1" / "manifest.json"
    beside.parent.mkdir(parents=True)
    folder = tmp_path / contract.CONVERSION / "1"
    beside.write_text(json.dumps({"digest": "f" * 64}))
    with pytest.raises(WeightsError, match=r"1 was built of the judge f{16}, and today's is .*: build both"):
        build_conversion(None, folder, [])
    assert not folder.exists()
    beside.write_text(json.dumps({"digest": digest(Judge.load().network)}))
    assert build_conversion(None, folder, []).model == contract.CONVERSION


def test_planted_outcomes_and_shuffled_ones_promise_no_skill(
    shop: Path, trained: Result, tmp_path: Path
) -> None:
    for extra in ([], ["--shuffle"]):
        result = run("--images", shop, "--planted", "--sends", SENDS, "--out", tmp_path, *extra)
        assert result.exit_code == 0, result.output
        assert "no real skill" in result.stderr
        report = json.loads(result.stdout)
        assert report["starter"] is True
        assert report["trained_on"].startswith("planted outcomes of 840 sends of 7 pictures in pictures")
        assert report["held_out"]["open_rate"]["ceiling"] == pytest.approx(0.6 if extra else 0.8, abs=0.1)
        assert train_conversion.read(tmp_path)[1].skill == (0.0,) * 4


def test_a_catalogue_gives_the_types(shop: Path, trained: Result, tmp_path: Path) -> None:
    file = shop / generated_creatives.CATALOGUE
    result = run("--data", file, "--planted", "--sends", SENDS, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    with file.open(encoding="utf-8") as lines:
        known = {row["shoe_gender"] for row in csv.DictReader(lines)}
    model, _ = train_conversion.read(tmp_path)
    assert set(model.vocabulary.context["type"]) <= known


@pytest.mark.parametrize(
    "arguments", [[], ["--planted"], ["--images", "."], ["--images", ".", "--shuffle"]], ids=str
)
def test_without_pictures_and_outcomes_the_command_says_what_it_needs(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "name a CSV of past sends by --data; or pictures by --images" in result.stderr


def test_too_few_sends_are_an_error_and_leave_nothing(shop: Path, trained: Result, tmp_path: Path) -> None:
    result = run("--images", shop, "--planted", "--out", tmp_path / "model")
    assert result.exit_code == 1
    assert "at least 100 are needed, with 10 of either outcome: gather more" in result.stderr
    assert not (tmp_path / "model").exists()


def test_a_model_that_learned_from_another_judge_s_logits_is_not_exported(
    trained: Result, tmp_path: Path
) -> None:
    learned = train_conversion.read(train_conversion.cached_conversion())[0].vocabulary.variants_weights
    other = save_new_judge(2)
    try:
        with pytest.raises(DatasetError) as refused:
            build_conversion(None, tmp_path / "1", [])
        assert f"has learned from the logits of {learned} for brighter, " in str(refused.value)
        assert f"vary_creative is {digest(other)[:16]} for brighter, " in str(refused.value)
        assert "train it again with `python -m export.train_conversion`, or remove" in str(refused.value)
        assert not (tmp_path / "1").exists()
    finally:
        save_new_judge(1)
