"""An ONNX Runtime session as a Triton configuration asks for it.

File names, parameters and accelerators follow ``ModelState`` in ``src/onnxruntime.cc`` of
triton-inference-server/onnxruntime_backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from server.backends.configuration import (
    Configuration,
    InvalidConfigurationError,
    boolean_parameter,
    integer_parameter,
    parameter,
)

ARENA_SHRINKAGE = "memory.enable_memory_arena_shrinkage"
DEVICE_INITIALIZERS = "session.use_device_allocator_for_initializers"

TENSORRT, CUDA, OPENVINO = "TensorrtExecutionProvider", "CUDAExecutionProvider", "OpenVINOExecutionProvider"

PRECISIONS: dict[str, dict[str, str]] = {
    "FP32": {},
    "FP16": {"trt_fp16_enable": "1"},
    "BF16": {"trt_bf16_enable": "1"},
    "INT8": {"trt_int8_enable": "1"},
}
"""Values of the TensorRT accelerator's parameter ``precision_mode``, and ONNX Runtime's options."""

RENAMED = {
    "max_workspace_size_bytes": "trt_max_workspace_size",
    "int8_calibration_table_name": "trt_int8_calibration_table_name",
    "int8_use_native_calibration_table": "trt_int8_use_native_calibration_table",
}
"""TensorRT accelerator parameters that go by another name in ONNX Runtime."""

SAME_NAME = """
max_partition_iterations min_subgraph_size dla_enable dla_core engine_cache_enable engine_cache_path
engine_cache_prefix dump_subgraphs force_sequential_engine_build context_memory_sharing_enable
layer_norm_fp32_fallback timing_cache_enable timing_cache_path force_timing_cache detailed_build_log
build_heuristics_enable sparsity_enable builder_optimization_level auxiliary_streams tactic_sources
extra_plugin_lib_paths profile_min_shapes profile_max_shapes profile_opt_shapes cuda_graph_enable
dump_ep_context_model ep_context_file_path ep_context_embed_mode
"""
"""TensorRT accelerator parameters that keep their name, less ``trt_``."""

CUDA_CHOICES = {
    "cudnn_conv_algo_search": ("EXHAUSTIVE", "HEURISTIC", "DEFAULT"),
    "arena_extend_strategy": ("kNextPowerOfTwo", "kSameAsRequested"),
}
"""Model parameters that choose an option of the CUDA provider by number."""

CUDA_OPTIONS = ("gpu_mem_limit", "do_copy_in_default_stream")
"""Model parameters that are options of the CUDA provider."""


def model_file(folder: Path, configuration: Configuration, kind: str) -> Path:
    """The ONNX file of a version folder: ``default_model_filename``, else ``model.onnx``.

    Where that is a folder, ``model.onnx`` inside it.

    Args:
        folder: the version folder.
        configuration: the model's Triton configuration.
        kind: of the instance, ``CPU`` or ``GPU``.

    Raises:
        InvalidConfigurationError: there is no such file, or only the native backend can choose it.
    """
    if kind == "GPU" and configuration.get("cc_model_filenames"):
        raise InvalidConfigurationError(
            f"unable to load model '{configuration['name']}', 'cc_model_filenames' on a GPU needs the native "
            "backend of NVIDIA's container: ONNX Runtime's Python package does not tell its capability"
        )
    path = folder / (configuration.get("default_model_filename") or "model.onnx")
    if path.is_dir():
        path = path / "model.onnx"
    if not path.exists():
        raise InvalidConfigurationError(
            f"unable to find '{path}' for model instance '{configuration['name']}'"
        )
    return path


def create_session(
    path: Path, configuration: Configuration, kind: str, device: int
) -> onnxruntime.InferenceSession:
    """Load an ONNX file.

    Args:
        path: the ONNX file.
        configuration: the model's Triton configuration.
        kind: of the instance, ``CPU`` or ``GPU``.
        device: number of the GPU of the instance.

    Raises:
        InvalidConfigurationError: a parameter or accelerator is not possible.
    """
    chosen = providers(configuration, kind, device, onnxruntime.get_available_providers())
    # Without fallback: a provider that fails must not become a silent and slow CPU session.
    return onnxruntime.InferenceSession(
        str(path), session_options(configuration), providers=chosen, enable_fallback=0
    )


def session_options(configuration: Configuration) -> onnxruntime.SessionOptions:
    """Threads, memory and graph optimisation, with ONNX Runtime's defaults for what is not set.

    Raises:
        InvalidConfigurationError: a value is not possible.
    """
    options = onnxruntime.SessionOptions()
    level = int(configuration.get("optimization", {}).get("graph", {}).get("level", 0))
    options.graph_optimization_level = {
        -1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
        2: onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    }.get(level, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)
    mode = integer_parameter(configuration, "execution_mode", 0)
    if mode not in (0, 1):
        raise InvalidConfigurationError(
            "Invalid configuration value provided. Expected values for  execution_mode are 0 or 1 "
            f"but got {mode} ."
        )
    options.execution_mode = (
        onnxruntime.ExecutionMode.ORT_PARALLEL if mode else onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    )
    options.intra_op_num_threads = max(0, integer_parameter(configuration, "intra_op_thread_count", 0))
    options.inter_op_num_threads = max(0, integer_parameter(configuration, "inter_op_thread_count", 0))
    options.enable_cpu_mem_arena = boolean_parameter(configuration, "enable_mem_arena", default=True)
    options.enable_mem_pattern = boolean_parameter(configuration, "enable_mem_pattern", default=True)
    # The native backend's instances share a process, ours do not: threads that spin while they wait for work
    # take the processors from the others: a third of the throughput of ``match_faces`` on two cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if (value := parameter(configuration, DEVICE_INITIALIZERS)) is not None:
        options.add_session_config_entry(DEVICE_INITIALIZERS, value)
    for library in configuration.get("model_operations", {}).get("op_library_filename", []):
        options.register_custom_ops_library(library)
    return options


def run_options(configuration: Configuration) -> onnxruntime.RunOptions:
    """Options of each run."""
    options = onnxruntime.RunOptions()
    if (value := parameter(configuration, ARENA_SHRINKAGE)) is not None:
        options.add_run_config_entry(ARENA_SHRINKAGE, value)
    return options


def providers(
    configuration: Configuration, kind: str, device: int, available: Sequence[str]
) -> list[tuple[str, dict[str, str]]]:
    """ONNX Runtime's execution providers with their options, first come first served.

    On a GPU CUDA takes what the accelerators leave, asked for or not, and the CPU what CUDA leaves.

    Args:
        configuration: the model's Triton configuration.
        kind: of the instance, ``CPU`` or ``GPU``.
        device: number of the GPU of the instance.
        available: providers of the ONNX Runtime that is installed.

    Raises:
        InvalidConfigurationError: an accelerator or one of its parameters is not possible.
    """
    accelerators = configuration.get("optimization", {}).get("execution_accelerators", {})
    chosen = []
    if kind == "GPU":
        cuda = _cuda_options(configuration)
        for entry in accelerators.get("gpu_execution_accelerator", []):
            if entry["name"] == "cuda":
                cuda.update(entry.get("parameters", {}))
            elif entry["name"] == "tensorrt" and TENSORRT in available:
                options = tensorrt_options(entry.get("parameters", {}))
                chosen.append((TENSORRT, {**options, "device_id": str(device)}))
            else:
                raise _unknown(entry)
        if CUDA not in available:
            raise InvalidConfigurationError(
                f"unable to load model '{configuration['name']}', KIND_GPU needs ONNX Runtime's {CUDA}, and "
                f"this one has {', '.join(available)}: install onnxruntime-gpu, or use KIND_CPU"
            )
        chosen.append((CUDA, {**cuda, "device_id": str(device)}))
    for entry in accelerators.get("cpu_execution_accelerator", []):
        # The native backend answers the same where it was built without OpenVINO.
        if entry["name"] != "openvino" or OPENVINO not in available:
            raise _unknown(entry)
        chosen.append((OPENVINO, {"device_type": "CPU"}))
    return [*chosen, ("CPUExecutionProvider", {})]


def _unknown(accelerator: dict[str, Any]) -> InvalidConfigurationError:
    return InvalidConfigurationError(f"unknown Execution Accelerator '{accelerator['name']}' is requested")


def tensorrt_options(parameters: dict[str, str]) -> dict[str, str]:
    """Options of ONNX Runtime's TensorRT provider, from the accelerator's parameters.

    Raises:
        InvalidConfigurationError: one is not known, or its value is not possible.
    """
    options = {}
    for key, value in parameters.items():
        if key == "precision_mode":
            if value not in PRECISIONS:
                raise InvalidConfigurationError(f"unsupported precision mode '{value}' is requested")
            options.update(PRECISIONS[value])
        elif key in RENAMED or (key.startswith("trt_") and key[4:] in SAME_NAME.split()):
            options[RENAMED.get(key, key)] = value
        else:
            raise InvalidConfigurationError(
                f"unknown parameter '{key}' is provided for TensorRT Execution Accelerator"
            )
    return options


def _cuda_options(configuration: Configuration) -> dict[str, str]:
    """Options that stand among the model's parameters, an old form that still holds."""
    given = {key: parameter(configuration, key) for key in CUDA_OPTIONS}
    options = {key: value for key, value in given.items() if value is not None}
    for key, names in CUDA_CHOICES.items():
        if parameter(configuration, key) is not None:
            number = integer_parameter(configuration, key, 0)
            if number not in range(len(names)):
                raise InvalidConfigurationError(f"unsupported {key} value '{number}' is requested")
            options[key] = names[number]
    return options
