"""The whole server, with all its models and under load, is broken in every way we know; it heals.

``make test-chaos`` prints, for each fault, how long callers waited and what they lost.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import tritonclient.grpc as triton

from adlens import contract
from server import leftovers
from server.supervisor import STEADY_S
from tests.chaos.conftest import Record
from tests.chaos.whole import calling, serving
from tests.server.launched import CHECKOUT, Launched, wait_until

HEALED_WITHIN_S = 10
SMALL_SHARED_MEMORY_MIB = 128
"""Twice what containers have by default."""
TOKEN = "open sesame"  # noqa: S105 - opens a server of these tests only

pytestmark = pytest.mark.chaos


def process_of(server: Launched, model: str) -> psutil.Process:
    """A process of the model, which Triton names by its arguments."""
    return next(
        process for process in server.model_processes() if any(model in word for word in process.cmdline())
    )


FAULTS: dict[str, Callable[[Launched], None]] = {
    "decoder killed": lambda server: process_of(server, contract.DECODE).kill(),
    "detector killed": lambda server: process_of(server, contract.DETECT_FACES).kill(),
    "backbone killed": lambda server: process_of(server, contract.attributes_model("vgg16")).kill(),
    "backbone stopped": lambda server: process_of(server, contract.attributes_model("resnet50")).suspend(),
    "tritonserver killed": lambda server: server.triton.kill(),
    "tritonserver stopped": lambda server: server.triton.suspend(),
}


def test_every_fault_is_healed_and_callers_lose_nothing(record: Record) -> None:
    with serving() as (server, url), calling(url) as callers:
        for number, (name, inflict) in enumerate(FAULTS.items(), 1):
            broken = time.monotonic()
            inflict(server)
            assert wait_until(lambda: server.said.count("serving again") >= number, 40), server.said  # noqa: B023
            assert callers.wait_for_answers()
            waited_s = callers.longest_gap_s(broken)
            record(name, {"callers_waited_s": round(waited_s, 1), "calls_lost": len(callers.failures)})
            assert callers.failures == []
            assert waited_s < HEALED_WITHIN_S
            time.sleep(STEADY_S)  # sooner, it would count as a crash loop


def test_shared_memory_that_others_left_is_cleared_when_it_runs_out(record: Record) -> None:
    with small_shared_memory() as (server, url, shared), calling(url) as callers:
        gone = subprocess.Popen(["true"])
        gone.wait()
        fill(shared / f"adlens-{gone.pid}-00000000-left")
        broken = time.monotonic()
        assert wait_until(lambda: psutil.disk_usage(str(shared)).free > 32 << 20, HEALED_WITHIN_S)
        cleared_s = round(time.monotonic() - broken, 1)
        record("shared memory full of what others left", {"cleared_s": cleared_s})
        assert callers.wait_for_answers()
        assert callers.failures == []
        assert "failed" not in server.said


def test_shared_memory_that_others_use_is_told_and_survived(record: Record) -> None:
    with small_shared_memory() as (server, url, shared):
        with calling(url) as callers:
            fill(shared / "of-somebody-else")
            assert wait_until(lambda: "short of shared memory" in server.said, HEALED_WITHIN_S), server.said
            time.sleep(5)
            (shared / "of-somebody-else").unlink()
            freed, lost = time.monotonic(), len(callers.failures)
            assert callers.wait_for_answers()
            waited_s = callers.longest_gap_s(freed)
            waited = {"callers_waited_s": round(waited_s, 1), "calls_lost_meanwhile": lost}
            record("shared memory full of what others use, freed after 5 s", waited)
            assert waited_s < HEALED_WITHIN_S
        assert "--shm-size" in server.said


@contextmanager
def small_shared_memory() -> Iterator[tuple[Launched, str, Path]]:
    """The whole server with little shared memory of its own, and where that lies."""
    unshare = shutil.which("unshare")
    mount = f"mount -t tmpfs -o size={SMALL_SHARED_MEMORY_MIB}m tmpfs /dev/shm"
    within = (unshare or "", "--map-root-user", "--mount", "sh", "-c")
    if not unshare or subprocess.run([*within, mount], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a file system of their own (unshare)")
    with serving(wrapper=(*within, f'{mount} && exec "$0" "$@"')) as (server, url):
        yield (
            server,
            url,
            Path("/proc", f"{server.process.pid}", "root") / leftovers.SHARED_MEMORY.relative_to("/"),
        )


def fill(file: Path) -> None:
    """Write until the file system is full."""
    with suppress(OSError), file.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(1 << 16))


def test_of_two_servers_one_is_replaced_under_load_and_no_call_fails(record: Record) -> None:
    with serving() as (old, old_url), serving() as (_, other_url):
        with calling(f"ipv4:{old_url},{other_url}") as callers:
            old.process.send_signal(signal.SIGTERM)
            assert old.end()[0] == 0
            with serving("--grpc-port", old_url.rpartition(":")[2]) as (_, new_url):
                assert new_url == old_url
                assert callers.wait_for_answers(20)
                calls = {"answers": len(callers.answered_at), "calls_lost": len(callers.failures)}
                record("one of two servers replaced under load", calls)
        assert callers.failures == []


def test_models_are_reloaded_under_load_and_no_call_fails(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADLENS_SERVER_ADMIN_TOKEN", TOKEN)
    admin = {"triton-grpc-protocol-admin": TOKEN}
    with serving("--model-control") as (server, url), calling(url) as callers:
        with triton.InferenceServerClient(url) as client:
            for backbone in contract.BACKBONES:
                model = contract.attributes_model(backbone)
                before = {process.pid for process in server.model_processes()}
                # Triton loads anew what looks changed.
                (CHECKOUT / "model_repository" / model / "1" / "model.onnx").touch()
                client.load_model(model, headers=admin)
                assert callers.wait_for_answers()
                # What the old version still had to answer, it answers first.
                assert wait_until(lambda: before - {each.pid for each in server.model_processes()})  # noqa: B023
        calls = {"answers": len(callers.answered_at), "calls_lost": len(callers.failures)}
        record("three models reloaded under load", calls)
        assert callers.failures == []
        assert "failed" not in server.said
