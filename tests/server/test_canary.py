"""The canary tells a server that answers by the contract from one that does not.

Tiny models with the contract's tensors stand in for the learned ones, under the checkout's own
configurations and ensembles, so that the whole way of a request is tested without weights.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from adlens import contract
from adlens.galleries.files import GalleryFolder
from adlens.galleries.kinds import GALLERIES
from server import canary
from server.errors import TritonFailedError
from server.launcher import Server
from tests.server.launched import add_python, wait_until

CHECKOUT = Path(__file__).resolve().parent.parent.parent
CARD = contract.ModelCard(
    "tiny", "0" * 16, starter=True, labels=("hat", "beard"), skill=(0.0, 0.0)
).to_bytes()


TYPES = {"UINT8": "uint8", "INT32": "int32", "INT64": "int64", "FP32": "float"}
"""Triton's names of types, and those of ONNX's text form."""


def leaf(signature: contract.Signature, faces: int, card: bytes) -> str:
    """A graph of zeros with a card, for ``faces`` faces a picture."""

    def dims(tensor: contract.Tensor) -> str:
        sizes = (faces, *tensor.shape[1:]) if tensor.shape[0] == contract.MAX_FACES else tensor.shape
        return ", ".join(map(str, sizes))

    constants = [f"uint8[1, {len(card)}] text = {{{', '.join(map(str, card))}}}", "int64[1] one = {1}"]
    lines = [f"batch = Shape <start = 0, end = 1> ({next(iter(signature.inputs))})"]
    lines += ["rows = Concat <axis = 0> (batch, one)", "CARD = Expand (text, rows)"]
    for name, tensor in signature.outputs.items():
        if name != contract.CARD:
            constants.append(f"int64[{len(tensor.shape)}] dims_{name} = {{{dims(tensor)}}}")
            lines.append(f"shape_{name} = Concat <axis = 0> (batch, dims_{name})")
            kind = TYPES[tensor.datatype]
            lines.append(f"{name} = ConstantOfShape <value = {kind}[1] {{0}}> (shape_{name})")
    given, declared = (
        ", ".join(f"{TYPES[tensor.datatype]}[n, {dims(tensor)}] {name}" for name, tensor in side.items())
        for side in signature
    )
    return f"({given}) => ({declared}) <{', '.join(constants)}> {{ {' '.join(lines)} }}"


def build(
    folder: Path, add_onnx: Callable[..., Path], faces: int = contract.MAX_FACES, card: bytes = CARD
) -> Path:
    """The checkout's leaf configurations with tiny models, for ``faces`` faces a picture, and no photos."""
    for path in (CHECKOUT / "model_repository").glob("*/config.pbtxt"):
        name = path.parent.name
        if name in GALLERIES:
            (folder / name).mkdir(parents=True)
            shutil.copy(path, folder / name)
            GalleryFolder(folder / name).ensure(*GALLERIES[name])
            continue
        text = re.sub(rf"\[ {contract.MAX_FACES}\b", f"[ {faces}", path.read_text())
        add_onnx(folder, name, leaf(contract.MODELS[name], faces, card), text.replace("count: 2", "count: 1"))
    return folder


@pytest.fixture(scope="module")
def tiny_server(
    tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server], add_onnx: Callable[..., Path]
) -> Server:
    return serve(build(tmp_path_factory.mktemp("contract"), add_onnx), CHECKOUT / "ensembles")


@pytest.fixture
def client(tiny_server: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(tiny_server.url) as client:
        yield client


def picture(data: bytes) -> triton.InferInput:
    given = triton.InferInput(contract.IMAGE, [1, len(data)], "UINT8")
    given.set_data_from_numpy(np.frombuffer(data, np.uint8)[np.newaxis])
    return given


def test_a_server_that_answers_by_the_contract_is_ready(tiny_server: Server) -> None:
    assert list(tiny_server.models[contract.RECOMMEND_PRODUCTS].steps) == [
        contract.DECODE,
        contract.DETECT_FACES,
        *map(contract.attributes_model, contract.BACKBONES),
    ]


def test_the_configurations_of_the_checkout_need_no_completion(tiny_server: Server) -> None:
    assert all(model.is_complete for model in tiny_server.models.values())


def test_a_model_that_is_no_step_of_an_ensemble_is_asked_too(
    tiny_server: Server, batches_run: Callable[..., int]
) -> None:
    assert tiny_server.canary is not None
    before = batches_run(tiny_server, contract.UPLIFT_OFFER)
    tiny_server.canary.sing()
    assert batches_run(tiny_server, contract.UPLIFT_OFFER, before) == before + 1


def test_asking_for_one_backbone_runs_that_backbone_alone(
    tiny_server: Server, client: triton.InferenceServerClient, batches_run: Callable[..., int]
) -> None:
    before = {name: batches_run(tiny_server, name) for name in tiny_server.models if "attributes" in name}
    asked, *others = (contract.attributes_model(backbone) for backbone in contract.BACKBONES)
    wanted = [contract.FACE_COUNT, contract.probabilities_output(contract.BACKBONES[0])]
    answer = client.infer(
        contract.RECOMMEND_PRODUCTS,
        [picture(canary.generated_picture())],
        outputs=[triton.InferRequestedOutput(name) for name in wanted],
    )
    shapes = [(1, 1), (1, contract.MAX_FACES, contract.MAX_LABELS)]
    assert [answer.as_numpy(name).shape for name in wanted] == shapes
    assert answer.as_numpy(contract.BOXES) is None
    assert batches_run(tiny_server, asked, before[asked]) == before[asked] + 1
    assert [batches_run(tiny_server, name) for name in others] == [before[name] for name in others]


def test_a_refused_picture_keeps_status_and_reason_through_the_ensemble(
    client: triton.InferenceServerClient,
) -> None:
    with pytest.raises(InferenceServerException, match="JPEG") as refused:
        client.infer(contract.RECOMMEND_PRODUCTS, [picture(b"no picture at all")])
    assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("flaw", "message"),
    [
        ({"faces": contract.MAX_FACES // 2}, r"BOXES of shape \[1, 8, 4\], the contract says \[1, 16, 4\]"),
        ({"card": b"no card".ljust(contract.CARD_BYTES)}, "gives a bad CARD"),
    ],
)
def test_a_server_that_breaks_the_contract_is_not_ready(
    tmp_path: Path,
    serve: Callable[..., Server],
    add_onnx: Callable[..., Path],
    flaw: dict[str, object],
    message: str,
) -> None:
    built = build(tmp_path / "built", add_onnx, **flaw)
    (tmp_path / "served").mkdir()
    shutil.move(built / contract.DETECT_FACES, tmp_path / "served" / contract.DETECT_FACES)
    with pytest.raises(TritonFailedError, match=message):
        serve(tmp_path / "served")


def test_models_that_take_no_zeros_or_give_no_single_answer_are_served_and_their_death_is_heard(
    tmp_path: Path, serve: Callable[..., Server]
) -> None:
    add_python(tmp_path, "many", "", " model_transaction_policy { decoupled: true }")
    add_python(tmp_path, "picky", 'raise ValueError("zeros make no sense")')
    server = serve(tmp_path)
    assert server.canary is not None
    server.canary.sing()
    picky = next(each for each in psutil.Process(server.pid).children() if "picky" in str(each.cmdline()))
    picky.kill()
    assert wait_until(lambda: picky.status() == psutil.STATUS_ZOMBIE)
    with pytest.raises(TritonFailedError, match="model 'picky' does not run"):
        server.canary.sing()
    server.stop(at_once=True)  # in order it would wait for the dead, until a time limit
