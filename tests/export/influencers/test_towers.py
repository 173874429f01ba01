"""The towers of a ranker: graphs that compute what it computes, whatever is known of an account."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from adlens import contract
from adlens.contract import ModelCard
from adlens.towers import AccountSchema
from export.datasets import DatasetError
from export.graph import Manifest, Weights
from export.influencers import planted, starter
from export.influencers.blocks import Pairs
from export.influencers.fitting import FitOptions, fit_ranker, score, tensors
from export.influencers.networks import WIDTH, BilinearNetwork, NetworkShape
from export.influencers.ranker import BlockMap, Ranker
from export.influencers.towers import SIDES, AnyRanker, Tower, write_tower
from export.networks.attributes import digest

BLOCKS = ("picture", "text", "topics")
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """``picture`` is seen of brands alone."""
    return planted.plant(brands=20, influencers=60, each=4).only(BLOCKS)


@pytest.fixture(scope="module")
def ranker(pairs: Pairs) -> Ranker:
    return fit_ranker(pairs, FitOptions(folds=2, members=2, towers=(0.6,)))


def write(
    ranker: AnyRanker, folder: Path, models: Iterable[str] = SIDES
) -> dict[str, onnxruntime.InferenceSession]:
    """Both towers, by model."""
    found = {}
    for model in models:
        sha = digest(ranker)
        manifest = Manifest(model, Weights("test", "none", ""), sha, "planted accounts", {})
        told = write_tower(ranker, model, ModelCard(model, sha[:16], True), manifest, folder / model)
        assert told.parity.keys() == {"1", "8"}
        assert max(told.parity.values()) <= TOLERANCE
        path = str(folder / model / "model.onnx")
        found[model] = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return found


@pytest.fixture(scope="module")
def towers(
    ranker: Ranker, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, onnxruntime.InferenceSession]:
    return write(ranker, tmp_path_factory.mktemp("towers"))


def rows(schema: AccountSchema, blocks: dict[str, np.ndarray]) -> np.ndarray:
    """ACCOUNT of each account."""
    count = len(next(iter(blocks.values())))
    return np.stack(
        [schema.encode({name: values[row] for name, values in blocks.items()}, "x") for row in range(count)]
    )


def vectors(session: onnxruntime.InferenceSession, accounts: np.ndarray) -> np.ndarray:
    (found,) = session.run([contract.ACCOUNT_VECTOR], {contract.ACCOUNT: accounts})
    assert found.shape == (len(accounts), contract.ACCOUNT_DIMENSION)
    return np.asarray(found)


def test_the_product_of_both_towers_is_the_score(
    pairs: Pairs, ranker: Ranker, towers: dict[str, onnxruntime.InferenceSession]
) -> None:
    left, right = (
        vectors(towers[model], rows(Tower(ranker, side).schema, dict(blocks)))
        for (model, side), blocks in zip(SIDES.items(), (pairs.brands, pairs.influencers), strict=True)
    )
    expected = score(ranker, pairs.brands, pairs.influencers)
    np.testing.assert_allclose(left @ right.T, expected, atol=TOLERANCE)


@pytest.mark.parametrize("missing", BLOCKS)
def test_a_block_that_is_nan_is_as_if_it_were_missing_and_harms_no_neighbour(
    pairs: Pairs, ranker: Ranker, towers: dict[str, onnxruntime.InferenceSession], missing: str
) -> None:
    for (model, side), blocks in zip(SIDES.items(), (pairs.brands, pairs.influencers), strict=True):
        schema = Tower(ranker, side).schema
        if missing not in schema.names:
            continue
        accounts = rows(schema, {name: values[:3] for name, values in blocks.items()})
        whole = vectors(towers[model], accounts)
        (place,) = (block for block in schema.blocks if block.name == missing)
        accounts[1, place.start : place.start + place.length] = np.nan
        found = vectors(towers[model], accounts)
        rest = {name: values[1:2] for name, values in blocks.items() if name != missing}
        with torch.no_grad():
            side_of = ranker.brand if side == "brand" else ranker.influencer
            expected = side_of(tensors(rest)).numpy()[0]
        np.testing.assert_allclose(found[1, : len(expected)], expected, atol=TOLERANCE)
        np.testing.assert_array_equal(found[[0, 2]], whole[[0, 2]])


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 3e38])
def test_an_account_of_whom_nothing_is_known_has_a_finite_vector(
    ranker: Ranker, towers: dict[str, onnxruntime.InferenceSession], number: float
) -> None:
    for model in SIDES:
        accounts = np.full((2, contract.MAX_ACCOUNT), number, np.float32)
        assert np.isfinite(vectors(towers[model], accounts)).all()


def test_both_towers_name_one_ranker(ranker: Ranker, towers: dict[str, onnxruntime.InferenceSession]) -> None:
    for (model, side), session in zip(SIDES.items(), towers.values(), strict=True):
        feed = {contract.ACCOUNT: np.zeros((3, contract.MAX_ACCOUNT), np.float32)}
        card, said = session.run([contract.CARD, contract.SCHEMA], feed)
        schema = AccountSchema.from_bytes(said[2].tobytes())
        assert schema == Tower(ranker, side).schema
        assert schema.ranker == ModelCard.from_bytes(card[2].tobytes()).weights == digest(ranker)[:16]
        assert {output.name for output in session.get_outputs()} == {*contract.MODELS[model].outputs}


def test_the_segments_are_the_rankers(ranker: Ranker) -> None:
    schema = Tower(ranker, "brand").schema
    found = [(each.block, each.start, each.stop) for each in schema.segments]
    assert found == [(each.block, each.start, each.stop) for each in ranker.segments]
    assert found[-1] == ("crowding", ranker.dimension - 1, ranker.dimension)


def test_the_published_network_is_served_alike_and_has_no_segments(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = NetworkShape({"topics": 5, "text": 7}, {"topics": 5, "text": 7})
    network = BilinearNetwork(shape).eval()
    sessions = write(network, tmp_path, [contract.BRAND_TOWER])
    random = np.random.default_rng(0)
    blocks = {name: random.normal(size=(4, size)).astype(np.float32) for name, size in shape.brand.items()}
    left = vectors(sessions[contract.BRAND_TOWER], rows(Tower(network, "brand").schema, blocks))
    with torch.no_grad():
        right, _ = Tower(network, "influencer")(
            torch.from_numpy(rows(Tower(network, "influencer").schema, blocks))
        )
        expected = network(tensors(blocks), tensors(blocks)).numpy()
    np.testing.assert_allclose(left @ right.numpy().T, expected, atol=TOLERANCE)
    assert Tower(network, "brand").schema.segments == ()
    assert contract.ACCOUNT_DIMENSION == WIDTH


def test_a_ranker_that_is_too_large_to_travel_is_refused() -> None:
    wide = {"colours": BlockMap(contract.MAX_ACCOUNT + 1, 3, distribution=False)}
    large = Ranker(wide, {"colours": BlockMap(5, 3, distribution=False)}, (), 1, 1.0, 0.0)
    with pytest.raises(DatasetError, match=r"brand tower: .*at most 32768 numbers of an account"):
        Tower(large, "brand")


def test_a_starter_reads_what_accounts_are_described_by() -> None:
    """A block as wide as that of ``adlens.describing``, or no described account could be built."""
    ranker, story = starter.load_ranker(starter.train_starter())
    schema = Tower(ranker, "brand", story.made_by).schema
    assert [(block.name, block.length, block.made_by) for block in schema.blocks] == [
        ("pictures", contract.POST_FEATURES_LENGTH, "")
    ]
    assert story.starter
    assert story.skill == 0
