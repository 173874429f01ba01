"""``adlens gallery`` with the real server and real faces: what goes in is found, what goes out is gone."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from adlens import cli, contract
from adlens.contract import GalleryCard
from adlens.galleries.files import GalleryFolder
from adlens.jobs import personal_ads
from adlens.pictures import load
from adlens.transport import Connection, Endpoint
from export import generated_ads
from server.errors import MissingModelError
from server.launcher import ServerOptions
from server.repository import choose, read_models
from tests.e2e.pictures import TIMEOUT_S, astronauts
from tests.interrupts import heed_ctrl_c
from tests.server.callers import Callers
from tests.server.launched import Launched, wait_until

EMBEDDER = contract.EMBEDDER
MATCH_FACES = contract.match_faces_model(EMBEDDER)
ENSEMBLES = ServerOptions().repositories[1]


@dataclass(frozen=True)
class Shop:
    """A server with a gallery of its own, and photos to fill it with."""

    url: str
    gallery: GalleryFolder
    photos: Path

    def run(self, *arguments: object, **environment: str) -> Result:
        """The outcome of ``adlens gallery`` with these arguments."""
        given = {"ADLENS_URL": self.url, "ADLENS_GALLERY": str(self.gallery.folder), **environment}
        return CliRunner().invoke(cli.main, ["gallery", *map(str, arguments)], env=given)

    def table(self, path: Path, rows: dict[str, str], **columns: str) -> Path:
        """A CSV of photos, file name by id, each with these attributes."""
        with path.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["id", "path", *columns])
            table.writerows([id_, self.photos / name, *columns.values()] for id_, name in rows.items())
        return path


def launch(models: Path) -> Launched:
    repositories = (models, ENSEMBLES)
    try:
        choose(read_models(repositories), [MATCH_FACES])
    except MissingModelError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    folders = [word for repository in repositories for word in ("--model-repository", str(repository))]
    return Launched(*folders, "--model", MATCH_FACES)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One for all tests."""
    folder = tmp_path_factory.mktemp("shop")
    generated_ads.write_demo(folder)
    models = folder / "models"
    launched = launch(models)
    gallery = GalleryFolder(models / contract.gallery_model(EMBEDDER))
    yield Shop(launched.until_ready(), gallery, folder / "campaign")
    launched.kill()


@pytest.fixture
def shop(served: Shop, tmp_path: Path) -> Shop:
    """Three photos in its gallery."""
    three = {f"old-{number}": f"spring-{2 * number:02}.jpg" for number in range(3)}
    if served.gallery.read().ids != tuple(three):  # what a test has left; a change takes a second or two
        result = served.run("build", served.table(tmp_path / "three.csv", three, campaign="old"))
        assert result.exit_code == 0, result.output
    return served


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def card(shop: Shop) -> GalleryCard:
    return GalleryCard.from_bytes(search(shop, "summer-01.jpg")[contract.card_output("gallery")].tobytes())


def search(shop: Shop, name: str) -> dict[str, Any]:
    """Outputs of the ensemble for one photo."""
    with Connection(Endpoint(shop.url, TIMEOUT_S)) as connection:
        request = personal_ads.request(load(shop.photos / name))
        return dict(connection.infer(MATCH_FACES, request, outputs=personal_ads.outputs(EMBEDDER)).outputs)


def best(shop: Shop, name: str) -> tuple[str, float]:
    """Who is found for the photo, and how similar."""
    answer = search(shop, name)
    id_ = answer[contract.MATCH_IDS][0, 0, 0].tobytes().rstrip(b"\0").decode()
    return id_, float(answer[contract.MATCH_SCORES][0, 0, 0])


