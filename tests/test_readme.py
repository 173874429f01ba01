"""Every block of code in the README runs, against the real server and a real photo."""

from __future__ import annotations

import base64
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from click.testing import CliRunner
from google.protobuf import json_format
from tritonclient.grpc import service_pb2, service_pb2_grpc

from adlens import cli, contract
from adlens.galleries.contents import Contents
from adlens.galleries.files import GalleryFolder
from adlens.galleries.records import Record
from export import generated, generated_creatives
from export.engagement import planted
from export.generated_ads import CUSTOMER
from export.influencers import generated_accounts
from server.launcher import Server

CHECKOUT = Path(__file__).resolve().parent.parent
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", (CHECKOUT / "README.md").read_text(), re.M | re.S)
DEFAULT_URL = "127.0.0.1:8001"


def blocks(language: str, word: str = "") -> list[str]:
    return [text for name, text in BLOCKS if name == language and word in text]


@pytest.fixture(scope="module")
def accounts(whole_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``accounts``, of a brand and two influencers, and what the server says of them."""
    folder = tmp_path_factory.mktemp("agency")
    generated_accounts.write_accounts(folder / "accounts", brands=1, influencers=2, pictures=1)
    arguments = ["influencers", "describe", str(folder / "accounts"), "--out", str(folder / "described")]
    result = CliRunner().invoke(cli.main, arguments, env={"ADLENS_URL": whole_server.url})
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def photos(tmp_path: Path, accounts: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the README names, to run in."""
    generated.astronaut().save(tmp_path / "photo.jpg")
    generated.write_demo(tmp_path / "photos")
    generated.write_demo(tmp_path / "campaign" / "summer")
    (tmp_path / "customer.json").write_text(json.dumps(CUSTOMER))
    generated_creatives.write_catalogue(tmp_path / "catalogue", models=2, pictures=2)
    shutil.copy(tmp_path / "catalogue" / "model-000" / "0.jpg", tmp_path / "shoe.jpg")
    _candidates(tmp_path)
    shutil.copytree(accounts, tmp_path, dirs_exist_ok=True)
    for embedder, dimension, option in (
        (contract.EMBEDDER, contract.EMBEDDERS[contract.EMBEDDER], "ADLENS_GALLERY"),
        (contract.VARY_CREATIVE, contract.CREATIVE_DIMENSION, "ADLENS_ALTERNATES"),
        (contract.INFLUENCER_TOWER, contract.ACCOUNT_DIMENSION, "ADLENS_INFLUENCERS"),
    ):
        monkeypatch.setenv(option, str(_gallery(tmp_path / option, embedder, dimension).folder))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _candidates(folder: Path) -> None:
    """Pictures of posts, and what is known of them, as the README has it."""
    table = planted.write_posts(folder / "posts", 4, "image", 77)
    (folder / "candidates").mkdir()
    for number, picture in enumerate(sorted((table.parent / "pictures").iterdir()), 1):
        shutil.copy(picture, folder / "candidates" / f"{number}.jpg")
    (folder / "post.json").write_text(blocks("json", "advertised")[0])


def _gallery(folder: Path, embedder: str, dimension: int) -> GalleryFolder:
    """One of the test's own, which no server searches, as its photo shows."""
    gallery, empty = GalleryFolder(folder), Contents.empty(embedder, dimension)
    vector = np.eye(1, dimension, dtype=np.float32)[0]
    photo = Record("old", vector, payload=np.ones(empty.payload.shape[1], np.float32))
    with gallery.locked():
        gallery.publish(empty.with_records([photo], "0" * 16, replace_ids=False))
    return gallery


def test_the_readme_has_blocks_of_every_kind_tested_here() -> None:
    assert {name for name, _ in BLOCKS} == {"sh", "python", "json"}
    assert len(blocks("python")) == 6
    assert len(blocks("json")) == 4


@pytest.mark.parametrize("block", blocks("python"))
def test_python_blocks_run(block: str, server: Server, photos: Path) -> None:
    assert DEFAULT_URL in block
    code = block.replace(DEFAULT_URL, server.url)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()


@pytest.mark.parametrize("line", [line for block in blocks("sh", "adlens ") for line in block.splitlines()])
def test_commands_of_the_client_run(line: str, server: Server, photos: Path) -> None:
    program, *arguments = shlex.split(line, comments=True)
    assert program == "adlens"
    result = CliRunner().invoke(cli.main, arguments, env={"ADLENS_URL": server.url})
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("line", [line for b in blocks("sh", "make ") for line in b.splitlines()])
def test_make_knows_its_targets_and_modules_exist(line: str) -> None:
    program, *arguments = shlex.split(line, comments=True)
    if program == "make":
        command = ["make", "--dry-run", *arguments]
    else:
        command = [sys.executable, *arguments[:2], "--help"]
    run = subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr


def test_the_request_as_json_is_answered(server: Server, photos: Path) -> None:
    jpeg = (photos / "photo.jpg").read_bytes()
    request: dict[str, Any] = json.loads(blocks("json", "model_name")[0])
    request["inputs"][0]["shape"][1] = len(jpeg)
    request["raw_input_contents"] = [base64.b64encode(jpeg).decode()]
    message = json_format.ParseDict(request, service_pb2.ModelInferRequest())
    with grpc.insecure_channel(server.url) as channel:
        answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(message, timeout=60)
    counts = [index for index, output in enumerate(answer.outputs) if output.name == "FACE_COUNT"]
    assert int.from_bytes(answer.raw_output_contents[counts[0]], "little") == 1
