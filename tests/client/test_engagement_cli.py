"""``adlens engagement`` against a fake Triton: what it prints, what it draws, and with which exit code."""

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
from adlens.contract import ModelCard
from tests.client.engagement_responses import CARD, Said, grey
from tests.client.fake_triton import FakeTriton

FRIDAY = '{"timestamp": "2026-11-20T18:30:00+01:00", "followers": 52000}'


@pytest.fixture
def said(triton: FakeTriton) -> Said:
    models = Said()
    triton.models.update(models.models)
    return models


@pytest.fixture
def environment(triton: FakeTriton, said: Said) -> dict[str, str]:
    return {"ADLENS_URL": triton.url, "ADLENS_RETRIES": "0"}


@pytest.fixture
def shades(tmp_path: Path) -> list[Path]:
    """Of these the second is best, then the third."""
    return [grey(tmp_path / "photos" / f"{shade}.jpg", shade) for shade in (51, 204, 102)]


def run(environment: dict[str, str], *arguments: object) -> Result:
    return CliRunner().invoke(cli.main, ["engagement", *map(str, arguments)], env=environment)


def test_text_is_for_people(environment: dict[str, str], shades: list[Path]) -> None:
    result = run(environment, shades[1])
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"{shades[1]}: High engagement: 80 % (low 12 %, neutral 8 %)",
        "  nothing was known of the post (hour, weekday, length of the caption, number of hashtags, "
        "followers, whether it is advertised): judged by the picture alone",
        "  low: fewer than 7,000 likes and comments together; high: more than 11,000",
    ]


def test_candidates_are_shown_in_order_and_what_is_common_once(
    environment: dict[str, str], shades: list[Path], tmp_path: Path
) -> None:
    context = tmp_path / "context.json"
    context.write_text(FRIDAY)
    result = run(environment, *shades, "--rank", "--context", context)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "Post 204.jpg: high engagement 80 %, the next best 40 %",
        f"  1. {shades[1]}: high 80 %, neutral 8 %, low 12 %",
        f"  2. {shades[2]}: high 40 %, neutral 24 %, low 36 %",
        f"  3. {shades[0]}: high 20 %, neutral 32 %, low 48 %",
        "  not known of the post: length of the caption, number of hashtags, whether it is advertised",
        "  low: fewer than 7,000 likes and comments together; high: more than 11,000",
    ]


