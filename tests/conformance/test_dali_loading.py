"""The stand-in DALI backend: where a pipeline comes from, what is filled in, what is refused.

Sources: ``src/dali_model.h``, ``src/parameters.h`` and ``src/config_tools/config_tools.cc`` of
triton-inference-server/dali_backend. The decode pipeline's own tests are in ``tests/ensembles``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.backends.configuration import InvalidConfigurationError
from server.backends.dali.gate import choose_gate
from server.backends.dali.pipeline import (
    Runner,
    complete,
    configured_device,
    is_complete,
    refuse_unbatched,
    serialized_pipeline,
    validate,
)

DOUBLES = """
import nvidia.dali as dali
from nvidia.dali import fn, types
from nvidia.dali.plugin.triton import autoserialize

@autoserialize
@dali.pipeline_def(
    batch_size=3, num_threads=2, device_id=0, output_dtype=[types.INT32], output_ndim=[2]
)
def doubles():
    x = fn.external_source(name="X", device="cpu", dtype=types.INT32, ndim=2)
    return fn.copy(x * 2, name="Y")
"""
INTEGERS = {"name": "doubles", "max_batch_size": 3}


def tensor(name: str, *dims: int, data_type: str = "TYPE_INT32", **more: Any) -> dict[str, Any]:
    return {"name": name, "data_type": data_type, "dims": list(dims), **more}


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version folder with the same pipeline in each form that the backend reads."""
    folder = tmp_path_factory.mktemp("pipelines")
    (folder / "dali.py").write_text(DOUBLES)
    (folder / "named.py").write_text(DOUBLES.replace("* 2", "* 3"))
    (folder / "stored.dali").write_bytes(serialized_pipeline(folder, INTEGERS))
    return folder


@pytest.fixture(scope="module")
def runner(version: Path) -> Runner:
    return Runner(serialized_pipeline(version, INTEGERS))


class TestLoadModel:
    """``DaliModel::LoadModel``."""

    @pytest.mark.parametrize(
        ("file", "factor"), [(None, 2), ("stored.dali", 2), ("named.py", 3), ("missing.dali", 2)]
    )
    def test_the_file_is_serialized_or_python_and_dali_py_the_last_resort(
        self, version: Path, file: str | None, factor: int
    ) -> None:
        serialized = serialized_pipeline(version, {**INTEGERS, "default_model_filename": file or ""})
        ((value,),) = Runner(serialized).run({"X": [np.ones((1, 1), np.int32)]})
        assert value.item() == factor

    def test_without_any_file_all_places_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidConfigurationError, match=r"locations: .*/model\.dali, .*/dali\.py\."):
            serialized_pipeline(tmp_path, INTEGERS)

    def test_a_pipeline_that_names_a_gpu_loads_on_a_cpu(self, version: Path) -> None:
        """``DaliPipeline`` takes the instance's device; all of NVIDIA's examples name GPU 0."""
        assert "device_id=0" in (version / "dali.py").read_text()
        ((value,),) = Runner((version / "stored.dali").read_bytes()).run({"X": [np.ones((1, 1), np.int32)]})
        assert value.item() == 2

    def test_a_file_must_mark_one_pipeline(self, tmp_path: Path) -> None:
        """``invoke_autoserialize`` in ``nvidia.dali._utils.autoserialize``."""
        (tmp_path / "dali.py").write_text(DOUBLES.replace("@autoserialize\n", ""))
        with pytest.raises(InvalidConfigurationError, match="marked with @autoserialize, there are 0"):
            serialized_pipeline(tmp_path, INTEGERS)

    @pytest.mark.filterwarnings("ignore:nvidia-dali-cuda")  # CUDA's libraries are not installed
    def test_an_operator_that_needs_a_gpu_is_refused_on_a_cpu(self, tmp_path: Path) -> None:
        text = DOUBLES.replace("x * 2", "x.gpu() * 2")
        (tmp_path / "dali.py").write_text(text)
        with pytest.raises(InvalidConfigurationError, match="pipeline requires a CUDA-capable GPU"):
            serialized_pipeline(tmp_path, INTEGERS)

    def test_a_video_input_is_refused(self, tmp_path: Path) -> None:
        """``DaliModelInstance::ProcessRequest`` would answer until its frames are spent."""
        video = 'fn.experimental.inputs.video(name="X", device="cpu", sequence_length=2)'
        text = DOUBLES.replace('fn.external_source(name="X", device="cpu", dtype=types.INT32, ndim=2)', video)
        (tmp_path / "dali.py").write_text(text)
        with pytest.raises(InvalidConfigurationError, match=r"inputs\.video needs the native dali backend"):
            serialized_pipeline(tmp_path, INTEGERS)

    def test_loading_leaves_nothing_in_the_version_folder(self, version: Path) -> None:
        serialized_pipeline(version, INTEGERS)
        assert sorted(path.name for path in version.iterdir()) == ["dali.py", "named.py", "stored.dali"]


