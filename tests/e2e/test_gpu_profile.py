"""The repositories by their profile for GPUs, served without one: the same ensembles over stand-ins.

KIND_GPU becomes KIND_AUTO, and ONNX Runtime runs the graphs that TensorRT would: what a GPU is given, but for
its speed. Plans themselves need a GPU.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from adlens import Recommender, contract
from export import profiles, samples
from export.choices import CHOICES
from export.tensorrt.plans import write_graph
from server.launcher import Server
from tests.e2e.pictures import TIMEOUT_S

LEAVES = (contract.DETECT_FACES, contract.attributes_model("dlib"), contract.BRAND_TOWER)
"""Those whose graph for GPUs is made here; the others' would only take longer."""


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]) -> Server:
    """A server of all ensembles by the profile ``gpu-onnxruntime``, on the CPU."""
    root = tmp_path_factory.mktemp("gpu")
    repositories = [root / each.name for each in profiles.REPOSITORIES]
    for source, target in zip(profiles.REPOSITORIES, repositories, strict=True):
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.plan", "model.gpu.*"))
    models = repositories[0]
    if missing := [
        name for name in CHOICES if (models / name).is_dir() and not (models / name / "1").is_dir()
    ]:
        pytest.skip(f"not built: {', '.join(missing)}; run: make models")
    tensors = samples.collect(models)
    list(samples.write(models, tensors))
    for name in LEAVES:
        write_graph(name, CHOICES[name], models / name / "1", tensors)
    for file in root.glob(f"*/*/configs/{profiles.ONNXRUNTIME}.pbtxt"):
        text = file.read_text().replace("KIND_GPU", "KIND_AUTO")
        # A process an instance here, and batches that no CPU warms up with in time.
        text = re.sub(r"count: \d+", "count: 1", text)
        text = re.sub(r'(?<=" )batch_size: (?!1\b)\d+$', "batch_size: 1", text, flags=re.MULTILINE)
        if file.parents[1].name not in LEAVES:
            text = text.replace(profiles.GPU_GRAPH, "model.onnx")
        file.write_text(text)
    return serve(*repositories, profile=profiles.ONNXRUNTIME, ready_timeout_s=240.0)


def test_the_ensembles_load_and_each_answers_a_real_request(stand_ins: Server) -> None:
    """The canary sends one through every ensemble before a server counts as started."""
    assert {model.name for model in stand_ins.models.values() if model.is_ensemble} == {
        file.parent.name
        for file in profiles.REPOSITORIES[1].glob("*/config.pbtxt")
        if profiles.read_config(file).platform == "ensemble"
    }


def test_faces_and_labels_are_those_of_the_default_profile(
    stand_ins: Server, server: Server, demo: dict[str, Path]
) -> None:
    answers = []
    for each in (stand_ins, server):
        with Recommender(each.url, timeout_s=TIMEOUT_S) as recommender:
            answers.append(recommender.recommend_products(demo["astronaut"]))
    ours, default = ([face.attributes for face in answer.faces] for answer in answers)
    assert len(ours) == len(default) == 1
    for label, probability in default[0].items():
        assert ours[0][label] == pytest.approx(probability, abs=0.02)


def test_the_gate_is_a_step_of_its_own_and_refuses_with_the_reason(stand_ins: Server) -> None:
    text = np.frombuffer(b"this is a shopping list, and no picture\n" * 40, np.uint8)
    image = triton.InferInput(contract.IMAGE, [1, len(text)], "UINT8")
    image.set_data_from_numpy(text[None])
    with triton.InferenceServerClient(stand_ins.url) as client:
        with pytest.raises(InferenceServerException, match="not a JPEG") as refused:
            client.infer(contract.RECOMMEND_PRODUCTS, [image], client_timeout=TIMEOUT_S)
        assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"
        (decoded,) = client.get_inference_statistics(contract.DECODE).model_stats
    assert decoded.inference_stats.fail.count == 0, "the decoder has never seen it"
