"""Accounts described without a server are what a server would make of them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch

from adlens.accounts import Unused, find_accounts
from adlens.describing import PICTURES
from export.creative.reading import read_canvases
from export.influencers import describing
from export.influencers.generated_accounts import TRUTH, write_accounts
from export.influencers.in_process import described_pairs
from export.networks.attributes import digest


def test_pairs_are_those_planted_with_what_the_network_sees(tmp_path: Path) -> None:
    accounts = write_accounts(tmp_path / "accounts", brands=3, influencers=6, pictures=1)
    found = list(find_accounts(accounts, Unused()))
    (accounts / found[-1].id / "0.jpg").write_bytes(b"\xff\xd8 broken")
    pairs = described_pairs(accounts, tmp_path / "described")
    network, _ = describing.load()
    assert pairs.made_by == {PICTURES: digest(network)[:16]}
    brands = [account for account in found if account.brand]
    influencers = [account for account in found if not account.brand]
    with (accounts / TRUTH).open(newline="") as file:
        planted = {(row["brand"], row["influencer"]) for row in csv.DictReader(file)}
    assert planted == {
        (brands[row].id, influencers[column].id) for row, column in np.argwhere(pairs.positive)
    }
    for side, blocks in ((brands, pairs.brands), (influencers, pairs.influencers)):
        for row, account in enumerate(side):
            (post,) = (post for post in account.posts(Unused()) if post.image)
            if account is found[-1]:
                assert np.isnan(blocks[PICTURES][row]).all()
            elif row < 2 and post.image:
                canvases = next(read_canvases([post.image]))
                with torch.inference_mode():
                    expected = network(canvases.pixels, canvases.sizes)[0].numpy()
                np.testing.assert_allclose(blocks[PICTURES][row], expected, rtol=1e-3, atol=1e-3)