class TestBuildAndAdd:
    """Photos go in."""

    def test_a_table_becomes_the_gallery_and_each_photo_finds_itself(self, shop: Shop) -> None:
        result = shop.run("build", shop.photos / "campaign.csv", "--json")
        assert (result.exit_code, result.stderr) == (0, "")
        *photos, summary = rows(result)
        assert summary == {"gallery": str(shop.gallery.folder), "added": 25, "photos": 25}
        assert {photo["id"]: photo["warnings"] for photo in photos} == {photo["id"]: [] for photo in photos}
        for name in ("spring-00", "summer-23", "summer-collins"):
            assert best(shop, f"{name}.jpg") == (name, pytest.approx(1, abs=1e-4))
        (stats,) = rows(shop.run("stats", "--json"))
        assert stats["served"]
        assert stats["attributes"] == {"campaign": {"spring": 12, "summer": 13}}
        assert stats["embedder_weights"] == card(shop).embedder_weights != ""
        listed = rows(shop.run("list", "--filter", "campaign=summer", "--json"))
        assert len(listed) == 13
        assert {entry["attributes"]["campaign"] for entry in listed} == {"summer"}
        assert Path(listed[0]["path"]).is_file()

    def test_no_photo_is_stored(self, shop: Shop) -> None:
        jpegs = [(shop.photos / name).read_bytes()[600:664] for name in ("spring-00.jpg", "spring-02.jpg")]
        kept = b"".join(file.read_bytes() for file in shop.gallery.folder.rglob("*") if file.is_file())
        assert not any(part in kept for part in jpegs)

    def test_folders_tell_an_attribute_and_files_the_ids(self, shop: Shop, tmp_path: Path) -> None:
        for season, name in (("spring", "spring-04"), ("summer", "summer-05")):
            (tmp_path / "photos" / season).mkdir(parents=True)
            shutil.copy(shop.photos / f"{name}.jpg", tmp_path / "photos" / season)
        result = shop.run("add", tmp_path / "photos", "--attribute-from-folder", "season")
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.endswith("2 photos added, 5 in all\n")
        said = shop.run("list").stdout.splitlines()
        assert said[0] == "old-0  campaign=old  season="
        assert said[3:] == ["spring-04  campaign=  season=spring", "summer-05  campaign=  season=summer"]
        assert shop.run("list", "--filter", "season=summer").stdout == f"{said[4]}\n"

    def test_a_photo_without_a_face_and_a_broken_one_fail_alone(self, shop: Shop, tmp_path: Path) -> None:
        photos = tmp_path / "photos"
        photos.mkdir()
        Image.new("RGB", (300, 300), "white").save(photos / "nobody.jpg")
        (photos / "broken.jpg").write_bytes(b"\xff\xd8 no more")
        shutil.copy(shop.photos / "spring-06.jpg", photos)
        result = shop.run("add", photos, "--json")
        assert result.exit_code == 1
        found = {row["path"]: row["error"]["kind"] for row in rows(result) if "error" in row}
        assert found == {str(photos / "nobody.jpg"): "NoFace", str(photos / "broken.jpg"): "BadImage"}
        assert f"{photos / 'nobody.jpg'}: no face found" in result.stderr
        assert rows(result)[-1]["photos"] == 4
        assert best(shop, "spring-06.jpg")[0] == "spring-06"

    def test_nothing_changes_where_no_photo_has_a_face(self, shop: Shop, tmp_path: Path) -> None:
        before = shop.gallery.read().digest
        Image.new("RGB", (300, 300), "white").save(tmp_path / "nobody.jpg")
        assert shop.run("build", tmp_path).exit_code == 1
        assert shop.gallery.read().digest == before

    def test_of_several_faces_the_central_one_is_taken_with_a_warning(
        self, shop: Shop, tmp_path: Path
    ) -> None:
        astronauts(3).save(tmp_path / "three.jpg")
        photo, _ = rows(shop.run("add", tmp_path, "--json"))
        assert photo["faces"] == 3
        assert photo["warnings"] == ["3 faces; took the large and central one"]

    def test_two_photos_of_one_id_are_refused_before_any_is_sent(self, shop: Shop, tmp_path: Path) -> None:
        before = shop.gallery.read().digest
        for season in ("a", "b"):
            (tmp_path / "photos" / season).mkdir(parents=True)
            shutil.copy(shop.photos / "spring-04.jpg", tmp_path / "photos" / season)
        result = shop.run("add", tmp_path / "photos")
        assert result.exit_code == 1
        for season in ("a", "b"):
            assert str(tmp_path / "photos" / season / "spring-04.jpg") in result.stderr
        known = shop.table(tmp_path / "known.csv", {"new": "spring-04.jpg", "old-1": "spring-06.jpg"})
        result = shop.run("add", known)
        assert result.exit_code == 1
        assert "'old-1' is in the gallery, of" in result.stderr
        assert shop.gallery.read().digest == before

    @pytest.mark.parametrize(
        ("names", "said"),
        [
            ([f"a{number}" for number in range(8)], "9 attributes (campaign, a0"),
            (["long" * 600], "the names of the attributes are too long to travel, rename them"),
        ],
    )
    def test_too_many_or_too_long_attributes_are_refused_before_any_photo_is_sent(
        self, shop: Shop, tmp_path: Path, names: list[str], said: str
    ) -> None:
        table = shop.table(tmp_path / "t.csv", {"x": "spring-04.jpg"}, **dict.fromkeys(names, ""))
        result = shop.run("add", table, "--json")
        assert (result.exit_code, result.stdout) == (1, "")
        assert said in result.stderr

    def test_a_photo_is_replaced_where_that_is_asked_for(self, shop: Shop, tmp_path: Path) -> None:
        new = shop.table(tmp_path / "new.csv", {"old-1": "spring-06.jpg"}, campaign="new")
        assert shop.run("add", new, "--replace").exit_code == 0
        assert best(shop, "spring-06.jpg") == ("old-1", pytest.approx(1, abs=1e-4))
        assert len(shop.gallery.read().ids) == 3

    @pytest.mark.parametrize("ends", ["interrupted", "its server dies"])
    def test_a_run_that_ends_early_goes_on_where_it_was(self, shop: Shop, tmp_path: Path, ends: str) -> None:
        models = tmp_path / "models"
        generated_ads.link_models(models)
        gallery = GalleryFolder(models / contract.gallery_model(EMBEDDER))
        own = launch(models) if ends == "its server dies" else None
        url = own.until_ready() if own else shop.url
        photos = shop.photos / "campaign.csv"
        command = [sys.executable, "-m", "adlens.cli", "gallery", "build", photos, "--workers", "1", "--json"]
        given = {
            **os.environ,
            "ADLENS_URL": url,
            "ADLENS_GALLERY": str(gallery.folder),
            "ADLENS_RETRIES": "0",
        }
        with subprocess.Popen(
            command, env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed_ctrl_c
        ) as process:
            assert process.stdout is not None
            first = [json.loads(process.stdout.readline()) for _ in range(4)]
            if own:
                own.kill()
            else:
                process.send_signal(signal.SIGINT)
            said, complaints = process.communicate(timeout=60)
        assert process.returncode == (3 if own else 130), complaints
        early = [*first, *map(json.loads, said.splitlines())]
        embedded = {row["id"] for row in early if "id" in row}
        assert gallery.read().ids == ()
        result = replace(shop, gallery=gallery).run("build", photos, "--json")
        assert result.exit_code == 0, result.output
        *rest, summary = rows(result)
        # One more may have been noted and not shown.
        assert 20 <= len(embedded | {row["id"] for row in rest}) <= 25
        assert not embedded & {row["id"] for row in rest}
        assert summary["photos"] == 25
        assert shop.run("build", photos).exit_code == 0
        np.testing.assert_array_equal(gallery.read().vectors, shop.gallery.read().vectors)
        assert not (gallery.folder / ".journal").exists()

    def test_without_a_server_nothing_can_be_added(self, shop: Shop, free_port: int) -> None:
        before = shop.gallery.read().digest
        result = shop.run("build", shop.photos, ADLENS_URL=f"127.0.0.1:{free_port}", ADLENS_RETRIES="0")
        assert result.exit_code == 3
        assert result.stderr.startswith(f"error: 127.0.0.1:{free_port}: ")
        assert shop.gallery.read().digest == before

    def test_photos_cannot_join_those_of_another_embedder(self, shop: Shop, tmp_path: Path) -> None:
        with shop.gallery.locked():
            shop.gallery.publish(replace(shop.gallery.read(), embedder_weights="other"))
        one = shop.table(tmp_path / "one.csv", {"new": "spring-04.jpg"})
        result = shop.run("add", one)
        assert result.exit_code == 1
        assert "made by dlib with weights other, and these are made with weights" in result.stderr
        assert shop.run("build", one).exit_code == 0

    def test_a_gallery_of_another_embedder_is_not_overwritten(self, shop: Shop, tmp_path: Path) -> None:
        other = replace(shop, gallery=GalleryFolder(tmp_path / "gallery_facenet"))
        other.gallery.ensure("facenet", contract.EMBEDDERS["facenet"])
        for command in ("add", "build"):
            result = other.run(command, shop.photos)
            assert result.exit_code == 1
            assert "is a gallery of facenet, not of dlib; choose another with --gallery" in result.stderr

    def test_a_corrupt_gallery_is_refused_until_it_is_built_anew(self, shop: Shop, tmp_path: Path) -> None:
        one = shop.table(tmp_path / "one.csv", {"new": "spring-04.jpg"})
        file = shop.gallery.versions()[0] / "photos.csv"
        file.write_bytes(file.read_bytes()[:-1])
        for command in (["add", one], ["list"], ["stats"], ["remove", "old-1"]):
            result = shop.run(*command)
            assert result.exit_code == 1, command
            assert "photos.csv is damaged" in result.stderr
        assert card(shop).photos == 3
        assert shop.run("build", one).exit_code == 0
        assert best(shop, "spring-04.jpg")[0] == "new"


