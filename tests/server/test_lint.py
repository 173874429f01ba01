"""The rules of the repository linter: each finds its fault and no other."""

from __future__ import annotations

import re
from pathlib import Path

import onnxruntime
import pytest

from server import assembly
from server.backends.onnxruntime.signature import Signature
from server.lint import RULES, Survey, lint
from server.lint.configurations import PARAMETERS
from server.lint.graphs import Outline
from tests.server.launched import CHECKOUT
from tests.server.samples import HARMLESS, LEAF, SAMPLES, Breaker, save_onnx


def rules_broken(root: Path, profile: str | None = None) -> set[str]:
    return {fault.rule for fault in lint(Survey.read((root / "models", root / "ensembles"), profile))}


def test_a_clean_repository_has_no_faults(sample: Path) -> None:
    assert rules_broken(sample) == set()


def test_every_rule_has_a_sample() -> None:
    assert {rule for rule, _ in SAMPLES} == set(RULES)


@pytest.mark.parametrize(("rule", "breaker"), SAMPLES, ids=[rule for rule, _ in SAMPLES])
def test_a_fault_is_found_by_its_rule_and_by_no_other(sample: Path, rule: str, breaker: Breaker) -> None:
    breaker(sample)
    assert rules_broken(sample) == {rule}


@pytest.mark.parametrize("change", HARMLESS)
def test_what_is_harmless_is_not_taken_for_a_fault(sample: Path, change: str) -> None:
    HARMLESS[change](sample)
    assert rules_broken(sample) == set()


@pytest.mark.parametrize("backend", assembly.STAND_INS)
def test_each_parameter_that_a_backend_reads_is_known_to_the_linter(backend: str) -> None:
    sources = (CHECKOUT / "server" / "backends" / backend).glob("*.py")
    read = {name for file in sources for name in re.findall(r'parameter\(\w+, "(.+?)"', file.read_text())}
    assert read
    assert read <= set(PARAMETERS[backend])


def test_a_profile_for_gpus_may_use_them_and_is_read_in_place_of_the_default(sample: Path) -> None:
    profile = sample / "models" / "first" / "configs" / "gpu.pbtxt"
    profile.parent.mkdir()
    profile.write_text(LEAF.format("A", "B").replace("KIND_CPU", "KIND_GPU"))
    assert rules_broken(sample) == rules_broken(sample, "gpu") == set()
    profile.write_text(LEAF.format("A", "B").replace("KIND_CPU", "KIND_CPU gpus: [ 0 ]"))
    assert rules_broken(sample) == set()
    assert rules_broken(sample, "gpu") == {"gpus-without-gpu-kind"}


@pytest.mark.parametrize(
    "graph",
    [
        "(float[n, 2] X, int64[n, m] Y) => (double[n, 2] Z, bool[2] W) <float[2] w = {0, 1}>"
        "{ Z = Cast <to = 11> (X) W = Cast <to = 9> (w) }",
        "(string[n] X, float16[1] w) => (string[n] Z) <float16[1] w = {1}> { Z = Identity (X) }",
        "(float X) => (float Z) { Z = Neg (X) }",
    ],
)
def test_the_outline_of_a_file_is_what_onnx_runtime_tells(tmp_path: Path, graph: str) -> None:
    file = tmp_path / "model.onnx"
    save_onnx(file, graph)
    session = onnxruntime.InferenceSession(str(file))
    assert Signature.of(Outline.read(file)) == Signature.of(session)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_file_that_is_cut_off_is_found(sample: Path, share: float) -> None:
    file = sample / "models" / "first" / "1" / "model.onnx"
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    assert rules_broken(sample) == {"onnx-differs"}
