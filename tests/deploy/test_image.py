"""Image and compose file: what they copy is there, and nothing runs as root or writes where it may not."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from export.profiles import ENGINE_CACHE
from export.tensorrt.engine import IMAGE
from server.assembly import CHECKOUT

DEPLOY = CHECKOUT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
IGNORED = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
COPIED = [
    source
    for sources in re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    for source in sources.split()
]


@pytest.mark.parametrize("source", sorted(set(COPIED)))
def test_what_the_image_copies_is_there_and_is_sent_to_the_builder(source: str) -> None:
    assert (CHECKOUT / source).exists()
    assert f"!{source}" in IGNORED


def test_the_image_is_the_one_that_errors_name_and_is_new_enough() -> None:
    assert f"ARG TRITON={IMAGE}\n" in DOCKERFILE
    year, month = map(int, re.findall(r":(\d\d)\.(\d\d)-py3", IMAGE)[0])
    assert (year, month) >= (26, 6), (
        "older ones have flaws that are published, and hang where a queue is full"
    )


@pytest.mark.parametrize("stage", DOCKERFILE.split("\nFROM ")[1:])
def test_every_stage_ends_as_a_user_with_a_number(stage: str) -> None:
    """So that Kubernetes can see, too, that it is not root."""
    assert re.findall(r"^USER (.+)$", stage, re.MULTILINE)[-1] == "10001:10001"


@pytest.mark.parametrize("service", COMPOSE["services"])
def test_every_service_has_a_root_that_nobody_writes_to_and_no_privileges(service: str) -> None:
    settings = COMPOSE["services"][service]
    assert settings["read_only"] is True
    assert settings["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in settings["security_opt"]


def test_what_outlives_the_server_lies_in_volumes() -> None:
    mounted = {each.partition(":")[2] for each in COMPOSE["services"]["server"]["volumes"]}
    (declared,) = re.findall(r"^VOLUME (.+)$", DOCKERFILE, re.MULTILINE)
    assert mounted == set(yaml.safe_load(declared))
    assert ENGINE_CACHE in mounted


def test_ports_are_this_machines_alone() -> None:
    assert all(port.startswith("127.0.0.1:") for port in COMPOSE["services"]["server"]["ports"])


def test_the_client_waits_for_a_real_answer() -> None:
    assert COMPOSE["services"]["client"]["depends_on"]["server"]["condition"] == "service_healthy"
    assert re.search(r'^HEALTHCHECK .* CMD \["adlens-server", "health"\]$', DOCKERFILE, re.MULTILINE)


def test_there_is_no_secret_in_it() -> None:
    texts = [DOCKERFILE, (DEPLOY / "compose.yaml").read_text(), (DEPLOY / "entrypoint.sh").read_text()]
    assert not re.search(r"(?i)(password|secret|api_key)\s*[=:]\s*\S", "\n".join(texts))