class TestModelParameters:
    """``ModelParameters::GetNumThreads`` and ``GetOutputsToSplit``, ``DaliModel::ReadPipelineProperties``."""

    @pytest.mark.parametrize(("given", "used"), [({}, 2), ({"threads": 3}, 3)])
    def test_without_num_threads_the_pipeline_s_own_number_holds(
        self, version: Path, given: dict[str, int], used: int
    ) -> None:
        assert Runner((version / "stored.dali").read_bytes(), **given)._pipeline.num_threads == used

    def test_an_output_that_is_split_has_lost_its_outer_dimension(self, runner: Runner) -> None:
        split = {"parameters": {"split_along_outer_axis": {"string_value": "Z:Y"}}}
        completed: dict[str, Any] = {**INTEGERS, **split}
        complete(completed, runner)
        assert completed["output"] == [tensor("Y", -1)]
        validate(completed, runner)
        with pytest.raises(InvalidConfigurationError, match='Mismatch in number of dimensions for "Y"'):
            validate({**completed, "output": [tensor("Y", -1, -1)]}, runner)

    def test_completion_uses_the_gpu_that_the_configuration_names(self) -> None:
        """``DaliModel::FindDevice``."""
        named = {"instance_group": [{"kind": "KIND_GPU", "gpus": [3]}]}
        assert configured_device(named) == 3
        assert configured_device({"instance_group": [{"kind": "KIND_CPU"}]}) is None


class TestAutofillConfig:
    """``AutofillConfig``."""

    def test_everything_may_be_left_out(self, runner: Runner) -> None:
        completed: dict[str, Any] = {"name": "doubles", "max_batch_size": 0}
        assert not is_complete(completed)
        complete(completed, runner)
        assert is_complete(completed)
        assert completed["max_batch_size"] == 3
        assert completed["input"] == [tensor("X", -1, -1, allow_ragged_batch=True)]
        assert completed["output"] == [tensor("Y", -1, -1)]

    def test_a_layout_tells_the_number_of_dimensions(self, tmp_path: Path) -> None:
        """``ExternalSource::InferNdim`` in NVIDIA/DALI."""
        (tmp_path / "dali.py").write_text(DOUBLES.replace("ndim=2)", 'layout="HW")'))
        completed: dict[str, Any] = {**INTEGERS}
        complete(completed, Runner(serialized_pipeline(tmp_path, INTEGERS)))
        assert completed["input"] == [tensor("X", -1, -1, allow_ragged_batch=True)]

    def test_a_batch_size_of_0_is_refused_where_it_is_written_down(self, tmp_path: Path) -> None:
        """``DaliModel::Batched``: unlike one that is left out, it stands for requests that are batches."""
        written, version = tmp_path / "config.pbtxt", tmp_path / "1"
        for text in ("", "max_batch_size: 08", "# max_batch_size: 0", "max_batch_size: 4"):
            written.write_text(text)
            refuse_unbatched(version, INTEGERS)
        written.write_text('backend: "dali" max_batch_size : 0')
        with pytest.raises(InvalidConfigurationError, match="'max_batch_size: 0' needs the native dali"):
            refuse_unbatched(version, INTEGERS)

    def test_what_is_given_stays(self, runner: Runner) -> None:
        given = {**INTEGERS, "input": [tensor("X", 2, 2)], "output": [tensor("Y", 2, -1)]}
        completed = {**given}
        complete(completed, runner)
        assert completed == given


class TestValidateConfig:
    """``ValidateConfig``."""

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"max_batch_size": 0}, "Missing max_batch_size field in model configuration."),
            (
                {"input": [tensor("Z", -1, -1)]},
                "Configuration file contains config for Z but such input is not present in the pipeline.",
            ),
            ({"input": []}, 'Missing config for "X" input.'),
            (
                {"input": [tensor("X", -1, -1, optional=True)]},
                "'optional' is set to true for input 'X' while the backend model doesn't support optional "
                "input",
            ),
            (
                {"input": [tensor("X", -1, -1, data_type="TYPE_FP32")]},
                'Mismatch of data_type config for "X".\nData type defined in config: TYPE_FP32\n'
                "Data type defined in pipeline: TYPE_INT32",
            ),
            (
                {"input": [tensor("X", -1)]},
                'Mismatch in number of dimensions for "X"\nNumber of dimensions defined in config: 1\n'
                "Number of dimensions defined in pipeline: 2",
            ),
            (
                {"output": []},
                "The number of outputs specified in the DALI pipeline and the configuration file do not "
                "match.\nModel config outputs: 0\nPipeline outputs: 1",
            ),
            (
                {"output": [tensor("Y", -1)]},
                'Mismatch in number of dimensions for "Y"\nNumber of dimensions defined in config: 1\n'
                "Number of dimensions defined in pipeline: 2",
            ),
            (
                {"model_transaction_policy": {"decoupled": True}},
                "unable to load model 'doubles', 'decoupled' needs the native backend of NVIDIA's container: "
                "this one answers each request once",
            ),
        ],
    )
    def test_a_configuration_that_does_not_fit_is_refused(
        self, runner: Runner, change: dict[str, Any], message: str
    ) -> None:
        fitting = {**INTEGERS, "input": [tensor("X", -1, -1)], "output": [tensor("Y", -1, -1)]}
        validate(fitting, runner)
        with pytest.raises(InvalidConfigurationError) as error:
            validate({**fitting, **change}, runner)
        assert str(error.value) == message


def test_an_unknown_gate_is_refused() -> None:
    with pytest.raises(InvalidConfigurationError, match="unknown adlens_gate 'door', known are: jpeg"):
        choose_gate("door")
