"""Rules on one model's configuration by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format
from tritonclient.grpc import model_config_pb2

from server.assembly import STAND_INS
from server.backends.configuration import (
    InvalidConfigurationError,
    boolean_parameter,
    integer_parameter,
    parameter,
)
from server.backends.dali.gate import choose_gate
from server.backends.onnxruntime.abreast import rows_abreast
from server.backends.onnxruntime.session import session_options, tensorrt_options
from server.errors import MissingModelError
from server.lint.rules import Findings, Severity, rule
from server.lint.survey import Survey, Tensor
from server.repository import Model, read_configuration

Group = model_config_pb2.ModelInstanceGroup
PARAMETERS = {
    "onnxruntime": (
        "execution_mode",
        "intra_op_thread_count",
        "inter_op_thread_count",
        "enable_mem_arena",
        "enable_mem_pattern",
        "memory.enable_memory_arena_shrinkage",
        "session.use_device_allocator_for_initializers",
        "share_session_between_instances",
        "adlens_rows_abreast",
        "cudnn_conv_algo_search",
        "gpu_mem_limit",
        "arena_extend_strategy",
        "do_copy_in_default_stream",
    ),
    "dali": ("num_threads", "split_along_outer_axis", "adlens_gate", "adlens_isolation"),
}
"""Model parameters that a backend, native or stand-in, reads (onnxruntime_backend/src/onnxruntime.cc;
dali_backend/src/parameters.h)."""
ACCELERATORS = {"gpu": ("tensorrt", "cuda"), "cpu": ("openvino",)}
"""Execution accelerators of the onnxruntime backend (onnxruntime_backend/src/onnxruntime.cc)."""
PLATFORMS = {"onnxruntime": "onnxruntime_onnx", "tensorrt": "tensorrt_plan"}
"""The one platform that a backend admits (GetBackendTypeFromPlatform in Triton's model_config.cc)."""


@rule(Severity.ERROR)
def gpu_in_cpu_profile(survey: Survey) -> Findings:
    """KIND_GPU does not load on a machine without a GPU: "no GPUs are available".

    Source: ValidateInstanceGroup in model_config_utils.cc of triton-inference-server/core. A profile
    is one for GPUs if its name says so, such as configs/gpu.pbtxt.
    """
    for model in survey.leaves:
        if not survey.has_gpu and any(group.kind == Group.KIND_GPU for group in _groups(model)):
            yield (
                model.path,
                "KIND_GPU in a profile for CPUs; move it to configs/gpu.pbtxt, use KIND_CPU here",
            )


@rule(Severity.ERROR)
def gpus_without_gpu_kind(survey: Survey) -> Findings:
    """An instance group that lists `gpus` must be of KIND_GPU, or KIND_AUTO.

    Source: ValidateInstanceGroup in model_config_utils.cc of triton-inference-server/core.
    """
    for model in survey.leaves:
        for group in _groups(model):
            if group.gpus and group.kind in (Group.KIND_CPU, Group.KIND_MODEL):
                kind = Group.Kind.Name(group.kind)
                yield model.path, f"{kind} with gpus {list(group.gpus)}; remove gpus or use KIND_GPU"


@rule(Severity.WARNING)
def default_instances(survey: Survey) -> Findings:
    """On a CPU an onnxruntime model gets two instances by default: twice the weights, twice the threads.

    Source: SetDefaultInstanceCount in model_config_utils.cc of triton-inference-server/core.
    """
    for model in survey.leaves:
        kinds = (Group.KIND_CPU,) if survey.has_gpu else (Group.KIND_CPU, Group.KIND_AUTO)
        defaults = [group for group in _groups(model) or [Group()] if group.count < 1]
        if model.backend == "onnxruntime" and any(group.kind in kinds for group in defaults):
            yield model.path, "no instance count, so there are two; set instance_group { count: ... }"


@rule(Severity.ERROR)
def exported_runtime(survey: Survey) -> Findings:
    """`runtime` is what a running server fills in; `model.py` there keeps native backends from loading.

    Source: the `runtime` field in model_config.proto of triton-inference-server/common. It comes in
    when a configuration is copied from a server's answer.
    """
    for model in survey.models:
        if model.configuration.runtime:
            yield model.path, f"runtime '{model.configuration.runtime}' is the server's; remove the field"


@rule(Severity.ERROR)
def bytes_output(survey: Survey) -> Findings:
    """A request with class_count for a BYTES output ends 24.10 (CVE-2025-23321; seen).

    Give text as a uint8 tensor of fixed length.
    """
    for model in survey.models:
        for tensor in model.configuration.output:
            if tensor.data_type == model_config_pb2.TYPE_STRING:
                yield model.path, f"output '{tensor.name}' is TYPE_STRING; make it TYPE_UINT8 of fixed length"


@rule(Severity.ERROR)
def incomplete_tensor(survey: Survey) -> Findings:
    """Each input and output has a name, a data type, and dims that are positive or -1.

    Source: ValidateIOShape in model_config_utils.cc of triton-inference-server/core. The dali backend
    alone fills in types and dims that are left out (its src/config_tools/config_tools.cc).
    """
    for model in survey.models:
        for tensor in (*model.configuration.input, *model.configuration.output):
            wrong = [size for size in (*tensor.dims, *tensor.reshape.shape) if size < 1 and size != -1]
            if not tensor.name:
                yield model.path, "a tensor has no name; give it the model's"
            elif wrong:
                yield model.path, f"'{tensor.name}' has a dimension {wrong[0]}; use -1 for one that varies"
            elif model.backend != "dali" and not (tensor.data_type and tensor.dims):
                yield model.path, f"'{tensor.name}' lacks data_type or dims; give both"


@rule(Severity.ERROR)
def negative_batch(survey: Survey) -> Findings:
    """`max_batch_size` is 0 for a model that cannot batch, or the largest batch.

    Source: ValidateModelConfig in model_config_utils.cc of triton-inference-server/core.
    """
    for model in survey.models:
        if model.configuration.max_batch_size < 0:
            yield model.path, f"max_batch_size {model.configuration.max_batch_size}; use 0 or more"


@rule(Severity.WARNING)
def batching_without_cap(survey: Survey) -> Findings:
    """Dynamic batching with a `max_batch_size` below 2 forms no batch; each request runs alone.

    Unless it is there for its queue policy, which no other setting gives.
    """
    for model in survey.leaves:
        batching = model.configuration.dynamic_batching
        asked = model.configuration.HasField("dynamic_batching") and not batching.HasField(
            "default_queue_policy"
        )
        if asked and model.is_complete and 0 <= model.configuration.max_batch_size < 2:
            cap = model.configuration.max_batch_size
            yield (
                model.path,
                f"dynamic_batching with max_batch_size {cap}; raise it or remove dynamic_batching",
            )


@rule(Severity.ERROR)
def preferred_batch(survey: Survey) -> Findings:
    """Preferred batch sizes are positive and at most `max_batch_size`.

    Source: ValidateModelConfig in model_config_utils.cc of triton-inference-server/core.
    """
    for model in survey.leaves:
        cap = model.configuration.max_batch_size
        sizes = (
            *model.configuration.dynamic_batching.preferred_batch_size,
            *model.configuration.sequence_batching.oldest.preferred_batch_size,
        )
        for size in sizes:
            if not 0 < size <= cap:
                yield (
                    model.path,
                    f"preferred_batch_size {size} with max_batch_size {cap}; keep it in 1 to {cap}",
                )


@rule(Severity.WARNING)
def missing_ragged(survey: Survey) -> Findings:
    """Without `allow_ragged_batch`, only inputs of one length share a batch, and JPEGs never have one.

    Source: the ragged batching page of Triton's user guide.
    """
    for model in survey.leaves:
        for tensor in model.configuration.input:
            batches = model.backend == "dali" and model.configuration.max_batch_size > 1
            if batches and -1 in tensor.dims and not tensor.allow_ragged_batch:
                yield model.path, f"input '{tensor.name}' varies in size; add allow_ragged_batch: true"


@rule(Severity.ERROR)
def uncacheable(survey: Survey) -> Findings:
    """The response cache does not go with sequence batching or decoupled answers.

    Source: ValidateModelConfig in model_config_utils.cc of triton-inference-server/core.
    """
    for model in survey.models:
        configuration = model.configuration
        decoupled = configuration.model_transaction_policy.decoupled
        if configuration.response_cache.enable and (decoupled or configuration.HasField("sequence_batching")):
            kind = "decoupled answers" if decoupled else "sequence_batching"
            yield model.path, f"response_cache with {kind}; remove one"


@rule(Severity.ERROR)
def unknown_backend(survey: Survey) -> Findings:
    """The pip server runs models of the backends python, onnxruntime and dali.

    All others need NVIDIA's container; its profiles are those whose name has "gpu".
    """
    known = ("python", *STAND_INS)
    for model in survey.leaves:
        if not survey.has_gpu and model.backend and model.backend not in known:
            yield model.path, f"backend '{model.backend}'; the pip server has {', '.join(known)}"


@rule(Severity.ERROR)
def platform_differs(survey: Survey) -> Findings:
    """Where both `platform` and `backend` are given, they must go together; an ensemble has no backend.

    Source: ValidateModelConfig in model_config_utils.cc of triton-inference-server/core.
    """
    for model in survey.models:
        backend, platform = model.configuration.backend, model.configuration.platform
        fits = platform != "ensemble" and platform in ("", PLATFORMS.get(backend, platform))
        if backend and not fits:
            yield model.path, f"backend '{backend}' with platform '{platform}'; remove one"


@rule(Severity.WARNING)
def unknown_parameter(survey: Survey) -> Findings:
    """A parameter that the backend does not read has no effect: most often a slip of the pen.

    The stand-in backends and the native ones ignore it without a word.
    """
    for model in survey.leaves:
        known = PARAMETERS.get(model.backend)
        for name in sorted(model.configuration.parameters):
            if known is not None and name not in known:
                yield model.path, f"{model.backend} reads no parameter '{name}'; it reads {', '.join(known)}"


@rule(Severity.ERROR)
def parameter_value(survey: Survey) -> Findings:
    """The value of a parameter must be one that the backend can read.

    Judged by the stand-in backends' own reading of it.
    """
    for model in survey.leaves:
        read = {"onnxruntime": _read_onnxruntime, "dali": _read_dali}.get(model.backend)
        if read is not None:
            try:
                read(as_json(model))
            except InvalidConfigurationError as error:
                yield model.path, f"{error}; correct the value"


def _read_onnxruntime(configuration: dict[str, Any]) -> None:
    configuration.pop("model_operations", None)  # would load libraries
    session_options(configuration)
    rows_abreast(configuration)


def _read_dali(configuration: dict[str, Any]) -> None:
    integer_parameter(configuration, "num_threads", 1)
    choose_gate(parameter(configuration, "adlens_gate"))
    boolean_parameter(configuration, "adlens_isolation", default=True)


@rule(Severity.ERROR)
def unknown_accelerator(survey: Survey) -> Findings:
    """The onnxruntime backend knows tensorrt and cuda on GPUs, and openvino on CPUs.

    Any other "unknown Execution Accelerator" fails the load (onnxruntime_backend/src/onnxruntime.cc).
    """
    for model in survey.leaves:
        for kind, name in _accelerators(model):
            if model.backend == "onnxruntime" and name not in ACCELERATORS[kind]:
                known = ", ".join(ACCELERATORS[kind])
                yield model.path, f"{kind}_execution_accelerator '{name}'; known are: {known}"


@rule(Severity.ERROR)
def accelerator_parameter(survey: Survey) -> Findings:
    """The parameters of the tensorrt accelerator are those that the onnxruntime backend knows.

    Any other fails the load on a GPU (onnxruntime_backend/src/onnxruntime.cc).
    """
    for model in survey.leaves:
        asked = model.configuration.optimization.execution_accelerators.gpu_execution_accelerator
        for accelerator in asked if model.backend == "onnxruntime" else ():
            try:
                if accelerator.name == "tensorrt":
                    tensorrt_options(dict(accelerator.parameters))
            except InvalidConfigurationError as error:
                yield model.path, f"{error}; correct it"


@rule(Severity.ERROR)
def newer_field(survey: Survey) -> Findings:
    """24.10 refuses a configuration with a field that came after it.

    `max_inflight_requests` of ensembles and `model_metrics` are in today's model_config.proto, and not in
    that of 24.10 (seen).
    """
    for model in survey.models:
        if model.configuration.ensemble_scheduling.max_inflight_requests:
            yield model.path, "max_inflight_requests; 24.10 has no such field, limit the first step's queue"
        if model.configuration.HasField("model_metrics"):
            yield model.path, "model_metrics; 24.10 has no such field, remove it"


@rule(Severity.ERROR)
def profile_differs(survey: Survey) -> Findings:
    """Each profile in configs/ takes and gives the tensors of config.pbtxt, in the same order.

    Else callers and ensembles that fit one profile break with another.
    """
    for model in survey.models:
        main = model.folder / "config.pbtxt"
        for file in sorted(model.folder.glob("configs/*.pbtxt")) if main.exists() else ():
            try:
                ours, theirs = read_configuration(main), read_configuration(file)
            except MissingModelError as error:
                yield file, str(error)
                continue
            for side in ("input", "output"):
                expected, found = (
                    [described(tensor) for tensor in getattr(each, side)] for each in (ours, theirs)
                )
                if expected != found:
                    yield file, f"{side} {', '.join(found)}, but config.pbtxt has {', '.join(expected)}"


def described(tensor: Tensor) -> str:
    """A tensor of a configuration in words: ``BOXES FP32 [16, 4]``."""
    kind = model_config_pb2.DataType.Name(tensor.data_type).removeprefix("TYPE_")
    return f"{tensor.name} {kind} {list(tensor.dims)}"


def as_json(model: Model) -> dict[str, Any]:
    """A configuration in the JSON form that Triton gives to backends."""
    configuration: dict[str, Any] = json_format.MessageToDict(
        model.configuration, preserving_proto_field_name=True
    )
    return {
        "max_batch_size": 0,
        "input": [],
        "output": [],
        **configuration,
        "name": model.name,
    }


def _groups(model: Model) -> list[Any]:
    return list(model.configuration.instance_group)


def _accelerators(model: Model) -> Iterator[tuple[str, str]]:
    asked = model.configuration.optimization.execution_accelerators
    yield from (("gpu", each.name) for each in asked.gpu_execution_accelerator)
    yield from (("cpu", each.name) for each in asked.cpu_execution_accelerator)
