"""The rules of the seed document, held to its counts; what they drop is counted by reason."""

from __future__ import annotations

import json

import numpy as np
import pytest

from export.datasets import DatasetError
from export.engagement import account, classes
from export.engagement.cleaning import (
    FEW_COMMENTS,
    MANY_COMMENTS,
    NO_LIKES,
    REASONS,
    TOO_POPULAR,
    Rules,
    clean,
)
from tests.export.engagement.exports import posts


@pytest.mark.parametrize(
    ("likes", "comments", "reason"),
    [
        (10_000, 50, None),
        (10_000, 49, FEW_COMMENTS),
        (10_000, 200, None),
        (10_000, 201, MANY_COMMENTS),
        (16_000, 160, None),
        (16_001, 160, TOO_POPULAR),
        (0, 0, NO_LIKES),
        (0, 9, NO_LIKES),
        (20_000, 1, TOO_POPULAR),  # counts for the first rule that it breaks
        (15_100, 263, None),
    ],
)
def test_both_ends_of_the_rules_are_kept(likes: int, comments: int, reason: str | None) -> None:
    kept, report = clean(posts([likes, 9_000], [comments, 90]))
    assert kept.likes.tolist() == ([9_000] if reason else [likes, 9_000])
    assert [name for name in report.dropped if report.dropped[name]] == ([reason] if reason else [])
    assert tuple(report.dropped) == REASONS


@pytest.mark.parametrize("seed", [1, 20, 77])
def test_the_documents_account_is_cleaned_to_the_count(seed: int) -> None:
    generated = account.generate(seed)
    kept, report = clean(posts(generated.likes.tolist(), generated.comments.tolist()))
    before, after = report.before, report.after
    assert (before.posts, after.posts, len(kept)) == (500, 344, 344)
    assert (round(before.likes_sd), round(after.likes_sd)) == (6085, 2897)
    assert (round(before.comments_sd), round(after.comments_sd)) == (98, 44)
    assert sum(report.dropped.values()) == 156
    assert classes.fit(kept).counts(kept) == {"low": 107, "neutral": 142, "high": 95}


def test_the_report_holds_what_the_posts_say(capsys: pytest.CaptureFixture[str]) -> None:
    all_posts = posts([8_000, 12_000, 99_999, 0], [80, 120, 500, 7])
    _, report = clean(all_posts, unusable={"no such picture file": 6})
    told = report.to_json()
    assert told["rows"] == 10
    assert told["unusable"] == {"no such picture file": 6}
    assert told["after"] == {
        "posts": 2,
        "likes_mean": 10_000,
        "likes_sd": pytest.approx(np.std([8_000, 12_000], ddof=1)),
        "comments_mean": 100,
        "comments_sd": pytest.approx(np.std([80, 120], ddof=1)),
    }
    lines = str(report).splitlines()
    assert [line.split()[-1] for line in lines if line.startswith(("rows", "posts left"))] == ["10", "2"]
    assert any(TOO_POPULAR in line and line.endswith(" 1") for line in lines)
    assert next(line for line in lines if line.startswith("likes, mean")).split()[-2:] == ["30,000", "10,000"]


def test_of_one_post_there_is_no_deviation() -> None:
    _, report = clean(posts([8_000], [80]))
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["after"]["likes_sd"] is None
    assert "nan" in str(report)


def test_advertised_posts_are_kept_where_that_is_asked_for() -> None:
    bought = posts([90_000, 0], [10, 3], advertised=1)
    with pytest.raises(DatasetError, match="none of 2 posts fulfils"):
        clean(bought)
    kept, _ = clean(bought, Rules(keep_advertised=True))
    assert kept.likes.tolist() == [90_000]
    with pytest.raises(DatasetError, match="none of 1 posts fulfils"):
        clean(posts([90_000], [10]), Rules(keep_advertised=True))  # nobody says that it is advertised


@pytest.mark.parametrize(
    "wrong", [{"min_ratio": 0.03}, {"min_ratio": -0.1}, {"max_ratio": np.nan}, {"max_likes": 0}]
)
def test_rules_that_no_post_fulfils_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(DatasetError, match="correct the rules"):
        Rules(**wrong)
