"""Ads from JPEG bytes to the answer: the real models, a gallery of real faces, the real command line."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from adlens import AsyncRecommender, Recommender, cli, contract, responses
from adlens.ads import AdAnswer, AdOutcome
from adlens.answers import Match
from adlens.contract import EmbedderCard
from adlens.errors import BadCustomer, BadFilter, BadImage
from adlens.filters import Filter
from adlens.galleries.files import GalleryFolder
from adlens.galleries.records import Record, Vectors
from adlens.jobs import faces, personal_ads
from adlens.pictures import load
from adlens.sheets import MIN_SIDE
from adlens.transport import Connection, Endpoint
from export import generated_ads
from export.generated_ads import COLLINS, CUSTOMER, GALLERY
from server.launcher import Server, ServerOptions
from tests.conftest import Serve
from tests.e2e.pictures import TIMEOUT_S

MATCH_FACES = contract.match_faces_model(contract.EMBEDDER)
EMBED = contract.embed_model(contract.EMBEDDER)


@dataclass(frozen=True)
class Campaign:
    """A server with a gallery of the demo's campaign photos, and what went into it."""

    server: Server
    folder: Path
    records: tuple[Record, ...]

    @property
    def gallery(self) -> Path:
        return self.folder / "models" / GALLERY

    def user(self, name: str) -> Path:
        return self.folder / "users" / f"{name}.jpg"


