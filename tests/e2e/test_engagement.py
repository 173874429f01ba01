"""How popular a post will be, from JPEG bytes to the answer: the real server, generated posts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.grpc as triton
from click.testing import CliRunner
from PIL import Image
from scipy.stats import spearmanr

from adlens import AsyncRecommender, EngagementAnswer, Failure, Recommender, cli, contexts, contract, posts
from adlens.errors import BadImage, BadPost
from adlens.posts import Context
from export.engagement import planted
from export.engagement.posts import Posts, read_posts
from server.launcher import Server
from tests.e2e.pictures import TIMEOUT_S, encode, turned
from tests.hostile.corpus import corpus

NUMBER, SEED = 32, 4_711
"""Of generated posts; none of the seeds that ``export`` draws posts for training with."""
DAMAGED = int(os.environ.get("ADLENS_HOSTILE_COUNT", "40"))
"""Damaged files of ``tests.hostile``; many are refused before they are sent."""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Past posts whose popularity depends on what can be seen and on when they were posted."""
    return planted.write_posts(tmp_path_factory.mktemp("posts"), NUMBER, "both", SEED)


@pytest.fixture(scope="module")
def past(table: Path) -> Posts:
    read, unusable = read_posts(table)
    assert not unusable
    return read


@pytest.fixture(scope="module")
def known(table: Path, past: Posts) -> list[Context | None]:
    """What the client reads of them out of the same table."""
    file = contexts.load(table)
    return [file.of(picture) for picture in past.pictures]


@pytest.fixture(scope="module")
def answers(whole_server: Server, past: Posts, known: list[Context | None]) -> list[EngagementAnswer]:
    with Recommender(whole_server.url, timeout_s=TIMEOUT_S) as front:
        seen = list(front.predict_engagements(past.pictures, known))
    assert not [answer for answer in seen if isinstance(answer, Failure)]
    return [answer for answer in seen if isinstance(answer, EngagementAnswer)]


def figures(answers: list[EngagementAnswer]) -> npt.NDArray[np.float64]:
    return np.array([list(answer.probabilities.values()) for answer in answers])


def test_client_and_training_read_the_same_of_a_table_of_posts(
    past: Posts, known: list[Context | None]
) -> None:
    np.testing.assert_array_equal(np.stack([posts.encode(each) for each in known]), past.context)


def test_the_planted_relation_is_found_in_posts_that_were_not_learned_from(
    answers: list[EngagementAnswer], past: Posts
) -> None:
    if not answers[0].starter:
        pytest.skip("an own run's model is served, which knows nothing of generated posts")
    found = spearmanr([answer.expected for answer in answers], past.totals)
    assert found.statistic > 0.3, found
    assert found.pvalue < 0.01


def test_an_answer_says_what_it_rests_on(answers: list[EngagementAnswer], past: Posts) -> None:
    first = answers[0]
    assert first.path == str(past.pictures[0])
    with Image.open(first.path) as picture:
        assert (first.width, first.height) == picture.size
    assert first.probabilities.keys() == set(contract.ENGAGEMENT_CLASSES)
    assert first.model_versions.keys() == {contract.ENGAGEMENT_MODEL}
    assert bool(first.starter) == any("train_engagement" in warning for warning in first.warnings)
    assert first.signal != any("not enough signal" in warning for warning in first.warnings)
    np.testing.assert_allclose(figures(answers).sum(1), 1, atol=1e-4)


async def test_alone_among_others_and_by_asyncio_the_same(
    server: Server, recommender: Recommender, answers: list[EngagementAnswer], past: Posts,
    known: list[Context | None],
) -> None:  # fmt: skip
    few = slice(0, 12)
    one_by_one = [
        recommender.predict_engagement(*pair) for pair in zip(past.pictures[few], known[few], strict=True)
    ]
    np.testing.assert_allclose(figures(one_by_one), figures(answers[few]), atol=1e-4)
    async with AsyncRecommender(server.url, timeout_s=TIMEOUT_S) as other:
        ranking = await other.rank_engagement(past.pictures[few], known[few])
    best_first = sorted(one_by_one, key=lambda answer: -answer.expected)
    assert ranking.ranked[0].expected == pytest.approx(best_first[0].expected, abs=1e-3)
    assert [each.path for each in ranking.ranked][-1] == best_first[-1].path