class TestRemove:
    """Photos go out."""

    def test_who_is_removed_is_in_no_file_and_no_answer(self, shop: Shop) -> None:
        held = shop.gallery.read()
        vector = held.vectors[held.ids.index("old-1")].tobytes()
        assert best(shop, "spring-02.jpg")[0] == "old-1"
        result = shop.run("remove", "old-1")
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.endswith("1 removed, 2 photos left\n")
        kept = b"".join(file.read_bytes() for file in shop.gallery.folder.rglob("*") if file.is_file())
        assert vector not in kept
        assert b"old-1" not in kept
        assert b"old-2" in kept
        assert best(shop, "spring-02.jpg")[1] < 0.99

    def test_unknown_ids_are_told_of_and_the_others_removed(self, shop: Shop) -> None:
        result = CliRunner().invoke(
            cli.main, ["gallery", "remove", "old-0", "--ids-from", "-"], input="old-2\n\nnobody\n",
            env={"ADLENS_URL": shop.url, "ADLENS_GALLERY": str(shop.gallery.folder)},
        )  # fmt: skip
        assert result.exit_code == 1
        assert result.stderr == f"error: no photo 'nobody' in {shop.gallery.folder}\n"
        assert shop.gallery.read().ids == ("old-1",)

    def test_machines_read_what_was_removed_and_what_was_not_there(self, shop: Shop) -> None:
        result = shop.run("remove", "nobody", "old-1", "--json")
        assert (result.exit_code, result.stderr) == (
            1, f"error: no photo 'nobody' in {shop.gallery.folder}\n"
        )  # fmt: skip
        assert rows(result) == [
            {"gallery": str(shop.gallery.folder), "removed": 1, "missing": ["nobody"], "photos": 2}
        ]

    def test_ids_are_taken_as_they_stand(self, shop: Shop, tmp_path: Path) -> None:
        names = {" x": "spring-04.jpg", "x": "spring-06.jpg", "y": "spring-08.jpg", "../ä": "spring-10.jpg"}
        assert shop.run("add", shop.table(tmp_path / "more.csv", names)).exit_code == 0
        wanted = tmp_path / "ids"
        wanted.write_bytes("\ufeffy\r\n x\n../ä\n".encode() + b"Jos\xe9\n")
        result = shop.run("remove", "--ids-from", wanted)
        assert (result.exit_code, "4 photos left" in result.stdout) == (1, True)
        assert result.stderr.startswith("error: no photo 'Jos")
        assert shop.gallery.read().ids == ("old-0", "old-1", "old-2", "x")

    def test_it_works_without_a_server(self, shop: Shop, tmp_path: Path, free_port: int) -> None:
        copy = shutil.copytree(shop.gallery.folder, tmp_path / "copy")
        gone = replace(shop, url=f"127.0.0.1:{free_port}", gallery=GalleryFolder(copy))
        assert gone.run("remove", "old-1", ADLENS_RETRIES="0").exit_code == 0
        assert not rows(gone.run("stats", "--json", ADLENS_RETRIES="0"))[0]["served"]
        assert gone.gallery.read().ids == ("old-0", "old-2")


