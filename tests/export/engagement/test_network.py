"""The network of engagement: ordered classes, context that may be missing, nothing computed in vain."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from adlens import contract
from adlens.contract import EngagementCard
from export.engagement.calibration import Scale
from export.engagement.network import CONTEXT, IMAGE, EngagementNetwork, Head, log_loss, probabilities
from export.graph import difference, to_onnx
from export.models import ENGAGEMENT_SIGNATURE, ENGAGEMENT_TOLERANCE
from export.networks.card import Carded
from tests.export.engagement.tiny import randomise, trunk

# torch.export warns of its own use of deprecated parts of itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")

NAN = float("nan")
USUAL = (18.5, 4.0, 120.0, 8.0, 52_000.0, 0.0)
POSTS = torch.tensor(
    [
        USUAL,
        (3.0, 0.0, NAN, 0.0, NAN, 1.0),
        (NAN,) * 6,
        (float("inf"), -float("inf"), -5.0, 3e38, -3e38, 1e30),
    ]
)


def head(*reads: str, wide: int = 7) -> Head:
    made = Head(wide, reads)
    randomise(made)
    if CONTEXT in reads:
        random = torch.Generator().manual_seed(2)
        made.context.fit(
            torch.rand(200, 6, generator=random) * torch.tensor([24.0, 7, 2000, 30, 1e5, 2]).floor()
        )
    return made.eval()


def changed(**fields: float) -> Tensor:
    """The usual post, but for some fields."""
    post = list(USUAL)
    for name, value in fields.items():
        post[contract.POST_FIELDS.index(name)] = value
    return torch.tensor([post])


def pictures(count: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(3)
    side = contract.CANVAS
    pixels = torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=random)
    return pixels, torch.randint(60, 900, (count, 2), dtype=torch.int32, generator=random)


def test_probabilities_add_up_and_the_higher_score_is_the_more_popular() -> None:
    scores = torch.linspace(-40, 40, 401)
    found = probabilities(scores, torch.tensor([-1.0, 1.5]))
    assert torch.allclose(found.sum(1), torch.ones(401), atol=1e-6)
    assert (found >= 0).all()
    low, neutral, high = found.T
    assert (low.diff() <= 0).all()
    assert (high.diff() >= 0).all()
    # In the middle between the thresholds neutral is the likeliest, and falls to either side.
    assert abs(float(scores[neutral.argmax()]) - 0.25) < 0.2


def test_the_loss_is_that_of_the_probabilities_and_finite_however_wrong() -> None:
    thresholds, classes = torch.tensor([-1.0, 1.5]), torch.tensor([0, 1, 2, 1])
    scores = torch.tensor([-0.3, 0.7, 2.0, -4.0])
    said = probabilities(scores, thresholds).gather(1, classes[:, None]).log().mean()
    assert float(log_loss(scores, thresholds, classes)) == pytest.approx(-float(said), rel=1e-5)
    assert log_loss(torch.tensor([1e4, -1e4]), thresholds, torch.tensor([0, 2])).isfinite()


def test_calibration_says_what_the_network_says() -> None:
    scores, scale = torch.linspace(-6, 6, 50), Scale(0.7, -1.2, 0.8)
    want = probabilities(0.7 * scores, torch.tensor([-1.2, 0.8]))
    np.testing.assert_allclose(scale(scores.double().numpy()), want.numpy(), atol=1e-6)


@pytest.mark.parametrize("post", list(POSTS))
def test_whatever_the_context_the_answer_is_a_distribution(post: Tensor) -> None:
    found = head(CONTEXT)(torch.zeros(1, 0), post[None])
    assert float(found.detach().sum()) == pytest.approx(1, abs=1e-6)
    assert (found > 0).all()


def test_what_is_not_finite_is_not_known() -> None:
    answers = [head(CONTEXT)(torch.zeros(1, 0), changed(hour=value)) for value in (NAN, np.inf, -np.inf)]
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])
    assert not torch.equal(answers[0], head(CONTEXT)(torch.zeros(1, 0), changed()))


@pytest.mark.parametrize(("field", "period"), [("hour", 24.0), ("weekday", 7.0)])
def test_days_and_weeks_come_round_again(field: str, period: float) -> None:
    known = head(CONTEXT)
    start, end = (known(torch.zeros(1, 0), changed(**{field: value})) for value in (0.0, period))
    assert torch.allclose(start, end, atol=1e-5)
    assert not torch.allclose(start, known(torch.zeros(1, 0), changed(**{field: period / 2})), atol=1e-3)


def test_a_field_of_which_nothing_was_learned_changes_nothing() -> None:
    made = head(CONTEXT)
    posts = torch.tensor([USUAL] * 3)
    posts[:, 0] = torch.tensor([1.0, 9.0, 17.0])
    posts[:, 4] = NAN  # and all others are always the same
    made.context.fit(posts)
    assert made.context.names() == ("hour",)
    told = made(torch.zeros(1, 0), changed(hour=9.0))
    silent = made(torch.zeros(1, 0), changed(hour=9.0, followers=1e6, advertised=1.0, weekday=NAN))
    assert torch.equal(told, silent)
    assert not torch.equal(told, made(torch.zeros(1, 0), changed(hour=21.0)))


def test_a_head_reads_at_least_one_branch_and_no_other() -> None:
    with pytest.raises(ValueError, match="name 'image', 'context', or both"):
        Head(7, [])
    with pytest.raises(ValueError, match="reads \\['caption'\\]"):
        Head(7, ["caption"])
    with pytest.raises(ValueError, match="needs a trunk"):
        EngagementNetwork(None, head(IMAGE))


@pytest.mark.parametrize("reads", [(IMAGE, CONTEXT), (CONTEXT,)])
def test_the_graph_is_the_network_and_computes_only_what_it_reads(reads: tuple[str, ...]) -> None:
    base = trunk()
    network = EngagementNetwork(base, head(*reads, wide=base.wide)).eval()
    card = EngagementCard(
        contract.ENGAGEMENT_MODEL, "0" * 16, True, contract.ENGAGEMENT_CLASSES, (0.0,) * 3, reads=reads
    )
    carded = Carded(network, card)
    pixels, sizes = pictures(4)
    graph = to_onnx(carded, ENGAGEMENT_SIGNATURE, (pixels, sizes, POSTS))
    for count in (1, 4):
        rows = (pixels[:count], sizes[:count], POSTS[:count])
        assert difference(carded, graph, ENGAGEMENT_SIGNATURE, rows) <= ENGAGEMENT_TOLERANCE
    loaded = onnx.load_from_string(graph)
    assert [each.name for each in loaded.graph.input] == list(ENGAGEMENT_SIGNATURE.inputs)
    assert any(node.op_type == "Conv" for node in loaded.graph.node) == (IMAGE in reads)


def test_each_post_is_answered_as_alone() -> None:
    base = trunk()
    network = EngagementNetwork(base, head(IMAGE, CONTEXT, wide=base.wide)).eval()
    pixels, sizes = pictures(4)
    with torch.no_grad():
        together = network(pixels, sizes, POSTS)
        alone = [network(*(each[row : row + 1] for each in (pixels, sizes, POSTS))) for row in range(4)]
        blank = network(torch.zeros_like(pixels), sizes, POSTS)
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)
    assert not torch.allclose(together, blank, atol=1e-3)
