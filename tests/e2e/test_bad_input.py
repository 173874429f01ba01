"""Bad input, and a server that is gone: each named with the remedy, no neighbour harmed, nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from adlens import contract
from export import generated
from server.launcher import Server, ServerOptions
from tests.conftest import Serve
from tests.e2e.pictures import TIMEOUT_S, bomb, encode, infer

ADLENS = Path(sys.executable).with_name("adlens")
GOOD = encode(generated.astronaut())
BAD = {
    "text.jpg": (b"this is a shopping list, and no picture\n" * 40, "not a picture", "save it as JPEG"),
    "empty.jpg": (b"", "empty: 0 bytes", "give a picture file"),
    "truncated.jpg": (GOOD[: len(GOOD) // 2], "truncated", "copy or download it again"),
    "bomb.jpg": (bomb(), "20000 x 20000 = 400000000 pixels", "make it smaller"),
}
"""Files by name: their bytes, what is wrong, and the remedy."""


def adlens(url: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [ADLENS, *map(str, arguments)]
    environment = {**os.environ, "ADLENS_URL": url, "ADLENS_TIMEOUT": str(TIMEOUT_S)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)


def objects(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder with every bad file between good ones."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for number, (name, (data, _, _)) in enumerate(BAD.items()):
        (folder / f"{number}-good.jpg").write_bytes(GOOD)
        (folder / f"{number}-{name}").write_bytes(data)
    return folder


def test_each_bad_file_is_named_with_the_remedy_and_the_good_ones_answered(
    server: Server, mixed: Path
) -> None:
    files = sorted(mixed.iterdir())
    run = adlens(server.url, "products", "--json", *files)
    rows = objects(run.stdout)
    assert run.returncode == 1
    assert [row["path"] for row in rows] == list(map(str, files))
    assert [len(row["faces"]) for row in rows if "error" not in row] == [1] * len(BAD)
    complaints = run.stderr.splitlines()
    assert len(complaints) == len(BAD)
    for number, (name, (_, fault, remedy)) in enumerate(BAD.items()):
        (complaint,) = [line for line in complaints if name in line]
        assert complaint.startswith(f"error: {mixed / f'{number}-{name}'}: ")
        assert fault in complaint
        assert remedy in complaint


def test_a_user_s_folder_with_bad_files_gets_its_recommendation_and_says_what_failed(
    server: Server, mixed: Path, demo: dict[str, Path]
) -> None:
    (mixed / "hat.jpg").write_bytes(demo["painted-hat"].read_bytes())
    run = adlens(server.url, "products", mixed, "--json")
    user = objects(run.stdout)[-1]
    assert run.returncode == 1
    assert (user["user"], user["product"]) == (str(mixed), "hat")
    assert (user["pictures"], user["pictures_with_face"], user["failed"]) == (9, 5, 4)


def test_paths_that_lead_nowhere_harm_no_other(server: Server, tmp_path: Path) -> None:
    missing, bare, good = tmp_path / "missing.jpg", tmp_path / "bare", tmp_path / "good.jpg"
    bare.mkdir()
    (bare / "notes.txt").write_text("no picture")
    good.write_bytes(GOOD)
    run = adlens(server.url, "products", missing, bare, good)
    assert run.returncode == 1
    assert run.stdout.startswith(f"{good}: No items detected")
    assert f"error: {missing}: cannot be read (No such file or directory); check the path" in run.stderr
    assert f"error: {bare}: no picture files in this folder" in run.stderr


@pytest.mark.parametrize(
    "arguments", [["products"], ["products", "--workers", "0", "x.jpg"], ["products", "--nonsense", "x.jpg"]]
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    run = adlens("127.0.0.1:1", *arguments)
    assert run.returncode == 2
    assert "Usage: adlens products" in run.stderr


@pytest.mark.parametrize("command", ["products", "health"])
def test_without_a_server_it_exits_with_3_and_says_how_to_start_one(
    free_port: int, command: str, demo: dict[str, Path]
) -> None:
    paths = [demo["astronaut"]] if command == "products" else []
    run = adlens(f"127.0.0.1:{free_port}", command, "--retries", "0", *paths)
    assert (run.returncode, run.stdout) == (3, "")
    assert "no server answers" in run.stderr
    assert "start it with `make serve`" in run.stderr


def test_a_server_killed_in_the_middle_loses_no_picture_and_no_answer(
    server: Server, serve: Serve, tmp_path: Path
) -> None:
    """A server of its own dies; ``server`` is asked for so that, without models, this is skipped too."""
    doomed = serve(*ServerOptions().repositories)
    files = [tmp_path / f"{number:02}.jpg" for number in range(40)]
    for file in files:
        file.write_bytes(GOOD)
    command = [ADLENS, "products", tmp_path, "--json", "--url", doomed.url, "--workers", "4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        first = [run.stdout.readline() for _ in range(4)]
        doomed.abort()
        rest, complaints = run.stdout.read(), run.stderr.read()
        run.wait(timeout=100)
    *pictures, user = objects("".join(first) + rest)
    assert run.returncode == 3
    assert [row["path"] for row in pictures] == list(map(str, files))
    answered = [row for row in pictures if "error" not in row]
    assert all("error" not in json.loads(line) for line in first)
    assert 4 <= len(answered) < 40
    assert (user["pictures"], user["failed"]) == (40, 40 - len(answered))
    assert "start it with `make serve`" in complaints
    assert "more were not sent, as the server failed before" in complaints


def test_bad_files_sent_straight_to_the_server_are_refused_and_their_neighbours_answered(
    client: triton.InferenceServerClient,
) -> None:
    """Past the client's own gate, all in flight at the same moment."""
    bad = [data for name, (data, _, _) in BAD.items() if name != "empty.jpg"]
    mixed = [each for data in bad for each in (GOOD, data)] * 2

    def ask(data: bytes) -> int | str:
        try:
            return int(infer(client, data).as_numpy(contract.FACE_COUNT).item())
        except InferenceServerException as error:
            return str(error.status())

    with ThreadPoolExecutor(len(mixed)) as pool:
        answers = list(pool.map(ask, mixed))
    assert answers == [1, "StatusCode.INVALID_ARGUMENT"] * (len(mixed) // 2)
