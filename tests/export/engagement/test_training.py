"""Learning engagement: what is planted is found, what is shuffled is not, and nothing of the future."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from adlens import contract
from export import train_engagement
from export.caches import OF, pictures_of
from export.creative.features import FeatureStore
from export.creative.network import BACKBONES, CreativeTrunk
from export.datasets import DatasetError
from export.engagement import features, finetune, planted, progress, story, training
from export.engagement.config import FILE, EngagementConfig, read_config
from export.engagement.evaluation import Judgement
from export.engagement.features import compute_features
from export.engagement.learning import Schedule, learn
from export.engagement.network import CONTEXT, IMAGE, Head
from export.engagement.posts import Posts
from export.engagement.training import Examples, fit_head, left_out, scores_of
from export.faces import decode
from export.networks.attributes import digest
from export.weights import STARTER, WeightsError
from tests.export.engagement.tiny import Tiny, randomise, trunk

# torch.export warns of its own use of deprecated parts of itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")

CONFIG = EngagementConfig("resnet34", STARTER, (CONTEXT,), "fixed", (7_000, 11_000), (1 / 3, 2 / 3), "time")
SCHEDULE = Schedule(epochs=80, patience=15)
WIDE, VIEWS = 24, 2


def posts_of(count: int, relation: str, seed: int = 20) -> Posts:
    """Planted posts without pictures."""
    drawn = planted.plant(count, relation, seed)
    hours, days = drawn.minutes / 60 % 24, (6 + drawn.minutes // 1440) % 7
    context = np.stack(
        [hours, days, drawn.words * 5, drawn.hashtags, drawn.followers, drawn.advertised], axis=1
    )
    comments = drawn.totals // 100
    return Posts(
        tuple(Path(f"{number}.jpg") for number in range(count)),
        tuple(planted.ACCOUNTS[place] for place in drawn.accounts),
        drawn.totals - comments,
        comments,
        drawn.minutes * 60.0,
        context.astype(np.float32),
    )


def store_of(posts: int, folder: Path, told: NDArray[np.float64]) -> FeatureStore:
    """Features by chance, of which three tell what ``told`` says, in several shards."""
    random = np.random.default_rng(5)
    found = random.normal(size=(posts, VIEWS, WIDE))
    found[:, :, :3] += told[:, None, None]
    folder.mkdir(exist_ok=True)
    starts = range(0, posts, 100)
    for start in starts:
        rows = np.arange(start, min(start + 100, posts))
        np.save(folder / f"{start:08}.npy", found[rows].astype(np.float16))
        np.save(folder / f"{start:08}.rows.npy", rows)
    return FeatureStore([folder / f"{start:08}.npy" for start in starts])


def classes_of(posts: Posts) -> NDArray[np.int64]:
    return np.digitize(posts.totals, [7_000, 11_001])


def masks(count: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    place = np.arange(count) / count
    return place < 0.6, (place >= 0.6) & (place < 0.8), place >= 0.8


def judged(posts: Posts, configuration: EngagementConfig = CONFIG, **changes: int) -> Judgement:
    return learn(posts, configuration, replace(SCHEDULE, **changes)).judgement


@pytest.fixture(scope="module")
def tiny() -> Iterator[None]:
    """A trunk of a few layers in place of ResNet34."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "resnet34", Tiny)
        yield


@pytest.fixture(scope="module", autouse=True)
def one_export() -> Iterator[None]:
    """Graphs of the same trunk are exported once, as that takes the longest."""
    opened: dict[str, onnxruntime.InferenceSession] = {}
    real = features._session

    def session(trunk: CreativeTrunk, threads: int) -> onnxruntime.InferenceSession:
        key = digest(trunk)
        if key not in opened:
            opened[key] = real(trunk, threads)
        return opened[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "_session", session)
        yield


@pytest.mark.usefixtures("cache")
def test_a_relation_to_the_context_is_found_and_shuffled_labels_say_not_enough_signal() -> None:
    posts = posts_of(800, "context")
    trained = learn(posts, CONFIG, SCHEDULE)
    found, alone = trained.judgement, trained.without_context
    assert not alone.signal, "it reads no picture"
    assert alone.score.log_loss < alone.base_rates.log_loss + 0.05, "nor is it sure of what it cannot know"
    assert found.accuracy >= found.majority + 0.25
    assert found.spearman >= 0.7
    assert found.signal
    assert found.score.ranked < found.base_rates.ranked
    assert not any(judged(posts, shuffle=seed, epochs=20).signal for seed in range(3))


