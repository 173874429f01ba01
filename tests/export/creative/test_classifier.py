"""The judge learns from any folder, goes on where it was killed, and is judged on products it never saw."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from adlens import contract
from export import generated_creatives, train_variants
from export.caches import OF, pictures_of
from export.creative import features, finetune
from export.creative.classifier import Head
from export.creative.config import CreativeConfig, read_config
from export.creative.features import compute_features
from export.creative.judging import evaluate, judge
from export.creative.network import CreativeNetwork
from export.creative.reading import Catalogue, find_catalogue
from export.creative.story import load_judge, load_trunk, read_story, save_judge
from export.datasets import DatasetError
from export.weights import STARTER, WeightsError

# torch.export warns of its own use of deprecated parts of itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")

LABELS = ("original", "darker", "sketch")
CONFIG = CreativeConfig("resnet34", STARTER, LABELS)
ENOUGH = 0.995
"""Share of the variants of generated pictures that the starter tells."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder for this file, and shards of a few pictures."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADLENS_CACHE", str(folder))
        patch.setattr(features, "SHARD", 4)
        yield folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five products of two pictures, and a file that is none."""
    folder = tmp_path_factory.mktemp("images")
    generated_creatives.write_catalogue(folder, models=5, pictures=2)
    (folder / "model-001" / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    return folder


@pytest.fixture(scope="module")
def trained(cache: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A judge, by the command line."""
    folder = tmp_path_factory.mktemp("judge")
    arguments = ["--images", str(images), "--backbone", "resnet34", "--variants", ",".join(LABELS)]
    result = CliRunner().invoke(train_variants.main, [*arguments, "--threads", "1", "--out", str(folder)])
    assert result.exit_code == 0, result.output
    assert "left out" in result.output
    assert "broken.jpg" in result.output
    assert "held-out accuracy 100.0000% on 2 pictures" in result.output
    return folder


def test_variants_are_told_apart_on_products_never_seen(trained: Path, images: Path) -> None:
    network, story, source = load_judge(trained)
    assert story.labels == network.labels == LABELS
    assert source.starter
    # On a seeded trunk nothing is promised.
    assert story.skill == (0.0, 0.0, 0.0)
    assert story.starter
    catalogue = find_catalogue(images)
    held_out = train_variants.split(catalogue)[0]
    unseen = [path for path, out in zip(catalogue.paths, held_out, strict=True) if out]
    # As the network itself says, and not only its head on features of half precision.
    logits = judge([path for path in unseen if path.stem != "broken"], network)
    assert evaluate(logits[:, :3, :3], LABELS).accuracy == story.held_out["accuracy"] == 1
    assert json.loads((trained / "report.json").read_text())["trained_on"].endswith("judged on 2 of 1 others")


def test_a_run_that_was_killed_goes_on_with_what_is_missing(trained: Path, cache: Path, images: Path) -> None:
    (folder,) = (cache / "variants").iterdir()
    shards = sorted(path for path in folder.glob("*.npy") if "rows" not in path.name)
    assert len(shards) == 3
    before = np.load(shards[1])
    assert before.dtype == np.float16
    others = {path: path.stat().st_mtime_ns for path in shards if path != shards[1]}
    shards[1].rename(folder / f"partial-{shards[1].name}")
    trunk = load_trunk("resnet34", STARTER)[0]
    store = compute_features(trunk, LABELS, find_catalogue(images), cache, threads=1)
    np.testing.assert_allclose(np.load(shards[1]).astype(float), before.astype(float), atol=1e-2)
    assert {path: path.stat().st_mtime_ns for path in others} == others
    assert len(store) == 10
    assert sorted(set(range(11)) - set(store.rows.tolist())) == [
        [path.name for path in find_catalogue(images).paths].index("broken.jpg")
    ]


def test_no_product_is_on_two_sides() -> None:
    groups = tuple(f"shoe-{number % 50}" for number in range(300))
    catalogue = Catalogue(Path("shoes"), tuple(Path(f"{number}.jpg") for number in range(300)), groups)
    parts = train_variants.split(catalogue)
    sides = [{group for group, chosen in zip(groups, part, strict=True) if chosen} for part in parts]
    assert [len(side) for side in sides] == [10, 8, 32]
    assert len(set.union(*sides)) == 50
    assert (np.sum(parts, axis=0) == 1).all()


