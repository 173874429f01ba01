"""``adlens creative`` against a fake Triton: what it prints, what it draws, and with which exit code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from adlens import cli, contract
from adlens.galleries.contents import Contents
from adlens.galleries.files import GalleryFolder
from adlens.galleries.records import Record
from tests.client.creative_responses import CAMPAIGN, CATALOGUE, LABELS, NETWORK, Said, grey, picture
from tests.client.fake_triton import FakeTriton

OPTIONS = [f"--{name.replace('_', '-')}={value}" for name, value in CAMPAIGN.items()]


@pytest.fixture
def said(triton: FakeTriton, catalogue: GalleryFolder) -> Said:
    models = Said(catalogue=replace(CATALOGUE, weights=catalogue.manifest().digest[:16]))
    triton.models.update(models.models)
    return models


@pytest.fixture
def catalogue(tmp_path: Path) -> GalleryFolder:
    """Of two pictures, of which one is on the disk no longer."""
    path = tmp_path / "catalogue" / "gazelle.jpg"
    path.parent.mkdir()
    picture((10, 200, 10)).save(path)
    vectors = np.eye(2, contract.CREATIVE_DIMENSION, dtype=np.float32)
    logits = np.ones(contract.MAX_VARIANTS, np.float32)
    records = [
        Record("gazelle", vectors[0], {"type": "women"}, str(path), logits),
        Record("samba", vectors[1], {"type": "women"}, str(path.with_name("gone.jpg")), logits),
    ]
    gallery = GalleryFolder(tmp_path / "alternates")
    with gallery.locked():
        empty = Contents.empty(contract.VARY_CREATIVE, contract.CREATIVE_DIMENSION)
        gallery.publish(empty.with_records(records, NETWORK.weights, replace_ids=False))
    return gallery


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photos" / "shoe.jpg"
    path.parent.mkdir()
    picture().save(path)
    return path


@pytest.fixture
def environment(triton: FakeTriton, said: Said, catalogue: GalleryFolder) -> dict[str, str]:
    return {"ADLENS_URL": triton.url, "ADLENS_RETRIES": "0", "ADLENS_ALTERNATES": str(catalogue.folder)}


def run(environment: dict[str, str], *arguments: object, options: list[str] = OPTIONS) -> Result:
    return CliRunner().invoke(cli.main, ["creative", *map(str, arguments), *options], env=environment)


def test_text_is_for_people(environment: dict[str, str], photo: Path) -> None:
    result = run(environment, photo)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"{photo}: Send it brighter: 79 % click through, the picture as it is 22 %",
        "  brighter 79 %, rotate 76 %, darker 23 %, original 22 %, sketch 21 %, swivel 20 %",
        "  best alternate: gazelle 81 % (similarity 0.840); then samba 21 % (similarity 0.910)",
    ]


def test_json_is_one_object_a_line_and_bad_files_fail_alone(
    environment: dict[str, str], photo: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    result = run(environment, photo, bad, photo, "--json", "--target", "unsubscribed")
    rows: list[dict[str, Any]] = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert [row.get("recommended") for row in rows] == ["swivel", None, "swivel"]
    assert rows[0]["lower_is_better"]
    assert rows[1]["error"]["kind"] == "BadImage"
    assert result.stderr.startswith(f"error: {bad}: not a picture")


def test_every_option_is_an_environment_variable_too(
    environment: dict[str, str], photo: Path, said: Said, tmp_path: Path
) -> None:
    more = {f"ADLENS_{name.upper()}": value for name, value in CAMPAIGN.items()}
    more |= {"ADLENS_TARGET": "open_rate", "ADLENS_FILTER": "brand=puma", "ADLENS_JSON": "1"}
    more |= {"ADLENS_OUT": str(tmp_path / "sheets"), "ADLENS_VARIANTS": str(tmp_path / "sent")}
    result = run(environment | more, photo, options=[])
    (row,) = map(json.loads, result.stdout.splitlines())
    assert (row["target"], row["context"], row["drawing"]) == (
        "open_rate", CAMPAIGN, str(tmp_path / "sheets" / "shoe.jpg"),
    )  # fmt: skip
    assert row["files"]["brighter"] == str(tmp_path / "sent" / "shoe-brighter.jpg")
    assert said.asked[1][contract.FILTER][0, 1, 0] == contract.filter_code("brand", "puma")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([*OPTIONS[:2], "--type=child"], "type: unknown 'child'; known: men, women"),
        (OPTIONS[:2], "type: none given; known: men, women"),
        ([*OPTIONS, "--target=sales"], "'sales' is not one of 'open_rate'"),
        ([*OPTIONS, "--filter=brand"], "write ATTRIBUTE=VALUE"),
        ([*OPTIONS, "--filter=colour=red"], "no attribute colour to filter by; it has brand, type"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_lists_what_is_known(
    environment: dict[str, str], photo: Path, options: list[str], reason: str
) -> None:
    result = run(environment, photo, options=options)
    assert result.exit_code == 2
    assert reason in " ".join(result.stderr.split())


def test_a_server_that_is_down_is_exit_code_3_and_every_picture_accounted_for(
    environment: dict[str, str], photo: Path, triton: FakeTriton
) -> None:
    triton.always = (grpc.StatusCode.UNAVAILABLE, "no")
    result = run(environment, photo, photo, photo, "--json")
    kinds = [json.loads(line)["error"]["kind"] for line in result.stdout.splitlines()]
    assert (result.exit_code, kinds) == (3, ["Unavailable", "NotSent", "NotSent"])
    assert "start it with `make serve`" in result.stderr
    assert "2 more were not sent" in result.stderr


def test_out_holds_a_sheet_and_says_which_alternate_could_not_be_shown(
    environment: dict[str, str], photo: Path, tmp_path: Path
) -> None:
    result = run(environment, photo, photo, "--out", tmp_path / "sheets")
    assert (result.exit_code, result.stderr) == (0, "")
    assert sorted(path.name for path in (tmp_path / "sheets").iterdir()) == ["shoe-2.jpg", "shoe.jpg"]
    assert f"  drawn to {tmp_path / 'sheets' / 'shoe.jpg'}" in result.stdout
    assert "warning: an alternate is not shown: " in result.stdout
    assert "gone.jpg: cannot be read" in result.stdout
    green = np.abs(np.asarray(Image.open(tmp_path / "sheets" / "shoe.jpg")).astype(int) - (10, 200, 10))
    assert (green.max(-1) < 20).sum() > 20_000


def test_a_catalogue_that_did_not_answer_is_not_shown(
    environment: dict[str, str], photo: Path, said: Said, tmp_path: Path
) -> None:
    said.catalogue = CATALOGUE
    result = run(environment, photo, "--out", tmp_path / "sheets")
    assert result.exit_code == 0
    assert "alternates is not the gallery that the server searched; give --alternates" in result.stdout
    assert (tmp_path / "sheets" / "shoe.jpg").is_file()


def test_variants_are_written_as_jpeg_files_to_send(
    environment: dict[str, str], photo: Path, tmp_path: Path
) -> None:
    result = run(environment, photo, "--variants", tmp_path / "sent")
    assert result.exit_code == 0
    names = {path.name for path in (tmp_path / "sent").iterdir()}
    assert names == {f"shoe-{label}.jpg" for label in LABELS} - {"shoe-original.jpg"}
    assert "  written to " in result.stdout
    darker = Image.open(tmp_path / "sent" / "shoe-darker.jpg")
    assert (darker.format, darker.size) == ("JPEG", (640, 480))
    assert abs(np.asarray(darker).mean() - grey(LABELS.index("darker"))) < 2


def test_variants_may_lie_among_the_sheets(environment: dict[str, str], photo: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    assert run(environment, photo, "--variants", both, "--out", both).exit_code == 0
    assert len(list(both.iterdir())) == len(LABELS)


@pytest.mark.parametrize("option", ["--out", "--variants"])
def test_nothing_is_written_among_the_inputs_or_the_alternates(
    environment: dict[str, str], photo: Path, tmp_path: Path, option: str
) -> None:
    for folder in (photo.parent, tmp_path / "catalogue"):
        result = run(environment, photo, option, folder)
        assert result.exit_code == 2
        assert f"{option} {folder} lies among the pictures" in " ".join(result.stderr.split())


def test_where_pictures_cannot_be_made_the_answer_stands(
    environment: dict[str, str], photo: Path, triton: FakeTriton, said: Said, tmp_path: Path
) -> None:
    def broken(_: Any) -> Any:
        return said.rendered() | {contract.RENDERED_BOXES: np.zeros((1, 8, 4), np.int32)}

    triton.models[contract.RENDER_CREATIVE] = broken
    result = run(environment, photo, "--out", tmp_path / "sheets", "--variants", tmp_path / "sent")
    assert result.exit_code == 1
    assert "Send it brighter" in result.stdout
    assert "error: a picture could not be drawn: " in result.stderr
