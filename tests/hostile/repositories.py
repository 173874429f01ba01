"""Small repositories around the served decode pipeline, batched so that its batches can be foreseen."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from adlens import contract
from server.assembly import CHECKOUT

BATCHING = r"(?m)^dynamic_batching .*$"
"""How it is served, as a pattern."""
DELAY = "dynamic_batching { preferred_batch_size: [ 8 ] max_queue_delay_microseconds: 100000 }"
"""Waits for a full batch, so that who shares one is known."""
SERVED = "dynamic_batching { }"
"""Runs what is there, be it one request."""
SMALL = 64
"""A canvas that takes no time to send, where the files are many."""


def add_decode(
    repository: Path,
    name: str,
    batching: str = DELAY,
    instances: int = 1,
    canvas: int = contract.CANVAS,
    **parameters: str,
) -> None:
    """The served ``decode`` under another name, batched otherwise; a parameter "" is left out."""
    served = CHECKOUT / "ensembles" / "decode"
    lines = (served / "config.pbtxt").read_text().splitlines()
    lines = [line for line in lines if not any(f'key: "{key}"' in line for key in parameters)]
    lines += [
        f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}'
        for key, value in parameters.items()
        if value
    ]
    _add(repository, name, served, "\n".join(lines), {
        BATCHING: batching,
        "count: 2": f"count: {instances}",
        f"{contract.CANVAS}, {contract.CANVAS}": f"{canvas}, {canvas}",
    })  # fmt: skip
    pipeline = repository / name / "1" / "dali.py"
    pipeline.write_text(pipeline.read_text().replace(f"CANVAS = {contract.CANVAS}", f"CANVAS = {canvas}"))


def add_gate(repository: Path, batching: str = DELAY) -> None:
    """The gate of the GPU profile."""
    served = CHECKOUT / "gpu" / "gate"
    _add(repository, "gate", served, (served / "config.pbtxt").read_text(), {BATCHING: batching})


def add_chain(repository: Path, name: str, gate: str, decode: str) -> None:
    """An ensemble of a gate and a decoder."""
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(f"""
platform: "ensemble"
max_batch_size: 8
input {{ name: "IMAGE" data_type: TYPE_UINT8 dims: [ -1 ] }}
output {{ name: "PIXELS" data_type: TYPE_UINT8 dims: [ {contract.CANVAS}, {contract.CANVAS}, 3 ] }}
output {{ name: "PICTURE_SIZE" data_type: TYPE_INT32 dims: [ 2 ] }}
ensemble_scheduling {{ step [ {{
    model_name: "{gate}" model_version: -1
    input_map {{ key: "IMAGE" value: "IMAGE" }}
    output_map {{ key: "IMAGE" value: "CHECKED" }}
  }}, {{
    model_name: "{decode}" model_version: -1
    input_map {{ key: "IMAGE" value: "CHECKED" }}
    output_map {{ key: "PIXELS" value: "PIXELS" }}
    output_map {{ key: "PICTURE_SIZE" value: "PICTURE_SIZE" }}
  }} ] }}
""")


def add_faces(repository: Path, name: str) -> None:
    """An ensemble as ``recommend_products``, with the smallest backbone alone."""
    maps = {
        contract.DECODE: ("IMAGE", "PIXELS PICTURE_SIZE"),
        contract.DETECT_FACES: ("PIXELS", "BOXES FACE_SCORES LANDMARKS FACE_COUNT"),
        contract.attributes_model("dlib"): ("PIXELS BOXES FACE_COUNT", "PROBABILITIES CARD"),
    }
    steps = ", ".join(
        f'{{ model_name: "{model}" model_version: -1 {_maps("input", inputs)} {_maps("output", outputs)} }}'
        for model, (inputs, outputs) in maps.items()
    )
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(f"""
platform: "ensemble"
max_batch_size: 8
input {{ name: "IMAGE" data_type: TYPE_UINT8 dims: [ -1 ] }}
output [
  {{ name: "PICTURE_SIZE" data_type: TYPE_INT32 dims: [ 2 ] }},
  {{ name: "BOXES" data_type: TYPE_FP32 dims: [ 16, 4 ] }},
  {{ name: "FACE_SCORES" data_type: TYPE_FP32 dims: [ 16 ] }},
  {{ name: "LANDMARKS" data_type: TYPE_FP32 dims: [ 16, 5, 2 ] }},
  {{ name: "FACE_COUNT" data_type: TYPE_INT32 dims: [ 1 ] }},
  {{ name: "PROBABILITIES" data_type: TYPE_FP32 dims: [ 16, 32 ] }},
  {{ name: "CARD" data_type: TYPE_UINT8 dims: [ 2048 ] }}
]
ensemble_scheduling {{ step [ {steps} ] }}
""")


def _maps(side: str, names: str) -> str:
    return " ".join(f'{side}_map {{ key: "{name}" value: "{name}" }}' for name in names.split())


def _add(repository: Path, name: str, source: Path, configuration: str, changes: Mapping[str, str]) -> None:
    """Copy a model with changes to its configuration: patterns found there, and what they become."""
    shutil.copytree(source / "1", repository / name / "1", ignore=shutil.ignore_patterns("__pycache__"))
    for old, new in changes.items():
        configuration, found = re.subn(old, new, configuration)
        assert found, f"{name}: no {old!r}"
    (repository / name / "config.pbtxt").write_text(configuration)
