"""Which ONNX models and configurations fit: each clause of the native backend's contract.

Sources: ``src/onnxruntime.cc`` and ``src/onnxruntime_utils.cc`` of
triton-inference-server/onnxruntime_backend; the function is named in each test.
"""

from __future__ import annotations

from typing import Any

import onnx
import onnxruntime
import pytest

from server.backends.configuration import InvalidConfigurationError
from server.backends.onnxruntime.session import create_session, model_file, session_options
from server.backends.onnxruntime.signature import Signature, complete, needs_completion, validate

BATCHED = "(float[n, 2, m] X) => (float[n, 2, m] Y) { Y = Identity(X) }"
FIXED = "(float[3, 2] X) => (float[3, 2] Y) { Y = Identity(X) }"


def signature(graph: str) -> Signature:
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": 18]> tiny {graph}')
    return Signature.of(onnxruntime.InferenceSession(model.SerializeToString()))


def tensor(name: str, *dims: int, data_type: str = "TYPE_FP32", **more: Any) -> dict[str, Any]:
    return {"name": name, "data_type": data_type, "dims": list(dims), **more}


def configuration(max_batch_size: int, **more: Any) -> dict[str, Any]:
    return {"name": "tiny", "max_batch_size": max_batch_size, **more}


def refused(message: str, graph: str, max_batch_size: int, **more: Any) -> None:
    with pytest.raises(InvalidConfigurationError) as error:
        validate(configuration(max_batch_size, **more), signature(graph))
    assert message in str(error.value)


class TestAutoCompleteConfig:
    """``ModelState::AutoCompleteConfig``, ``AutoCompleteMaxBatch`` and ``AutoCompleteIO``."""

    def test_it_is_skipped_only_where_both_inputs_and_outputs_are_listed(self) -> None:
        assert not needs_completion(configuration(0, input=[tensor("X", 2)], output=[tensor("Y", 2)]))
        assert needs_completion(configuration(0, input=[tensor("X", 2)], output=[]))
        assert needs_completion(configuration(0))

    def test_a_model_with_open_first_dimensions_batches_by_four_and_dynamically(self) -> None:
        completed = configuration(0)
        complete(completed, signature(BATCHED))
        assert completed == configuration(
            4, dynamic_batching={}, input=[tensor("X", 2, -1)], output=[tensor("Y", 2, -1)]
        )

    def test_a_batch_size_that_is_given_stays(self) -> None:
        completed = configuration(1)
        complete(completed, signature(BATCHED))
        assert completed["max_batch_size"] == 1
        assert "dynamic_batching" not in completed

    def test_a_fixed_first_dimension_is_part_of_the_dims(self) -> None:
        completed = configuration(0)
        complete(completed, signature(FIXED))
        assert completed == configuration(0, input=[tensor("X", 3, 2)], output=[tensor("Y", 3, 2)])

    def test_a_tensor_of_the_batch_alone_gets_a_reshape(self) -> None:
        completed = configuration(8)
        complete(completed, signature("(float[n] X) => (float[n] Y) { Y = Identity(X) }"))
        assert completed["input"] == [tensor("X", 1, reshape={"shape": []})]

    def test_a_batch_size_for_a_model_that_cannot_batch_is_refused(self) -> None:
        with pytest.raises(InvalidConfigurationError, match="model does not support batching while non-zero"):
            complete(configuration(2), signature(FIXED))