def test_pictures_without_folders_are_products_of_their_own(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.png", "deep/er/c.webp", "deep/er/d.JPG", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_catalogue(tmp_path)
    assert found.groups == ("a.jpg", "b.png", "deep/er", "deep/er")


@pytest.mark.usefixtures("cache")
def test_too_few_products_are_refused(images: Path) -> None:
    few = Catalogue(images, tuple(sorted((images / "model-000").iterdir())), ("one", "one"))
    with pytest.raises(DatasetError, match="1 products in 2 readable pictures are too few"):
        train_variants.train(CONFIG, few, images / "none", threads=1)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no picture in it"):
        find_catalogue(tmp_path)


def tuned(images: Path, checkpoint: Path, network: CreativeNetwork | None = None) -> CreativeNetwork:
    """A judge fine-tuned on one product's pictures, for two epochs of one step each."""
    network = network or CreativeNetwork(load_trunk("resnet34", STARTER)[0], LABELS).eval()
    with torch.no_grad():  # of a channel that says nothing the head reads the root of 0
        network.trunk.layers[-1][-1].conv2.bias[0] = -1e6
    finetune.fine_tune(network, sorted((images / "model-000").glob("*.jpg")), 2, checkpoint, seed=1)
    return network


def test_fine_tuning_learns_and_goes_on_where_it_was_killed(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetune, "STEPS", 1)
    whole = tuned(images, tmp_path / "whole.safetensors")
    untrained = load_trunk("resnet34", STARTER)[0]
    changed = [
        not torch.equal(value, other)
        for value, other in zip(
            whole.trunk.layers[-1].parameters(), untrained.layers[-1].parameters(), strict=True
        )
    ]
    assert any(changed)
    assert all(bool(value.isfinite().all()) for value in whole.parameters())
    first = slice(-finetune.LAYERS)
    for layer, other in zip(whole.trunk.layers[first], untrained.layers[first], strict=True):
        for value, same in zip(layer.parameters(), other.parameters(), strict=True):
            assert torch.equal(value, same)
    # Killed in its second step.
    step, calls = finetune._step, []

    def dies(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        step(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(finetune, "_step", dies)
    checkpoint = tmp_path / "killed.safetensors"
    killed = CreativeNetwork(load_trunk("resnet34", STARTER)[0], LABELS).eval()
    with pytest.raises(KeyboardInterrupt):
        tuned(images, checkpoint, killed)
    assert not any(layer._forward_hooks for layer in killed.trunk.layers)
    resumed = tuned(images, checkpoint)
    assert len(calls) == 3
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, atol=1e-6, rtol=1e-4)
    # And it is kept as it is.
    told = read_story(save(resumed, tmp_path / "judge"))
    again = load_judge(tmp_path / "judge")[0]
    assert told.held_out["accuracy"] == 1
    for name, value in resumed.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def save(network: CreativeNetwork, folder: Path) -> Path:
    """A fine-tuned judge of no merit, in ``folder``."""
    figures = {"accuracy": 1, "skill": dict.fromkeys(LABELS, 1.0)}
    trunk = train_variants.digest(load_trunk("resnet34", STARTER)[0])
    story = train_variants.JudgeStory("resnet34", LABELS, STARTER, trunk, "nothing", False, figures)
    save_judge(network, True, story, folder)
    return folder


def test_an_own_judge_of_another_configuration_is_not_exported(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_variants, "cached_judge", lambda: trained)
    with pytest.raises(
        WeightsError, match=r"has learned original, darker, sketch on resnet34, and creative.yaml"
    ):
        train_variants.load()
    monkeypatch.setattr(train_variants, "read_config", lambda: CONFIG)
    assert train_variants.load()[1].labels == LABELS


def test_a_judge_on_other_weights_is_refused(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.weights.SEED", 21)
    with pytest.raises(WeightsError, match="train again"):
        load_judge(trained)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "backbone: vgg16\nweights: starter\nvariants: [original]",
            "'vgg16' is unknown; choose one of resnet50",
        ),
        ("backbone: resnet50\nweights: starter\nvariants: [original, wider]", "no variant 'wider'"),
        ("backbone: resnet50\nweights: starter\nvariants: original", "no list"),
        ("backbone: resnet50\nvariants: [original]", "must have the keys"),
        ("backbone: [", "while parsing"),
    ],
)
def test_a_configuration_that_cannot_be_built_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "creative.yaml"
    file.write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_config(file)


