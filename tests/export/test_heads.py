"""Heads learn what is there to be learned, and are not credited with what is not."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import nn

from export.features import FeatureStore
from export.heads import Judgement, Recipe, balanced_weights, judge, predict, train_deep, train_wide
from export.networks.backbones import Tail

ROWS, WIDE, DEEP = 600, 12, 2
FIT, VALIDATION, HELD_OUT = np.arange(360), np.arange(360, 460), np.arange(460, ROWS)
RECIPE = Recipe(epochs=25, adam_rate=1e-2, sgd_rate=1e-3)

Labels = NDArray[np.float32]
MakeStore = Callable[..., FeatureStore]


@pytest.fixture
def features() -> list[NDArray[np.float32]]:
    """Wide features [ROWS, WIDE], of which one never varies, and inputs of the last block [ROWS, DEEP]."""
    random = np.random.default_rng(0)
    wide = 3 + random.normal(size=(ROWS, WIDE)) * np.logspace(-1, 1, WIDE)
    wide[:, 5] = 7
    return [wide.astype(np.float32), random.normal(size=(ROWS, DEEP)).astype(np.float32)]


@pytest.fixture
def store(features: list[NDArray[np.float32]], tmp_path: Path) -> FeatureStore:
    """Two passes, the second a little noisier."""
    random = np.random.default_rng(1)
    for number in range(2):
        folder = tmp_path / f"pass-{number}"
        folder.mkdir()
        for index, array in enumerate(features):
            noise = 0.05 * number * random.normal(size=array.shape) * array.std(axis=0)
            np.save(folder / f"{index}.npy", (array + noise).astype(np.float16))
    return FeatureStore(tmp_path, 2)


@pytest.fixture
def linear(features: list[NDArray[np.float32]]) -> Labels:
    """A label [ROWS, 1] that the wide features show; three in ten rows are positive."""
    wide = features[0]
    score = ((wide - wide.mean(0)) / np.maximum(wide.std(0), 1))[:, [0, 3, 9]] @ [8, -4, 1.0]
    return (score > np.quantile(score, 0.7)).astype(np.float32).reshape(-1, 1)


@pytest.fixture
def hidden(features: list[NDArray[np.float32]]) -> Labels:
    """A label [ROWS, 1] that only the inputs of the last block show, and no linear function of these."""
    x, y = features[1].T
    return (x * y > 0).astype(np.float32).reshape(-1, 1)


def wide_tail() -> Tail:
    return Tail(WIDE, None, None)


def deep_tail() -> Tail:
    """As those of the backbones: a head that adds nothing yet."""
    last = nn.Linear(16, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    block = nn.Sequential(nn.Linear(DEEP, 32), nn.ReLU())
    return Tail(WIDE, block, nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Dropout(0.1), last))


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    torch.manual_seed(0)


def held_out(tails: list[Tail], store: FeatureStore, labels: Labels) -> list[Judgement]:
    return judge(predict(tails, store, HELD_OUT), labels[HELD_OUT])


def test_the_wide_part_finds_a_planted_relation(store: FeatureStore, linear: Labels) -> None:
    tails = [wide_tail()]
    train_wide(tails, store, linear, FIT, VALIDATION, RECIPE, refit=True)
    (found,) = held_out(tails, store, linear)
    assert found.auc > 0.95
    assert found.skill == pytest.approx(2 * found.auc - 1, abs=1e-4)
    # Balanced: half of the positives and half of the negatives would be a fair coin's share.
    assert np.mean(predict(tails, store, HELD_OUT) > 0) == pytest.approx(0.3, abs=0.1)


def test_labels_are_learned_apart(store: FeatureStore, linear: Labels) -> None:
    both, alone = [wide_tail(), wide_tail()], [wide_tail()]
    shuffled = np.random.default_rng(2).permutation(linear)
    train_wide(both, store, np.hstack([shuffled, linear]), FIT, VALIDATION, RECIPE)
    train_wide(alone, store, linear, FIT, VALIDATION, RECIPE)
    np.testing.assert_allclose(
        predict(both, store, HELD_OUT)[:, 1], predict(alone, store, HELD_OUT)[:, 0], atol=0.05
    )


def test_shuffled_labels_give_no_skill(store: FeatureStore, linear: Labels) -> None:
    tails = [wide_tail() for _ in range(5)]
    random = np.random.default_rng(3)
    labels = np.hstack([random.permutation(linear) for _ in tails])
    train_wide(tails, store, labels, FIT, VALIDATION, RECIPE)
    skills = [found.skill for found in held_out(tails, store, labels)]
    assert sorted(skills)[:-1] == [0.0] * (len(tails) - 1)
    assert max(skills) < 0.3


def test_unknown_labels_teach_nothing(store: FeatureStore, linear: Labels) -> None:
    """Half of the rows would teach the contrary; unknown, they do not."""
    contrary, unknown = linear.copy(), linear.copy()
    misleading = FIT[: len(FIT) * 2 // 3]
    contrary[misleading] = 1 - contrary[misleading]
    unknown[misleading] = np.nan
    tails = [wide_tail(), wide_tail()]
    train_wide(tails, store, np.hstack([contrary, unknown]), FIT, VALIDATION, RECIPE)
    misled, learned = held_out(tails, store, np.hstack([linear, linear]))
    assert misled.auc < 0.5
    assert learned.auc > 0.95


def test_the_deep_part_learns_what_the_wide_part_cannot_see(store: FeatureStore, hidden: Labels) -> None:
    tails = [deep_tail()]
    train_wide(tails, store, hidden, FIT, VALIDATION, RECIPE)
    wide = tails[0].wide.weight.clone()
    (before,) = held_out(tails, store, hidden)
    train_deep(tails, store, hidden, FIT, VALIDATION, RECIPE)
    (after,) = held_out(tails, store, hidden)
    assert before.auc < 0.65
    assert after.auc > 0.9
    assert torch.equal(tails[0].wide.weight, wide)
    assert not tails[0].training


def test_the_last_block_is_frozen_in_stage_1_and_tuned_in_stage_2(
    store: FeatureStore, hidden: Labels
) -> None:
    for rate, moves in ((0.0, False), (1e-3, True)):
        tail = deep_tail()
        assert isinstance(tail.block, nn.Sequential)
        block = tail.block.get_submodule("0").weight
        before = torch.as_tensor(block).clone()
        recipe = Recipe(epochs=4, adam_rate=1e-2, sgd_rate=rate)
        train_deep([tail], store, hidden, FIT, VALIDATION, recipe)
        assert torch.equal(torch.as_tensor(block), before) != moves


def test_the_best_epoch_is_kept(store: FeatureStore, hidden: Labels) -> None:
    """What is learned is wrong for validation, so that the best epoch is the one before the first."""
    labels = hidden.copy()
    labels[FIT] = 1 - labels[FIT]
    tails = [deep_tail()]
    train_wide(tails, store, labels, FIT, VALIDATION, RECIPE)
    before = predict(tails, store, HELD_OUT)
    train_deep(tails, store, labels, FIT, VALIDATION, RECIPE)
    np.testing.assert_array_equal(predict(tails, store, HELD_OUT), before)


def test_the_same_seed_gives_the_same_heads(store: FeatureStore, hidden: Labels) -> None:
    answers = []
    for _ in range(2):
        torch.manual_seed(4)
        tails = [deep_tail()]
        train_deep(tails, store, hidden, FIT, VALIDATION, Recipe(epochs=2, adam_rate=1e-2))
        answers.append(predict(tails, store, HELD_OUT))
    np.testing.assert_array_equal(answers[0], answers[1])


def test_predictions_come_in_the_order_of_rows_and_tails(store: FeatureStore) -> None:
    tails = [wide_tail(), deep_tail()]
    rows = np.array([500, 3, 77])
    found = predict(tails, store, rows)
    assert found.shape == (3, 2)
    shared = store.rows(0, rows[1:2])
    with torch.no_grad():
        assert found[1].tolist() == pytest.approx([float(tail(shared)) for tail in tails], abs=1e-5)


def test_the_area_under_the_curve_is_scikit_learns() -> None:
    random = np.random.default_rng(5)
    labels = (random.random((200, 2)) < 0.4).astype(np.float32)
    logits = (labels + random.normal(size=labels.shape)).astype(np.float32)
    labels[::3, 1] = np.nan
    first, second = judge(logits, labels)
    assert first.auc == pytest.approx(roc_auc_score(labels[:, 0], logits[:, 0]))
    known = ~np.isnan(labels[:, 1])
    assert second.auc == pytest.approx(roc_auc_score(labels[known, 1], logits[known, 1]))
    assert second.positives + second.negatives == known.sum()


def test_the_standard_error_is_that_of_its_source() -> None:
    """Hanley and McNeil 1982, table II: area .893 over 51 and 58 patients, standard error .032."""
    logits, labels = ranked(51, 58, 0.893)
    (found,) = judge(logits, labels)
    assert found.auc == pytest.approx(0.893, abs=1e-3)
    assert found.standard_error == pytest.approx(0.032, abs=0.001)


def ranked(positives: int, negatives: int, auc: float) -> tuple[Labels, Labels]:
    """Scores under which about ``auc`` of all pairs of a positive and a negative are in order."""
    wrong = round((1 - auc) * positives * negatives)
    above = np.full(positives, wrong // positives)
    above[: wrong % positives] += 1
    scores = np.concatenate([negatives - above - 0.5, np.arange(negatives)])
    labels = np.concatenate([np.ones(positives), np.zeros(negatives)])
    return scores.astype(np.float32).reshape(-1, 1), labels.astype(np.float32).reshape(-1, 1)


def test_a_label_that_only_one_class_shows_has_no_figure_and_no_skill() -> None:
    (found,) = judge(np.zeros((4, 1), np.float32), np.zeros((4, 1), np.float32))
    assert math.isnan(found.auc)
    assert (found.positives, found.negatives, found.skill) == (0, 4, 0.0)


@pytest.mark.parametrize(
    ("auc", "error", "skill"), [(0.9, 0.02, 0.8), (0.9, 0.25, 0.0), (0.5, 0.01, 0.0), (0.2, 0.01, 0.0)]
)
def test_skill_is_none_where_chance_is_within_two_standard_errors(
    auc: float, error: float, skill: float
) -> None:
    assert Judgement(auc, error, 50, 50).skill == pytest.approx(skill)


def test_both_classes_of_a_label_weigh_alike_and_unknown_ones_nothing() -> None:
    labels = np.array([[1, 0], [0, 0], [0, np.nan], [np.nan, 1]], np.float32)
    np.testing.assert_allclose(balanced_weights(labels), [[0.5, 0.25], [0.25, 0.25], [0.25, 0], [0, 0.5]])
