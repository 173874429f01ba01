"""Learners recover what was planted, exported graphs compute what XGBoost computes, reports are honest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from PIL import Image

from adlens import contract
from adlens.contract import MAX_BATCH, ModelCard
from adlens.customers import Schema
from export import train_uplift
from export.datasets import DatasetError
from export.graph import open_session
from export.models import build_offer, fingerprint
from export.uplift import evaluation, learners, telecom
from export.uplift.evaluation import Judgement
from export.uplift.graph import SIGNATURE, TOLERANCE, draw_customers, to_onnx
from export.uplift.learners import LEARNERS, UpliftModel
from export.uplift.records import Campaign, campaign

SEEDS = 10
SMALL = 8000
ENOUGH = 0.8
"""Rank correlation with the planted truth that every offer has to reach."""


def trial(size: int, share: float, seed: int = 1) -> Campaign:
    """One offer, given to ``share`` of the customers: +0.3 where ``x`` is above 0, -0.2 elsewhere."""
    random = np.random.default_rng(seed)
    x = random.normal(size=size)
    given = random.random(size) < share
    truth = np.where(x > 0, 0.3, -0.2)
    bought = random.random(size) < 0.4 + given * truth
    return campaign(
        "trial",
        {"x": x, "noise": random.choice(["a", "b"], size)},
        treatment=np.where(given, "gift", "none"),
        outcome=bought,
        control="none",
        true_uplift=truth[:, None],
    )


def odd() -> Campaign:
    """Two offers and features of every kind: constant, huge, tiny, whole, many categories, one category."""
    random, size = np.random.default_rng(4), 3000
    return campaign(
        "odd",
        {
            "constant": np.full(size, 3.0),
            "huge": random.normal(0, 1e30, size),
            "tiny": random.normal(0, 1e-30, size),
            "whole": random.integers(-3, 4, size),
            "Straße, 'Ort' ": random.choice([f"Nr. {number} \N{SNOWMAN}" for number in range(100)], size),
            "only": np.full(size, "one"),
        },
        treatment=random.choice(["none", "ä", "b" * 100], size),
        outcome=random.integers(0, 2, size),
        control="none",
    )


def learn(data: Campaign, *names: str) -> UpliftModel:
    """Of each offer by the learner named for it."""
    return learners.combine([LEARNERS[name](data.trial(number)) for number, name in enumerate(names)])


@pytest.fixture(scope="module")
def judged() -> tuple[UpliftModel, Mapping[str, Judgement], Campaign]:
    """What `make models` trains."""
    return train_uplift.train(telecom.generate())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uplift") / "new"
    train_uplift.write(telecom.generate(SMALL), folder)
    return folder


def test_planted_uplift_is_recovered(
    judged: tuple[UpliftModel, Mapping[str, Judgement], Campaign],
) -> None:
    _, judgements, _ = judged
    assert tuple(judgements) == telecom.OFFERS
    for offer, found in judgements.items():
        assert found.spearman is not None
        assert found.spearman >= ENOUGH, offer
        assert found.effect_of_last_tenth < -0.05 < 0.2 < found.effect_of_first_tenth
        assert not found.warnings


def test_offers_by_uplift_sell_more_than_any_offer_to_all(
    judged: tuple[UpliftModel, Mapping[str, Judgement], Campaign],
) -> None:
    model, _, unseen = judged
    values = evaluation.policy_values(model.predict(unseen.columns), unseen)
    assert tuple(values["one_for_all"]) == telecom.OFFERS
    assert values["by_uplift"] > max(values["no_offer"], *values["one_for_all"].values()) + 0.05


def test_the_ranking_beats_chance_for_every_seed() -> None:
    for seed in range(SEEDS):
        _, judgements, _ = train_uplift.train(telecom.generate(SMALL, seed), seed)
        assert {offer: found.qini > 0 for offer, found in judgements.items()} == dict.fromkeys(
            telecom.OFFERS, True
        ), seed


@pytest.mark.parametrize("share", [0.5, 0.15, 0.85])
@pytest.mark.parametrize("name", LEARNERS)
def test_learners_are_unbiased_however_rare_the_offer_was(name: str, share: float) -> None:
    model = LEARNERS[name](trial(20_000, share))
    unseen = trial(4000, 0.5, seed=2)
    uplift = model.predict(unseen.columns)[:, 0]
    assert unseen.true_uplift is not None
    for effect in (0.3, -0.2):
        found = uplift[unseen.true_uplift[:, 0] == np.float32(effect)].mean()
        assert found == pytest.approx(effect, abs=0.06)


def test_the_model_without_an_offer_is_kept_once() -> None:
    data = telecom.generate(SMALL)
    model = learn(data, learners.TWO_MODEL, learners.TWO_MODEL, learners.CLASS_TRANSFORMATION)
    assert len(model.boosters) == 4
    alone = [
        LEARNERS[name](data.trial(number)).predict(data.columns)[:, 0]
        for number, name in enumerate((learners.TWO_MODEL, learners.TWO_MODEL, learners.CLASS_TRANSFORMATION))
    ]
    np.testing.assert_allclose(model.predict(data.columns), np.column_stack(alone), atol=1e-6)


@pytest.mark.parametrize("data", [telecom.generate(SMALL), odd()], ids=lambda data: data.name)
def test_the_graph_computes_what_xgboost_computes(data: Campaign) -> None:
    model = learn(data, *(list(LEARNERS) * 2)[: len(data.offers)])
    card = ModelCard("tiny", model.digest[:16], True, data.offers, (0.0,) * len(data.offers))
    session = open_session(to_onnx(model, card, data.schema), threads=1)
    known = np.zeros((len(data), contract.MAX_FEATURES), np.float32)
    known[:, : data.columns.shape[1]] = data.columns
    unknown = np.full((1, contract.MAX_FEATURES), np.nan, np.float32)
    for rows in (known[:1], known[:MAX_BATCH], known, draw_customers(data.schema, 500), unknown):
        uplift, cards, schemas = session.run(list(SIGNATURE.outputs), {contract.CUSTOMER: rows})
        expected = model.predict(rows)
        assert np.ptp(expected) > 0.01 or len(rows) < MAX_BATCH
        np.testing.assert_allclose(uplift[:, : len(data.offers)], expected, rtol=0, atol=TOLERANCE)
        assert not uplift[:, len(data.offers) :].any()
        assert ModelCard.from_bytes(cards[-1].tobytes()) == card
        assert Schema.from_bytes(schemas[-1].tobytes()) == data.schema
    infinite = np.array([[np.inf], [-np.inf]], np.float32).repeat(contract.MAX_FEATURES, axis=1)
    uplift, *_ = session.run([contract.UPLIFT], {contract.CUSTOMER: infinite})
    assert (np.abs(uplift) <= 1).all()


def test_what_was_written_is_read_and_holds_no_pickle(written: Path) -> None:
    model, schema, story = train_uplift.read(written)
    again, _, unseen = train_uplift.train(telecom.generate(SMALL))
    assert model.digest == again.digest
    assert schema == unseen.schema
    assert story.offers == telecom.OFFERS
    assert story.trained_on == "5999 customers of generated, judged on 2001 others"
    names = {path.name for path in written.iterdir()}
    assert {"report.json", "schema.json", "sums.json", "qini.png", "uplift.png", "trees-0.ubj"} <= names
    assert {Path(name).suffix for name in names} == {".json", ".ubj", ".png"}


def test_a_report_has_figures_loyalty_and_curves(written: Path) -> None:
    report = json.loads((written / "report.json").read_text())
    assert set(report["held_out"]) == set(report["offers"])
    assert {row["manufacturer"] for row in report["loyalty"]} == set(telecom.LOYALTY)
    assert set(report["share_of_buyers"]) == {"no_offer", "one_for_all", "by_uplift"}
    for name in ("qini", "uplift"):
        with Image.open(written / f"{name}.png") as curves:
            assert curves.width > 2.5 * curves.height  # a panel an offer


def test_generated_customers_promise_no_skill(written: Path) -> None:
    story = train_uplift.read(written)[2]
    assert story.starter
    assert story.skill == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("name", ["report.json", "schema.json", "sums.json", "trees-1.ubj"])
def test_a_damaged_model_is_named(written: Path, name: str, tmp_path: Path) -> None:
    for path in written.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes() if path.name != name else b"{}")
    with pytest.raises(DatasetError, match=r"no uplift model \(.*\); train it again"):
        train_uplift.read(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DatasetError, match=r"no uplift model \(.*\); train it again"):
        train_uplift.read(tmp_path)


def test_the_truth_ranks_better_than_chance_and_its_reverse_worse() -> None:
    data = trial(4000, 0.3)
    assert data.true_uplift is not None
    truth = data.true_uplift[:, 0]
    chance = np.random.default_rng(1).random(len(data)).astype(np.float32)
    found = {
        name: evaluation.judge("none", uplift, chance, data)
        for name, uplift in (("truth", truth), ("chance", chance), ("reverse", -truth))
    }
    by_chance = found["truth"].qini_by_chance
    assert found["truth"].qini > 0.1 > by_chance > abs(found["chance"].qini) > found["reverse"].qini
    assert found["truth"].auuc > 0.1 > abs(found["chance"].auuc) > found["reverse"].auuc
    assert found["truth"].effect_of_first_tenth == pytest.approx(0.3, abs=0.12)
    assert found["reverse"].warnings == ("held-out customers were ranked no better than chance may do",)


def test_a_ranking_of_noise_has_no_skill(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    noise = campaign(
        "noise",
        {str(number): random.normal(size=6000) for number in range(8)},
        treatment=random.choice(["none", "gift", "call"], 6000),
        outcome=random.random(6000) < 0.3,
        control="none",
    )
    story = train_uplift.write(noise, tmp_path)
    assert story.skill == (0.0, 0.0)
    for offer in story.offers:
        assert story.held_out[offer]["warnings"] == (
            "held-out customers were ranked no better than chance may do",
        )


def test_an_offer_that_was_not_given_at_random_is_found_out() -> None:
    random = np.random.default_rng(3)
    x = random.normal(size=4000)
    given = random.random(4000) < 1 / (1 + np.exp(-2 * x))
    data = campaign(
        "biased",
        {"x": x},
        treatment=np.where(given, "gift", "none"),
        outcome=random.random(4000) < 0.3,
        control="none",
    )
    _, judgements, _ = train_uplift.train(data)
    assert judgements["gift"].assignment_auc > 0.75
    assert "so it was not given at random" in " ".join(judgements["gift"].warnings)


def test_the_same_campaign_gives_the_same_model() -> None:
    data = trial(2000, 0.5)
    first, second = (train_uplift.train(data)[0].digest for _ in range(2))
    assert first == second != train_uplift.train(trial(2000, 0.5, seed=2))[0].digest


def test_an_own_model_is_exported_with_its_skill_and_what_changes_it_is_noticed(
    cache: Path, tmp_path: Path
) -> None:
    before = fingerprint(contract.UPLIFT_OFFER)
    file = tmp_path / "telecom.csv"
    assert CliRunner().invoke(telecom.main, [str(file), "--size", "8000"]).exit_code == 0
    arguments = ["--data", str(file), "--manufacturer", "phone_manufacturer"]
    arguments += ["--next-manufacturer", "next_manufacturer"]
    result = CliRunner().invoke(train_uplift.main, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["starter"] is False
    assert fingerprint(contract.UPLIFT_OFFER) != before
    assert train_uplift.cached_uplift().is_relative_to(cache)
    manifest = build_offer(None, tmp_path / "1", [])
    assert manifest.weights.source == "own training run"
    assert max(manifest.parity.values()) <= TOLERANCE
    assert set(manifest.parity) >= {"1", str(MAX_BATCH)}
    model = onnx.load(tmp_path / "1" / "model.onnx")
    assert model.ir_version <= 10  # newer ones are refused by ONNX Runtime 1.19
    assert "xgboost" in manifest.tools
    rows = draw_customers(train_uplift.read(train_uplift.cached_uplift())[1], 1)
    outputs = open_session(tmp_path / "1" / "model.onnx").run([contract.CARD], {contract.CUSTOMER: rows})
    card = ModelCard.from_bytes(outputs[0].tobytes())
    assert (card.starter, card.labels) == (False, telecom.OFFERS)
    assert all(0 < skill < 1 for skill in card.skill)


def test_the_command_says_what_is_wrong_with_the_data(tmp_path: Path) -> None:
    file = tmp_path / "campaign.csv"
    file.write_text("offer,purchase,age\nnone,0,nan\ngift,1,3\n")
    result = CliRunner().invoke(train_uplift.main, ["--data", str(file), "--out", str(tmp_path / "model")])
    assert result.exit_code == 1
    assert "record 2: age is 'nan', which is no finite number" in result.stderr
    assert not (tmp_path / "model").exists()
