"""What the server says of posts is what torch says, on the same JPEG files and the same context."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from adlens import contract, pictures
from adlens.contract import EngagementCard
from adlens.transport import Connection, Endpoint
from export import train_engagement
from export.engagement.network import EngagementNetwork
from export.engagement.story import EngagementStory
from export.faces import decode
from export.models import BUILT_FROM, ENGAGEMENT_TOLERANCE, REPOSITORY, fingerprint
from export.networks.attributes import digest
from server.launcher import Server
from tests.e2e.pictures import TIMEOUT_S

NAN = np.nan
POSTS = np.array(
    [
        [18.5, 4, 120, 8, 52_000, 0],
        [3.0, 0, NAN, 0, NAN, 1],
        [NAN, NAN, NAN, NAN, NAN, NAN],
        [np.inf, -np.inf, 2_200, 3e38, -5, 1],
    ],
    np.float32,
)
"""As usual, partly known, unknown, and out of range."""
Predictor = tuple[EngagementNetwork, EngagementStory]


@pytest.fixture(scope="module")
def predictor(whole_server: Server) -> Predictor:
    """What was exported, in torch."""
    model = contract.ENGAGEMENT_MODEL
    mark = REPOSITORY / model / "1" / BUILT_FROM
    if not (mark.exists() and mark.read_text() == fingerprint(model)):
        if os.environ.get("CI") == "true":
            pytest.fail(f"{model} is out of date")
        pytest.skip(f"{model} is out of date; run `make models`")
    network, story, _ = train_engagement.load()
    return network, story


@pytest.fixture(scope="module")
def paths(test_data: Path) -> list[Path]:
    """Real photos and small pictures of products, all JPEG, of different sizes and shapes."""
    photos = sorted((test_data / "photos" / "portrait").glob("*.jpg"))[:2]
    sneakers = [
        next(iter(sorted(folder.glob("*.jpg"))))
        for folder in sorted((test_data / "sneakers").iterdir())[::30]
    ][:2]
    return photos + sneakers


def ask(server: Server, files: list[Path], posts: NDArray[np.float32], **options: Any) -> Any:
    """Answers to one request."""
    longest = [np.frombuffer(pictures.load(path).jpeg, np.uint8) for path in files]
    request = {contract.IMAGE: np.stack(longest), contract.POST: posts}
    with Connection(Endpoint(server.url, timeout_s=TIMEOUT_S)) as connection:
        return connection.infer(contract.PREDICT_ENGAGEMENT, request, **options).outputs


def test_served_probabilities_are_those_of_torch(
    server: Server, predictor: Predictor, paths: list[Path]
) -> None:
    torch.set_num_threads(1)
    network, story = predictor
    for path in paths:
        pixels, sizes = next(decode([path]))
        for post in POSTS:
            with torch.no_grad():
                want = network(pixels, torch.from_numpy(sizes), torch.from_numpy(post[None]))
            found = ask(server, [path], post[None])
            np.testing.assert_allclose(
                found[contract.ENGAGEMENT], want.numpy(), rtol=0, atol=ENGAGEMENT_TOLERANCE
            )
            assert found[contract.ENGAGEMENT].sum() == pytest.approx(1, abs=1e-5)
            assert found[contract.PICTURE_SIZE].tolist() == sizes.tolist()
    card = EngagementCard.from_bytes(found[contract.card_output(contract.ENGAGEMENT_MODEL)][0].tobytes())
    assert card == story.card(digest(network))


def test_posts_in_one_request_are_answered_as_one_by_one(server: Server, paths: list[Path]) -> None:
    """The same picture with other contexts: what is not known of one is no matter of its neighbours."""
    together = ask(server, paths[:1] * len(POSTS), POSTS)[contract.ENGAGEMENT]
    alone = [ask(server, paths[:1], post[None])[contract.ENGAGEMENT][0] for post in POSTS]
    np.testing.assert_allclose(together, alone, rtol=0, atol=ENGAGEMENT_TOLERANCE)


@pytest.mark.parametrize(
    "outputs",
    [
        (contract.ENGAGEMENT,),
        (contract.ENGAGEMENT, contract.card_output(contract.ENGAGEMENT_MODEL)),
        (contract.PICTURE_SIZE, contract.ENGAGEMENT),
    ],
)
def test_some_outputs_may_be_asked_for_alone(
    server: Server, paths: list[Path], outputs: tuple[str, ...]
) -> None:
    found = ask(server, paths[:1], POSTS[:1], outputs=outputs)
    whole = ask(server, paths[:1], POSTS[:1])
    assert found.keys() == set(outputs)
    for name in outputs:
        np.testing.assert_allclose(found[name], whole[name], rtol=0, atol=ENGAGEMENT_TOLERANCE)
