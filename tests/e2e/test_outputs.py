"""Only what is asked for runs: the other steps of the ensemble are left out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tritonclient.grpc as triton

from adlens import contract
from export import generated
from server.launcher import Server
from tests.e2e.pictures import FACES, backbone_outputs, encode, infer

ASTRONAUT = encode(generated.astronaut())


@pytest.mark.parametrize("backbone", contract.BACKBONES)
def test_one_backbone_alone_runs_and_answers_as_it_does_beside_the_others(
    server: Server,
    client: triton.InferenceServerClient,
    batches_run: Callable[..., int],
    backbone: str,
) -> None:
    whole = infer(client, ASTRONAUT)
    outputs = (*FACES, *backbone_outputs(backbone))
    models = {name: contract.attributes_model(name) for name in contract.BACKBONES}
    asked = models.pop(backbone)
    before = batches_run(server, asked)
    others = {model: batches_run(server, model) for model in models.values()}
    answer = infer(client, ASTRONAUT, outputs)
    assert batches_run(server, asked, before) == before + 1
    assert {model: batches_run(server, model) for model in others} == others
    assert {each.name for each in answer.get_response().outputs} == set(outputs)
    for name in outputs:
        np.testing.assert_allclose(answer.as_numpy(name), whole.as_numpy(name), rtol=0, atol=1e-5)


def test_the_fast_ensemble_is_one_backbone_of_the_whole_one(
    server: Server, client: triton.InferenceServerClient, batches_run: Callable[..., int]
) -> None:
    whole = infer(client, ASTRONAUT)
    others = [
        contract.attributes_model(name) for name in contract.BACKBONES if name != contract.FAST_BACKBONE
    ]
    before = {model: batches_run(server, model) for model in others}
    answer = infer(client, ASTRONAUT, model=contract.RECOMMEND_PRODUCTS_FAST)
    assert {model: batches_run(server, model) for model in others} == before
    given = {each.name for each in answer.get_response().outputs}
    assert given == {*FACES, *backbone_outputs(contract.FAST_BACKBONE)}
    for name in given:
        np.testing.assert_allclose(answer.as_numpy(name), whole.as_numpy(name), rtol=0, atol=1e-5)


def test_faces_can_be_had_without_any_backbone(client: triton.InferenceServerClient) -> None:
    assert infer(client, ASTRONAUT, FACES).as_numpy(contract.FACE_COUNT).item() == 1
