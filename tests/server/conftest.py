"""Tiny models in temporary repositories."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

Add = Callable[..., Path]


@pytest.fixture(scope="session")
def add_onnx() -> Add:
    """Writes a model into a repository: its graph in ONNX's text form, and its configuration."""

    def add(repository: Path, name: str, graph: str, configuration: str, file: str = "1/model.onnx") -> Path:
        model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": 18]> {name} {graph}')
        onnx.checker.check_model(model)
        path = repository / name / file
        path.parent.mkdir(parents=True)
        onnx.save(model, path)
        (repository / name / "config.pbtxt").write_text(configuration)
        return path

    return add