@pytest.fixture(scope="module")
def campaign(whole_server: Server, serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    folder = tmp_path_factory.mktemp("ads")
    generated_ads.write_demo(folder)
    with (folder / "campaign" / "campaign.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    records, weights = [], set()
    with Connection(Endpoint(whole_server.url, TIMEOUT_S)) as connection:
        for row in rows:
            path = folder / "campaign" / row["path"]
            wanted = personal_ads.embedding_outputs(contract.EMBEDDER)
            response = connection.infer(MATCH_FACES, personal_ads.request(load(path)), outputs=wanted)
            vectors = personal_ads.embeddings(response, contract.EMBEDDER)
            weights.add(responses.card(response, contract.card_output(EMBED), EmbedderCard).weights)
            records.append(Record(row["id"], vectors[0], {"campaign": row["campaign"]}, str(path)))
    gallery = GalleryFolder(folder / "models" / GALLERY)
    with gallery.locked():
        gallery.publish(gallery.read().with_records(records, weights.pop(), replace_ids=False))
    ensembles = ServerOptions().repositories[1]
    server = serve(folder / "models", ensembles, models=(MATCH_FACES, contract.UPLIFT_OFFER))
    return Campaign(server, folder, tuple(records))


@pytest.fixture
def front(campaign: Campaign) -> Iterator[Recommender]:
    with Recommender(campaign.server.url, timeout_s=TIMEOUT_S) as recommender:
        yield recommender
    campaign.server.check()


def test_another_photo_of_the_user_is_found_among_strangers(front: Recommender, campaign: Campaign) -> None:
    seen = front.personalise(campaign.user("collins"))
    assert (seen.outcome, seen.photo) == (AdOutcome.MATCHED, COLLINS)
    assert seen.nearest is not None
    assert seen.nearest.score > 0.97 > seen.threshold
    assert seen.faces[0].matches[1].score < seen.threshold
    assert (seen.photos, seen.passing, seen.starter) == (len(campaign.records),) * 2 + ((),)


def test_a_stranger_is_told_that_nobody_is_similar_and_who_comes_nearest(
    front: Recommender, campaign: Campaign
) -> None:
    seen = front.personalise(campaign.user("hopper"))
    assert (seen.outcome, seen.photo, len(seen.faces[0].matches)) == (
        AdOutcome.NO_SIMILAR_FACE, None, contract.MATCHES,
    )  # fmt: skip
    assert seen.similarity is not None
    assert 0.5 < seen.similarity < seen.threshold


def test_a_filter_decides_which_photos_may_be_found(front: Recommender, campaign: Campaign) -> None:
    ask = front.personalise
    user = campaign.user("collins")
    spring = ask(user, filter={"campaign": "spring"})
    assert (spring.outcome, spring.passing) == (AdOutcome.NO_SIMILAR_FACE, 12)
    assert {match.id.partition("-")[0] for match in spring.faces[0].matches} == {"spring"}
    assert ask(user, filter={"campaign": ["spring", "summer"]}).photo == COLLINS
    assert ask(user, filter={"campaign": "winter"}).outcome is AdOutcome.NONE_PASSES
    with pytest.raises(BadFilter, match="no attribute hair to filter by; it has campaign"):
        ask(user, filter={"hair": "red"})


def test_each_picture_of_a_batch_is_held_against_its_own_filter(campaign: Campaign) -> None:
    requests = [
        personal_ads.request(load(campaign.user("collins")), chosen)
        for chosen in ({"campaign": "spring"}, None, {"campaign": "summer"}, {"campaign": "winter"})
    ]
    batch = {name: np.concatenate([one[name] for one in requests]) for name in requests[0]}
    with Connection(Endpoint(campaign.server.url, TIMEOUT_S)) as connection:
        found = connection.infer(MATCH_FACES, batch).outputs
    assert found[contract.MATCH_COUNT].ravel().tolist() == [12, 25, 13, 0]
    best = [row[0, 0].tobytes().rstrip(b"\0").decode() for row in found[contract.MATCH_IDS]]
    assert best[0].startswith("spring-")
    assert best[1:] == [COLLINS, COLLINS, ""]


def test_the_face_in_the_middle_decides_and_each_gets_what_it_would_alone(
    front: Recommender, campaign: Campaign
) -> None:
    alone = front.personalise(campaign.user("hopper"))
    collins, hopper = (photo.convert("RGB") for photo in generated_ads.users().values())
    both = Image.new("RGB", (1100, 600))
    both.paste(hopper, (0, 0))
    both.paste(collins.crop((100, 0, 400, 300)).resize((600, 600)), (500, 0))
    seen = front.personalise(both)
    assert (len(seen.faces), seen.photo) == (2, COLLINS)
    assert seen.face is not None
    other = [match.score for match in seen.faces[1 - seen.face].matches]
    np.testing.assert_allclose(other, [match.score for match in alone.faces[0].matches], atol=0.02)


def test_a_picture_without_a_face_and_a_broken_one(front: Recommender) -> None:
    assert front.personalise(np.zeros((64, 64, 3), np.uint8)).outcome is AdOutcome.NO_FACE
    with pytest.raises(BadImage):
        front.personalise(b"no picture")


def test_a_customer_gets_the_offer_that_helps_most_with_loyalty(
    front: Recommender, campaign: Campaign
) -> None:
    seen = front.personalise(campaign.user("hopper"), CUSTOMER)
    assert seen.offer is not None
    assert (seen.offer.offer, seen.offer.loyalty and seen.offer.loyalty.manufacturer) == (
        "handset_discount", "Apple",
    )  # fmt: skip
    assert seen.offer.uplift == max(seen.offer.uplifts.values()) > 0.1
    assert seen.model_versions.keys() >= {contract.UPLIFT_OFFER, EMBED, GALLERY, contract.DETECT_FACES}
    with pytest.raises(BadCustomer, match="age"):
        front.personalise(campaign.user("hopper"), CUSTOMER | {"age": float("nan")})


async def test_asyncio_answers_the_same(front: Recommender, campaign: Campaign) -> None:
    async with AsyncRecommender(campaign.server.url, timeout_s=TIMEOUT_S) as other:
        photos = [campaign.user("collins"), b"no picture", campaign.user("hopper")]
        seen = [answer async for answer in other.personalise_many(photos, CUSTOMER)]
    expected = list(front.personalise_many(photos, CUSTOMER))
    assert [type(answer).__name__ for answer in seen] == ["AdAnswer", "Failure", "AdAnswer"]
    for one, two in zip(seen, expected, strict=True):
        if isinstance(one, AdAnswer) and isinstance(two, AdAnswer):
            assert (one.outcome, one.photo, one.offer) == (two.outcome, two.photo, two.offer)


class InMemory:
    """A gallery of the caller's own: cosines by numpy."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.records = list(records)

    def add(self, records: Iterable[Record], *, replace: bool = False) -> None:
        self.records += records

    def search(
        self,
        vectors: Vectors,
        k: int = contract.MATCHES,
        filter: Filter | None = None,  # noqa: A002
    ) -> list[list[Match]]:
        scores = vectors @ np.stack([record.vector for record in self.records]).T
        return [
            [Match(self.records[index].id, float(row[index])) for index in np.argsort(-row)[:k]]
            for row in scores
        ]

    def forget(self, ids: Collection[str]) -> int:
        raise AssertionError(f"{len(ids)} photos are to be removed by a search, which removes none")


def test_a_gallery_elsewhere_is_searched_instead_and_the_server_s_left_alone(
    front: Recommender, campaign: Campaign, batches_run: Callable[..., int]
) -> None:
    here = front.personalise(campaign.user("collins"))
    before = batches_run(campaign.server, GALLERY)
    with Recommender(
        campaign.server.url, timeout_s=TIMEOUT_S, gallery=InMemory(campaign.records)
    ) as elsewhere:
        seen = elsewhere.personalise(campaign.user("collins"))
        assert elsewhere.personalise(np.zeros((64, 64, 3), np.uint8)).outcome is AdOutcome.NO_FACE
    assert batches_run(campaign.server, GALLERY) == before
    assert seen.photo == COLLINS
    assert [match.id for match in seen.faces[0].matches] == [match.id for match in here.faces[0].matches]
    np.testing.assert_allclose(
        [match.score for match in seen.faces[0].matches],
        [match.score for match in here.faces[0].matches],
        atol=1e-5,
    )


def test_faces_alone_run_neither_embedder_nor_gallery(
    campaign: Campaign, batches_run: Callable[..., int]
) -> None:
    before = [batches_run(campaign.server, model) for model in (EMBED, GALLERY)]
    with Connection(Endpoint(campaign.server.url, TIMEOUT_S)) as connection:
        request = personal_ads.request(load(campaign.user("collins")))
        response = connection.infer(MATCH_FACES, request, outputs=faces.OUTPUTS)
    assert len(faces.read(response).faces) == 1
    assert [batches_run(campaign.server, model) for model in (EMBED, GALLERY)] == before


def test_the_canary_sings_through_the_gallery(campaign: Campaign) -> None:
    assert campaign.server.canary is not None
    campaign.server.canary.sing(TIMEOUT_S)


def run(campaign: Campaign, *arguments: object) -> Result:
    environment = {"ADLENS_URL": campaign.server.url, "ADLENS_RETRIES": "0"}
    return CliRunner().invoke(cli.main, ["ads", *map(str, arguments)], env=environment)


def test_the_command_says_photo_offer_and_loyalty_and_draws_both_photos(
    campaign: Campaign, tmp_path: Path
) -> None:
    user, out = campaign.user("collins"), tmp_path / "out"
    record = campaign.folder / "customer.json"
    result = run(campaign, user, "--customer", record, "--gallery", campaign.gallery, "--out", out)
    assert (result.exit_code, result.stderr) == (0, "")
    first, offer, loyalty, *_, last = result.stdout.splitlines()
    assert first.startswith(f"{user}: Campaign photo {COLLINS} (similarity 0.9")
    assert offer.startswith("  handset_discount: +")
    assert loyalty.startswith("  Apple owners stay with Apple: 8")
    assert last == f"  drawn to {out / 'collins.jpg'}"
    with (
        Image.open(out / "collins.jpg") as drawn,
        Image.open(user) as one,
        Image.open(campaign.folder / "campaign" / f"{COLLINS}.jpg") as other,
    ):
        both = one.width / one.height + other.width / other.height
        assert drawn.width == pytest.approx(MIN_SIDE * both, abs=20)
        assert MIN_SIDE < drawn.height < 1.3 * MIN_SIDE


def test_json_is_one_object_a_photo(campaign: Campaign, tmp_path: Path) -> None:
    missing = tmp_path / "none.jpg"
    result = run(campaign, campaign.user("hopper"), missing, "--json", "--filter", "campaign=summer")
    rows: list[dict[str, Any]] = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert (rows[0]["outcome"], rows[0]["photo"], rows[0]["passing"]) == ("no similar face", None, 13)
    assert rows[1]["error"]["kind"] == "BadImage"
    assert "cannot be read" in result.stderr


def test_where_the_campaign_photo_cannot_be_read_the_answer_stands_and_says_why_it_is_not_drawn(
    campaign: Campaign, tmp_path: Path
) -> None:
    user, out = campaign.user("collins"), tmp_path / "out"
    other = GalleryFolder(tmp_path / "other")
    other.ensure(contract.EMBEDDER, contract.EMBEDDERS[contract.EMBEDDER])
    result = run(campaign, user, "--gallery", other.folder, "--out", out)
    assert result.exit_code == 0
    assert "is not the gallery that the server searched; give --gallery" in result.stdout
    shutil.copytree(campaign.gallery, tmp_path / "copy")
    version = GalleryFolder(tmp_path / "copy").versions()[0]
    (version / "photos.csv").write_text("id,path,campaign\n")
    result = run(campaign, user, "--gallery", tmp_path / "copy", "--out", out)
    assert result.exit_code == 0
    assert f"does not say where photo '{COLLINS}' lies" in result.stdout
    photo = campaign.folder / "campaign" / f"{COLLINS}.jpg"
    moved = photo.rename(photo.with_suffix(".away"))
    try:
        result = run(campaign, user, "--gallery", campaign.gallery, "--out", out)
    finally:
        moved.rename(photo)
    assert result.exit_code == 0
    assert f"warning: not drawn: {photo}: cannot be read (No such file or directory)" in result.stdout
    assert not list(out.iterdir())


def test_no_drawing_takes_the_place_of_a_campaign_photo(campaign: Campaign) -> None:
    photos = campaign.folder / "campaign"
    before = {path: path.read_bytes() for path in photos.iterdir()}
    user = shutil.copy(campaign.user("collins"), campaign.folder / "spring-00.jpg")
    result = run(campaign, user, "--gallery", campaign.gallery, "--out", photos)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"--out {photos} lies among the pictures of {photos}" in result.stderr
    assert {path: path.read_bytes() for path in photos.iterdir()} == before


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (["--filter", "hair=red"], 2, "no attribute hair to filter by; it has campaign"),
        (["--filter", "campaign"], 2, "write ATTRIBUTE=VALUE"),
        (["--customer", "none.json"], 1, "none.json cannot be read"),
        (["--embedder", "none"], 3, "match_faces_none"),
    ],
)
def test_what_is_wrong_is_said_with_its_exit_code(
    campaign: Campaign, options: list[str], code: int, reason: str
) -> None:
    result = run(campaign, campaign.user("collins"), *options)
    assert (result.exit_code, result.stdout) == (code, "")
    assert reason in result.stderr


def test_a_record_that_does_not_fit_is_refused_before_any_picture_is_sent(
    campaign: Campaign, tmp_path: Path, batches_run: Callable[..., int]
) -> None:
    before = batches_run(campaign.server, contract.DECODE)
    record = tmp_path / "customer.json"
    record.write_text(json.dumps(CUSTOMER | {"phone_manufacturer": "Aple"}))
    result = run(campaign, campaign.user("collins"), "--customer", record)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "did you mean 'Apple'?" in result.stderr
    assert batches_run(campaign.server, contract.DECODE) == before