def test_json_is_one_object_a_line_and_bad_files_fail_alone(
    environment: dict[str, str], shades: list[Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(shades[0].read_bytes()[:300])
    gone = tmp_path / "gone.jpg"
    result = run(environment, *shades, bad, gone, "--json", "--rank")
    lines: list[dict[str, Any]] = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert [(line["path"], line["error"]["kind"]) for line in lines[:2]] == [
        (str(bad), "BadImage"), (str(gone), "BadImage"),
    ]  # fmt: skip
    assert [(line["rank"], line["path"]) for line in lines[2:]] == [
        (rank, str(shades[at])) for rank, at in enumerate((1, 2, 0), 1)
    ]
    assert f"error: {gone}: cannot be read (No such file or directory); check the path" in result.stderr


def test_a_folder_stands_for_its_pictures_and_one_without_any_fails_alone(
    environment: dict[str, str], shades: list[Path], tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    result = run(environment, empty, shades[0].parent, "--json")
    failure, *answers = map(json.loads, result.stdout.splitlines())
    assert (result.exit_code, failure["error"]["kind"]) == (1, "NoPictures")
    assert [answer["path"] for answer in answers] == sorted(map(str, shades))
    assert f"error: {empty}: no picture files in this folder" in result.stderr
    assert run(environment, empty, "--rank").exit_code == 1


def test_each_picture_has_its_own_context_and_one_that_is_wrong_fails_alone(
    environment: dict[str, str], shades: list[Path], said: Said
) -> None:
    table = shades[0].parent / "posts.csv"
    table.write_text("image,hour,likes\n51.jpg,18.5,900\n204.jpg,25,\n")
    result = run(environment, *shades, "--context", table, "--json")
    first, second, third = map(json.loads, result.stdout.splitlines())
    assert result.exit_code == 1
    assert (first["known"], first["warnings"]) == ({"hour": 18.5}, [])
    assert second["error"] == {
        "kind": "BadPost",
        "message": "context: hour: 25.0; a day has hours 0 to 24, such as 18.5 for half past six",
    }
    assert result.stderr.startswith(f"error: {shades[1]}: context: hour: 25.0; ")
    assert (third["known"], third["warnings"]) == ({}, [f"{table} says nothing of this picture"])
    assert sorted(np.isfinite(asked[contract.POST]).sum() for asked in said.asked) == [0, 1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"hour": 25}', "hour: 25; a day has hours 0 to 24"),
        ('{"folowers": 3}', "unknown 'folowers', did you mean 'followers'"),
        ('{"followers": "many"}', "'many' is no number"),
        ("[1]", "record 1: 1; write a JSON object"),
        ("hour=18", "neither JSON nor a table with the column 'image'"),
    ],
)
def test_a_context_of_the_wrong_shape_is_exit_code_2_and_nothing_is_sent(
    environment: dict[str, str], shades: list[Path], triton: FakeTriton, text: str, reason: str
) -> None:
    context = shades[0].with_name("context")
    context.write_text(text)
    result = run(environment, *shades, "--context", context)
    assert (result.exit_code, result.stdout, triton.calls) == (2, "", 0)
    assert f"Error: {context}: " in result.stderr
    assert reason in result.stderr


def test_every_option_is_an_environment_variable_too(
    environment: dict[str, str], shades: list[Path], tmp_path: Path
) -> None:
    context = tmp_path / "context.json"
    context.write_text(FRIDAY)
    more = {"ADLENS_CONTEXT": str(context), "ADLENS_RANK": "1", "ADLENS_JSON": "1", "ADLENS_WORKERS": "2"}
    result = run(environment | more | {"ADLENS_OUT": str(tmp_path / "out")}, *shades)
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert rows[0]["known"] == {"hour": 18.5, "weekday": 4, "followers": 52_000}
    assert {row["drawing"] for row in rows} == {str(tmp_path / "out" / "ranking.jpg")}


def test_out_holds_one_sheet_of_candidates_or_a_drawing_of_each_picture(
    environment: dict[str, str], shades: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = run(environment, *shades, "--rank", "--out", out)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == f"  drawn to {out / 'ranking.jpg'}"
    assert [path.name for path in out.iterdir()] == ["ranking.jpg"]
    result = run(environment, *shades, shades[0], "--out", out)
    assert {path.name for path in out.iterdir()} == {
        "ranking.jpg", "51.jpg", "204.jpg", "102.jpg", "51-2.jpg",
    }  # fmt: skip
    with Image.open(out / "204.jpg") as drawing:
        assert drawing.width == 720
    result = run(environment, shades[0].parent, "--out", shades[0].parent)
    assert result.exit_code == 2
    assert "lies among the pictures" in " ".join(result.stderr.split())


def test_without_signal_text_and_json_say_so(
    environment: dict[str, str], shades: list[Path], said: Said
) -> None:
    said.card = replace(CARD, picture_signal=False, picture_accuracy=0.42, majority=0.413)
    sentence = (
        "not enough signal: on posts it had not seen, this model was right in 42 % of cases by the picture "
        "alone, and always saying the most frequent class in 41 %"
    )
    alone = run(environment, shades[1]).stdout
    assert alone.startswith(f"{shades[1]}: Not enough signal to say how popular this will be\n  high 80 %")
    ranked = run(environment, *shades, "--rank").stdout
    assert ranked.startswith("Not enough signal to say which of 3 pictures is best\n")
    assert ranked.count(f"  warning: {sentence}\n") == alone.count(f"  warning: {sentence}\n") == 1
    for option in ([], ["--rank"]):
        row = json.loads(run(environment, shades[0], "--json", *option).stdout)
        assert (row["signal"], row["warnings"]) == (False, [sentence])


def test_a_server_that_is_down_is_exit_code_3_and_every_picture_accounted_for(
    environment: dict[str, str], shades: list[Path], triton: FakeTriton
) -> None:
    triton.always = (grpc.StatusCode.UNAVAILABLE, "no")
    result = run(environment, *shades, "--json", "--rank", "--workers=1")
    kinds = [json.loads(line)["error"]["kind"] for line in result.stdout.splitlines()]
    assert (result.exit_code, kinds) == (3, ["Unavailable", "NotSent", "NotSent"])
    assert "start it with `make serve`" in result.stderr
    assert "2 more were not sent" in result.stderr


def test_a_server_without_the_model_is_exit_code_3(
    environment: dict[str, str], shades: list[Path], triton: FakeTriton
) -> None:
    triton.always = (
        grpc.StatusCode.NOT_FOUND,
        "Request for unknown model: 'predict_engagement' is not found",
    )
    result = run(environment, *shades, "--workers=1")
    assert result.exit_code == 3
    assert "predict_engagement" in result.stderr
    assert "2 more were not sent" in result.stderr


def test_a_server_whose_card_is_of_another_kind_is_exit_code_3(
    environment: dict[str, str], shades: list[Path], said: Said
) -> None:
    said.card = ModelCard(CARD.model, "e" * 16, False, CARD.labels, CARD.skill)
    result = run(environment, shades[0])
    assert (result.exit_code, result.stdout) == (3, "")
    assert "CARD_ENGAGEMENT: not a model card" in result.stderr


def test_where_a_picture_cannot_be_drawn_the_answer_stands(
    environment: dict[str, str], shades: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "204.jpg").mkdir(parents=True)
    result = run(environment, *shades, "--out", out)
    assert result.exit_code == 1
    assert f"{shades[1]}: High engagement" in result.stdout
    assert result.stderr.startswith("error: a picture could not be drawn: ")
