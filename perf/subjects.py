"""What is measured: the ensembles and leaves by name, and what each takes.

A name that the server does not have is left out, and said. Inputs are what the served model says of itself,
so that a further ensemble is a further name here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import tritonclient.grpc as triton

from adlens import contract
from adlens.transport import Connection
from perf import inputs
from perf.throughput import Jpeg

FAST: Final = "recommend_products_fast"
ENSEMBLES: Final = (
    contract.RECOMMEND_PRODUCTS,
    FAST,
    contract.match_faces_model(contract.EMBEDDER),
    contract.OPTIMISE_CREATIVE,
    contract.RENDER_CREATIVE,
    contract.PREDICT_ENGAGEMENT,
    contract.DESCRIBE_POSTS,
    contract.RANK_INFLUENCERS,
)
LEAVES: Final = tuple(name for name in contract.MODELS if name not in ENSEMBLES)
NULL: Final = "null"
"""Computes nothing (``perf/null``)."""
QUICK_LEAVES: Final = (contract.DETECT_FACES, contract.attributes_model("resnet50"))
"""Those of ``make bench-quick``."""


def is_served(url: str, model: str) -> bool:
    """Whether the server at HOST:PORT ``url`` has the model."""
    with triton.InferenceServerClient(url) as client:
        return bool(client.is_model_ready(model))


def rows(connection: Connection, url: str, model: str, pictures: Sequence[Jpeg]) -> list[inputs.Tensors]:
    """A request of ``model`` for each picture, without the batch dimension.

    Raises:
        AdlensError: a step that makes an input is not served, or refuses the picture.
        KeyError: no model makes an input.
    """
    with triton.InferenceServerClient(url) as client:
        names = [each.name for each in client.get_model_metadata(model).inputs]
    return [inputs.tensors(connection, picture, names) for picture in pictures]
