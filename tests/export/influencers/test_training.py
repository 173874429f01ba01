"""The published network: its parts, its training on lists, and that a killed run goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from export.datasets import DatasetError
from export.influencers import planted, training
from export.influencers.blocks import Pairs
from export.influencers.fitting import unseen_folds
from export.influencers.losses import listwise_cross_entropy
from export.influencers.metrics import evaluate
from export.influencers.networks import BilinearNetwork, NetworkShape, normalise_responses
from export.influencers.training import NetworkOptions, score_network, train_network

SHORT = NetworkOptions(epochs=2, seed=3)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return planted.plant(30, 80, 4)


def test_the_listwise_loss_is_the_cross_entropy_of_a_list() -> None:
    scores = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    labels = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    wanted = (-(0.5 * np.log(0.5) + 0.5 * np.log(0.25)) - np.log(0.8)) / 2
    assert float(listwise_cross_entropy(scores, labels)) == pytest.approx(wanted, rel=1e-5)


def test_responses_are_normalised_over_neighbouring_channels() -> None:
    values = torch.zeros(1, 1024)
    values[0, [0, 2, 3, 511, 512]] = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    found = normalise_responses(values)[0]
    # Channel 0 sees 0 to 2: .1 + 1 + 4. Channel 512 is the first of the next place, and sees not 511.
    assert found[[0, 2, 3, 511, 512]].tolist() == pytest.approx(
        [1 / 5.1, 2 / 14.1, 3 / 13.1, 4 / 16.1, 5 / 25.1]
    )


@pytest.mark.parametrize("fusion", ["product", "concatenation"])
def test_the_score_is_the_mean_of_the_product_of_both_sides(fusion: str) -> None:
    torch.manual_seed(0)
    network = BilinearNetwork(NetworkShape({"a": 5, "b": 3}, {"a": 5}, fusion)).eval()
    brands, influencers = {"a": torch.rand(2, 5), "b": torch.rand(2, 3)}, {"a": torch.rand(4, 5)}
    with torch.no_grad():
        left, right = network.brand(brands), network.influencer(influencers)
        assert left.shape == (2, 512)
        wanted = (left[:, None] * right[None]).mean(2)
        assert torch.allclose(network(brands, influencers), wanted, atol=1e-6)


def test_a_block_that_is_not_known_counts_as_one_left_out() -> None:
    torch.manual_seed(0)
    network = BilinearNetwork(NetworkShape({"a": 5, "b": 3}, {"a": 5})).eval()
    known = {"a": torch.rand(2, 5), "b": torch.full((2, 3), torch.nan)}
    with torch.no_grad():
        assert torch.equal(network.brand(known), network.brand({"a": known["a"]}))


def test_buckets_are_ahead_of_random_negatives_where_some_pairs_were_mistakes() -> None:
    """Competence tells mistakes, which random negatives take for as good as any pair."""
    area: dict[str, list[float]] = {"buckets": [], "random": []}
    order: dict[str, list[float]] = {"buckets": [], "random": []}
    for seed in (20, 21, 22, 23):
        fitting, held_out = next(unseen_folds(planted.plant(80, 300, seed=seed, misfits=0.2), 5, 1))
        options = NetworkOptions(k=4, epochs=12, rate=0.002, blocks=("text", "topics"), seed=seed)
        for sampling in area:
            network = train_network(fitting, replace(options, sampling=sampling))
            scores = score_network(network, held_out.brands, held_out.influencers)
            order[sampling].append(_concordance(scores, held_out.labels))
            area[sampling].append(evaluate(scores, held_out.relevant).values["AUC"])
    assert np.mean(area["buckets"]) > np.mean(area["random"])
    assert np.mean(order["buckets"]) > np.mean(order["random"]) + 0.03
    assert min(area["buckets"]) > 0.75


def test_a_killed_run_ends_as_one_that_was_not(
    pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_network(pairs, SHORT)
    checkpoint = tmp_path / "checkpoint.safetensors"
    draw = training.KBucketsSampler.draw
    drawn = iter((True, False))

    def killed(self: training.KBucketsSampler, random: np.random.Generator) -> training.Lists:
        if not next(drawn):
            raise KeyboardInterrupt
        return draw(self, random)

    monkeypatch.setattr(training.KBucketsSampler, "draw", killed)
    with pytest.raises(KeyboardInterrupt):
        train_network(pairs, SHORT, checkpoint)
    monkeypatch.setattr(training.KBucketsSampler, "draw", draw)
    resumed = train_network(pairs, SHORT, checkpoint)
    for name, values in whole.state_dict().items():
        assert torch.allclose(values, resumed.state_dict()[name], atol=1e-6), name


def test_a_checkpoint_of_another_run_is_refused(pairs: Pairs, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    train_network(pairs, replace(SHORT, epochs=1), checkpoint)
    with pytest.raises(DatasetError, match="of another run"):
        train_network(pairs, replace(SHORT, k=2), checkpoint)
    checkpoint.write_bytes(b"no")
    with pytest.raises(DatasetError, match="no checkpoint"):
        train_network(pairs, SHORT, checkpoint)


def test_plain_pooling_reads_the_blocks_that_were_pooled_plainly(pairs: Pairs) -> None:
    chosen = training.choose_blocks(pairs, replace(SHORT, blocks=("text",), pooling="plain"))
    assert set(chosen.brands) == set(chosen.influencers) == {"text_plain"}
    with pytest.raises(DatasetError, match="no block picture_plain"):
        training.choose_blocks(pairs, replace(SHORT, blocks=("picture",), pooling="plain"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampling": "hard"}, "'hard' is unknown"),
        ({"fusion": "sum"}, "'sum' is unknown"),
        ({"optimiser": "lion"}, "'lion' is unknown"),
        ({"k": 1}, "k is at least 2"),
    ],
)
def test_options_that_cannot_be_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        replace(SHORT, **change)


def _concordance(scores: np.ndarray, labels: np.ndarray) -> float:
    """Share of the pairs of a brand's influencers that are scored in the order of their competence."""
    right = []
    for score, label in zip(scores, labels, strict=True):
        mine = label > 0
        differ = label[mine][:, None] > label[mine]
        right += (score[mine][:, None] > score[mine])[differ].tolist()
    return float(np.mean(right))