class TestValidateInputs:
    """``ModelInstanceState::ValidateInputs``."""

    def test_an_input_may_narrow_an_open_dimension(self) -> None:
        validate(configuration(4, input=[tensor("X", 2, 7)], output=[tensor("Y", 2, -1)]), signature(BATCHED))

    def test_a_fixed_dimension_must_match(self) -> None:
        message = (
            "model 'tiny', tensor 'X': the model expects 3 dimensions (shape [-1,2,-1]) but the model "
            "configuration specifies 3 dimensions (an initial batch dimension because max_batch_size > 0 "
            "followed by the explicit tensor shape, making complete shape [-1,3,-1])"
        )
        refused(message, BATCHED, 4, input=[tensor("X", 3, -1)], output=[tensor("Y", 2, -1)])

    def test_the_number_of_inputs_must_match(self) -> None:
        message = "unable to load model 'tiny', configuration expects 2 inputs, model provides 1"
        refused(message, BATCHED, 4, input=[tensor("X", 2, -1), tensor("Z", 1)], output=[tensor("Y", 2, -1)])

    def test_an_unknown_name_is_refused(self) -> None:
        message = "unexpected inference input 'Z', allowed inputs are: X"
        refused(message, BATCHED, 4, input=[tensor("Z", 2, -1)], output=[tensor("Y", 2, -1)])

    def test_the_datatype_must_match_exactly(self) -> None:
        message = (
            "unable to load model 'tiny', configuration expects datatype TYPE_FP64 for input 'X', "
            "model provides TYPE_FP32"
        )
        wrong = [tensor("X", 2, -1, data_type="TYPE_FP64")]
        refused(message, BATCHED, 4, input=wrong, output=[tensor("Y", 2, -1)])

    def test_batching_needs_an_open_first_dimension(self) -> None:
        message = "the first dimension must be -1; but shape expected by the model is [3,2]"
        refused(message, FIXED, 4, input=[tensor("X", 2)], output=[tensor("Y", 2)])

    def test_an_overridable_initializer_is_an_optional_input(self) -> None:
        graph = "(float[2] X, float[1] W = {2.0}) => (float[2] Y) { Y = Mul(X, W) }"
        given = [tensor("X", 2), tensor("W", 1, optional=True)]
        assert list(signature(graph).initializers) == ["W"]
        validate(configuration(0, input=given, output=[tensor("Y", 2)]), signature(graph))

    def test_an_optional_input_is_refused_for_a_model_that_batches(self) -> None:
        message = "optional input 'W' is not supported for models that support batching"
        given = [tensor("X", 2, -1), tensor("W", 1, optional=True)]
        refused(message, BATCHED, 4, input=given, output=[tensor("Y", 2, -1)])

    def test_a_scalar_takes_dims_of_one_only(self) -> None:
        graph = "(float X) => (float Y) { Y = Identity(X) }"
        validate(configuration(0, input=[tensor("X", 1)], output=[tensor("Y", 1)]), signature(graph))
        refused("should only provide 1", graph, 0, input=[tensor("X", 2)], output=[tensor("Y", 1)])

    def test_a_reshape_is_what_the_model_sees(self) -> None:
        shaped = [tensor("X", 6, reshape={"shape": [3, 2]})]
        validate(configuration(0, input=shaped, output=[tensor("Y", 3, 2)]), signature(FIXED))


class TestValidateOutputs:
    """``ModelInstanceState::ValidateOutputs``."""

    def test_an_output_may_not_narrow_an_open_dimension(self) -> None:
        message = "tensor 'Y': the model expects 3 dimensions (shape [-1,2,-1])"
        refused(message, BATCHED, 4, input=[tensor("X", 2, -1)], output=[tensor("Y", 2, 7)])

    def test_an_unknown_name_is_refused(self) -> None:
        message = "unexpected inference output 'Z', allowed outputs are: Y"
        refused(message, BATCHED, 4, input=[tensor("X", 2, -1)], output=[tensor("Z", 2, -1)])

    def test_some_outputs_may_be_left_out(self) -> None:
        graph = "(float[n] X) => (float[n] Y, float[n] Z) { Y = Identity(X) Z = Neg(X) }"
        validate(configuration(0, input=[tensor("X", -1)], output=[tensor("Z", -1)]), signature(graph))


def test_a_sequence_is_no_tensor() -> None:
    """``InputOutputInitializerInfos``."""
    with pytest.raises(InvalidConfigurationError, match="Unsupported ONNX Type 'ONNX_TYPE_SEQUENCE'"):
        signature("(float[n] X) => (seq(float[n]) Y) { Y = SequenceConstruct(X) }")


