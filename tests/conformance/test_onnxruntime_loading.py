"""Which ONNX models and configurations fit, and how a model is loaded, clause by clause.

Sources: ``src/onnxruntime.cc`` and ``src/onnxruntime_utils.cc`` of
triton-inference-server/onnxruntime_backend; the function is named in each test.
"""

from __future__ import annotations

from typing import Any, ClassVar

import onnx
import onnxruntime
import pytest

from server.backends.configuration import InvalidConfigurationError
from server.backends.onnxruntime.session import model_file, providers, session_options
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

    def test_a_datatype_that_onnx_runtime_lacks_is_refused(self) -> None:
        message = "unsupported datatype TYPE_BF16 for input 'X' for model 'tiny'"
        wrong = [tensor("X", 2, -1, data_type="TYPE_BF16")]
        refused(message, BATCHED, 4, input=wrong, output=[tensor("Y", 2, -1)])

    def test_a_datatype_that_triton_lacks_has_no_name(self) -> None:
        graph = "(bfloat16[n] X) => (bfloat16[n] Y) { Y = Identity(X) }"
        message = "configuration expects datatype TYPE_FP16 for input 'X', model provides TYPE_<invalid>"
        wrong = [tensor("X", -1, data_type="TYPE_FP16")]
        refused(message, graph, 0, input=wrong, output=[tensor("Y", -1)])

    def test_a_ragged_input_must_be_flat(self) -> None:
        message = (
            "unable to load model 'tiny', configuration expects model provides input with shape [-1]  for "
            "ragged input 'X', model provides [-1,2,-1]"
        )
        ragged = [tensor("X", -1, allow_ragged_batch=True)]
        refused(message, BATCHED, 4, input=ragged, output=[tensor("Y", 2, -1)])

    def test_a_ragged_input_may_not_be_optional(self) -> None:
        message = "for ragged input 'W', which is not supported for optional input"
        graph = "(float[2] X, float[1] W = {2.0}) => (float[2] Y) { Y = Mul(X, W) }"
        given = [tensor("X", 2), tensor("W", 1, optional=True, allow_ragged_batch=True)]
        refused(message, graph, 0, input=given, output=[tensor("Y", 2)])

    def test_each_batch_input_counts_as_an_input(self) -> None:
        graph = "(float[m] X, float[n] C) => (float[n, 1] Y) <int64[1] one = {1}> { Y = Unsqueeze(C, one) }"
        ragged = {"input": [tensor("X", -1, allow_ragged_batch=True)], "output": [tensor("Y", 1)]}
        validate(configuration(4, batch_input=[{"target_name": ["C"]}], **ragged), signature(graph))
        refused("configuration expects 1 inputs, model provides 2", graph, 4, **ragged)

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

    def test_the_datatype_must_match_exactly(self) -> None:
        message = (
            "unable to load model 'tiny', configuration expects datatype TYPE_STRING for output 'Y', model "
            "provides TYPE_FP32"
        )
        wrong = [tensor("Y", 2, -1, data_type="TYPE_STRING")]
        refused(message, BATCHED, 4, input=[tensor("X", 2, -1)], output=wrong)

    def test_strings_are_called_bytes_in_the_model_s_datatype(self) -> None:
        graph = "(string[n] X) => (string[n] Y) { Y = Identity(X) }"
        message = "configuration expects datatype TYPE_FP32 for input 'X', model provides TYPE_BYTES"
        refused(message, graph, 0, input=[tensor("X", -1)], output=[tensor("Y", -1)])

    def test_the_shape_of_a_batch_output_is_not_compared(self) -> None:
        given = {"input": [tensor("X", 2, -1)], "output": [tensor("Y", -1)]}
        scattered = [{"target_name": ["Y"], "kind": "BATCH_SCATTER_WITH_INPUT_SHAPE", "source_input": ["X"]}]
        validate(configuration(4, batch_output=scattered, **given), signature(BATCHED))
        refused("tensor 'Y': the model expects 3 dimensions", BATCHED, 4, **given)

    def test_a_scalar_takes_dims_of_one_only(self) -> None:
        graph = "(float X) => (float Y) { Y = Identity(X) }"
        message = (
            "unable to load model 'tiny', scalar tensor 'Y', should only provide 1 in the model "
            "configuration when the model doesn't support batching. Model configuration provided: [2]."
        )
        refused(message, graph, 0, input=[tensor("X", 1)], output=[tensor("Y", 2)])

    def test_some_outputs_may_be_left_out(self) -> None:
        graph = "(float[n] X) => (float[n] Y, float[n] Z) { Y = Identity(X) Z = Neg(X) }"
        validate(configuration(0, input=[tensor("X", -1)], output=[tensor("Z", -1)]), signature(graph))


