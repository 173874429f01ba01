"""Profiles: a model's other configuration, and its other file, where it has one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from server.errors import MissingModelError
from server.launcher import Server, ServerOptions

CONFIGURATION = """backend: "onnxruntime" max_batch_size: 4 instance_group { count: 1 kind: KIND_CPU }
input { name: "X" data_type: TYPE_FP32 dims: [ 2 ] } output { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] }"""
GRAPH = "(float[n, 2] X) => (float[n, 2] Y) { Y = %s(X) }"


@pytest.fixture
def repository(tmp_path: Path, add_onnx: Callable[..., Path]) -> Path:
    """``both`` has a profile of its own, with another file, and ``plain`` has none."""
    add_onnx(tmp_path, "both", GRAPH % "Neg", CONFIGURATION)
    add_onnx(tmp_path, "plain", GRAPH % "Neg", CONFIGURATION)
    (tmp_path / "both" / "configs").mkdir()
    profile = CONFIGURATION + ' default_model_filename: "model.int8.onnx"'
    (tmp_path / "both" / "configs" / "int8.pbtxt").write_text(profile)
    return tmp_path


def test_a_profile_serves_the_file_that_it_names_and_others_as_ever(
    repository: Path,
    add_onnx: Callable[..., Path],
    serve: Callable[..., Server],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    other = add_onnx(tmp_path_factory.mktemp("elsewhere"), "both", GRAPH % "Abs", None)
    other.rename(repository / "both" / "1" / "model.int8.onnx")
    server = serve(repository, profile="int8")
    value = triton.InferInput("X", [1, 2], "FP32")
    value.set_data_from_numpy(np.array([[-3.0, 4.0]], np.float32))
    with triton.InferenceServerClient(server.url) as client:
        answers = {name: client.infer(name, [value]).as_numpy("Y").tolist() for name in ("both", "plain")}
    assert answers == {"both": [[3.0, 4.0]], "plain": [[3.0, -4.0]]}


def test_what_a_profile_lacks_is_named_with_its_own_remedy(repository: Path) -> None:
    with pytest.raises(MissingModelError, match=r"not built: both .*model\.int8\.onnx\).* make models-int8$"):
        Server(ServerOptions(repositories=(repository,), profile="int8")).start()