class TestUsage:
    """What can be wrong with the command itself."""

    def test_two_writers_exclude_each_other(self, shop: Shop) -> None:
        with shop.gallery.locked():
            for command in (["remove", "old-1"], ["build", shop.photos]):
                result = shop.run(*command)
                assert result.exit_code == 1
                assert "another program is changing" in result.stderr

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["list", "--filter", "hair=red"], "no attribute hair"),
            (["list", "--filter", "hair"], "ATTRIBUTE=VALUE"),
            (["remove"], "name the photos to remove"),
            (["remove", "--ids-from", "{tmp}"], "Is a directory"),
            (["build", "{tmp}/lacking.csv"], "lacks the column path"),
            (["build", "{tmp}/twice.csv"], "has the column id and hair twice; rename one"),
            (["build", "{tmp}/empty"], "no photos; check the path"),
            (["build", "{tmp}/nowhere"], "does not exist"),
            (["stats", "--gallery", "{tmp}/empty"], "holds no gallery"),
        ],
    )
    def test_wrong_usage_says_what_is_wrong(
        self, shop: Shop, tmp_path: Path, arguments: list[str], said: str
    ) -> None:
        (tmp_path / "lacking.csv").write_text("id,file\n1,a.jpg\n")
        (tmp_path / "twice.csv").write_text("id,path,hair,hair,id\n1,a.jpg,red,,2\n")
        (tmp_path / "empty").mkdir()
        result = shop.run(*(argument.format(tmp=tmp_path) for argument in arguments))
        assert result.exit_code == 2
        assert said in result.stderr

    def test_no_gallery_is_made_where_none_is_served(
        self, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        result = CliRunner().invoke(cli.main, ["gallery", "build", str(shop.photos), "--url", shop.url])
        assert result.exit_code == 2
        assert "model_repository/gallery is no gallery; name its folder with --gallery" in result.stderr
        assert not list(tmp_path.iterdir())

    def test_rows_of_another_length_are_refused(self, shop: Shop, tmp_path: Path) -> None:
        for number, row in enumerate(["x", "x,y.jpg,red,more"]):
            table = tmp_path / f"{number}.csv"
            table.write_text(f"id,path,hair\na,b.jpg,red\n{row}\n")
            result = shop.run("add", table)
            assert result.exit_code == 1
            assert "line 3: not 3 columns" in result.stderr


def test_callers_of_the_ensemble_notice_nothing(shop: Shop, tmp_path: Path) -> None:
    with Connection(Endpoint(shop.url, TIMEOUT_S, retries=0)) as connection:
        request = personal_ads.request(load(shop.photos / "spring-02.jpg"))
        outputs = personal_ads.outputs(EMBEDDER)

        def call() -> None:
            answer = connection.infer(MATCH_FACES, request, outputs=outputs).outputs
            assert answer[contract.MATCH_IDS][0, 0, 0].tobytes().startswith(b"old-1\0")

        with Callers(call) as callers:
            for number in (4, 6, 8):
                one = shop.table(tmp_path / "one.csv", {f"new-{number}": f"spring-{number:02}.jpg"})
                assert shop.run("add", one).exit_code == 0
                assert callers.wait_for_answers()
            assert shop.run("remove", "new-4", "new-6").exit_code == 0
            assert callers.wait_for_answers()
        assert callers.failures == []
    assert wait_until(lambda: card(shop).photos == 4)
