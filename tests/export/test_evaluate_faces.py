"""Verification as LFW's protocol has it: folds, thresholds from the others, a missed face is an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from export.datasets import DatasetError
from export.evaluate_faces import THRESHOLDS, WORST, figures, judge, main, similarities
from export.pairs import FOLDS, Pair, read_pairs


def pictures(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def pairs(count: int) -> list[Pair]:
    """Half of them of one person, in turn."""
    return [Pair(Path(f"{i}a"), Path(f"{i}b"), i % 2 == 0, i // 2 % FOLDS) for i in range(count)]


def test_pairs_of_lfw_are_read_in_their_folds(tmp_path: Path) -> None:
    """With a folder a person, as LFW has it, or all pictures in one."""
    pictures(tmp_path, "Ann/Ann_0001.jpg", "Ann/Ann_0012.jpg", "Bob/Bob_0003.jpg", "Cy_0001.jpg")
    file = tmp_path / "pairs.txt"
    file.write_text("2\t1\nAnn\t1\t12\nAnn\t1\tBob\t3\nAnn\t12\t1\nBob\t3\tCy\t1\n")
    ann, other, bob, cy = (
        tmp_path / name
        for name in ("Ann/Ann_0001.jpg", "Ann/Ann_0012.jpg", "Bob/Bob_0003.jpg", "Cy_0001.jpg")
    )
    assert read_pairs(file, tmp_path) == [
        Pair(ann, other, True, 0),
        Pair(ann, bob, False, 0),
        Pair(other, ann, True, 1),
        Pair(bob, cy, False, 1),
    ]


def test_pairs_of_a_table_are_dealt_to_ten_folds_of_both_kinds(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    file = tmp_path / "pairs.csv"
    file.write_text("a,b,same\n" + "a.jpg,b.jpg,1\n" * 20 + "a.jpg,b.jpg,0\n" * 30)
    found = read_pairs(file, tmp_path)
    for fold in range(FOLDS):
        assert sum(pair.same for pair in found if pair.fold == fold) == 2
        assert sum(not pair.same for pair in found if pair.fold == fold) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "neither LFW's pairs nor a CSV table"),
        ("one two\n", "neither LFW's pairs"),
        ("1\t1\nAnn\t1\t2\nAnn\t1\tBob\t1\tx\n", "line 3"),
        ("1\t1\nAnn\t1\t2\nAnn\t1\tAnn\t2\nAnn\t1\t2\n", "line 4: .* is no pair of its 1 folds"),
        ("1\t1\nAnn\t1\t2\nAnn\t1\tAnn\t2\n", "in 1 folds; each needs pairs of one person and of two"),
        ("2\t1\nAnn\t1\t2\nBob\t1\tAnn\t2\nAnn\t1\t2\nAnn\t1\tAnn\t2\n", "Bob_0001.jpg, which is not there"),
        ("a,c,same\nx,y,1\n", "a, b and same are needed"),
        ("a,b,same\nAnn_0001.jpg,Ann_0002.jpg,yes\n", "line 2: same is 'yes', not 0 or 1"),
        ("same,a,b\n1,Ann_0001.jpg\n", "line 2: a or b is empty; name two pictures"),
        ("a,b,same\nAnn_0001.jpg,Ann_0002.jpg,1\n", "each needs pairs of one person and of two"),
    ],
)
def test_what_is_no_list_of_pairs_is_refused(tmp_path: Path, text: str, message: str) -> None:
    pictures(tmp_path, "Ann_0001.jpg", "Ann_0002.jpg")
    file = tmp_path / "pairs"
    file.write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_pairs(file, tmp_path)


def test_a_fold_is_judged_by_the_threshold_of_the_others() -> None:
    """In the first fold everything is lower, which the others cannot know."""
    same = np.array([True, False] * 4)
    folds = np.arange(8) // 4
    scores = np.array([0.5, 0.1, 0.5, 0.1, 0.9, 0.6, 0.9, 0.6], np.float32)
    accuracies, chosen = judge(scores, same, folds)
    np.testing.assert_allclose(chosen, [0.75, 0.3], atol=0.01)
    np.testing.assert_allclose(accuracies, [0.5, 0.5])


def test_pairs_far_apart_are_all_right() -> None:
    some = pairs(40)
    scores = np.array([0.8 if pair.same else 0.2 for pair in some], np.float32)
    found = figures(some, scores, threshold=0.9)
    assert (found["accuracy"], found["standard_error"], found["auc"]) == (1.0, 0.0, 1.0)
    assert found["threshold"] == pytest.approx(0.5, abs=0.01)
    assert found["accuracy_at_card_threshold"] == 0.5
    assert (found["pairs"], found["same"], found["folds"]) == (40, 20, FOLDS)


def test_a_pair_with_a_missed_face_is_wrong_whatever_the_threshold() -> None:
    some = pairs(40)
    one, another = np.array([1, 0], np.float32), np.array([0, 1], np.float32)
    vectors = {pair.a: one for pair in some} | {pair.b: one if pair.same else another for pair in some}
    assert figures(some, similarities(some, vectors), 0.5)["accuracy"] == 1.0
    del vectors[some[0].a], vectors[some[1].b]
    scores = similarities(some, vectors)
    assert list(scores[:2]) == [-WORST, WORST]
    assert ((scores[0] < THRESHOLDS) & (scores[1] > THRESHOLDS)).all()
    found = figures(some, scores, 0.5)
    assert found["accuracy"] == pytest.approx(1 - 2 / 40)
    assert found["pairs_with_missed_face"] == 2
    assert found["auc"] < 1


@pytest.mark.parametrize(
    "arguments", [[], ["--pairs", "p"], ["--data", "lfw", "--pairs", "p", "--images", "i"]]
)
def test_pairs_come_from_one_place(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "name either --data lfw, or both --pairs and --images" in result.stderr


def test_what_is_no_server_is_told_of(tmp_path: Path) -> None:
    folder, table = pictures(tmp_path / "faces", "a.jpg", "b.jpg"), tmp_path / "pairs.csv"
    table.write_text("a,b,same\n" + "a.jpg,b.jpg,1\na.jpg,b.jpg,0\n" * FOLDS)
    result = CliRunner().invoke(main, ["--pairs", str(table), "--images", str(folder), "--url", "nowhere"])
    assert result.exit_code == 1
    assert "url 'nowhere'; give HOST:PORT" in result.stderr
