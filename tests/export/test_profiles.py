"""The profiles for GPUs: what the table says is in them, and they fit the contract."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from tritonclient.grpc import model_config_pb2

from adlens import contract
from export import profiles
from export.choices import CHOICES, Engine, Precision, choice_of
from server.lint import Survey, lint

KINDS = model_config_pb2.ModelInstanceGroup
FILES = sorted(
    file
    for repository in profiles.REPOSITORIES
    for name in profiles.PROFILES
    for file in repository.glob(f"*/configs/{name}.pbtxt")
)
LEAVES = {
    file.parent.name
    for repository in profiles.REPOSITORIES
    for file in repository.glob("*/config.pbtxt")
    if profiles.read_config(file).platform != "ensemble"
}
ids = lambda file: f"{file.parents[1].name}/{file.stem}"  # noqa: E731


def tensors(config: Any) -> list[tuple[str, str, tuple[int, ...]]]:
    name = model_config_pb2.DataType.Name
    return [(each.name, name(each.data_type), tuple(each.dims)) for each in (*config.input, *config.output)]


def test_the_committed_ones_are_those_that_the_table_gives() -> None:
    assert profiles.stale(profiles.REPOSITORIES) == []


def test_every_leaf_has_a_choice_and_both_profiles() -> None:
    assert set(CHOICES) == LEAVES
    found = {(file.parents[1].name, file.stem) for file in FILES}
    assert {(leaf, name) for leaf in LEAVES for name in profiles.PROFILES} <= found


@pytest.mark.parametrize("file", FILES, ids=ids)
def test_a_profile_takes_and_gives_what_the_default_does_and_at_least_as_much_at_once(file: Path) -> None:
    ours, default = profiles.read_config(file), profiles.read_config(file.parents[1] / "config.pbtxt")
    assert tensors(ours) == tensors(default)
    assert ours.max_batch_size >= contract.MAX_BATCH
    expected = contract.MODELS.get(file.parents[1].name)
    if expected is not None:
        wanted = {**expected.inputs, **expected.outputs}
        given = {name: (kind.removeprefix("TYPE_"), dims) for name, kind, dims in tensors(ours)}
        assert given == {name: (each.datatype, each.shape) for name, each in wanted.items()}


@pytest.mark.parametrize("name", profiles.PROFILES)
def test_the_linter_finds_no_fault(name: str) -> None:
    faults = lint(Survey.read(profiles.REPOSITORIES, name), allow=["not-built"])
    assert faults == []


@pytest.mark.parametrize("model", sorted(LEAVES))
def test_a_leaf_runs_where_its_choice_says(model: str) -> None:
    choice = CHOICES[model]
    (folder,) = (each / model / "configs" for each in profiles.REPOSITORIES if (each / model).is_dir())
    planned, other = (profiles.read_config(folder / f"{name}.pbtxt") for name in profiles.PROFILES)
    assert (planned.platform == "tensorrt_plan") == (choice.engine is Engine.TENSORRT)
    assert other.backend == profiles.read_config(folder.parent / "config.pbtxt").backend
    for config in (planned, other):
        (group,) = config.instance_group
        on_cpu = choice.engine in (Engine.CPU, Engine.PYTHON)
        assert group.kind == (KINDS.KIND_CPU if on_cpu else KINDS.KIND_GPU)
        assert list(config.dynamic_batching.preferred_batch_size)[-1] == config.max_batch_size == choice.batch
        assert config.dynamic_batching.max_queue_delay_microseconds == choice.delay_us
    accelerators = other.optimization.execution_accelerators.gpu_execution_accelerator
    by_engine = {Engine.TENSORRT: ["tensorrt", "cuda"], Engine.CUDA: ["cuda"]}
    assert [each.name for each in accelerators] == by_engine.get(choice.engine, [])
    for each in accelerators:
        if each.name == "cuda":
            exact = choice.precision is Precision.FP32
            assert each.parameters["use_tf32"] == str(int(not exact)), "single precision is not cut short"


@pytest.mark.parametrize("model", [model for model, choice in CHOICES.items() if choice.graphs])
def test_cuda_graphs_are_recorded_of_every_preferred_batch_with_all_inputs(model: str) -> None:
    config = profiles.read_config(profiles.REPOSITORIES[0] / model / "configs" / "gpu.pbtxt")
    recorded = config.optimization.cuda
    assert recorded.graphs
    assert {spec.batch_size for spec in recorded.graph_spec} == {
        1,
        *config.dynamic_batching.preferred_batch_size,
    }
    for spec in recorded.graph_spec:
        assert {name: tuple(shape.dim) for name, shape in spec.input.items()} == {
            each.name: tuple(each.dims) for each in config.input
        }


@pytest.mark.parametrize("file", [each for each in FILES if "model_warmup" in each.read_text()], ids=ids)
def test_a_gpu_warms_up_with_every_input_alone_and_as_the_largest_batch(file: Path) -> None:
    config = profiles.read_config(file)
    assert [sample.batch_size for sample in config.model_warmup] == [1, config.max_batch_size]
    for sample in config.model_warmup:
        assert set(sample.inputs) == {each.name for each in config.input}
        assert all(each.input_data_file for each in sample.inputs.values()), "real data"


def test_the_picture_to_warm_up_with_is_committed_and_as_long_as_is_said() -> None:
    folder = profiles.REPOSITORIES[1] / contract.DECODE
    (size,) = (
        profiles.read_config(folder / "configs" / "gpu.pbtxt").model_warmup[0].inputs[contract.IMAGE].dims
    )
    assert size == (folder / "warmup" / profiles.PICTURE).stat().st_size


@pytest.mark.parametrize(
    "file", [each for each in FILES if each.is_relative_to(profiles.REPOSITORIES[1])], ids=ids
)
def test_pictures_pass_the_gate_before_they_are_decoded(file: Path) -> None:
    steps = {step.model_name: step for step in profiles.read_config(file).ensemble_scheduling.step}
    if not steps:
        return  # decode itself
    assert steps[contract.GATE].output_map[contract.IMAGE] == steps[contract.DECODE].input_map[contract.IMAGE]
    default = profiles.read_config(file.parents[1] / "config.pbtxt").ensemble_scheduling.step
    for step in default:
        if step.model_name != contract.DECODE:
            assert dict(steps[step.model_name].input_map) == dict(step.input_map)
        assert dict(steps[step.model_name].output_map) == dict(step.output_map)
    assert len(steps) == len(default) + 1


def test_other_embedders_are_as_dlib_s() -> None:
    assert choice_of("embed_mine") == CHOICES["embed_dlib"]
    assert choice_of("gallery_mine") == CHOICES["gallery"]
    assert choice_of("a_model_of_yours") is None


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    shutil.copytree(profiles.REPOSITORIES[0] / "uplift_offer", tmp_path / "uplift_offer")
    return tmp_path


def test_a_profile_that_somebody_edited_is_found_and_written_anew(repository: Path) -> None:
    file = repository / "uplift_offer" / "configs" / "gpu.pbtxt"
    written = file.read_text()
    file.write_text(written.replace("count: 1", "count: 2"))
    found = CliRunner().invoke(profiles.main, [str(repository), "--check"])
    assert found.exit_code == 1
    assert "gpu.pbtxt: out of date; run: python -m export.profiles" in found.output
    assert CliRunner().invoke(profiles.main, [str(repository)]).exit_code == 0
    assert file.read_text() == written
    assert CliRunner().invoke(profiles.main, [str(repository), "--check"]).exit_code == 0


def test_a_leaf_that_is_in_no_table_is_refused_with_where_to_add_it(repository: Path) -> None:
    (repository / "uplift_offer").rename(repository / "new")
    with pytest.raises(click.ClickException, match=r"choices.py says nothing of the leaf 'new'"):
        profiles.stale([repository])


def test_a_cache_stays_with_its_ensemble(tmp_path: Path) -> None:
    model = "describe_posts"
    shutil.copytree(profiles.REPOSITORIES[1] / model, tmp_path / model)
    file = tmp_path / model / "config.pbtxt"
    file.write_text(file.read_text() + "response_cache { enable: true }\n")
    profiles.write([tmp_path])
    assert profiles.read_config(file.parent / "configs" / "gpu.pbtxt").response_cache.enable
