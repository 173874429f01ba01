"""The decode pipeline gives what Pillow gives, in process and through a real server."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import io
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from nvidia.dali import fn
from PIL import Image
from tritonclient.utils import InferenceServerException

from adlens import contract
from server.backends.dali.pipeline import Runner, serialized_pipeline
from server.launcher import Server
from tests.ensembles.pictures import KINDS, assert_decoded, jpeg, scene

CHECKOUT = Path(__file__).resolve().parent.parent.parent
VERSION = CHECKOUT / "ensembles" / "decode" / "1"
FLAWS = {
    "truncated": lambda data: data[: len(data) // 2],
    "overwritten in the middle": lambda data: data[:700] + b"\xff\xd8" * 200 + data[1100:],
    "no picture": lambda _: b"this is text, and long enough to look like a file" * 20,
}


@pytest.fixture(scope="module")
def runner() -> Runner:
    return Runner(serialized_pipeline(VERSION, {"name": contract.DECODE}), max_batch=contract.MAX_BATCH)


@pytest.fixture(scope="module")
def decode_server(serve: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    """The checkout's ``decode`` beside one without the gate, one instance each, that waits for batches."""
    repository = tmp_path_factory.mktemp("decode")
    source = (VERSION.parent / "config.pbtxt").read_text()
    for name, gate in (("decode", "adlens_gate"), ("decode_without_gate", "unknown_parameter")):
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "1" / "dali.py").write_text((VERSION / "dali.py").read_text())
        text = source.replace("adlens_gate", gate).replace("count: 2", "count: 1")
        waits = "dynamic_batching { preferred_batch_size: [ 8 ] max_queue_delay_microseconds: 500000 "
        (repository / name / "config.pbtxt").write_text(text.replace("dynamic_batching { ", waits))
    return serve(repository)


def image_input(data: bytes) -> triton.InferInput:
    tensor = triton.InferInput(contract.IMAGE, [1, len(data)], "UINT8")
    tensor.set_data_from_numpy(np.frombuffer(data, np.uint8)[np.newaxis])
    return tensor


async def decode_together(server: Server, model: str, files: list[bytes]) -> list[Any]:
    """Send all files at once; each answer, or the error in its place."""
    async with triton_aio.InferenceServerClient(server.url) as client:
        asked = [client.infer(model, [image_input(data)], client_timeout=30) for data in files]
        return await asyncio.gather(*asked, return_exceptions=True)


