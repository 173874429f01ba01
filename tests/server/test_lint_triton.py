"""What the linter calls an error is one: Triton does not load it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tritonclient.grpc as triton

from server import assembly, leftovers
from server.lint import RULES, Severity
from tests.server.samples import LOADED, SAMPLES, without_model_py


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


def changed(folder: Path, clean: Path) -> bool:
    return not clean.exists() or contents(folder) != contents(clean)


@pytest.fixture
def loaded(tmp_path: Path, free_port: int) -> Iterator[Callable[..., set[str]]]:
    """Names of the models that a bare Triton loads, without the launcher's checks."""
    name, backends, log = leftovers.new_name(), tmp_path / "backends", tmp_path / "log"

    def start(*repositories: Path) -> set[str]:
        installation = assembly.Installation.find()
        backends.mkdir()
        assembly.assemble_backends(installation, backends)
        command = [
            str(installation.server),
            *(f"--model-repository={path}" for path in repositories),
            f"--backend-directory={backends}",
            f"--backend-config=python,shm-region-prefix-name={name}-",
            f"--cache-directory={installation.caches}",
            "--cache-config=local,size=1048576",
            "--disable-auto-complete-config",
            "--exit-on-error=false",
            "--allow-http=false",
            "--allow-metrics=false",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={free_port}",
        ]
        environment = assembly.server_environment(tmp_path, tmp_path, os.environ)
        with log.open("wb") as written:
            process = subprocess.Popen(command, stdout=written, stderr=subprocess.STDOUT, env=environment)
        try:
            deadline = time.monotonic() + 60
            while b"Started GRPC" not in log.read_bytes():
                assert process.poll() is None, log.read_text(errors="replace")
                assert time.monotonic() < deadline, log.read_text(errors="replace")
                time.sleep(0.05)
            with triton.InferenceServerClient(f"127.0.0.1:{free_port}") as client:
                models = client.get_model_repository_index().models
                return {model.name for model in models if model.state == "READY"}
        finally:
            process.terminate()
            process.wait()

    yield start
    leftovers.clear_shared_memory(name)


def test_triton_does_not_load_what_the_linter_calls_an_error(
    sample: Path, tmp_path_factory: pytest.TempPathFactory, loaded: Callable[..., set[str]]
) -> None:
    folder = tmp_path_factory.mktemp("all")
    served = folder / "served"
    shutil.copytree(sample / "models", served / "models")
    shutil.copytree(sample / "ensembles", served / "ensembles")
    for number, (rule, breaker) in enumerate(SAMPLES):
        # Without a Python model's file, Triton waits for it for good.
        if RULES[rule].severity != Severity.ERROR or rule in LOADED or breaker is without_model_py:
            continue
        broken = folder / f"{rule}-{number}"
        shutil.copytree(sample, broken)
        breaker(broken)
        # Served beside the clean ones: a faulty model under its fault's name, a new folder under its own.
        (fault,) = (each for each in broken.glob("*/*") if changed(each, sample / each.relative_to(broken)))
        name = broken.name if (sample / fault.relative_to(broken)).exists() else fault.name
        shutil.copytree(fault, served / fault.parent.name / name)
    ready = loaded(served / "models", served / "ensembles")
    assert ready == {"first", "second", "chain", "tell", "decode", "look"}, "not the faults are at fault"
