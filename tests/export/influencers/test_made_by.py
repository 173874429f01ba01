"""What described the accounts that a ranker has learned from is said by its towers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from export.influencers import planted
from export.influencers.blocks import read_pairs, write_pairs
from export.influencers.config import RankerConfig
from export.influencers.fitting import FitOptions
from export.influencers.story import load_ranker
from export.influencers.towers import SIDES, account_schema
from export.train_influencers import train_on

MADE_BY = {"text": "a" * 16, "topics": "b" * 16}


def test_it_travels_from_the_file_of_features_into_both_schemas(tmp_path: Path) -> None:
    pairs = replace(planted.plant(25, 60, 4).only(("text", "topics")), made_by=MADE_BY)
    write_pairs(pairs, tmp_path / "x.npz")
    read = read_pairs(tmp_path / "x.npz")
    assert read.made_by == read.subset(slice(0, 5), slice(None)).only(("text",)).made_by == MADE_BY
    train_on(read, RankerConfig(ours=FitOptions(folds=2, profiles=(0.5,))), tmp_path / "out", False)
    ranker, story = load_ranker(tmp_path / "out")
    for side in SIDES.values():
        schema = account_schema(ranker, side, story.made_by)
        assert {block.name: block.made_by for block in schema.blocks} == MADE_BY
        assert [block.made_by for block in account_schema(ranker, side).blocks] == ["", ""]