def test_a_sequence_is_no_tensor() -> None:
    """``InputOutputInitializerInfos``."""
    with pytest.raises(InvalidConfigurationError) as error:
        signature("(float[n] X) => (seq(float[n]) Y) { Y = SequenceConstruct(X) }")
    assert str(error.value) == (
        "Unsupported ONNX Type 'ONNX_TYPE_SEQUENCE' for I/O 'Y', expected 'ONNX_TYPE_TENSOR'."
    )


class TestValidateSequenceControls:
    """``ModelInstanceState::ValidateBooleanSequenceControl`` and ``ValidateTypedSequenceControl``."""

    GRAPH = "(float[n, 1] X, float[n, 1] START, int64[n, 1] ID) => (float[n, 1] Y) { Y = Identity(X) }"
    TENSORS: ClassVar = {"input": [tensor("X", 1)], "output": [tensor("Y", 1)]}
    START: ClassVar = {"kind": "CONTROL_SEQUENCE_START", "fp32_false_true": [0, 1], "int32_false_true": []}
    ID: ClassVar = {"kind": "CONTROL_SEQUENCE_CORRID", "data_type": "TYPE_INT64"}

    def batching(self, **controls: dict[str, Any]) -> dict[str, Any]:
        listed = [{"name": name, "control": [control]} for name, control in controls.items()]
        return {"sequence_batching": {"control_input": listed}, **self.TENSORS}

    def test_controls_count_as_inputs(self) -> None:
        fitting = self.batching(START=self.START, ID=self.ID)
        validate(configuration(4, **fitting), signature(self.GRAPH))
        message = "configuration expects 2 inputs, model provides 3"
        refused(message, self.GRAPH, 4, **self.batching(START=self.START))

    def test_states_count_as_inputs(self) -> None:
        graph = (
            "(float[n, 1] X, float[n, 1] S) => (float[n, 1] Y, float[n, 1] T) { Y = Neg(X) T = Add(X, S) }"
        )
        state = {"state": [{"input_name": "S", "output_name": "T"}]}
        validate(configuration(4, sequence_batching=state, **self.TENSORS), signature(graph))

    def test_a_control_that_the_model_lacks_is_refused(self) -> None:
        message = "configuration specified sequence control 'BEGIN', but model does not provide that input"
        refused(message, self.GRAPH, 4, **self.batching(BEGIN=self.START, ID=self.ID))

    def test_a_control_is_one_number_a_row(self) -> None:
        message = (
            "unable to load model 'tiny', sequence control 'START' in model has dims [2] but dims [1] is "
            "expected"
        )
        graph = self.GRAPH.replace("float[n, 1] START", "float[n, 2] START")
        refused(message, graph, 4, **self.batching(START=self.START, ID=self.ID))

    def test_a_control_has_the_datatype_of_its_values(self) -> None:
        message = (
            "unable to load model 'tiny', sequence control 'START', the model expects data-type FLOAT but "
            "the model configuration specifies data-type TYPE_INT32"
        )
        wrong = {**self.START, "int32_false_true": [0, 1], "fp32_false_true": []}
        refused(message, self.GRAPH, 4, **self.batching(START=wrong, ID=self.ID))

    def test_a_typed_control_has_its_datatype(self) -> None:
        message = (
            "the model expects data-type INT64 but the model configuration specifies data-type TYPE_UINT64"
        )
        wrong = {**self.ID, "data_type": "TYPE_UINT64"}
        refused(message, self.GRAPH, 4, **self.batching(START=self.START, ID=wrong))


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

    def test_threads_that_wait_leave_the_processors_to_other_instances(self) -> None:
        options = session_options(self.parameters(intra_op_thread_count="2"))
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"

    def test_an_execution_mode_that_does_not_exist_is_refused(self) -> None:
        with pytest.raises(InvalidConfigurationError, match="execution_mode are 0 or 1 but got 7"):
            session_options(self.parameters(execution_mode="7"))

    def test_a_number_may_be_followed_by_its_unit(self) -> None:
        """``ParseIntValue`` in triton-inference-server/backend, which reads as ``std::stoi`` does."""
        assert session_options(self.parameters(intra_op_thread_count=" 3 threads")).intra_op_num_threads == 3

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("intra_op_thread_count", "many", "failed to convert 'many' to integral number"),
            ("enable_mem_arena", "maybe", "failed to convert 'maybe' to boolean"),
        ],
    )
    def test_a_value_that_cannot_be_read_is_refused(self, key: str, value: str, message: str) -> None:
        """``ParseIntValue`` and ``ParseBoolValue`` in triton-inference-server/backend."""
        with pytest.raises(InvalidConfigurationError, match=message):
            session_options(self.parameters(**{key: value}))


