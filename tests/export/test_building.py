"""Models that share something are built in order, the rest by themselves; what fails ends the build."""

from __future__ import annotations

from pathlib import Path

import pytest

from export import building
from export.building import Chain, build_chains, chains_of
from export.graph import Manifest, ParityError, Weights
from export.models import BUILDERS, TOGETHER

CHAINS: list[Chain] = [{"judge": None, "trees": "own"}, {"tower": None}, {"detector": None}]


def test_what_is_together_is_a_chain_in_its_order_and_comes_first() -> None:
    models = {"detector": None, "trees": "own", "tower": None, "judge": None}
    found = chains_of(models, [("judge", "trees"), ("no", "nothing"), ("other", "tower")])
    assert [list(chain.items()) for chain in found] == [list(chain.items()) for chain in CHAINS]
    assert chains_of({}, [("judge", "trees")]) == []


def test_every_model_is_in_one_chain() -> None:
    chains = chains_of(dict.fromkeys(BUILDERS), TOGETHER)
    assert sorted(model for chain in chains for model in chain) == sorted(BUILDERS)
    assert {model for chain in TOGETHER for model in chain} <= set(BUILDERS)


def test_a_model_that_fails_is_told_and_what_comes_after_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []

    def build(model: str, weights: str | None, repository: Path) -> Manifest:
        if model == "tower":
            raise ParityError("tower: differs")
        built.append((model, weights, repository))
        return Manifest(model, Weights("a test", "none", ""), "", "nothing", {})

    monkeypatch.setattr(building, "build", build)
    manifests = build_chains(CHAINS, tmp_path, jobs=1)
    assert [next(manifests).model for _ in range(2)] == ["judge", "trees"]
    with pytest.raises(ParityError, match="tower: differs"):
        next(manifests)
    assert built == [("judge", None, tmp_path), ("trees", "own", tmp_path)]