def test_the_served_variants_are_those_of_the_specification() -> None:
    assert read_config().variants == ("brighter", "darker", "original", "rotate", "sketch", "swivel")


def test_judging_counts_what_is_taken_for_what() -> None:
    logits = np.zeros((2, 3, 3), np.float32)
    logits[0] = np.eye(3) * 9
    logits[1] = np.eye(3)[[0, 1, 1]] * 9
    found = evaluate(logits, LABELS)
    assert found.accuracy == pytest.approx(5 / 6, abs=1e-5)
    assert found.confusion.tolist() == [[2, 0, 0], [0, 2, 0], [0, 1, 1]]
    assert found.auc[0] == 1
    assert found.auc[2] == pytest.approx(0.75)
    assert found.skill == (1, found.skill[1], 0.5)
    assert train_variants.describe(found).count("\n") == 5


def test_a_head_answers_for_the_chosen_pictures_alone(trained: Path, cache: Path, images: Path) -> None:
    trunk = load_trunk("resnet34", STARTER)[0]
    store = compute_features(trunk, LABELS, find_catalogue(images), cache, threads=1)
    told = {of.read_text() for of in (cache / "variants").glob(f"*/{OF}")}  # by which older ones are found
    assert pictures_of(find_catalogue(images).paths, f"{trunk.wide} features") in told
    head = Head(torch.ones(3, trunk.wide), torch.zeros(3), 0.0)
    chosen = np.zeros(len(store), bool)
    chosen[[1, 8]] = True
    both, every = head.logits(store, chosen), head.logits(store, ~chosen | chosen)
    np.testing.assert_allclose(both, every[[1, 8]], rtol=1e-5)


def test_the_starter_tells_variants_of_generated_pictures_apart() -> None:
    manifest = (
        Path(train_variants.__file__).parent.parent
        / "model_repository"
        / contract.VARY_CREATIVE
        / "1"
        / "manifest.json"
    )
    if not manifest.exists():
        pytest.skip("vary_creative has not been built; run `make models`")
    told = json.loads(manifest.read_text())
    if not told["weights"]["starter"]:
        pytest.skip("vary_creative is an own training run's")
    assert told["held_out"]["accuracy"] >= ENOUGH


def test_a_crop_is_a_part_of_the_picture_mirrored_or_not() -> None:
    pixels = np.zeros((2, contract.CANVAS, contract.CANVAS, 3), np.uint8)
    # 1,280 pixels wide, so half as many on the canvas; each column of a colour of its own.
    pixels[0, :400] = (np.arange(contract.CANVAS) % 251)[None, :, None]
    pixels[1, 0, 0] = 9
    sizes = torch.tensor([[800, 1280], [1, 1]], dtype=torch.int32)
    seen = set()
    for seed in range(8):
        canvases, parts = finetune.cropped(torch.from_numpy(pixels), sizes, np.random.default_rng(seed))
        height, width = parts[0].tolist()
        assert 0.8 * 400 <= height <= 400
        assert 0.8 * 640 <= width <= 640
        row = canvases[0, 0, :width, 0].numpy().astype(int)
        step = np.diff(row) % 251
        seen.add(int(step[0]))
        assert (step == step[0]).all()
        assert (canvases[0, :height, :width] == canvases[0, :1, :width]).all()
        assert not canvases[0, height:].any()
        assert not canvases[0, :, width:].any()
        assert parts[1].tolist() == [1, 1]
        assert canvases[1].max() == 9
    assert seen == {1, 250}
