"""The stand-in DALI backend: where a pipeline comes from, what is filled in, what is refused.

Sources: ``src/dali_model.h``, ``src/dali_model_instance.cc`` and ``src/config_tools/config_tools.cc``
of triton-inference-server/dali_backend. The decode pipeline's own tests are in ``tests/ensembles``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import np_to_triton_dtype

from server.backends.configuration import InvalidConfigurationError
from server.backends.dali.gate import choose_gate
from server.backends.dali.pipeline import Runner, complete, is_complete, serialized_pipeline, validate
from server.launcher import Server

DOUBLES = """
import nvidia.dali as dali
from nvidia.dali import fn, types
from nvidia.dali.plugin.triton import autoserialize

@autoserialize
@dali.pipeline_def(
    batch_size=3, num_threads=1, device_id=None, output_dtype=[types.INT32], output_ndim=[2]
)
def doubles():
    return fn.external_source(name="X", device="cpu", dtype=types.INT32, ndim=2) * 2
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

    def test_loading_leaves_nothing_in_the_version_folder(self, version: Path) -> None:
        serialized_pipeline(version, INTEGERS)
        assert sorted(path.name for path in version.iterdir()) == ["dali.py", "named.py", "stored.dali"]


class TestAutofillConfig:
    """``AutofillConfig``."""

    def test_everything_may_be_left_out(self, runner: Runner) -> None:
        completed: dict[str, Any] = {"name": "doubles", "max_batch_size": 0}
        assert not is_complete(completed)
        complete(completed, runner)
        assert is_complete(completed)
        assert completed["max_batch_size"] == 3
        assert completed["input"] == [tensor("X", -1, -1, allow_ragged_batch=True)]
        assert completed["output"][0]["data_type"] == "TYPE_INT32"
        assert completed["output"][0]["dims"] == [-1, -1]

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
            ({"max_batch_size": 0}, "Missing max_batch_size field"),
            ({"input": [tensor("Z", -1, -1)]}, "config for Z but such input is not present"),
            ({"input": []}, 'Missing config for "X" input'),
            ({"input": [tensor("X", -1, -1, data_type="TYPE_FP32")]}, 'Mismatch of data_type config for "X"'),
            ({"input": [tensor("X", -1)]}, 'Mismatch in number of dimensions for "X"'),
            ({"output": []}, "number of outputs specified in the DALI pipeline"),
            ({"output": [tensor("Y", -1)]}, 'Mismatch in number of dimensions for "Y"'),
        ],
    )
    def test_a_configuration_that_does_not_fit_is_refused(
        self, runner: Runner, change: dict[str, Any], message: str
    ) -> None:
        fitting = {**INTEGERS, "input": [tensor("X", -1, -1)], "output": [tensor("Y", -1, -1)]}
        validate(fitting, runner)
        with pytest.raises(InvalidConfigurationError, match=message):
            validate({**fitting, **change}, runner)


def test_an_unknown_gate_is_refused() -> None:
    with pytest.raises(InvalidConfigurationError, match="unknown adlens_gate 'door', known are: jpeg"):
        choose_gate("door")


@pytest.fixture(scope="module")
def client(
    version: Path, tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]
) -> Iterator[triton.InferenceServerClient]:
    repository = tmp_path_factory.mktemp("dali_models")
    split = 'output { name: "Y" data_type: TYPE_INT32 dims: [ -1 ] } '
    split += 'parameters { key: "split_along_outer_axis" value: { string_value: "Y" } } '
    split += 'parameters { key: "num_threads" value: { string_value: "2" } } '
    for name, configuration in (("completed", ""), ("split", split)):
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "1" / "dali.py").write_text((version / "dali.py").read_text())
        group = 'backend: "dali" instance_group { count: 1 kind: KIND_CPU } '
        (repository / name / "config.pbtxt").write_text(group + configuration)
    text = (repository / "split" / "1" / "dali.py").read_text()
    (repository / "split" / "1" / "dali.py").write_text(text.replace("output_ndim=[2]", "output_ndim=None"))
    with triton.InferenceServerClient(serve(repository).url) as client:
        yield client


def infer(client: triton.InferenceServerClient, model: str, values: Any) -> Any:
    given = triton.InferInput("X", list(values.shape), np_to_triton_dtype(values.dtype))
    given.set_data_from_numpy(values)
    wanted = client.get_model_config(model).config.output[0].name
    return client.infer(model, [given], client_timeout=30).as_numpy(wanted)


def test_a_completed_configuration_is_served(client: triton.InferenceServerClient) -> None:
    assert client.get_model_config("completed").config.max_batch_size == 3
    values = np.arange(8, dtype=np.int32).reshape(2, 2, 2)
    np.testing.assert_array_equal(infer(client, "completed", values), values * 2)


def test_split_along_outer_axis_makes_rows_of_the_outer_dimension(
    client: triton.InferenceServerClient,
) -> None:
    values = np.arange(8, dtype=np.int32).reshape(2, 2, 2)
    np.testing.assert_array_equal(infer(client, "split", values), (values * 2).reshape(4, 2))