@pytest.mark.parametrize("reads", [(IMAGE,), (IMAGE, CONTEXT)])
def test_a_relation_to_what_is_seen_is_found(tmp_path: Path, reads: tuple[str, ...]) -> None:
    relation = "image" if reads == (IMAGE,) else "both"
    posts, drawn = posts_of(600, relation), planted.plant(600, relation)
    warmth = np.array([look.warmth for look in drawn.looks])
    seen = planted.plant(600, "image").scores
    assert np.corrcoef(warmth, seen)[0, 1] > 0.8
    examples = Examples(store_of(600, tmp_path / "store", 2 * seen), posts.context, classes_of(posts))
    fitting, validation, held_out = masks(600)
    head = Head(WIDE, reads)
    checkpoint = tmp_path / "head.safetensors"
    fit_head(head, examples, fitting, validation, epochs=60, patience=15, seed=1, checkpoint=checkpoint)
    scores = scores_of(head, examples, held_out)
    order = np.argsort(np.argsort(scores)), np.argsort(np.argsort(posts.totals[held_out]))
    assert np.corrcoef(*order)[0, 1] > 0.7
    assert not checkpoint.exists()


def test_nothing_is_learned_of_posts_held_out(tmp_path: Path) -> None:
    """Neither moments nor weights change with what is known of them."""
    posts = posts_of(300, "context")
    fitting, validation, held_out = masks(300)
    heads = []
    for spoiled in (False, True):
        context, classes = posts.context.copy(), classes_of(posts)
        if spoiled:
            context[held_out] *= 1_000
            classes[held_out] = 0
        head = Head(0, [CONTEXT])
        checkpoint = tmp_path / "head.safetensors"
        fit_head(
            head, Examples(None, context, classes), fitting, validation,
            epochs=5, patience=5, seed=1, checkpoint=checkpoint,
        )  # fmt: skip
        heads.append(digest(head))
    assert heads[0] == heads[1]


def test_a_training_that_was_killed_comes_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    posts = posts_of(300, "context")
    examples = Examples(None, posts.context, classes_of(posts))
    fitting, validation, _ = masks(300)
    real = training.validation_loss
    heads = {}
    for kill_at in (None, 4):
        head, checkpoint, seen = Head(0, [CONTEXT]), tmp_path / f"{kill_at}.safetensors", []

        def loss(*given: object, kill_at: int | None = kill_at, seen: list[int] = seen) -> float:
            seen.append(1)
            if len(seen) == kill_at:
                raise KeyboardInterrupt
            return real(*given)  # type: ignore[arg-type]

        monkeypatch.setattr(training, "validation_loss", loss)
        arguments = {"epochs": 9, "patience": 9, "seed": 1, "checkpoint": checkpoint}
        if kill_at:
            with pytest.raises(KeyboardInterrupt):
                fit_head(head, examples, fitting, validation, **arguments)  # type: ignore[arg-type]
            assert checkpoint.exists()
            head = Head(0, [CONTEXT])
        fit_head(head, examples, fitting, validation, **arguments)  # type: ignore[arg-type]
        heads[kill_at] = digest(head)
        assert len(seen) == (10 if kill_at else 9)
    assert heads[None] == heads[4]


def test_fields_are_left_out_now_and_then_and_sometimes_all() -> None:
    known = torch.ones(2_000, len(contract.POST_FIELDS))
    gone = left_out(known, np.random.default_rng(1)).isnan()
    assert gone.float().mean() == pytest.approx(
        1 - (1 - training.DROP_FIELD) * (1 - training.DROP_CONTEXT), abs=0.02
    )
    assert gone.all(1).float().mean() == pytest.approx(training.DROP_CONTEXT, abs=0.03)
    assert not known.isnan().any()


@pytest.mark.usefixtures("cache")
def test_too_few_posts_and_a_single_class_are_refused_with_the_remedy() -> None:
    with pytest.raises(DatasetError, match="posts in the validation part, and it needs 10; gather more"):
        judged(posts_of(30, "none"))
    with pytest.raises(DatasetError, match=r"are of one class .*--classes account"):
        judged(posts_of(120, "none"), replace(CONFIG, boundaries=(1, 2)))


@pytest.mark.usefixtures("cache")
def test_accounts_may_have_boundaries_of_their_own() -> None:
    found = learn(posts_of(400, "context"), replace(CONFIG, classes="account"), replace(SCHEDULE, epochs=3))
    assert set(found.boundaries.of_accounts) == set(planted.ACCOUNTS)
    fitting = found.counts["fitting"]
    assert max(fitting.values()) < 1.3 * min(fitting.values())


def test_pictures_are_seen_as_they_are_and_anew_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(features, "SHARD", 2)
    planted.write_posts(tmp_path / "posts", 4, "image")
    pictures = sorted((tmp_path / "posts" / "pictures").glob("*.jpg"))
    pictures[2].write_bytes(b"\xff\xd8 no picture")
    base = trunk()
    store = compute_features(base, pictures, 3, tmp_path / "cache", threads=1)
    assert store.rows.tolist() == [0, 1, 3]
    assert str(pictures[2]) in capsys.readouterr().err
    (told,) = (tmp_path / "cache" / "posts").glob(f"*/{OF}")
    assert told.read_text() == pictures_of(pictures, f"{base.wide} features")
    found = torch.cat(list(store.chunks(np.ones(3, np.bool_))))
    assert found.shape == (3, 3, base.wide)
    pixels, sizes = next(decode([pictures[0]]))
    with torch.no_grad():
        want = features.FeatureNetwork(base)(pixels, torch.from_numpy(sizes))
    torch.testing.assert_close(found[0, 0], want[0], rtol=2e-3, atol=2e-3)
    assert not torch.allclose(found[:, 1], found[:, 2], atol=1e-2)
    monkeypatch.delattr(features, "_session")  # what is there is not computed again
    assert compute_features(base, pictures, 3, tmp_path / "cache").rows.tolist() == [0, 1, 3]


