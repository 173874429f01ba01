"""The container's entry point, with programs in place of Triton and TensorRT that write down their calls."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from server.assembly import CHECKOUT

ENTRYPOINT = CHECKOUT / "deploy" / "entrypoint.sh"
PROGRAMS = {
    "nvidia-smi": 'for gpu in $(seq "$FAKE_GPUS"); do echo "GPU $gpu: NVIDIA H200 (UUID: GPU-$gpu)"; done',
    "python3": 'echo "python3 $PWD $*" >> "$FAKE_CALLS"; exit "${FAKE_BUILD_STATUS:-0}"',
    "tritonserver": 'echo "tritonserver $*" >> "$FAKE_CALLS"; exit 7',
    "adlens": 'echo "adlens $ADLENS_URL $*" >> "$FAKE_CALLS"; exit "${FAKE_HEALTH_STATUS:-0}"',
}


@dataclass
class Container:
    """Folders and programs as in the image, and what its entry point does there."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ENTRYPOINT, *arguments],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    @property
    def triton(self) -> list[str]:
        (call,) = [call for call in self.calls if call.startswith("tritonserver ")]
        return call.split()[1:]


@pytest.fixture
def container(tmp_path: Path) -> Container:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    home = tmp_path / "home"
    for model, built in (("detect_faces", "model.onnx"), ("gallery", "gallery.json")):
        (home / "model_repository" / model / "1").mkdir(parents=True)
        (home / "model_repository" / model / "1" / built).write_text("of the image")
        (home / "model_repository" / model / "config.pbtxt").write_text("of the image")
        (home / "model_repository" / model / "configs").mkdir()
        (home / "model_repository" / model / "configs" / "gpu.pbtxt").write_text("of the image")
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "FAKE_CALLS": str(tmp_path / "calls"),
        "FAKE_GPUS": "1",
        "ADLENS_HOME": str(home),
        "ADLENS_MODELS": str(tmp_path / "models"),
        "ADLENS_CACHE": str(tmp_path / "cache"),
    }
    (tmp_path / "models").mkdir()
    return Container(tmp_path, environment)


def test_it_builds_what_is_missing_and_then_serves(container: Container) -> None:
    served = container.run()
    assert served.returncode == 7, "that of tritonserver"
    built, _ = container.calls
    home, models = container.folder / "home", container.folder / "models"
    timings = container.folder / "cache" / "timings"
    assert built == (
        f"python3 {home} -m export.tensorrt --repository {models} --timings {timings} --fall-back"
    )
    repositories = [flag for flag in container.triton if flag.startswith("--model-repository=")]
    assert repositories == [
        f"--model-repository={each}" for each in (models, home / "ensembles", home / "gpu")
    ]
    assert "--model-config-name=gpu" in container.triton


def test_the_other_profile_needs_no_plans(container: Container) -> None:
    container.run(ADLENS_PROFILE="gpu-onnxruntime")
    assert container.calls[0].endswith("--graphs")
    assert "--model-config-name=gpu-onnxruntime" in container.triton


@pytest.mark.parametrize(("gpus", "numbers"), [("1", ["0"]), ("3", ["0", "1", "2"])])
def test_every_gpu_has_a_pool_that_holds_pictures(
    container: Container, gpus: str, numbers: list[str]
) -> None:
    container.run(FAKE_GPUS=gpus, ADLENS_CUDA_POOL_BYTES="5000000")
    pools = [flag for flag in container.triton if flag.startswith("--cuda-memory-pool")]
    assert sorted(pools) == [f"--cuda-memory-pool-byte-size={number}:5000000" for number in numbers]


def test_further_flags_are_tritons(container: Container) -> None:
    container.run("serve", "--log-verbose=1")
    assert container.triton[-1] == "--log-verbose=1"


def test_what_the_door_closes_is_closed_without_a_token_and_open_with_it(container: Container) -> None:
    container.run()
    (drawn,) = [flag for flag in container.triton if flag.startswith("--grpc-restricted-protocol=")]
    protocols, token = drawn.partition("=")[2].rsplit(":admin=", 1)
    assert set(protocols.split(",")) >= {"model-repository", "shared-memory", "statistics"}
    assert len(token) == 32
    (container.folder / "calls").unlink()
    container.run(ADLENS_SERVER_ADMIN_TOKEN="opens")  # noqa: S106 - no secret
    assert f"--grpc-restricted-protocol={protocols}:admin=opens" in container.triton


def test_without_a_gpu_it_says_so_and_serves_nothing(container: Container) -> None:
    refused = container.run(FAKE_GPUS="0")
    assert refused.returncode == 3
    assert "no NVIDIA GPU is visible" in refused.stderr
    assert not container.calls


def test_where_nothing_can_be_built_it_serves_nothing(container: Container) -> None:
    refused = container.run(FAKE_BUILD_STATUS="3")
    assert refused.returncode == 3
    assert len(container.calls) == 1


def test_plans_are_built_without_serving(container: Container) -> None:
    assert container.run("plans").returncode == 0
    assert len(container.calls) == 1


@pytest.mark.parametrize("arguments", [("sevre",), ("--help",)])
def test_what_it_does_not_know_is_refused_with_what_it_knows(
    container: Container, arguments: tuple[str, ...]
) -> None:
    refused = container.run(*arguments)
    assert refused.returncode == 2
    assert "serve, plans, health" in refused.stderr


def test_an_unknown_profile_is_refused(container: Container) -> None:
    refused = container.run(ADLENS_PROFILE="cpu")
    assert refused.returncode == 2
    assert "gpu or gpu-onnxruntime" in refused.stderr


@pytest.mark.parametrize("status", ["0", "3"])
def test_its_health_is_that_of_a_real_request(container: Container, status: str) -> None:
    assert container.run("health", FAKE_HEALTH_STATUS=status).returncode == int(status)
    assert container.calls == ["adlens 127.0.0.1:8001 health"]


class TestModels:
    """What becomes of the models in the folder that outlives the container."""

    def test_those_of_a_newer_image_replace_what_is_there(self, container: Container) -> None:
        container.run("plans")
        model = container.folder / "models" / "detect_faces"
        (model / "1" / "model.plan").write_text("for this GPU")
        (model / "configs" / "gpu.pbtxt").write_text("ONNX Runtime instead of a plan")
        image = container.folder / "home" / "model_repository" / "detect_faces" / "1" / "model.onnx"
        image.write_text("of a newer image")
        os.utime(image, (2e9, 2e9))
        container.run("plans")
        assert (model / "1" / "model.onnx").read_text() == "of a newer image"
        assert (model / "1" / "model.plan").read_text() == "for this GPU", (
            "export.tensorrt tells whether it is"
        )
        assert (model / "configs" / "gpu.pbtxt").read_text() == "of the image"

    def test_a_gallery_stays_its_users(self, container: Container) -> None:
        container.run("plans")
        gallery = container.folder / "models" / "gallery"
        shutil.move(gallery / "1", gallery / "2")
        (gallery / "config.pbtxt").write_text("old")
        container.run("plans")
        assert sorted(path.name for path in gallery.iterdir()) == ["2", "config.pbtxt", "configs"]
        assert (gallery / "config.pbtxt").read_text() == "of the image"


@pytest.mark.parametrize(("linter", "file"), [("shellcheck", "entrypoint.sh"), ("hadolint", "Dockerfile")])
def test_it_is_clean_by_the_linter_of_its_kind(linter: str, file: str, which: Callable[[str], str]) -> None:
    found = subprocess.run(
        [which(linter), CHECKOUT / "deploy" / file], capture_output=True, text=True, check=False
    )
    assert not found.returncode, found.stdout
