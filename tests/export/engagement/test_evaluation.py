"""Judging engagement: signal is what beats always saying the same, and all surfaces say where none is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adlens import contract
from export.engagement import diagrams, modelcard
from export.engagement.calibration import Choice, Scale, Score, choose, fit
from export.engagement.evaluation import Judgement, describe, judge, mcnemar
from export.engagement.story import EngagementStory

SHARES = np.array([0.3, 0.4, 0.3])
CLASSES = np.random.default_rng(1).choice(3, 200, p=SHARES)
TOTALS = np.array([3_000, 9_000, 14_000])[CLASSES] + np.arange(200)


def judged(said: np.ndarray[Any, np.dtype[np.float64]]) -> Judgement:
    return judge(said, said, CLASSES, TOTALS, SHARES)


def test_always_saying_the_same_has_no_signal() -> None:
    found = judged(np.tile(SHARES, (200, 1)))
    assert found.accuracy == found.majority == (CLASSES == 1).mean()
    assert (found.p_value, found.signal, found.spearman) == (1.0, False, 0.0)
    assert found.skill == (0.0, 0.0, 0.0)
    assert found.score == found.base_rates


def test_being_right_is_signal() -> None:
    found = judged(0.9 * np.eye(3)[CLASSES] + 0.1 / 3)
    assert (found.accuracy, found.macro_f1, found.signal) == (1.0, 1.0, True)
    assert found.spearman > 0.9
    assert np.diag(found.confusion).sum() == 200
    assert found.skill == (1.0, 1.0, 1.0)
    assert found.score.ranked < found.base_rates.ranked


def test_chance_has_no_signal() -> None:
    random = np.random.default_rng(2)
    assert not any(judged(random.dirichlet([1, 1, 1], 200)).signal for _ in range(20))


def test_the_test_is_mcnemars_in_its_exact_form_one_sided() -> None:
    # Of 8 posts that one gets right alone, all 8: (1 / 2)^8; and 7 of them or more: 9 / 256.
    assert mcnemar(8, 0) == pytest.approx(1 / 256)
    assert mcnemar(7, 1) == pytest.approx(9 / 256)
    assert mcnemar(0, 8) == 1.0
    assert mcnemar(0, 0) == 1.0


def test_saying_high_of_what_is_low_costs_more_than_saying_neutral() -> None:
    low = np.zeros(1, np.int64)
    near, far = (Score.of(np.array([said]), low) for said in ([0.2, 0.7, 0.1], [0.2, 0.1, 0.7]))
    assert near.ranked < far.ranked
    assert near.log_loss == far.log_loss


def sampled(scores: np.ndarray[Any, Any], scale: Scale) -> np.ndarray[Any, np.dtype[np.int64]]:
    random = np.random.default_rng(3)
    return (random.random(len(scores))[:, None] > np.cumsum(scale(scores), axis=1)[:, :2]).sum(axis=1)


def test_calibration_finds_the_scale_that_posts_were_drawn_by() -> None:
    scores = np.random.default_rng(4).normal(0, 2, 4_000)
    truth = Scale(0.8, -1.0, 1.4)
    found = fit(scores, sampled(scores, truth))
    assert (found.slope, found.low, found.high) == pytest.approx((0.8, -1.0, 1.4), abs=0.12)


def test_a_scale_is_kept_where_another_is_no_better_and_refitted_where_it_is_too_sure() -> None:
    scores = np.random.default_rng(5).normal(0, 2, 600)
    truth = Scale(0.8, -1.0, 1.4)
    classes = sampled(scores, truth)
    sure = choose(Scale(4.0, -5.0, 7.0), scores, classes, 1)
    assert sure.refitted
    assert sure.scale.slope < 1.5
    own = fit(scores, classes)
    assert choose(own, scores, classes, 1) == Choice(
        own, False, sure_of(own, scores, classes), sure.cross_validated
    )


def sure_of(scale: Scale, scores: np.ndarray[Any, Any], classes: np.ndarray[Any, Any]) -> Score:
    return Score.of(scale(scores), classes)


def test_a_score_that_ranks_the_wrong_way_round_is_made_flat() -> None:
    scores = np.random.default_rng(6).normal(0, 2, 600)
    found = fit(-scores, sampled(scores, Scale(1.0, -1.0, 1.0)))
    assert found.slope == pytest.approx(0, abs=1e-6)


def test_few_posts_are_not_calibrated_by() -> None:
    own = Scale(1.0, -1.0, 1.0)
    found = choose(own, np.arange(12.0), np.arange(12) % 3, 1)
    assert (found.scale, found.cross_validated) == (own, None)


def story(found: Judgement, **changes: Any) -> EngagementStory:
    counts = dict(zip(contract.ENGAGEMENT_CLASSES, (60, 80, 60), strict=True))
    training = {
        "split": "time", "quantiles": [1 / 3, 2 / 3], "counts": {"fitting": counts}, "context": ["hour"],
        "calibration": {"refitted": True}, "fine_tuned_epochs": 0, "shuffled": None,
        "cleaning_table": "posts left 344",
    }  # fmt: skip
    told: dict[str, Any] = {
        "backbone": "resnet34", "weights": "folder/own.safetensors", "trunk": "0" * 64, "wide": 7,
        "reads": ("image", "context"), "classes": "fixed", "boundaries": (7_000.0, 11_000.0),
        "trained_on": "200 posts of posts.csv", "starter": False,
            "held_out": found.to_json(), "without_context": found.to_json(),
        "training": training,
    }  # fmt: skip
    return EngagementStory(**{**told, **changes})


def test_every_surface_says_where_there_is_not_enough_signal(tmp_path: Path) -> None:
    blind, sees = judged(np.tile(SHARES, (200, 1))), judged(0.9 * np.eye(3)[CLASSES] + 0.1 / 3)
    for found, silent in ((blind, True), (sees, False)):
        modelcard.write(story(found), tmp_path)
        text = (tmp_path / modelcard.CARD_FILE).read_text()
        assert ("# NOT ENOUGH SIGNAL" in text) is silent
        assert ("NOT ENOUGH SIGNAL" in describe(found.to_json())) is silent
        assert story(found).card("a" * 64).signal is not silent


def test_the_model_card_says_what_is_read_dropped_and_compared_with(tmp_path: Path) -> None:
    found = judged(0.9 * np.eye(3)[CLASSES] + 0.1 / 3)
    modelcard.write(story(found), tmp_path)
    text = (tmp_path / modelcard.CARD_FILE).read_text()
    for part in (
        "100.0% of cases", f"{found.majority:.1%}", "McNemar's exact test", "posts left 344",
        "hour of the day", "below 7,000 likes", "`own.safetensors`", "Not weekday, length of the caption",
    ):  # fmt: skip
        assert part in text
    assert "Starter" not in text
    modelcard.write(
        story(found, starter=True, reads=("context",), classes="account", boundaries=()), tmp_path
    )
    text = (tmp_path / modelcard.CARD_FILE).read_text()
    assert "**Starter.**" in text
    assert "No picture" in text
    assert "the quantiles 0.333 and 0.667" in text


def test_a_starter_has_no_skill_on_its_card_and_a_card_travels() -> None:
    found = judged(0.9 * np.eye(3)[CLASSES] + 0.1 / 3)
    assert story(found, starter=True).card("a" * 64).skill == (0.0, 0.0, 0.0)
    card = story(found).card("a" * 64)
    assert card.skill == (1.0, 1.0, 1.0)
    assert type(card).from_bytes(card.to_bytes()) == card


def test_diagrams_are_pictures_of_what_was_judged(tmp_path: Path) -> None:
    said = np.random.default_rng(7).dirichlet([1, 1, 1], 200)
    found = judge(said, np.roll(said, 1, axis=0), CLASSES, TOTALS, SHARES)
    diagrams.draw_confusion(found, tmp_path / "confusion.png")
    diagrams.draw_reliability(found, said, np.roll(said, 1, axis=0), CLASSES, tmp_path / "reliability.png")
    for name, wider in (("confusion.png", False), ("reliability.png", True)):
        with Image.open(tmp_path / name) as image:
            assert min(image.size) > 400
            assert (image.width > 2 * image.height) is wider
            assert len(set(image.convert("L").tobytes())) > 20


def test_accounts_with_boundaries_of_their_own_are_ranked_each_by_itself() -> None:
    """The small account's best post has fewer likes than the large one's worst."""
    said = np.array([[0.6, 0.3, 0.1], [0.1, 0.3, 0.6], [0.6, 0.3, 0.1], [0.1, 0.3, 0.6]])
    totals, classes = np.array([10, 20, 30_000, 40_000]), np.array([0, 2, 0, 2])
    together = judge(said, said, classes, totals, SHARES)
    apart = judge(said, said, classes, totals, SHARES, ["small", "small", "large", "large"])
    assert (together.spearman, apart.spearman) == (pytest.approx(0.447, abs=1e-3), pytest.approx(1))
