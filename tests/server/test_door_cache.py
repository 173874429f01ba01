"""The door's cache: what came before costs no inference, and what may have changed is never kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from click.testing import CliRunner
from google.protobuf import text_format
from tritonclient.grpc import service_pb2
from tritonclient.grpc.model_config_pb2 import ModelConfig

from adlens import contract
from adlens.galleries.files import GalleryFolder
from adlens.transport import Connection, Endpoint, infer_request
from server.__main__ import main
from server.door import Door
from server.door.cache import Cache
from server.launcher import Server, ServerOptions
from server.repository import constant, read_models
from tests.server.doors import Enter, status, stub
from tests.server.launched import CHECKOUT, Launched, wait_until
from tests.server.people import add_gallery, people, publish, search

LEAF = """backend: "onnxruntime" max_batch_size: 4 instance_group { count: 1 kind: KIND_CPU }
input { name: "X" data_type: TYPE_FP32 dims: [ 2 ] }
output { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] } output { name: "Z" data_type: TYPE_FP32 dims: [ 2 ] }"""
GRAPH = "(float[n, 2] X) => (float[n, 2] Y, float[n, 2] Z) { Y = Neg(X) Z = Abs(X) }"
SEEK = "seek"
"""An ensemble over the gallery."""


def add_ensemble(repository: Path, name: str, leaf: str) -> None:
    """An ensemble of one step, which takes and gives what its ``leaf`` does."""
    given = text_format.Parse((repository / leaf / "config.pbtxt").read_text(), ModelConfig())
    ensemble = ModelConfig(platform="ensemble", max_batch_size=given.max_batch_size)
    ensemble.input.extend(given.input)
    ensemble.output.extend(given.output)
    step = ensemble.ensemble_scheduling.step.add(model_name=leaf, model_version=-1)
    for tensors, names in ((given.input, step.input_map), (given.output, step.output_map)):
        names.update({tensor.name: tensor.name for tensor in tensors})
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(text_format.MessageToString(ensemble))


@pytest.fixture(scope="module")
def mirror(
    tmp_path_factory: pytest.TempPathFactory, add_onnx: Callable[..., Path], serve: Callable[..., Server]
) -> Server:
    """A Triton with the ensemble ``mirror`` over the model ``leaf``."""
    repository = tmp_path_factory.mktemp("mirror")
    add_onnx(repository, "leaf", GRAPH, LEAF)
    add_ensemble(repository, "mirror", "leaf")
    return serve(repository)


@pytest.fixture
def door(mirror: Server, enter: Enter) -> Door:
    """A door that keeps answers."""
    door = enter(mirror, response_cache_bytes=100_000)
    door.open_to(mirror.url, constant(mirror.models))
    return door


@pytest.fixture
def ask(door: Door) -> Iterator[Callable[..., Any]]:
    """Asks ``mirror``, or another model, by X = [[x, 1]]."""
    with stub(door.url) as behind:

        def send(x: float, *outputs: str, model: str = "mirror", name: str = "", **parameters: str) -> Any:
            request = infer_request(model, {"X": np.array([[x, 1]], np.float32)}, outputs)
            request.id = name
            for key, value in parameters.items():
                request.parameters[key].string_param = value
            return behind.ModelInfer(request)

        yield send


def test_what_came_before_is_answered_without_an_inference(
    door: Door, ask: Callable[..., Any], mirror: Server, batches_run: Callable[..., int]
) -> None:
    first = ask(1.0)
    before = batches_run(mirror, "leaf")
    assert [ask(1.0) for _ in range(5)] == [first] * 5
    assert batches_run(mirror, "leaf") == before
    assert door.cache_hits == (5, 6)
    assert ask(2.0).raw_output_contents != first.raw_output_contents
    assert door.cache_hits == (5, 7)


def test_each_caller_gets_the_outputs_that_it_asked_for(door: Door, ask: Callable[..., Any]) -> None:
    for _ in range(2):
        for outputs in (["Y"], ["Z"], ["Y", "Z"], []):
            given = {tensor.name for tensor in ask(1.0, *outputs).outputs}
            assert given == set(outputs or ["Y", "Z"])
    assert door.cache_hits == (4, 8)


def test_answers_carry_the_id_of_their_request(ask: Callable[..., Any], door: Door) -> None:
    answers = [ask(1.0, name=name) for name in ("one", "two", "", "two")]
    assert [answer.id for answer in answers] == ["one", "two", "", "two"]
    for answer in answers:
        answer.ClearField("id")
    assert answers == [answers[0]] * 4
    assert door.cache_hits == (3, 4)


def test_requests_with_parameters_leaves_and_failures_are_not_kept(
    ask: Callable[..., Any], door: Door
) -> None:
    for _ in range(2):
        ask(1.0, mine="5")
        ask(1.0, model="leaf")
    assert door.cache_hits == (0, 0)
    for _ in range(2):
        code, _, _ = status(lambda: ask(1.0, "nothing"))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert door.cache_hits == (0, 2)


def test_what_another_triton_answered_is_forgotten(
    door: Door, mirror: Server, ask: Callable[..., Any]
) -> None:
    ask(1.0)
    door.open_to(mirror.url, constant(mirror.models))
    ask(1.0)
    assert door.cache_hits == (0, 2)


def test_a_door_keeps_nothing_unless_told_to(mirror: Server, enter: Enter) -> None:
    door = enter(mirror)
    door.open_to(mirror.url, constant(mirror.models))
    with Connection(Endpoint(door.url)) as connection:
        for _ in range(2):
            connection.infer("mirror", {"X": np.ones((1, 2), np.float32)})
    assert door.cache_hits == (0, 0)


def test_those_not_asked_for_the_longest_go_first_and_memory_is_bounded() -> None:
    cache = Cache(3 * 1200)
    cache.start_anew(["m"])
    bodies = [service_pb2.ModelInferRequest(model_name="m", model_version=str(i)) for i in range(5)]
    entries = [cache.entry(body.SerializeToString()) for body in bodies]
    found = [entry for entry in entries if entry is not None]
    for entry in found[:3]:
        entry.keep(b"\0" * 1000)
    assert found[0].find()
    found[3].keep(b"\0" * 1000)
    found[4].keep(b"\0" * 4000)
    assert [bool(entry.find()) for entry in found] == [True, False, True, True, False]


def test_an_answer_that_came_too_late_for_the_models_of_its_time_is_not_kept() -> None:
    cache = Cache(10_000)
    cache.start_anew(["m"])
    body = service_pb2.ModelInferRequest(model_name="m").SerializeToString()
    asked = cache.entry(body)
    assert asked is not None
    cache.start_anew(["m"])
    asked.keep(b"")
    later = cache.entry(body)
    assert later is not None
    assert later.find() is None


def test_of_our_ensembles_those_that_read_no_gallery_are_constant() -> None:
    assert constant(read_models(ServerOptions().repositories[:2])) == {
        contract.RECOMMEND_PRODUCTS,
        contract.RECOMMEND_PRODUCTS_FAST,
        contract.PREDICT_ENGAGEMENT,
        contract.RENDER_CREATIVE,
        contract.DESCRIBE_POSTS,
    }


@pytest.fixture
def gallery(tmp_path: Path, add_onnx: Callable[..., Path]) -> GalleryFolder:
    """A gallery with an ensemble over it, beside ``mirror``."""
    repository = tmp_path / "repository"
    gallery = add_gallery(repository)
    add_onnx(repository, "leaf", GRAPH, LEAF)
    add_ensemble(repository, "mirror", "leaf")
    add_ensemble(repository, SEEK, "gallery")
    return gallery


def test_a_change_of_a_gallery_is_never_hidden(gallery: GalleryFolder) -> None:
    launched = Launched("--model-repository", str(gallery.folder.parent), "--response-cache-bytes", "1000000")
    try:
        with Connection(Endpoint(launched.until_ready(), retries=0)) as connection:
            for number in range(1, 4):
                publish(gallery, people(range(number)))
                assert wait_until(lambda number=number: search(connection, 0, SEEK)[2].photos == number)
                assert search(connection, number - 1, SEEK)[0] == f"person-{number - 1}"
    finally:
        launched.kill()


def test_models_that_may_be_replaced_exclude_a_cache() -> None:
    result = CliRunner().invoke(main, ["--response-cache-bytes", "1000", "--model-control"])
    assert result.exit_code == 2
    assert "exclude each other" in result.stderr


def test_the_checkout_leaves_tritons_own_cache_off() -> None:
    for file in (CHECKOUT / "ensembles").glob("*/config.pbtxt"):
        assert not text_format.Parse(file.read_text(), ModelConfig()).response_cache.enable, file
