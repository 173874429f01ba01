"""Trees say what was planted, neither more nor less, and the exported graph says what they say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from adlens import contract
from adlens.contract import MAX_BATCH, TARGETS, ModelCard
from adlens.vocabulary import Vocabulary
from export import train_conversion
from export.creative.calibration import ISOTONIC, NONE, PLATT, Calibrator
from export.creative.conversion import ConversionModel
from export.creative.conversion_graph import (
    SIGNATURE,
    TOLERANCE,
    answer,
    draw_requests,
    to_onnx,
    write_conversion,
)
from export.creative.planted import LIKELY_VARIANTS, plant
from export.creative.records import Sends
from export.creative.reliability import bins
from export.datasets import DatasetError
from export.graph import Manifest, Weights, open_session
from export.train_conversion import Trained, split, train
from tests.export.creative.synthetic import VARIANTS, WEIGHTS, catalogue, logits

PICTURES = 2000
SENDS = 4
"""Of every version."""
CALIBRATORS = (
    Calibrator(),
    Calibrator(PLATT, 1.3, -0.2),
    Calibrator(ISOTONIC, knots=(-1.5, -0.5, 0.5, 0.7, 1.4), values=(0.1, 0.1, 0.6, 0.9, 0.95)),
    Calibrator(ISOTONIC, knots=(-1.0, 1.0), values=(0.25, 0.5)),
)
"""One of each kind, and an isotonic one of a single line."""


def learned(sends: Sends, pictures: int = PICTURES) -> Trained:
    return train(sends, logits(pictures), VARIANTS, WEIGHTS)


@pytest.fixture(scope="module")
def planted() -> Trained:
    return learned(plant(catalogue(PICTURES), VARIANTS, sends_each=SENDS))


@pytest.fixture(scope="module")
def calibrated(planted: Trained) -> ConversionModel:
    """A model with a calibrator of every kind."""
    return replace(planted.model, calibrators=CALIBRATORS)


def served(model: ConversionModel, *request: Any) -> list[Any]:
    card = ModelCard(contract.CONVERSION, model.digest[:16], True, TARGETS, (0.0,) * len(TARGETS))
    session = open_session(to_onnx(model, card), threads=1)
    outputs: list[Any] = session.run(
        list(SIGNATURE.outputs), dict(zip(SIGNATURE.inputs, request, strict=True))
    )
    return outputs


def test_accuracy_is_the_ceiling_s_and_the_groups_are_said_as_planted(planted: Trained) -> None:
    for target, found in planted.judgements.items():
        assert found.ceiling is not None
        assert abs(found.accuracy - found.ceiling) < 0.01, target
        assert found.accuracy < 0.8 + 3 * np.sqrt(0.16 / found.sends)
        assert found.said_of_likely == pytest.approx(0.8, abs=0.03)
        assert found.said_of_unlikely == pytest.approx(0.2, abs=0.03)
        assert found.brier_of_truth is not None
        assert found.brier < found.brier_of_truth + 0.005
        assert found.skill > 0.5


def test_shuffled_outcomes_teach_nothing() -> None:
    trained = learned(plant(catalogue(PICTURES), VARIANTS, sends_each=SENDS, shuffle=True))
    for found in trained.judgements.values():
        assert found.auc == pytest.approx(0.5, abs=0.03)
        assert found.accuracy == pytest.approx(found.majority, abs=0.01)
        assert found.brier == pytest.approx(0.4 * 0.6, abs=0.01)
    story = train_conversion.ConversionStory(
        "nothing", False, {target: found.to_json() for target, found in trained.judgements.items()}
    )
    assert max(story.skill) < 0.06


def test_what_only_the_context_decides_is_learned_too() -> None:
    sends = plant(catalogue(PICTURES), VARIANTS)
    by_sms = sends.context[:, 0] == "sms"
    random = np.random.default_rng(5)
    outcomes = (random.random(sends.outcomes.shape) < np.where(by_sms, 0.7, 0.1)[:, None]).astype(np.float32)
    model = learned(replace(sends, outcomes=outcomes, truth=None)).model
    place = model.vocabulary.context["campaign_type"].index("sms")
    said = [model.predict(logits(50)[:, 0], np.int32([[where, 1, 1]] * 50)) for where in range(4)]
    for where, probabilities in enumerate(said):
        assert probabilities.mean() == pytest.approx(0.7 if where == place else 0.1, abs=0.04)


def test_what_a_sure_judge_taught_holds_where_it_is_less_sure() -> None:
    sends = plant(catalogue(1000), VARIANTS, sends_each=SENDS)
    model = train(sends, logits(1000, gap=30), VARIANTS, WEIGHTS).model
    unsure = logits(500, seed=2, gap=4).reshape(-1, len(VARIANTS))
    said = model.predict(unsure, np.ones((len(unsure), 3), np.int32))
    taken_for = np.array(VARIANTS)[unsure.argmax(axis=1)]
    for label in VARIANTS:
        expected = 0.8 if label in LIKELY_VARIANTS else 0.2
        np.testing.assert_allclose(said[taken_for == label].mean(axis=0), expected, atol=0.06, err_msg=label)


def test_no_product_is_in_two_parts_and_each_part_is_a_share_of_them() -> None:
    parts = split(plant(catalogue(PICTURES), VARIANTS))
    products = [set(part.products.tolist()) for part in parts]
    assert [len(names) for names in products] == [32, 4, 4]
    assert len(set.union(*products)) == 40


def test_unknown_outcomes_are_left_out_of_their_target_alone() -> None:
    sends = plant(catalogue(PICTURES), VARIANTS)
    outcomes = sends.outcomes.copy()
    outcomes[::2, 1] = np.nan
    half = learned(replace(sends, outcomes=outcomes))
    known = np.isfinite(outcomes[:, 1])
    other = learned(sends.subset(known))
    assert half.judgements["click_through"] == other.judgements["click_through"]
    assert half.judgements["open_rate"].sends == 2 * half.judgements["click_through"].sends


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (np.nan, r"shop: of the sends to learn from, unsubscribed is known of 0, and 1 for 0 of them"),
        (1.0, r"1 for (\d+) of them; at least 100 are needed, with 10 of either outcome: gather more"),
    ],
)
def test_a_target_of_which_nothing_can_be_learned_is_refused(change: float, reason: str) -> None:
    sends = plant(catalogue(400), VARIANTS)
    sends.outcomes[:, 3] = change
    with pytest.raises(DatasetError, match=reason):
        learned(sends, 400)


def test_one_product_to_learn_from_is_refused() -> None:
    sends = plant(catalogue(400, products=10), VARIANTS, sends_each=SENDS)
    known = sorted(set(split(sends)[0].products.tolist()))
    sends.outcomes[np.isin(sends.products, known[1:]), 2] = np.nan
    with pytest.raises(DatasetError, match=rf"trees learn from {known[0]} alone, .*; add products"):
        learned(sends, 400)


def test_the_same_sends_give_the_same_model() -> None:
    first, again, other = (
        learned(plant(catalogue(400), VARIANTS, sends_each=SENDS, seed=seed), 400).model.digest
        for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize("size", [1, MAX_BATCH, 300])
def test_the_graph_says_what_xgboost_and_the_calibrators_say(calibrated: ConversionModel, size: int) -> None:
    request = draw_requests(calibrated, size, seed=7)
    variants, alternates, cards, schemas = served(calibrated, *request)
    expected = answer(calibrated, *request)
    np.testing.assert_allclose(variants, expected[0], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(alternates, expected[1], rtol=0, atol=TOLERANCE)
    assert variants.shape == (size, contract.MAX_VARIANTS, len(TARGETS))
    assert np.ptp(variants, axis=(0, 1)).min() > 0.2
    assert ModelCard.from_bytes(cards[-1].tobytes()).weights == calibrated.digest[:16]
    assert Vocabulary.from_bytes(schemas[-1].tobytes()) == calibrated.vocabulary


def test_rows_on_the_very_split_go_the_same_way(planted: Trained) -> None:
    """Among the rows drawn for parity are such; one bit further they would have got another leaf."""
    variants, _, context = draw_requests(planted.model, 300, seed=9)
    on_a_split = planted.model.predict(variants[::2].reshape(-1, 8), context[::2].repeat(8, axis=0))
    below = np.nextafter(variants[::2], np.float32(-np.inf))
    beside = planted.model.predict(below.reshape(-1, 8), context[::2].repeat(8, axis=0))
    assert (np.abs(on_a_split - beside).max(axis=1) > 100 * TOLERANCE).mean() > 0.05


def test_a_version_that_is_none_has_no_probability(calibrated: ConversionModel) -> None:
    variants, alternates, context = draw_requests(calibrated, 4)
    variants[1], alternates[2, 3:] = 0, 0
    of_variants, of_alternates, *_ = served(calibrated, variants, alternates, context)
    assert not of_variants[1].any()
    assert not of_alternates[2, 3:].any()
    assert not of_variants[:, len(VARIANTS) :].any()
    wanted = (variants != 0).any(axis=2)
    assert (of_variants[wanted] > 0).all()


def test_a_context_that_nobody_knows_says_nothing_of_its_own_picture_alone(
    calibrated: ConversionModel,
) -> None:
    variants, alternates, context = draw_requests(calibrated, 8)
    expected = served(calibrated, variants, alternates, context)
    context[2, 0], context[4, 2], context[5, 1] = -1, 4, 2**31 - 1
    for got, want in zip(served(calibrated, variants, alternates, context)[:2], expected[:2], strict=True):
        wrong = np.isin(np.arange(8), [2, 4, 5])
        assert np.isnan(got[wrong]).all()
        np.testing.assert_array_equal(got[~wrong], want[~wrong])


def test_kinds_beyond_those_learned_from_change_nothing(calibrated: ConversionModel) -> None:
    variants, alternates, context = draw_requests(calibrated, 8)
    expected = served(calibrated, variants, alternates, context)[0]
    variants[:, : len(VARIANTS), len(VARIANTS) :] = 5
    got = served(calibrated, variants, alternates, context)[0]
    filled = expected.any(axis=2)
    np.testing.assert_array_equal(got[filled], expected[filled])


def test_it_is_written_with_its_parity_for_containers_of_today(
    calibrated: ConversionModel, tmp_path: Path
) -> None:
    card = ModelCard(contract.CONVERSION, calibrated.digest[:16], True, TARGETS, (0.0,) * 4)
    origin = Weights("planted", "Apache-2.0", "", True)
    manifest = Manifest(contract.CONVERSION, origin, calibrated.digest, "planted", {})
    written = write_conversion(calibrated, card, manifest, tmp_path / "1")
    assert set(written.parity) >= {"1", str(MAX_BATCH)}
    assert max(written.parity.values()) <= TOLERANCE
    model = onnx.load(tmp_path / "1" / "model.onnx")
    assert model.ir_version <= 10  # newer ones are refused by ONNX Runtime 1.19
    assert {opset.domain: opset.version for opset in model.opset_import} == {"": 18, "ai.onnx.ml": 3}


@pytest.fixture(scope="module")
def written(planted: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conversion") / "new"
    train_conversion.write(planted, "pictures that there are none of", True, folder)
    return folder


def test_what_was_written_is_read_and_holds_no_pickle(planted: Trained, written: Path) -> None:
    model, story = train_conversion.read(written)
    assert model.digest == planted.model.digest
    assert (story.starter, story.skill) == (True, (0.0,) * 4)
    names = {path.name for path in written.iterdir()}
    trees = {f"trees-{target}.ubj" for target in TARGETS}
    assert names == {"conversion.json", "report.json", "reliability.png"} | trees


def test_a_report_has_the_figures_before_and_after_calibration_and_a_diagram(written: Path) -> None:
    report = json.loads((written / "report.json").read_text())
    assert tuple(report["held_out"]) == TARGETS
    for target, found in report["held_out"].items():
        assert {"brier", "brier_uncalibrated", "log_loss", "log_loss_uncalibrated"} <= set(found)
        assert set(report["calibrations_tried"][target]) == {NONE, PLATT, ISOTONIC}
    assert (report["variants"], report["variants_weights"]) == (list(VARIANTS), WEIGHTS)
    with Image.open(written / "reliability.png") as diagram:
        assert diagram.width > 3 * diagram.height  # a panel a target
        assert len(diagram.convert("RGB").getcolors(1 << 20) or []) > 50


@pytest.mark.parametrize("name", ["report.json", "conversion.json", "trees-unsubscribed.ubj"])
def test_a_damaged_model_is_named(written: Path, name: str, tmp_path: Path) -> None:
    for path in written.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes() if path.name != name else b"{}")
    with pytest.raises(DatasetError, match=r"no conversion model \(.*\); train it again"):
        train_conversion.read(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DatasetError, match=r"no conversion model \(.*\); train it again"):
        train_conversion.read(tmp_path)


def test_bins_hold_as_many_sends_each_and_leave_none_out() -> None:
    random = np.random.default_rng(1)
    said = random.random(1003, np.float32)
    outcomes = (random.random(1003) < said).astype(np.float32)
    found: Sequence[tuple[float, int, int]] = bins(said, outcomes)
    means, ones, sends = zip(*found, strict=True)
    assert len(found) == 10
    assert set(sends) == {100, 101}
    assert (sum(sends), sum(ones)) == (1003, outcomes.sum())
    assert list(means) == sorted(means)
    assert all(abs(one / many - mean) < 0.17 for mean, one, many in found)


def test_a_bin_lies_on_one_side_of_a_jump_and_equal_ones_are_one() -> None:
    said = np.repeat(np.float32([0.2, 0.201, 0.8]), [330, 300, 370])
    outcomes = np.zeros(1000, np.float32)
    outcomes[-300:] = 1
    (low, none, most), (high, ones, rest) = bins(said, outcomes)
    assert (none, most, ones, rest) == (0, 630, 300, 370)
    assert (low, high) == pytest.approx((0.2005, 0.8), abs=1e-3)
