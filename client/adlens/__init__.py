"""adlens: from a picture to a marketing decision. The client of the adlens inference server.

::

    from adlens import Recommender

    with Recommender("127.0.0.1:8001") as recommender:
        answer = recommender.recommend_products("photo.jpg")
        print(answer.title, answer.score)

Public names are loaded on first use: the server, which imports ``adlens.contract`` and
``adlens.jpeg`` alone, then pays for neither Pillow nor the transport.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from adlens.ads import AdAnswer as AdAnswer
    from adlens.ads import AdOutcome as AdOutcome
    from adlens.ads import MatchedFace as MatchedFace
    from adlens.answers import Box as Box
    from adlens.answers import Face as Face
    from adlens.answers import Failure as Failure
    from adlens.answers import JudgedFace as JudgedFace
    from adlens.answers import Match as Match
    from adlens.answers import PictureAnswer as PictureAnswer
    from adlens.answers import UserAnswer as UserAnswer
    from adlens.catalogue import Catalogue as Catalogue
    from adlens.creatives import Alternate as Alternate
    from adlens.creatives import CreativeAnswer as CreativeAnswer
    from adlens.creatives import Version as Version
    from adlens.customers import OfferAnswer as OfferAnswer
    from adlens.engagement import EngagementAnswer as EngagementAnswer
    from adlens.engagement import EngagementRanking as EngagementRanking
    from adlens.errors import AdlensError as AdlensError
    from adlens.influencers import InfluencerAnswer as InfluencerAnswer
    from adlens.influencers import RankedInfluencer as RankedInfluencer
    from adlens.recommender import AsyncRecommender as AsyncRecommender
    from adlens.recommender import Recommender as Recommender
    from adlens.transport import Tls as Tls

_HOME: Final = {
    "AdAnswer": "ads",
    "AdOutcome": "ads",
    "AdlensError": "errors",
    "Alternate": "creatives",
    "AsyncRecommender": "recommender",
    "Box": "answers",
    "Catalogue": "catalogue",
    "CreativeAnswer": "creatives",
    "EngagementAnswer": "engagement",
    "EngagementRanking": "engagement",
    "Face": "answers",
    "Failure": "answers",
    "InfluencerAnswer": "influencers",
    "JudgedFace": "answers",
    "Match": "answers",
    "MatchedFace": "ads",
    "OfferAnswer": "customers",
    "PictureAnswer": "answers",
    "RankedInfluencer": "influencers",
    "Recommender": "recommender",
    "Tls": "transport",
    "UserAnswer": "answers",
    "Version": "creatives",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    """Load a public name from its module (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
