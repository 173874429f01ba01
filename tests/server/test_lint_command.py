"""``python -m server.lint``: how faults are told to people and machines, and with which exit status."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from adlens import contract
from server.lint import RULES
from server.lint.__main__ import main
from tests.server.launched import CHECKOUT
from tests.server.samples import edit

REPOSITORIES = ("model_repository", "ensembles")


def ran(*arguments: str, folder: Path, **environment: str) -> Result:
    """The command, run in a folder."""
    with contextlib.chdir(folder):
        return CliRunner().invoke(main, arguments, env=environment)


def test_the_checkout_is_clean() -> None:
    command = [sys.executable, "-m", "server.lint", *REPOSITORIES]
    ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, f"{len(contract.MODELS)} models: no faults\n"), (
        ended.stdout
    )


def test_weights_that_are_not_built_are_a_hint_unless_denied(tmp_path: Path) -> None:
    for repository in REPOSITORIES:
        unbuilt = shutil.ignore_patterns("[0-9]*") if repository == "model_repository" else None
        shutil.copytree(CHECKOUT / repository, tmp_path / repository, ignore=unbuilt)
    ended = ran(*REPOSITORIES, folder=tmp_path)
    assert ended.exit_code == 0
    assert "model_repository/detect_faces: hint not-built: no weights yet; build them with" in ended.stdout
    denied = ran(*REPOSITORIES, "--deny", "not-built", folder=tmp_path)
    assert denied.exit_code == 1
    assert "model_repository/detect_faces: error not-built: " in denied.stdout
    leaves = sum(1 for _ in (CHECKOUT / "model_repository").glob("*/config.pbtxt"))
    assert denied.stderr == f"{len(contract.MODELS)} models: {leaves} faults\n"


def test_faults_are_told_with_file_and_rule_and_end_with_1(sample: Path) -> None:
    edit("first", ("KIND_CPU", "KIND_GPU"))(sample)
    ended = ran("models", "ensembles", folder=sample)
    assert ended.exit_code == 1
    assert ended.stdout == (
        "models/first/config.pbtxt: error gpu-in-cpu-profile: "
        "KIND_GPU in a profile for CPUs; move it to configs/gpu.pbtxt, use KIND_CPU here\n"
    )
    assert ended.stderr == "7 models: 1 fault\n"


def test_machines_read_the_same_as_json(sample: Path) -> None:
    edit("first", ("KIND_CPU", "KIND_GPU"))(sample)
    ended = ran("models", "ensembles", "--json", folder=sample)
    assert ended.exit_code == 1
    (fault,) = json.loads(ended.stdout)
    assert fault.keys() == {"path", "severity", "rule", "message"}
    assert (fault["path"], fault["severity"]) == ("models/first/config.pbtxt", "error")


def test_a_fault_is_allowed_only_by_its_name(sample: Path) -> None:
    edit("first", ("KIND_CPU", "KIND_GPU"))(sample)
    assert ran("models", "ensembles", "--allow", "stray-folder", folder=sample).exit_code == 1
    assert ran("models", "ensembles", "--allow", "gpu-in-cpu-profile", folder=sample).exit_code == 0
    assert ran("models", "ensembles", folder=sample, ADLENS_LINT_ALLOW="gpu-in-cpu-profile").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "no repository given"),
        (("nowhere",), "'nowhere' does not exist"),
        (("models", "--allow", "everything"), "'everything' is not one of"),
        (("models", "--profile", "tpu"), "no model has the profile 'tpu', a file configs/tpu.pbtxt"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_why(sample: Path, arguments: tuple[str, ...], reason: str) -> None:
    ended = ran(*arguments, folder=sample)
    assert ended.exit_code == 2
    assert reason in ended.stderr


def test_each_rule_is_listed_with_its_reason() -> None:
    shown = ran("--list-rules", folder=CHECKOUT).stdout
    listed = json.loads(ran("--list-rules", "--json", folder=CHECKOUT).stdout)
    assert [rule["name"] for rule in listed] == list(RULES)
    for rule in listed:
        assert f"{rule['name']} ({rule['severity']})\n    {rule['why'][:40]}" in shown
