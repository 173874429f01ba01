"""The ranker: learned on planted pairs, judged on brands and influencers that it has not seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from export.datasets import DatasetError
from export.influencers import planted
from export.influencers.baselines import fit_cosine, fit_ridge, kronecker_ridge
from export.influencers.blocks import Pairs
from export.influencers.descent import learn_towers, stand_ins
from export.influencers.fitting import FitOptions, fit_ranker, is_distribution, score, tensors, unseen_folds
from export.influencers.metrics import evaluate
from export.influencers.ranker import CROWDING, Ranker
from export.influencers.siamese import BRAND, INFLUENCER
from export.influencers.story import OURS, RankerStory, load_ranker, save_ranker, shape_of
from export.weights import WeightsError

QUICK = FitOptions(folds=2, members=1)


@pytest.fixture(scope="module")
def parts() -> tuple[Pairs, Pairs]:
    return next(unseen_folds(planted.plant(), 5, 1))


@pytest.fixture(scope="module")
def ranker(parts: tuple[Pairs, Pairs]) -> Ranker:
    return fit_ranker(parts[0], QUICK)


def _auc(scores: np.ndarray, pairs: Pairs) -> float:
    return evaluate(scores, pairs.positive).values["AUC"]


def test_planted_relevance_is_found_where_cosine_does_not(parts: tuple[Pairs, Pairs], ranker: Ranker) -> None:
    fitting, held_out = parts
    assert _auc(score(ranker, held_out.brands, held_out.influencers), held_out) >= 0.95
    assert _auc(fit_cosine(fitting)(held_out.brands, held_out.influencers), held_out) < 0.7
    assert _auc(fit_ridge(fitting)(held_out.brands, held_out.influencers), held_out) >= 0.95


def test_mistaken_pairs_hardly_harm_what_is_found() -> None:
    fitting, held_out = next(unseen_folds(planted.plant(misfits=0.2), 5, 1))
    assert (held_out.positive & ~held_out.relevant).any()
    said = score(fit_ranker(fitting, QUICK), held_out.brands, held_out.influencers)
    assert evaluate(said, held_out.relevant).values["AUC"] >= 0.95


def test_towers_learned_by_descent_find_what_is_planted(parts: tuple[Pairs, Pairs]) -> None:
    fitting, held_out = parts
    towers = learn_towers(fitting, {"text": False, "topics": True}, 1, 32, 20)
    with torch.no_grad():
        left, none = towers(tensors(held_out.brands), BRAND)
        right, appeal = towers(tensors(held_out.influencers), INFLUENCER)
    said = sum(left[name] @ right[name].T for name in left) + appeal.T
    assert _auc(said.numpy(), held_out) > 0.9
    assert not none.any()
    again = learn_towers(fitting, {"text": False, "topics": True}, 1, 32, 20)
    for name, values in towers.state_dict().items():
        assert torch.allclose(values, again.state_dict()[name], atol=1e-6), name


def test_stand_ins_leave_each_brand_somebody_to_be_found() -> None:
    torch.manual_seed(0)
    positive = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    drawn = torch.stack([stand_ins(positive) for _ in range(200)])
    assert ((positive - drawn).sum(2) >= 1).all()
    assert (drawn <= positive).all()
    assert 0.1 < float(drawn[:, 1].any(1).float().mean()) < 0.5


def test_nothing_is_found_where_labels_are_shuffled(parts: tuple[Pairs, Pairs]) -> None:
    fitting, held_out = parts
    labels = np.random.default_rng(0).permuted(fitting.labels, axis=1)
    shuffled = Pairs("shuffled", fitting.brands, fitting.influencers, labels)
    found = _auc(score(fit_ranker(shuffled, QUICK), held_out.brands, held_out.influencers), held_out)
    assert 0.3 < found < 0.7


def test_folds_hold_out_brands_and_their_influencers() -> None:
    pairs = planted.plant(40, 100, 5)
    names = (
        {"id": np.arange(40, dtype=np.float32)[:, None]},
        {"id": np.arange(100, dtype=np.float32)[:, None]},
    )
    marked = Pairs("marked", names[0], names[1], pairs.labels)
    seen: list[float] = []
    for fitting, held_out in unseen_folds(marked, 5, 3):
        for known, unknown in (
            (fitting.brands, held_out.brands),
            (fitting.influencers, held_out.influencers),
        ):
            assert not {*known["id"].flatten()} & {*unknown["id"].flatten()}
        assert held_out.positive.any(0).all()
        seen += held_out.brands["id"].flatten().tolist()
    assert sorted(seen) == list(range(40))


def test_influencers_that_many_brands_had_are_not_all_held_out() -> None:
    pairs = planted.plant(60, 40, 8)
    for fitting, held_out in unseen_folds(pairs, 5, 3):
        assert fitting.labels.shape[1] >= 10
        assert held_out.positive.any(1).all()
    fit_ranker(pairs, FitOptions(folds=2))
    with pytest.raises(DatasetError, match="too few influencers"):
        list(unseen_folds(pairs.subset(np.arange(60), np.arange(1)), 5, 3))


def test_segments_are_whole_and_their_products_add_up_to_the_score(
    parts: tuple[Pairs, Pairs], ranker: Ranker
) -> None:
    held_out = parts[1]
    with torch.no_grad():
        left = ranker.brand(tensors(held_out.brands))
        right = ranker.influencer(tensors(held_out.influencers))
    segments = ranker.segments
    assert [each.start for each in segments] == [0, *(each.stop for each in segments[:-1])]
    assert (segments[-1].block, segments[-1].stop) == (CROWDING, ranker.dimension)
    assert {each.block for each in segments[:-1]} == {"text", "topics"}
    shares = sum(left[:, each.start : each.stop] @ right[:, each.start : each.stop].T for each in segments)
    assert np.allclose(shares, score(ranker, held_out.brands, held_out.influencers), atol=1e-4)


def test_the_vector_of_an_account_does_not_depend_on_its_neighbours(
    parts: tuple[Pairs, Pairs], ranker: Ranker
) -> None:
    blocks = tensors(parts[1].brands)
    broken = {name: values.clone() for name, values in blocks.items()}
    broken["text"][1] = torch.nan
    with torch.no_grad():
        whole, beside = ranker.brand(blocks), ranker.brand(broken)
    others = torch.arange(len(whole)) != 1
    assert torch.allclose(whole[others], beside[others], atol=1e-5)
    assert beside.isfinite().all()
    assert not torch.allclose(whole[1], beside[1], atol=1e-3)


def test_a_block_left_out_is_as_one_that_is_not_known(parts: tuple[Pairs, Pairs], ranker: Ranker) -> None:
    for side, blocks in ((ranker.brand, parts[1].brands), (ranker.influencer, parts[1].influencers)):
        held = tensors(blocks)
        unknown = held | {"topics": torch.full_like(held["topics"], torch.nan)}
        without = {name: values for name, values in held.items() if name != "topics"}
        with torch.no_grad():
            assert torch.equal(side(unknown), side(without))


def test_it_ranks_still_where_a_block_is_missing(parts: tuple[Pairs, Pairs], ranker: Ranker) -> None:
    held_out = parts[1]
    brands = {name: values for name, values in held_out.brands.items() if name != "picture"}
    influencers = {"text": held_out.influencers["text"]}
    assert _auc(score(ranker, brands, influencers), held_out) > 0.8


def test_blocks_that_it_cannot_read_are_refused(parts: tuple[Pairs, Pairs], ranker: Ranker) -> None:
    held_out = parts[1]
    with pytest.raises(DatasetError, match="none of the blocks"):
        score(ranker, {"shoe_size": held_out.brands["text"]}, held_out.influencers)
    with pytest.raises(DatasetError, match="24 were learned"):
        score(ranker, held_out.brands, {"text": held_out.influencers["topics"]})


def test_accounts_without_a_shared_block_are_ranked_by_the_profile() -> None:
    pairs = planted.plant(100, 300)
    apart = Pairs("apart", {"b": pairs.brands["text"]}, {"i": pairs.influencers["text"]}, pairs.labels)
    fitting, held_out = next(unseen_folds(apart, 5, 1))
    found = fit_ranker(fitting, QUICK)
    assert found.shared == ()
    assert _auc(score(found, held_out.brands, held_out.influencers), held_out) > 0.8


def test_wide_blocks_are_reduced_to_what_travels() -> None:
    pairs = planted.plant(40, 300, 5)
    wide = np.random.default_rng(0).normal(size=(24, 280)).astype(np.float32)
    sides = [
        {"text": side["text"] @ wide, "other": side["text"] @ wide}
        for side in (pairs.brands, pairs.influencers)
    ]
    held = Pairs("wide", sides[0], sides[1], pairs.labels)
    assert fit_ranker(held, FitOptions(folds=2, members=0)).dimension == 2 * 255 + 1
    with_towers = fit_ranker(held, FitOptions(folds=2, members=2, towers=(1.0,)))
    assert with_towers.siamese.width == 64
    assert with_towers.dimension == 2 * 255 + 1


def test_it_comes_back_from_disk_as_it_was(
    parts: tuple[Pairs, Pairs], ranker: Ranker, tmp_path: Path
) -> None:
    story = RankerStory(OURS, "planted", True, shape_of(ranker), {"AUC": 0.9})
    save_ranker(ranker, story, tmp_path)
    found, told = load_ranker(tmp_path)
    assert isinstance(found, Ranker)
    assert told == story
    assert told.skill == 0.0
    held_out = parts[1]
    for one, other in ((ranker.brand, found.brand), (ranker.influencer, found.influencer)):
        blocks = tensors(held_out.brands if one == ranker.brand else held_out.influencers)
        with torch.no_grad():
            assert torch.equal(one(blocks), other(blocks))


def test_a_folder_without_a_ranker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not a ranker"):
        load_ranker(tmp_path)
    (tmp_path / "ranker.safetensors").write_bytes(b"no")
    with pytest.raises(WeightsError, match="not a ranker"):
        load_ranker(tmp_path)


def test_too_few_brands_are_refused() -> None:
    with pytest.raises(DatasetError, match="10 are needed"):
        fit_ranker(planted.plant(6, 30, 3))


def test_the_ridge_over_products_is_that_of_normal_equations() -> None:
    random = np.random.default_rng(0)
    left, right, target = random.normal(size=(7, 3)), random.normal(size=(5, 2)), random.normal(size=(7, 5))
    products = np.kron(left, right)
    wanted = np.linalg.solve(products.T @ products + 2.0 * np.eye(6), products.T @ target.flatten())
    assert kronecker_ridge(left, right, target, 2.0).flatten() == pytest.approx(wanted)


def test_shares_are_told_from_other_numbers() -> None:
    assert is_distribution(np.array([[0.2, 0.8], [0.5, 0.5], [np.nan, 1]], np.float32))
    assert not is_distribution(np.array([[0.2, 0.8], [0.5, 0.9]], np.float32))
    assert not is_distribution(np.array([[1.2, -0.2]], np.float32))
