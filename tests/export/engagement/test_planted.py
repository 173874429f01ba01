"""Planted posts hold the relation that they promise, in files as people export them."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from scipy.stats import norm, spearmanr

from adlens import contract
from export.engagement import account, classes, planted, splits
from export.engagement.cleaning import clean
from export.engagement.planted import CORRELATION, RELATIONS, Planted, plant, write_posts
from export.engagement.posts import read_posts
from export.engagement.scenes import MAX_THINGS, Look, draw

HOUR = contract.POST_FIELDS.index("hour")


def best_accuracy(posts: Planted) -> float:
    """Of whoever knows the scores and not the noise, with classes of a third each."""
    spread = np.sqrt(1 - CORRELATION**2)
    low, high = norm.ppf([1 / 3, 2 / 3])
    below = norm.cdf((low - CORRELATION * posts.scores) / spread)
    above = norm.sf((high - CORRELATION * posts.scores) / spread)
    guesses = np.stack([below, 1 - below - above, above]).argmax(axis=0)
    labels = (posts.totals >= 7_000).astype(int) + (posts.totals > 11_000)
    return float((guesses == labels).mean())


@pytest.mark.parametrize("relation", ["image", "context", "both"])
def test_whoever_knows_the_relation_is_right_often_and_not_always(relation: str) -> None:
    posts = plant(3000, relation, 4)
    assert 0.35 < best_accuracy(posts) - 1 / 3 < 0.45
    assert 0.84 < spearmanr(posts.scores, posts.totals).statistic < 0.91


def test_each_relation_is_in_what_it_says_and_nowhere_else() -> None:
    def told(relation: str) -> tuple[float, float]:
        posts = plant(3000, relation, 4)
        warmth = [look.warmth for look in posts.looks]
        evening = np.cos(2 * np.pi * (posts.minutes / 60 % 24 - 19.5) / 24)
        return tuple(abs(float(spearmanr(seen, posts.totals).statistic)) for seen in (warmth, evening))

    found = {relation: told(relation) for relation in RELATIONS}
    chance = 0.06
    assert found["image"][0] > 0.7
    assert found["image"][1] < chance
    assert found["context"][1] > 0.5
    assert found["context"][0] < chance
    assert min(found["both"]) > 0.3
    assert max(found["none"]) < chance


def test_engagement_neither_rises_nor_falls_with_the_hour() -> None:
    posts = plant(3000, "context", 4)
    hours = posts.minutes / 60 % 24
    night, morning, afternoon, evening = (
        np.median(posts.totals[(hours >= start) & (hours < start + 6)]) for start in (0, 6, 12, 18)
    )
    assert night > morning < afternoon < evening


def test_the_export_is_read_and_nothing_in_it_is_dropped(tmp_path: Path) -> None:
    file = write_posts(tmp_path / "planted", 60, "both", 3)
    posts, unusable = read_posts(file)
    kept, report = clean(posts, unusable=unusable)
    assert (len(kept), dict(unusable), sum(report.dropped.values())) == (60, {}, 0)
    drawn = plant(60, "both", 3)
    np.testing.assert_array_equal(kept.totals, drawn.totals)
    np.testing.assert_allclose(kept.context[:, HOUR], drawn.minutes / 60 % 24, atol=1e-5)
    assert np.isfinite(kept.context).all()
    assert set(classes.fit(kept).counts(kept).values()) == {20}
    for picture in kept.pictures:
        with Image.open(picture) as image:
            assert image.format == "JPEG"
            assert min(image.size) >= 320


def test_the_same_seed_gives_the_same_files_and_another_one_others(tmp_path: Path) -> None:
    files = {
        name: write_posts(tmp_path / name, 3, "image", seed)
        for name, seed in (("one", 1), ("again", 1), ("other", 2))
    }
    held = {
        name: [file.read_bytes(), *(path.read_bytes() for path in sorted(file.parent.glob("pictures/*")))]
        for name, file in files.items()
    }
    assert held["one"] == held["again"]
    assert all(one != other for one, other in zip(held["one"], held["other"], strict=True))
    before = files["one"].stat().st_mtime_ns
    assert write_posts(tmp_path / "one", 3, "image", 1).stat().st_mtime_ns == before


def test_warmth_and_things_are_to_be_seen() -> None:
    def pixels(look: Look, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.asarray(draw(look, Random(seed)), np.float64)

    seeds = range(12)
    for seed in seeds:
        cold, warm = (pixels(Look(warmth, 3), seed).mean(axis=(0, 1)) for warmth in (-0.8, 0.8))
        assert warm[0] / warm[2] > 1.5 * cold[0] / cold[2]
    few, many = (
        np.mean([pixels(Look(0, things), seed).std() for seed in seeds]) for things in (1, MAX_THINGS)
    )
    assert many > few


def test_what_cannot_be_planted_is_refused() -> None:
    with pytest.raises(ValueError, match="by 'luck'; at least 3, by one of image, context, both, none"):
        plant(9, "luck")
    with pytest.raises(ValueError, match="at least 3"):
        plant(2, "both")
    ran = CliRunner().invoke(planted.main, ["somewhere", "--relation", "luck"])
    assert ran.exit_code == 2


def test_the_documents_account_goes_the_whole_way(tmp_path: Path) -> None:
    posts, unusable = read_posts(account.write_account(tmp_path))
    kept, report = clean(posts, unusable=unusable)
    assert (report.before.posts, len(kept), len(set(kept.accounts))) == (500, 344, 1)
    assert classes.fit(kept).counts(kept) == {"low": 107, "neutral": 142, "high": 95}
    parts = splits.split(kept, splits.TIME)
    assert [int(mask.sum()) for mask in (parts.fitting, parts.validation, parts.held_out)] == [206, 69, 69]
