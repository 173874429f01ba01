"""Torch against the served leaf models, through Triton, on real faces: batch 1 and the largest batch."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
import tritonclient.grpc as triton
from numpy.typing import NDArray
from torch import nn
from tritonclient.utils import np_to_triton_dtype

from adlens import contract
from adlens.contract import ModelCard
from export import generated
from export.faces import decode
from export.graph import TOLERANCE, Signature
from export.models import (
    ATTRIBUTES_SIGNATURE,
    BUILT_FROM,
    DETECTOR_SIGNATURE,
    REPOSITORY,
    fingerprint,
    load_network,
)
from export.networks.attributes import digest
from export.networks.mtcnn import load_mtcnn
from server.launcher import Server
from tests.e2e.pictures import TIMEOUT_S, astronauts, encode, infer

Arrays = dict[str, NDArray[Any]]
LEAVES = (contract.DETECT_FACES, *map(contract.attributes_model, contract.BACKBONES))


@pytest.fixture(scope="module", autouse=True)
def built_from_today_s_code(whole_server: Server) -> None:
    """Else torch would be held against what another code has exported."""
    marks = {model: REPOSITORY / model / "1" / BUILT_FROM for model in LEAVES}
    old = [
        model
        for model, mark in marks.items()
        if not (mark.exists() and mark.read_text() == fingerprint(model))
    ]
    if old and os.environ.get("CI") == "true":
        pytest.fail(f"{', '.join(old)} out of date")
    if old:
        pytest.skip(f"{', '.join(old)} out of date; run `make models`")


@cache
def network(model: str) -> nn.Module:
    """What was exported as ``model``, in torch."""
    if model == contract.DETECT_FACES:
        return load_mtcnn()
    return load_network(model.removeprefix(contract.attributes_model("")))[0]


def signature(model: str) -> Signature:
    return DETECTOR_SIGNATURE if model == contract.DETECT_FACES else ATTRIBUTES_SIGNATURE


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    """Inputs of all leaf models: ``contract.MAX_BATCH`` pictures with none, one, two and three faces."""
    folder, random = tmp_path_factory.mktemp("parity"), Random(7)
    painted = [generated.vary(generated.paint([label], random), random) for label in generated.LABELS]
    crowds = [astronauts(number) for number in (1, 2, 3)]
    nobody = astronauts(1).crop((0, 300, 512, 512))
    paths = []
    for number, picture in enumerate([*crowds, nobody, *painted, astronauts(1).resize((200, 200))]):
        paths.append(Path(folder, f"{number}.jpg"))
        paths[-1].write_bytes(encode(picture))
    assert len(paths) == contract.MAX_BATCH
    ((pixels, _),) = decode(paths)
    with torch.no_grad():
        boxes, _, _, count = network(contract.DETECT_FACES)(pixels)
    assert count[:4, 0].tolist() == [1, 2, 3, 0]
    return {
        contract.PIXELS: pixels.numpy(),
        contract.BOXES: boxes.numpy(),
        contract.FACE_COUNT: count.numpy(),
    }


def in_torch(model: str, inputs: Arrays) -> Arrays:
    """All outputs but the card."""
    names = signature(model)
    with torch.no_grad():
        outputs = network(model)(*(torch.from_numpy(inputs[name]) for name in names.inputs))
    several = outputs if isinstance(outputs, tuple) else (outputs,)
    return {name: each.numpy() for name, each in zip(names.outputs[:-1], several, strict=True)}


def served(client: triton.InferenceServerClient, model: str, inputs: Arrays) -> Arrays:
    tensors = []
    for name in signature(model).inputs:
        array = inputs[name]
        tensors.append(triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
        tensors[-1].set_data_from_numpy(array)
    answer = client.infer(model, tensors, client_timeout=TIMEOUT_S)
    return {name: answer.as_numpy(name) for name in signature(model).outputs[:-1]}


def rows(arrays: Arrays, *which: int) -> Arrays:
    return {name: array[list(which)] for name, array in arrays.items()}


def assert_close(ours: Arrays, theirs: Arrays) -> None:
    for name, our in ours.items():
        assert (our.dtype, our.shape) == (theirs[name].dtype, theirs[name].shape), name
        np.testing.assert_allclose(our, theirs[name], rtol=0, atol=TOLERANCE, err_msg=name)


@pytest.mark.parametrize("model", LEAVES)
def test_a_served_model_computes_what_torch_computes(
    client: triton.InferenceServerClient, batch: Arrays, model: str
) -> None:
    expected = in_torch(model, batch)
    together = served(client, model, batch)
    assert_close(together, expected)
    for row in range(contract.MAX_BATCH):
        alone = served(client, model, rows(batch, row))
        assert_close(alone, rows(together, row))
        assert_close(alone, rows(expected, row))


def test_the_cards_in_an_answer_are_those_of_the_networks(client: triton.InferenceServerClient) -> None:
    answer = infer(client, encode(generated.astronaut()))
    for model in LEAVES:
        card = ModelCard.from_bytes(answer.as_numpy(contract.card_output(model))[0].tobytes())
        assert (card.model, card.weights) == (model, digest(network(model))[:16])
