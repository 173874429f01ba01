"""Commands that train, compare and judge rankers, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from export import evaluate_influencers, train_influencers
from export.datasets import DatasetError
from export.influencers import comparison, planted
from export.influencers.blocks import Pairs, read_pairs, write_pairs
from export.influencers.config import read_config
from export.influencers.metrics import METRICS

_QUICK = """
ours: {folds: 2, profiles: [0.5], crowdings: [0.0], members: 1, towers: [0.6]}
bilinear: {epochs: 1, k: 3}
"""


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("features") / "train.npz"
    write_pairs(planted.plant(60, 150, 5), path)
    return path


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "quick.yaml"
    path.write_text(_QUICK)
    return path


def _evaluate(folder: Path, features: Path) -> dict[str, object]:
    done = CliRunner().invoke(
        evaluate_influencers.main, ["--model", str(folder), "--features", str(features)]
    )
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert isinstance(said, dict)
    return said


@pytest.mark.parametrize("kind", ["ours", "bilinear"])
def test_a_ranker_is_trained_and_judged_on_other_brands_and_influencers(
    kind: str, features: Path, quick: Path, tmp_path: Path
) -> None:
    arguments = ["--features", str(features), "--config", str(quick), "--kind", kind, "--out", str(tmp_path)]
    done = CliRunner().invoke(train_influencers.main, arguments)
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["kind"] == kind
    assert set(METRICS) <= set(report["held_out"])
    others = planted.plant(20, 90, 5, seed=77)
    write_pairs(others, tmp_path / "others.npz")
    said = _evaluate(tmp_path, tmp_path / "others.npz")
    assert list(said)[: len(METRICS)] == list(METRICS)
    assert (said["brands"], said["influencers"], said["positives"]) == (20, 90, 100)
    if kind == "ours":
        assert said["AUC"] > 0.9  # type: ignore[operator]
        low, high = said["intervals"]["AUC"]  # type: ignore[index]
        assert low <= said["AUC"] <= high
    without = Pairs("less", {"text": others.brands["text"]}, others.influencers, others.labels)
    write_pairs(without, tmp_path / "less.npz")
    assert _evaluate(tmp_path, tmp_path / "less.npz")["cAUC"] is None


def test_the_untuned_cosine_is_judged_by_the_same_command(features: Path) -> None:
    assert 0.2 < float(str(_evaluate(Path("cosine"), features)["AUC"])) < 0.8


def test_all_ways_stand_in_one_table_beside_the_published_ones(quick: Path) -> None:
    rows = comparison.compare(planted.plant(30, 80, 4), read_config(quick), 1, folds=2)
    names = [row.name for row in rows]
    assert names[:5] == ["cosine", "ridge", "seed k=2", "seed k=3", "seed k=4"]
    assert names[-1] == "ours"
    assert {"seed k=4, text only", "seed k=4, concatenation", "seed k=4, plain pooling"} <= {*names}
    text = comparison.to_text(rows)
    assert all(name in text for name in (*names, "MORNING", *METRICS))
    said = json.loads(json.dumps(comparison.to_json(rows)))
    ours = said["measured"]["ours"]["AUC"]
    assert ours["mean"] == pytest.approx(np.mean(ours["folds"]), abs=1e-6)
    # Student's t of one degree of freedom is 12.706.
    spread = abs(ours["folds"][0] - ours["folds"][1]) / 2
    assert ours["plus_minus"] == pytest.approx(12.706 * spread, rel=1e-3, abs=2e-5)


def test_pairs_come_back_from_disk_as_they_were(features: Path) -> None:
    pairs, found = planted.plant(60, 150, 5), read_pairs(features)
    assert (found.labels == pairs.labels).all()
    assert (found.brands["text"] == pairs.brands["text"]).all()
    assert found.influencer_category is None
    assert found.block_names == ("picture", "text", "topics")
    assert found.shared == ("text", "topics")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"brand_a": np.ones((2, 3))}, "no array 'label'"),
        ({"label": np.ones((2, 3)), "brand_a": np.ones((2, 3))}, "no block inf_"),
        ({"label": np.ones((2, 3)), "brand_a": np.ones((3, 3)), "inf_a": np.ones((3, 3))}, "wants 2 rows"),
        ({"label": -np.ones((2, 3)), "brand_a": np.ones((2, 3)), "inf_a": np.ones((3, 3))}, "below 0"),
        (
            {"label": np.ones((2, 3)), "brand_a": np.array([["x"], ["y"]]), "inf_a": np.ones((3, 3))},
            "no numbers",
        ),
    ],
)
def test_a_file_of_another_layout_is_refused(
    arrays: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "x.npz", allow_pickle=False, **arrays)
    with pytest.raises(DatasetError, match=message):
        read_pairs(tmp_path / "x.npz")


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"PK no")
    with pytest.raises(DatasetError, match="no NPZ"):
        read_pairs(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: best", "'best' is unknown"),
        ("rate: 1", "and no others"),
        ("ours: {width: 3}", "and no others"),
        ("ours: {penalty: 0}", "above 0"),
        ("ours: {profiles: []}", "weights of at least 0"),
        ("ours: {members: -1}", "at least 0"),
        ("bilinear: {k: 2.5}", "whole number"),
        ("bilinear: {rate: fast}", "could not convert"),
        ("blocks: lda", "no list"),
        ("- ours", "and no others"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_config(tmp_path / "x.yaml")


def test_the_shipped_configuration_is_the_default() -> None:
    from export.influencers.config import RankerConfig

    assert read_config() == RankerConfig()


def test_on_the_real_pairs_it_is_ahead_of_cosine_on_brands_and_influencers_not_seen(test_data: Path) -> None:
    from export.influencers.baselines import fit_cosine
    from export.influencers.fitting import FitOptions, fit_ranker, score, unseen_folds
    from export.influencers.metrics import evaluate

    fitting, held_out = next(unseen_folds(read_pairs(test_data / "bamir_train.npz"), 5, 1))
    ranker = fit_ranker(fitting, FitOptions(members=1))
    ours = evaluate(score(ranker, held_out.brands, held_out.influencers), held_out.positive).values
    plain = evaluate(fit_cosine(fitting)(held_out.brands, held_out.influencers), held_out.positive).values
    assert ours["AUC"] > plain["AUC"] + 0.02
    assert ours["R@10"] > plain["R@10"]
    assert ours["R@50"] > plain["R@50"] + 0.03
    assert ours["MedR"] <= plain["MedR"]
