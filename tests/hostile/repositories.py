"""Small repositories around the served decode pipeline, batched so that its batches can be foreseen."""

from __future__ import annotations

import shutil
from pathlib import Path

from server.assembly import CHECKOUT

DELAY = "dynamic_batching { preferred_batch_size: [ 8 ] max_queue_delay_microseconds: 100000 }"
"""Waits for a full batch, so that who shares one is known."""


def add_decode(repository: Path, name: str, batching: str = DELAY, **parameters: str) -> None:
    """The served ``decode`` under another name, batched otherwise; a parameter "" is left out."""
    text = (CHECKOUT / "ensembles" / "decode" / "config.pbtxt").read_text()
    kept = "\n".join(line for line in text.splitlines() if not _sets(line, parameters))
    added = "".join(
        f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}\n'
        for key, value in parameters.items()
        if value
    )
    _add(repository, name, CHECKOUT / "ensembles" / "decode", kept.replace(BATCHING, batching) + "\n" + added)


def add_gate(repository: Path, batching: str = DELAY) -> None:
    """The gate of the GPU profile."""
    folder = CHECKOUT / "gpu" / "gate"
    _add(repository, "gate", folder, (folder / "config.pbtxt").read_text().replace(BATCHING, batching))


def add_chain(repository: Path, name: str, *steps: str, pixels: bool = True) -> None:
    """An ensemble of a gate or none, and a decoder; without ``pixels`` it gives out PICTURE_SIZE alone."""
    maps = {
        "gate": 'input_map { key: "IMAGE" value: "IMAGE" } output_map { key: "IMAGE" value: "CHECKED" }',
        "decode": f'input_map {{ key: "IMAGE" value: "{"CHECKED" if "gate" in steps else "IMAGE"}" }} '
        'output_map { key: "PIXELS" value: "PIXELS" } '
        'output_map { key: "PICTURE_SIZE" value: "PICTURE_SIZE" }',
    }
    listed = ", ".join(
        f'{{ model_name: "{step}" model_version: -1 {maps["gate" if step == "gate" else "decode"]} }}'
        for step in steps
    )
    outputs = 'output { name: "PICTURE_SIZE" data_type: TYPE_INT32 dims: [ 2 ] }\n'
    if pixels:
        outputs += 'output { name: "PIXELS" data_type: TYPE_UINT8 dims: [ 640, 640, 3 ] }\n'
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(
        'platform: "ensemble"\nmax_batch_size: 8\n'
        'input { name: "IMAGE" data_type: TYPE_UINT8 dims: [ -1 ] }\n'
        f"{outputs}ensemble_scheduling {{ step [ {listed} ] }}\n"
    )


BATCHING = "dynamic_batching { }"


def _sets(line: str, parameters: dict[str, str]) -> bool:
    return any(f'key: "{key}"' in line for key in parameters)


def _add(repository: Path, name: str, source: Path, configuration: str) -> None:
    shutil.copytree(source / "1", repository / name / "1", ignore=shutil.ignore_patterns("__pycache__"))
    (repository / name / "config.pbtxt").write_text(configuration)
