"""The command line, against a fake Triton: what it prints, where, and with which exit code."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from adlens import cli
from tests.client.conftest import Album, Paint
from tests.client.fake_triton import FakeTriton
from tests.interrupts import heed_ctrl_c


def run(triton: FakeTriton | None, *arguments: object, **environment: str) -> Result:
    if triton:
        environment |= {"ADLENS_URL": triton.url, "ADLENS_RETRIES": "0"}
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments], env=environment)


def objects(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_picture_gives_one_json_object(triton: FakeTriton, paint: Paint) -> None:
    path = paint("photo.jpg", "hat")
    result = run(triton, "products", path, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    (row,) = objects(result)
    assert (row["path"], row["product"], row["score"]) == (str(path), "hat", 0.9)
    assert list(row["faces"][0]["attributes"]) == ["hat", "beard", "eyewear"]


def test_with_fast_one_backbone_judges(triton: FakeTriton, album: Album) -> None:
    rows = objects(run(triton, "products", album("anna", "hat"), "--json", "--fast"))
    assert [list(face["backbones"]) for face in rows[0]["faces"]] == [["dlib"]]
    assert rows[1]["product"] == "hat"


def test_a_folder_gives_an_object_a_picture_and_one_of_the_user(triton: FakeTriton, album: Album) -> None:
    folder = album("anna", "hat", "nobody")
    rows = objects(run(triton, "products", folder, "--json"))
    assert ["user" in row for row in rows] == [False, False, True]
    assert (rows[2]["user"], rows[2]["product"], rows[2]["share"]) == (str(folder), "hat", 1.0)
    assert rows[2]["picture"] == str(folder / "01.jpg")


def test_with_recursive_every_folder_below_is_a_user(
    triton: FakeTriton, paint: Paint, tmp_path: Path
) -> None:
    paint("shop/anna/1.jpg", "hat")
    paint("shop/zoe/old/1.jpg", "beard")
    rows = objects(run(triton, "products", tmp_path / "shop", "--recursive", "--json"))
    users = {row["user"].removeprefix(f"{tmp_path}/"): row["product"] for row in rows if "user" in row}
    assert users == {"shop/anna": "hat", "shop/zoe/old": "beard-care"}


def test_text_is_for_people(triton: FakeTriton, paint: Paint) -> None:
    folder = paint("anna/1.jpg", "beard").parent
    result = run(triton, "products", folder)
    assert result.stdout.splitlines() == [
        f"{folder}/1.jpg: We recommend beard-care products to this user! (beard 0.90, face 1 of 1)",
        f"{folder} (user): We recommend beard-care products to this user! "
        f"(1 picture, 1 with a face to judge, beard in 1 of these; best seen in {folder}/1.jpg)",
    ]


def test_csv_is_one_flat_row_an_answer(triton: FakeTriton, paint: Paint, tmp_path: Path) -> None:
    folder = paint("anna/1.jpg", "beard").parent
    result = run(triton, "products", folder, tmp_path / "none.jpg", "--csv")
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert [row["type"] for row in rows] == ["picture", "user", "failure"]
    assert rows[0]["attributes"] == "hat=0.1000 beard=0.9000 eyewear=0.1000"
    assert (rows[1]["share"], rows[1]["box"]) == ("1.0", "80.0 60.0 240.0 180.0")
    assert rows[2]["error_kind"] == "BadImage"


def test_bad_files_are_named_on_stderr_the_others_answered_and_the_exit_code_is_1(
    triton: FakeTriton, paint: Paint, tmp_path: Path
) -> None:
    good = paint("good.jpg", "hat")
    (tmp_path / "empty.jpg").touch()
    result = run(triton, "products", tmp_path / "none.jpg", good, tmp_path / "empty.jpg", "--json")
    assert result.exit_code == 1
    rows = objects(result)
    assert rows[0]["error"]["kind"] == "BadImage"
    assert "check the path" in rows[0]["error"]["message"]
    assert rows[1]["product"] == "hat"
    assert f"error: {tmp_path}/empty.jpg: empty: 0 bytes" in result.stderr
    assert "error" not in run(triton, "products", tmp_path / "none.jpg").stdout


@pytest.mark.parametrize("recursive", [[], ["--recursive"]])
def test_a_folder_without_pictures_counts_as_failed(
    triton: FakeTriton, tmp_path: Path, recursive: list[str]
) -> None:
    result = run(triton, "products", tmp_path, "--json", *recursive)
    assert result.exit_code == 1
    assert objects(result)[0]["error"]["kind"] == "NoPictures"
    assert "no picture files" in result.stderr


@pytest.mark.parametrize("command", ["products", "ads"])
def test_a_server_that_is_down_is_exit_code_3_with_the_remedy(
    paint: Paint, free_port: int, command: str
) -> None:
    url = f"127.0.0.1:{free_port}"
    result = run(None, command, paint("a.jpg", "hat"), "--url", url, "--retries", 0)
    assert result.exit_code == 3
    assert "a.jpg" in result.stderr
    assert "make serve" in result.stderr
    assert run(None, "health", "--url", url, "--retries", 0).exit_code == 3


def test_a_server_that_goes_leaves_every_input_accounted_for(triton: FakeTriton, album: Album) -> None:
    folder, other = album("anna", *["hat"] * 30), album("zoe", "hat")
    triton.die_after = 5
    result = run(triton, "products", folder, other, "--json", "--workers", 2)
    rows = objects(result)
    assert result.exit_code == 3
    assert sum("path" in row for row in rows) == 31
    assert any(row.get("product") == "hat" and "path" in row for row in rows)
    assert rows[-1]["path"] == str(other)
    assert rows[-1]["error"]["kind"] == "NotSent"
    assert result.stderr.count("not sent") == 1
    assert len(result.stderr.splitlines()) <= 3


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "Missing argument"),
        (["a.jpg", "--json", "--csv"], "exclude each other"),
        (["a.jpg", "--url", "http://x"], "give HOST:PORT"),
        (["a.jpg", "--workers", "0"], "x>=1"),
        (["a.jpg", "--timeout", "0"], "timeout_s 0"),
        (["a.jpg", "--catalogue", "none.yaml"], "none.yaml cannot be read"),
        (["a.jpg", "--tls-ca", "none.pem"], "none.pem cannot be read"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], reason: str) -> None:
    result = run(None, "products", *arguments)
    assert result.exit_code == 2
    assert reason in result.stderr


def test_every_option_is_an_environment_variable_too(
    triton: FakeTriton, paint: Paint, tmp_path: Path
) -> None:
    catalogue = tmp_path / "own.yaml"
    catalogue.write_text("title: 'Buy a {product}'\nproducts: {hat: bowler}")
    result = run(triton, "products", paint("a.jpg", "hat"), ADLENS_JSON="1", ADLENS_CATALOGUE=str(catalogue))
    assert objects(result)[0]["title"] == "Buy a bowler"
    for command in (cli.products, cli.health):
        for option in command.params:
            if option.param_type_name == "option":
                name = option.opts[0].removeprefix("--").replace("-", "_").upper()
                assert option.envvar == f"ADLENS_{name}"


def test_out_holds_the_annotated_pictures_under_names_that_do_not_collide(
    triton: FakeTriton, paint: Paint, tmp_path: Path
) -> None:
    folders = [paint("x/anna/1.jpg", "hat").parent, paint("y/anna/1.jpg", "beard").parent]
    paint("x/anna/1.png", "hat")
    single = [paint("p/1.jpg", "hat"), paint("q/1.jpg", "hat")]
    out = tmp_path / "out"
    result = run(triton, "products", *folders, *single, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    drawings = [row["drawing"] for row in objects(result)]
    assert [str(Path(drawing).relative_to(out)) for drawing in drawings] == [
        "anna/1.jpg",
        "anna/1-2.jpg",
        "anna.jpg",
        "anna-2/1.jpg",
        "anna-2.jpg",
        "1.jpg",
        "1-2.jpg",
    ]
    for drawing in drawings:
        with Image.open(drawing) as image:
            assert image.height > image.width * 240 / 320  # the band is on top
    again = run(triton, "products", *folders, *single, "--out", out, "--json")
    assert [row["drawing"] for row in objects(again)] == drawings


def test_out_never_lies_among_the_inputs(triton: FakeTriton, paint: Paint) -> None:
    path = paint("anna/1.jpg", "hat")
    before = path.read_bytes()
    for arguments in ([path, "--out", path.parent], [path.parent, "--out", path.parent / "drawn"]):
        result = run(triton, "products", *arguments)
        assert result.exit_code == 2
        assert "lies among the pictures" in result.stderr
    assert path.read_bytes() == before


def test_health_shows_the_weights_that_answer(triton: FakeTriton) -> None:
    result = run(triton, "health")
    assert result.exit_code == 0
    assert f"{triton.url}: triton 2.51.0 answers, recommend_products" in result.stdout
    assert f"attributes_vgg16         weights {'b' * 16}  (starter)" in result.stdout
    assert json.loads(run(triton, "health", "--json").stdout)["starter"] == ["attributes_vgg16"]
    triton.always = (grpc.StatusCode.INTERNAL, "stub process died")
    assert run(triton, "health").exit_code == 3


def test_results_are_printed_while_the_rest_is_still_running(triton: FakeTriton, paint: Paint) -> None:
    triton.delay_s = 0.3
    paths = [str(paint(f"{number}.jpg", "hat")) for number in range(6)]
    command = [sys.executable, "-m", "adlens.cli", "products", *paths, "--url", triton.url, "--workers", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "0.jpg" in process.stdout.readline()
        assert triton.calls < len(paths)
        process.stdout.read()
    assert process.returncode == 0


def test_ctrl_c_is_exit_code_130_and_says_how_far_the_run_came(triton: FakeTriton, paint: Paint) -> None:
    triton.delay_s = 0.3
    paths = [str(paint(f"{number}.jpg", "hat")) for number in range(20)]
    command = [sys.executable, "-m", "adlens.cli", "products", *paths, "--url", triton.url, "--workers", "1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        others, complaints = process.communicate()
    answered = len([first, *others.splitlines()])
    assert process.returncode == 130
    assert complaints == f"error: interrupted after {answered} picture{'s' * (answered > 1)}\n"
    assert triton.calls < len(paths)