class TestLoadModel:
    """``ModelState::LoadModel``."""

    def test_the_file_is_model_onnx_or_the_default_model_filename(self, tmp_path: Any) -> None:
        for name in ("model.onnx", "other.onnx", "folder/model.onnx"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        assert model_file(tmp_path, configuration(0), "CPU").name == "model.onnx"
        named = model_file(tmp_path, configuration(0, default_model_filename="other.onnx"), "CPU")
        assert named.name == "other.onnx"
        inside = model_file(tmp_path, configuration(0, default_model_filename="folder"), "CPU")
        assert inside == tmp_path / "folder" / "model.onnx"

    def test_a_missing_file_is_named(self, tmp_path: Any) -> None:
        with pytest.raises(
            InvalidConfigurationError, match=r"unable to find '.*/model.onnx' for model instance 'tiny'"
        ):
            model_file(tmp_path, configuration(0), "CPU")

    def test_files_by_compute_capability_are_for_gpus_alone(self, tmp_path: Any) -> None:
        """``BackendModelInstance`` in triton-inference-server/backend."""
        (tmp_path / "model.onnx").touch()
        named = configuration(0, cc_model_filenames={"9.0": "h200.onnx"})
        assert model_file(tmp_path, named, "CPU").name == "model.onnx"
        with pytest.raises(InvalidConfigurationError, match="'cc_model_filenames' on a GPU needs the native"):
            model_file(tmp_path, named, "GPU")


ALL = [
    "TensorrtExecutionProvider",
    "CUDAExecutionProvider",
    "OpenVINOExecutionProvider",
    "CPUExecutionProvider",
]


class TestExecutionAccelerators:
    """``ModelState::LoadModel``, as an ONNX Runtime with all providers and one with none gets them."""

    def accelerated(self, side: str, *accelerators: dict[str, Any], **more: Any) -> dict[str, Any]:
        asked = {f"{side}_execution_accelerator": list(accelerators)}
        return configuration(0, optimization={"execution_accelerators": asked}, **more)

    def test_a_gpu_runs_cuda_and_leaves_the_rest_to_the_cpu(self) -> None:
        chosen = providers(configuration(0), "GPU", 3, ALL)
        assert chosen == [("CUDAExecutionProvider", {"device_id": "3"}), ("CPUExecutionProvider", {})]

    def test_accelerators_of_the_other_kind_are_ignored(self) -> None:
        asked = self.accelerated("gpu", {"name": "tensorrt"})
        assert providers(asked, "CPU", 0, ALL) == [("CPUExecutionProvider", {})]

    def test_tensorrt_comes_before_cuda_with_its_parameters_by_onnx_runtime_s_names(self) -> None:
        asked = {
            "precision_mode": "FP16",
            "max_workspace_size_bytes": "1024",
            "trt_engine_cache_enable": "true",
        }
        accelerators = ({"name": "cuda"}, {"name": "tensorrt", "parameters": asked})
        (name, options), (second, _), _ = providers(self.accelerated("gpu", *accelerators), "GPU", 1, ALL)
        assert (name, second) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
        assert options == {
            "trt_fp16_enable": "1",
            "trt_max_workspace_size": "1024",
            "trt_engine_cache_enable": "true",
            "device_id": "1",
        }

    def test_cuda_takes_options_as_an_accelerator_and_as_model_parameters(self) -> None:
        old = {"cudnn_conv_algo_search": {"string_value": "1"}, "gpu_mem_limit": {"string_value": "9"}}
        asked = self.accelerated("gpu", {"name": "cuda", "parameters": {"x": "y"}}, parameters=old)
        (_, options), _ = providers(asked, "GPU", 0, ALL)
        given = {"cudnn_conv_algo_search": "HEURISTIC", "gpu_mem_limit": "9", "x": "y", "device_id": "0"}
        assert options == given

    def test_openvino_runs_on_the_cpu(self) -> None:
        (name, options), _ = providers(self.accelerated("cpu", {"name": "openvino"}), "CPU", 0, ALL)
        assert (name, options) == ("OpenVINOExecutionProvider", {"device_type": "CPU"})

    @pytest.mark.parametrize(
        ("side", "accelerator", "available", "message"),
        [
            ("gpu", {"name": "abacus"}, ALL, "unknown Execution Accelerator 'abacus' is requested"),
            ("cpu", {"name": "abacus"}, ALL, "unknown Execution Accelerator 'abacus' is requested"),
            ("gpu", {"name": "tensorrt"}, ALL[1:], "unknown Execution Accelerator 'tensorrt' is requested"),
            ("cpu", {"name": "openvino"}, ALL[3:], "unknown Execution Accelerator 'openvino' is requested"),
            (
                "gpu",
                {"name": "tensorrt", "parameters": {"precision_mode": "INT4"}},
                ALL,
                "unsupported precision mode 'INT4' is requested",
            ),
            (
                "gpu",
                {"name": "tensorrt", "parameters": {"trt_fp16_enable": "1"}},
                ALL,
                "unknown parameter 'trt_fp16_enable' is provided for TensorRT Execution Accelerator",
            ),
        ],
    )
    def test_what_is_unknown_or_not_installed_is_refused(
        self, side: str, accelerator: dict[str, Any], available: list[str], message: str
    ) -> None:
        with pytest.raises(InvalidConfigurationError) as error:
            providers(self.accelerated(side, accelerator), side.upper(), 0, available)
        assert str(error.value) == message

    def test_a_cuda_option_out_of_range_is_refused(self) -> None:
        asked = configuration(0, parameters={"arena_extend_strategy": {"string_value": "2"}})
        with pytest.raises(InvalidConfigurationError, match="unsupported arena_extend_strategy value '2' is"):
            providers(asked, "GPU", 0, ALL)

    def test_a_gpu_instance_without_the_cuda_provider_says_what_to_install(self) -> None:
        with pytest.raises(InvalidConfigurationError, match="install onnxruntime-gpu, or use KIND_CPU"):
            providers(configuration(0), "GPU", 0, ALL[3:])
