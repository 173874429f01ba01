"""Pictures of what is to be expected: bars of three probabilities, ranks, and the best framed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adlens import popularity, sheets
from adlens.engagement import EngagementAnswer, EngagementRanking
from adlens.errors import BadImage

TILE = 264
GREEN = (20, 160, 20)
ANSWER = EngagementAnswer(
    "post.jpg", {"low": 0.1, "neutral": 0.3, "high": 0.6}, {}, ("image", "context"), True, 0.7, 0.4,
    True, 0.6, (7_000.0, 11_000.0), 240, 320,
)  # fmt: skip


def near(pixels: Any, colour: tuple[int, ...]) -> Any:
    return np.asarray((np.abs(pixels.astype(int) - colour[:3]) < 12).all(-1))


def candidates(folder: Path, *high: float) -> EngagementRanking:
    """Ranked pictures, each of another blue."""
    found = []
    for number, share in enumerate(high):
        path = folder / f"{number}.png"
        Image.new("RGB", (320, 240), (0, 20 * number, 200)).save(path)
        rest = 1 - share
        found.append(
            replace(
                ANSWER, path=str(path), probabilities={"low": rest / 2, "neutral": rest / 2, "high": share}
            )
        )
    return EngagementRanking.of(found)


def drawn(answer: EngagementAnswer = ANSWER, size: tuple[int, int] = (320, 240)) -> Any:
    return np.asarray(popularity.draw(Image.new("RGB", size, GREEN), answer))


def test_a_picture_stands_between_a_title_and_a_bar_for_each_class() -> None:
    pixels = drawn()
    rows, columns = np.nonzero(near(pixels, GREEN))
    assert (columns.max() - columns.min() + 1, rows.max() - rows.min() + 1) == (720, 540)
    assert (near(pixels[: rows.min()], sheets.INK)).mean() > 0.6
    bars = pixels[rows.max() + 1 :]
    long = [near(bars, colour).sum() for colour in (sheets.PASSIVE, sheets.OTHER, sheets.DECIDING)]
    assert long[1] / long[2] == pytest.approx(0.5, abs=0.1)
    wholly = near(drawn(replace(ANSWER, probabilities={"low": 0, "neutral": 0, "high": 1})), sheets.DECIDING)
    assert wholly.sum() > near(pixels, sheets.DECIDING).sum()


def test_without_signal_nothing_stands_out_and_the_title_says_so() -> None:
    pixels = drawn(replace(ANSWER, signal=False))
    assert not near(pixels, sheets.DECIDING).any()
    assert not near(pixels, sheets.OTHER).any()
    assert (pixels[:80] != drawn()[:80]).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (4000, 3000)])
def test_pictures_of_any_shape_are_drawn(size: tuple[int, int]) -> None:
    height, width, _ = drawn(size=size).shape
    assert 480 <= width <= 2048
    assert height < 2600


def test_a_picture_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(BadImage):
        popularity.draw(b"no picture", ANSWER)


def blue(number: int) -> tuple[int, int, int]:
    return (0, 20 * number, 200)


def place(pixels: Any, number: int) -> tuple[int, int]:
    """Row and column where the tile of the picture ``number`` begins."""
    rows, columns = np.nonzero(near(pixels, blue(number)))
    return int(rows.min()), int(columns.min())


def framed(pixels: Any, number: int) -> bool:
    top, left = place(pixels, number)
    return bool(near(pixels[top + TILE // 2, left - 6 : left - 1], sheets.DECIDING).all())


def test_candidates_stand_in_their_order_with_the_best_framed(tmp_path: Path) -> None:
    pixels = np.asarray(popularity.draw_ranking(candidates(tmp_path, 0.2, 0.9, 0.5, 0.6)))
    order = sorted(range(4), key=lambda number: place(pixels, number)[1])
    assert order == [1, 3, 2, 0]
    assert [framed(pixels, number) for number in order] == [True, False, False, False]
    top, left = place(pixels, 1)
    below = pixels[top + TILE : top + TILE + 120, left : left + TILE]
    assert near(below, sheets.DECIDING).sum() > 8 * near(below, sheets.PASSIVE).sum()


def test_where_none_is_the_best_none_is_framed(tmp_path: Path) -> None:
    tied = candidates(tmp_path, 0.5, 0.5)
    pixels = np.asarray(popularity.draw_ranking(tied))
    assert not framed(pixels, 0)
    unsure = EngagementRanking(
        tuple(replace(each, signal=False) for each in candidates(tmp_path, 0.9, 0.1).ranked)
    )
    assert not near(np.asarray(popularity.draw_ranking(unsure)), sheets.DECIDING).any()


@pytest.mark.parametrize(("number", "rows"), [(1, 1), (3, 1), (6, 1), (7, 2), (12, 2), (13, 3)])
def test_any_number_of_candidates_has_its_place(tmp_path: Path, number: int, rows: int) -> None:
    ranking = candidates(tmp_path, *np.linspace(0.9, 0.1, number))
    sheet = popularity.draw_ranking(ranking)
    assert (sheet.height - 100) // (TILE + 100) == rows
    assert place(np.asarray(sheet), number - 1)[0] > 0


def test_of_very_many_the_first_sixty_are_shown(tmp_path: Path) -> None:
    (one,) = candidates(tmp_path, 0.9).ranked
    ranking = EngagementRanking((one,) * 500)
    assert popularity.draw_ranking(ranking).height < 11 * 400


def test_a_candidate_that_is_gone_is_shown_by_its_words(tmp_path: Path) -> None:
    ranking = candidates(tmp_path, 0.9, 0.5)
    (tmp_path / "0.png").unlink()
    pixels = np.asarray(popularity.draw_ranking(ranking))
    assert not near(pixels, blue(0)).any()
    assert near(pixels, sheets.TRACK).sum() > 0.8 * TILE**2


def test_starter_weights_and_what_is_not_known_are_told_on_the_sheet(tmp_path: Path) -> None:
    ranking = candidates(tmp_path, 0.9, 0.5)
    band = np.asarray(popularity.draw_ranking(ranking))[:120]
    for change in ({"starter": ("engagement",)}, {"known": {"hour": 3}}, {"reads": ("image",)}):
        changed = EngagementRanking(tuple(replace(each, **change) for each in ranking.ranked))
        assert (np.asarray(popularity.draw_ranking(changed))[:120] != band).any()