def pipeline_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("decode_pipeline", VERSION / "dali.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_literals_of_the_pipeline_are_those_of_the_contract() -> None:
    module = pipeline_module()
    assert (module.CANVAS, module.MAX_BATCH) == (contract.CANVAS, contract.MAX_BATCH)


def test_the_pipeline_takes_the_contract_s_input(runner: Runner) -> None:
    assert [(each.name, each.data_type, each.rank) for each in runner.inputs] == [
        (contract.IMAGE, "TYPE_UINT8", 1)
    ]


def test_a_pipeline_with_a_gpu_decodes_there_and_one_without_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No GPU is needed to see what the definition asks for: DALI wants one only to build it."""
    asked: list[dict[str, Any]] = []
    decoder = fn.decoders.image
    monkeypatch.setattr(
        fn.decoders, "image", lambda *given, **options: asked.append(options) or decoder(*given, **options)
    )
    definition = pipeline_module().decode
    serialized = definition(device_id=None).serialize()
    with contextlib.suppress(RuntimeError):  # no GPU here
        definition(device_id=0).serialize()
    on_cpu, on_gpu = asked
    assert on_cpu["device"] == "cpu"
    assert on_cpu.items() <= {**on_gpu, "device": "cpu"}.items()
    assert on_gpu["device"] == "mixed"
    assert 0.5 < on_gpu["hw_decoder_load"] < 1
    assert {"preallocate_width_hint", "preallocate_height_hint"} <= on_gpu.keys()
    assert b"mixed" not in serialized


@pytest.mark.parametrize(
    ("driver", "gpu"),
    [(None, None), ((0, 0, 2), 0), ((0, 0, 0), None), ((100, 0, 1), None), ((0, 100, 1), None)],
)
def test_a_gpu_is_found_as_the_driver_says(
    monkeypatch: pytest.MonkeyPatch, driver: tuple[int, int, int] | None, gpu: int | None
) -> None:
    def load(name: str) -> SimpleNamespace:
        if driver is None:
            raise OSError(name)
        initialised, counted, count = driver

        def get_count(reference: Any) -> int:
            reference._obj.value = count
            return counted

        return SimpleNamespace(cuInit=lambda flags: initialised, cuDeviceGetCount=get_count)

    module = pipeline_module()
    monkeypatch.setattr(module.ctypes, "CDLL", load)
    assert module.first_gpu() == gpu


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_jpeg_equals_pillow(runner: Runner, kind: str) -> None:
    pixels, sizes = runner.run({contract.IMAGE: [np.frombuffer(KINDS[kind], np.uint8)]})
    assert_decoded(KINDS[kind], pixels[0], sizes[0])


def test_a_batch_equals_one_by_one(runner: Runner) -> None:
    files = [np.frombuffer(data, np.uint8) for data in itertools.islice(KINDS.values(), contract.MAX_BATCH)]
    alone = [runner.run({contract.IMAGE: [data]})[0][0].copy() for data in files]
    for together, single in zip(runner.run({contract.IMAGE: files})[0], alone, strict=True):
        np.testing.assert_array_equal(together, single)


def test_a_picture_that_fits_is_never_enlarged(runner: Runner) -> None:
    pixels, sizes = runner.run({contract.IMAGE: [np.frombuffer(jpeg(scene(20, 30)), np.uint8)]})
    assert tuple(sizes[0]) == (20, 30)
    assert not pixels[0][20:].any()
    assert not pixels[0][:, 30:].any()


def test_the_pipeline_runs_on_after_a_broken_file(runner: Runner) -> None:
    with pytest.raises(RuntimeError):
        runner.run({contract.IMAGE: [np.frombuffer(b"no picture", np.uint8)]})
    pixels, sizes = runner.run({contract.IMAGE: [np.frombuffer(KINDS["small"], np.uint8)]})
    assert_decoded(KINDS["small"], pixels[0], sizes[0])


def test_real_photos_equal_pillow(runner: Runner, test_data: Path) -> None:
    photos = sorted(path for path in (test_data / "photos").glob("*/*.jpg") if path.parent.name != "odd")
    assert len(photos) > 50
    for path in photos[::4]:
        data = path.read_bytes()
        pixels, sizes = runner.run({contract.IMAGE: [np.frombuffer(data, np.uint8)]})
        assert_decoded(data, pixels[0], sizes[0])


@pytest.mark.parametrize("model", ["decode", "decode_without_gate"])
async def test_one_bad_picture_never_harms_its_neighbours(decode_server: Server, model: str) -> None:
    good = [KINDS["small"], KINDS["CMYK"], KINDS["large"], KINDS["EXIF orientation 6"], KINDS["grey"]]
    bad = [flaw(KINDS["as large as the canvas"]) for flaw in FLAWS.values()]
    files = [good[0], bad[0], good[1], good[2], bad[1], bad[2], good[3], good[4]]
    answers = await decode_together(decode_server, model, files)
    for data, answer in zip(files, answers, strict=True):
        if data in good:
            assert not isinstance(answer, Exception), answer
            pixels, size = answer.as_numpy(contract.PIXELS)[0], answer.as_numpy(contract.PICTURE_SIZE)[0]
            assert_decoded(data, pixels, size)
        elif data != bad[1]:  # what is overwritten in the middle may decode to something
            assert isinstance(answer, InferenceServerException)
            assert answer.status() == "StatusCode.INVALID_ARGUMENT"


async def test_jpegs_of_different_length_share_a_batch(
    decode_server: Server, batches_run: Callable[..., int]
) -> None:
    await decode_together(decode_server, "decode_without_gate", [KINDS["small"]])
    before = batches_run(decode_server, "decode_without_gate")
    files = list(KINDS.values())[: contract.MAX_BATCH]
    answers = await decode_together(decode_server, "decode_without_gate", files)
    assert not [answer for answer in answers if isinstance(answer, Exception)]
    assert batches_run(decode_server, "decode_without_gate", before) == before + 1


def test_what_dali_writes_for_a_while_goes_with_the_server(decode_server: Server) -> None:
    assert decode_server.log is not None
    # DALI writes down the pipelines with conditionals, and its processes end without clearing that.
    assert list(decode_server.log.parent.glob("__autograph_generated_file*"))


async def test_the_gate_refuses_a_bomb_before_the_decoder_sees_it(decode_server: Server) -> None:
    # 100 megapixels of one colour are a file of half a megabyte.
    bomb = jpeg(Image.new("RGB", (10_000, 10_000)))
    (answer,) = await decode_together(decode_server, "decode", [bomb])
    assert isinstance(answer, InferenceServerException)
    assert answer.status() == "StatusCode.INVALID_ARGUMENT"
    assert "100000000 pixels" in str(answer)


def test_a_request_must_ask_for_all_outputs(decode_server: Server) -> None:
    """``AllocateOutputs`` in ``src/dali_model_instance.cc`` of triton-inference-server/dali_backend."""
    message = r"Number of outputs expected by the requests \(1\) does not match"
    wanted = [triton.InferRequestedOutput(contract.PIXELS)]
    with (
        triton.InferenceServerClient(decode_server.url) as client,
        pytest.raises(InferenceServerException, match=message),
    ):
        client.infer("decode", [image_input(KINDS["small"])], outputs=wanted)


@pytest.fixture
def client(server: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.url) as client:
        yield client


def test_the_ensemble_answers_for_every_kind_of_jpeg(client: triton.InferenceServerClient) -> None:
    for data in KINDS.values():
        answer = client.infer(contract.RECOMMEND_PRODUCTS, [image_input(data)], client_timeout=60)
        with Image.open(io.BytesIO(data)) as picture:
            assert set(answer.as_numpy(contract.PICTURE_SIZE)[0]) == set(picture.size)


def test_the_ensemble_refuses_a_broken_picture_with_the_reason(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as refused:
        client.infer(contract.RECOMMEND_PRODUCTS, [image_input(b"no picture at all")], client_timeout=60)
    assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"