@pytest.mark.parametrize("key", ["sequence_batching", "batch_input"])
def test_what_only_the_native_backend_does_is_refused(key: str) -> None:
    message = f"'{key}' needs the native onnxruntime backend"
    refused(message, FIXED, 0, input=[tensor("X", 3, 2)], output=[tensor("Y", 3, 2)], **{key: {"a": 1}})


class TestSessionOptions:
    """The constructor of ``ModelState``."""

    def parameters(self, **values: str) -> dict[str, Any]:
        return configuration(0, parameters={key: {"string_value": text} for key, text in values.items()})

    def test_all_parameters_reach_the_session(self) -> None:
        options = session_options(
            self.parameters(
                intra_op_thread_count="3",
                inter_op_thread_count="2",
                execution_mode="1",
                enable_mem_arena="0",
                enable_mem_pattern="False",
            )
        )
        assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 2)
        assert options.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL
        assert not options.enable_cpu_mem_arena
        assert not options.enable_mem_pattern

    def test_without_parameters_everything_is_left_to_onnx_runtime(self) -> None:
        options, untouched = session_options(configuration(0)), onnxruntime.SessionOptions()
        for name in ("intra_op_num_threads", "inter_op_num_threads", "enable_mem_pattern"):
            assert getattr(options, name) == getattr(untouched, name)

    @pytest.mark.parametrize(
        ("level", "name"),
        [(-1, "ORT_ENABLE_BASIC"), (0, "ORT_ENABLE_ALL"), (1, "ORT_ENABLE_EXTENDED"), (2, "ORT_DISABLE_ALL")],
    )
    def test_levels_of_graph_optimization(self, level: int, name: str) -> None:
        options = session_options(configuration(0, optimization={"graph": {"level": level}}))
        assert options.graph_optimization_level == getattr(onnxruntime.GraphOptimizationLevel, name)

    def test_an_execution_mode_that_does_not_exist_is_refused(self) -> None:
        with pytest.raises(InvalidConfigurationError, match="execution_mode are 0 or 1 but got 7"):
            session_options(self.parameters(execution_mode="7"))

    def test_text_where_a_number_belongs_is_refused(self) -> None:
        with pytest.raises(InvalidConfigurationError, match="failed to convert 'many' to integer"):
            session_options(self.parameters(intra_op_thread_count="many"))


class TestLoadModel:
    """``ModelState::LoadModel``."""

    def test_the_file_is_model_onnx_or_the_default_model_filename(self, tmp_path: Any) -> None:
        for name in ("model.onnx", "other.onnx", "folder/model.onnx"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        assert model_file(tmp_path, configuration(0)).name == "model.onnx"
        named = model_file(tmp_path, configuration(0, default_model_filename="other.onnx"))
        assert named.name == "other.onnx"
        inside = model_file(tmp_path, configuration(0, default_model_filename="folder"))
        assert inside == tmp_path / "folder" / "model.onnx"

    def test_a_missing_file_is_named(self, tmp_path: Any) -> None:
        with pytest.raises(
            InvalidConfigurationError, match=r"unable to find '.*/model.onnx' for model instance"
        ):
            model_file(tmp_path, configuration(0))

    @pytest.mark.parametrize(("side", "kind"), [("gpu", "GPU"), ("cpu", "CPU")])
    def test_an_unknown_accelerator_is_refused(self, side: str, kind: str, tmp_path: Any) -> None:
        accelerators = {f"{side}_execution_accelerator": [{"name": "abacus"}]}
        asked = configuration(0, optimization={"execution_accelerators": accelerators})
        with pytest.raises(InvalidConfigurationError, match="unknown Execution Accelerator 'abacus'"):
            create_session(tmp_path / "model.onnx", asked, kind, 0)

    @pytest.mark.skipif(
        "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this ONNX Runtime has CUDA"
    )
    def test_a_gpu_instance_without_the_cuda_provider_says_what_to_install(self, tmp_path: Any) -> None:
        with pytest.raises(InvalidConfigurationError, match="install onnxruntime-gpu, or use KIND_CPU"):
            create_session(tmp_path / "model.onnx", configuration(0), "GPU", 0)
