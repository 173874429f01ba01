"""An ONNX Runtime session as a Triton configuration asks for it.

File names, parameters and accelerators follow ``ModelState`` in ``src/onnxruntime.cc`` of
triton-inference-server/onnxruntime_backend.
"""

from __future__ import annotations

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

ACCELERATORS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
"""Names of execution accelerators in a configuration, and ONNX Runtime's providers."""

PRECISIONS: dict[str, dict[str, str]] = {
    "FP32": {},
    "FP16": {"trt_fp16_enable": "1"},
    "BF16": {"trt_bf16_enable": "1"},
    "INT8": {"trt_int8_enable": "1"},
}
"""Values of the accelerator parameter ``precision_mode`` and TensorRT's options."""

RENAMED = {
    "max_workspace_size_bytes": "trt_max_workspace_size",
    "int8_calibration_table_name": "trt_int8_calibration_table_name",
    "int8_use_native_calibration_table": "trt_int8_use_native_calibration_table",
}
"""Accelerator parameters that go by another name in ONNX Runtime; all others keep theirs."""


def model_file(folder: Path, configuration: Configuration) -> Path:
    """The ONNX file of a version folder: ``default_model_filename``, else ``model.onnx``.

    Where that is a folder, ``model.onnx`` inside it.

    Raises:
        InvalidConfigurationError: there is no such file.
    """
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
    return onnxruntime.InferenceSession(
        str(path), session_options(configuration), providers=_providers(configuration, kind, device)
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


def _providers(configuration: Configuration, kind: str, device: int) -> list[Any]:
    accelerators = configuration.get("optimization", {}).get("execution_accelerators", {})
    providers: list[Any] = []
    if kind == "GPU":
        asked = accelerators.get("gpu_execution_accelerator", [])
        # CUDA takes what the accelerators leave, asked for or not.
        implied = [] if any(entry["name"] == "cuda" for entry in asked) else [{"name": "cuda"}]
        providers += [_gpu_provider(configuration, entry, device) for entry in (*asked, *implied)]
    for entry in accelerators.get("cpu_execution_accelerator", []):
        # The native backend answers the same where it was built without OpenVINO.
        if entry["name"] != "openvino" or ACCELERATORS["openvino"] not in _available():
            raise InvalidConfigurationError(f"unknown Execution Accelerator '{entry['name']}' is requested")
        providers.append((ACCELERATORS["openvino"], {"device_type": "CPU"}))
    return [*providers, "CPUExecutionProvider"]


def _available() -> list[str]:
    return list(onnxruntime.get_available_providers())


def _gpu_provider(configuration: Configuration, entry: dict[str, Any], device: int) -> tuple[str, Any]:
    if entry["name"] not in ("tensorrt", "cuda"):
        raise InvalidConfigurationError(f"unknown Execution Accelerator '{entry['name']}' is requested")
    provider = ACCELERATORS[entry["name"]]
    if provider not in _available():
        raise InvalidConfigurationError(
            f"unable to load model '{configuration['name']}', KIND_GPU needs ONNX Runtime's {provider}, and "
            f"this one has {', '.join(_available())}: install onnxruntime-gpu, or use KIND_CPU"
        )
    options = {"device_id": str(device)}
    for key, value in entry.get("parameters", {}).items():
        if key == "precision_mode":
            if value not in PRECISIONS:
                raise InvalidConfigurationError(f"unsupported precision mode '{value}' is requested")
            options.update(PRECISIONS[value])
        else:
            options[RENAMED.get(key, key)] = value
    return provider, options