def test_any_part_of_the_context_may_be_missing(recommender: Recommender, past: Posts) -> None:
    whole = posts.known(past.context[0])
    row = [recommender.predict_engagement(past.pictures[0], whole)]
    for name in contract.POST_FIELDS:
        less = {other: value for other, value in whole.items() if other != name}
        row.append(recommender.predict_engagement(past.pictures[0], less))
        assert name in row[-1].missing or "context" not in row[-1].reads
    nothing = recommender.predict_engagement(past.pictures[0])
    assert nothing.known == {}
    assert figures([*row, nothing]).min() >= 0
    with pytest.raises(BadPost, match="hour: 25"):
        recommender.predict_engagement(past.pictures[0], {"hour": 25})


def test_any_client_may_send_what_is_not_finite(client: triton.InferenceServerClient, past: Posts) -> None:
    """The contract takes it for unknown."""
    jpeg = np.frombuffer(past.pictures[0].read_bytes(), np.uint8)[None]
    found = []
    for unknown in (np.nan, np.inf, -np.inf):
        inputs = []
        for name, array in (
            (contract.IMAGE, jpeg),
            (contract.POST, np.full((1, len(contract.POST_FIELDS)), unknown, np.float32)),
        ):
            inputs.append(triton.InferInput(name, array.shape, contract.TENSORS[name].datatype))
            inputs[-1].set_data_from_numpy(array)
        answer = client.infer(contract.PREDICT_ENGAGEMENT, inputs, client_timeout=TIMEOUT_S)
        found.append(answer.as_numpy(contract.ENGAGEMENT))
    np.testing.assert_allclose(found[1:], [found[0]] * 2, atol=1e-6)


def test_an_exif_orientation_changes_nothing(recommender: Recommender, past: Posts) -> None:
    image = Image.open(past.pictures[2])
    upright = recommender.predict_engagement(encode(image, subsampling=0))
    stored = recommender.predict_engagement(turned(image, 6))
    assert (stored.height, stored.width) == (upright.height, upright.width) == image.size[::-1]
    np.testing.assert_allclose(figures([stored]), figures([upright]), atol=0.1)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_pictures_of_any_shape_are_judged(recommender: Recommender, size: tuple[int, int]) -> None:
    seen = recommender.predict_engagement(Image.new("RGB", size, (120, 40, 200)))
    assert 0 <= seen.expected <= 2


def test_damaged_files_are_answered_or_refused_with_the_reason(recommender: Recommender) -> None:
    files = [each.data for each in corpus(DAMAGED, seed=6)]
    seen = list(recommender.predict_engagements(files, {"hour": 18.5}))
    failures = [answer for answer in seen if isinstance(answer, Failure)]
    assert len(seen) == DAMAGED > len(failures)
    assert not [
        each.to_json() for each in failures if each.kind not in ("BadImage", "TooLarge") or each.server
    ]
    with pytest.raises(BadImage):
        recommender.predict_engagement(b"no picture")


def test_the_command_ranks_draws_and_tells_of_each(server: Server, table: Path, tmp_path: Path) -> None:
    folder = table.parent / "pictures"
    options = ["--context", str(table), "--rank", "--json", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(
        cli.main, ["engagement", str(folder), *options], env={"ADLENS_URL": server.url}
    )
    assert (result.exit_code, result.stderr) == (0, "")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["rank"] for row in rows] == list(range(1, NUMBER + 1))
    assert [row["expected"] for row in rows] == sorted((row["expected"] for row in rows), reverse=True)
    with Image.open(tmp_path / "out" / "ranking.jpg") as sheet:
        assert sheet.width > 1600