def test_fine_tuning_teaches_the_last_layers_and_keeps_the_best(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetune, "RATE", 1e-3)
    monkeypatch.setattr(finetune, "HEAD_RATE", 1e-3)
    planted.write_posts(tmp_path, 14, "image")
    posts = replace(posts_of(14, "image"), pictures=tuple(sorted((tmp_path / "pictures").glob("*.jpg"))))
    base, classes = trunk(), classes_of(posts)
    head = Head(base.wide, [IMAGE])
    known = masks(14)[0]  # for validation, too: what learns must get better at these
    before = {name: digest(layer) for name, layer in base.named_children()}
    first = base.layers[0].state_dict()["0.conv1.weight"].clone()
    randomise(head)
    start = finetune._loss(base, head, posts, classes, np.flatnonzero(known))
    best = finetune.fine_tune(
        base, head, posts, classes, known, known, epochs=4, seed=1, checkpoint=cache / "tuning"
    )
    assert best < start
    assert finetune._loss(base, head, posts, classes, np.flatnonzero(known)) == pytest.approx(best, abs=1e-4)
    assert digest(base.layers) != before["layers"]
    assert torch.equal(base.layers[0].state_dict()["0.conv1.weight"], first)
    assert digest(base.stem) == before["stem"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(train_engagement.main, list(map(str, arguments)))


@pytest.mark.usefixtures("tiny")
def test_the_command_leaves_a_predictor_that_make_models_exports(tmp_path: Path, cache: Path) -> None:
    data = planted.write_posts(tmp_path, 80, "both")
    options = ["--data", data, "--views", 1, "--epochs", 4, "--threads", 1]
    result = run(*options)
    assert result.exit_code == 0, result.output
    folder = cache / contract.ENGAGEMENT_MODEL
    names = {"engagement.safetensors", "report.json", "MODEL_CARD.md", "confusion.png", "reliability.png"}
    assert {path.name for path in folder.iterdir()} == names
    network, told, source = train_engagement.load()
    assert (told.reads, told.starter, source.starter) == ((IMAGE, CONTEXT), True, True)
    report = json.loads((folder / "report.json").read_text())
    assert report["training"]["cleaning"]["after"]["posts"] == 80
    assert f"{report['held_out']['majority']:.1%} by always saying" in result.output
    pixels, sizes = next(decode(sorted((tmp_path / "pictures").glob("*.jpg"))[:2]))
    with torch.no_grad():
        found = network(pixels, torch.from_numpy(sizes), torch.full((2, 6), torch.nan))
    assert torch.allclose(found.sum(1), torch.ones(2), atol=1e-5)
    assert str(folder / story.MODEL_FILE) in map(str, train_engagement.sources())
    broken = folder / story.MODEL_FILE
    broken.write_bytes(b"nothing")
    with pytest.raises(WeightsError, match=r"not a predictor of engagement .* train it again"):
        train_engagement.load()


def test_wrong_options_and_files_are_usage_errors(tmp_path: Path, cache: Path) -> None:
    empty = tmp_path / "posts.csv"
    empty.write_text("image,likes,comments\n")
    assert run("--data", tmp_path / "none.csv").exit_code == 2
    assert "caption is none of image, context" in run("--data", empty, "--reads", "caption").output
    result = run("--data", empty)
    assert result.exit_code == 1
    assert "posts.csv" in result.output


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("backbone: vgg16", "backbone 'vgg16' is unknown; choose one of resnet"),
        ("reads: [image, image]", "reads 'image, image': choose of image, context, each once"),
        ("reads: image", "reads: 'image' is no list"),
        ("classes: mine", "classes 'mine' is unknown"),
        ("boundaries: [11000, 7000]", "boundaries 11000.0, 7000.0: give two rising numbers"),
        ("quantiles: [0.5]", r"quantiles: \[0.5\] are not two numbers"),
        ("split: never", "split 'never' is unknown"),
        ("colour: red", "must have the keys backbone, "),
    ],
)
def test_a_configuration_that_cannot_be_built_is_refused(tmp_path: Path, line: str, reason: str) -> None:
    key = line.partition(":")[0]
    kept = [each for each in FILE.read_text().splitlines() if not each.startswith(f"{key}:")]
    file = tmp_path / "engagement.yaml"
    file.write_text("\n".join([*kept, line]))
    with pytest.raises(DatasetError, match=reason):
        read_config(file)
    assert read_config().backbone in BACKBONES
