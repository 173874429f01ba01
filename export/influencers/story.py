"""A trained ranker on disk: safetensors, with the story of its training in the header.

The story stands beside it again, as ``report.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from export import stories
from export.influencers.networks import BilinearNetwork, NetworkShape
from export.influencers.ranker import BlockMap, Ranker
from export.influencers.siamese import SiameseTowers
from export.weights import WeightsError, cache_folder

RANKER_FILE: Final = "ranker.safetensors"
OURS: Final = "ours"
SEED_NETWORK: Final = "bilinear"


@dataclass(frozen=True)
class RankerStory:
    """What a trained ranker says of itself.

    Attributes:
        kind: ``ours`` or ``bilinear``, the seed's network.
        trained_on: in words.
        starter: whether its accounts were generated.
        shape: what is needed to build it anew.
        held_out: metrics on brands and influencers that it has not seen, as ``metrics.Evaluation.to_json``.
        made_by: what made the blocks that it has learned from, as ``blocks.Pairs`` says.
    """

    kind: str
    trained_on: str
    starter: bool
    shape: Mapping[str, Any]
    held_out: Mapping[str, Any] = field(default_factory=dict)
    made_by: Mapping[str, str] = field(default_factory=dict)

    @property
    def skill(self) -> float:
        """2 AUC - 1 on held-out brands, 0 to 1; 0 where accounts were generated, or AUC is not known."""
        area = self.held_out.get("AUC")
        return 0.0 if self.starter or area is None else round(max(0.0, 2 * float(area) - 1), 4)


def cached_ranker() -> Path:
    """Folder where training leaves a ranker."""
    return cache_folder() / "influencers"


def shape_of(ranker: Ranker) -> dict[str, Any]:
    """What ``build`` needs."""

    def sides(maps: torch.nn.ModuleDict) -> dict[str, Any]:
        return {
            name: {"values": len(each.centre), "width": each.width, "distribution": each.distribution}
            for name, each in maps.items()
            if isinstance(each, BlockMap)
        }

    return {
        "brand": sides(ranker.brand_maps),
        "influencer": sides(ranker.influencer_maps),
        "shared": list(ranker.shared),
        "anchors": len(ranker.anchors),
        "bandwidth": ranker.bandwidth,
        "crowding": ranker.crowding,
        "siamese": {
            "blocks": ranker.siamese.blocks,
            "members": len(ranker.siamese.members),
            "member_width": ranker.siamese.member_width,
        },
    }


def build(shape: Mapping[str, Any]) -> Ranker:
    """A ranker of this shape, its buffers to be filled."""
    brand, influencer = (
        {name: BlockMap(**each) for name, each in shape[side].items()} for side in ("brand", "influencer")
    )
    return Ranker(
        brand,
        influencer,
        tuple(shape["shared"]),
        shape["anchors"],
        shape["bandwidth"],
        shape["crowding"],
        SiameseTowers(**shape["siamese"]),
    )


def save_ranker(ranker: Ranker | BilinearNetwork, story: RankerStory, folder: Path) -> None:
    """Leave ``ranker`` and its story in ``folder``; a former one stays whole until the new one is."""
    stories.write(ranker.state_dict(), asdict(story), folder / RANKER_FILE)
    stories.write_report(asdict(story), folder)


def read_story(folder: Path) -> RankerStory:
    """The story of the ranker in ``folder``.

    Raises:
        WeightsError: there is none, or it is none of ours.
    """
    return stories.read(folder / RANKER_FILE, lambda raw: RankerStory(**raw), "a ranker of influencers")


def load_ranker(folder: Path) -> tuple[Ranker | BilinearNetwork, RankerStory]:
    """What ``save_ranker`` left in ``folder``, in evaluation mode.

    Raises:
        WeightsError: a file is missing, or does not fit.
    """
    story = read_story(folder)
    try:
        ranker: Ranker | BilinearNetwork
        if story.kind == OURS:
            ranker = build(story.shape)
        else:
            ranker = BilinearNetwork(NetworkShape.from_json(story.shape))
        ranker.load_state_dict(load_file(folder / RANKER_FILE))
    except (RuntimeError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise WeightsError(f"{folder / RANKER_FILE} does not fit ({error}): train it again") from error
    return ranker.eval(), story
