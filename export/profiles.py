"""The profiles for GPUs: ``python -m export.profiles`` writes them, ``--check`` says which are out of date.

Two a leaf, ``configs/gpu.pbtxt`` and ``configs/gpu-onnxruntime.pbtxt``, chosen by Triton's
``--model-config-name``. They differ in who runs what TensorRT takes: a plan, made for one kind of GPU by
``python -m export.tensorrt``, or ONNX Runtime with its TensorRT and CUDA providers, which needs no plan.
Ensembles that decode pictures have both, too: in NVIDIA's container the gate is a step of its own.

Tensors and queues come from ``config.pbtxt``, and what a GPU changes from ``export.choices``: no value stands
in two places.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from adlens import contract
from export.choices import Choice, Engine, Precision, choice_of

CHECKOUT: Final = Path(__file__).parent.parent
REPOSITORIES: Final = (CHECKOUT / "model_repository", CHECKOUT / "ensembles", CHECKOUT / "gpu")
GPU: Final = "gpu"
ONNXRUNTIME: Final = "gpu-onnxruntime"
PROFILES: Final = (GPU, ONNXRUNTIME)
GATED: Final = "CHECKED_IMAGE"
"""IMAGE behind the gate, within an ensemble."""
GPU_GRAPH: Final = "model.gpu.onnx"
"""In a version folder: ``model.onnx`` as TensorRT takes it, by ``export.tensorrt``."""
PLAN: Final = "model.plan"
"""In a version folder: what TensorRT made of it."""
ENGINE_CACHE: Final = "/var/cache/adlens"
"""Where ONNX Runtime's TensorRT provider keeps engines and timings, in the container of ``deploy/``."""
WARMUP: Final = "warmup"
"""Folder of a model with real inputs, one row each, a file a tensor (``export.samples``); Triton's name."""
PICTURE: Final = "picture.jpg"
"""In that of ``decode``: what all other real inputs are made of."""
DECODE_THREADS: Final = 4
"""Of the processor, for each instance that decodes: what the GPU does not do of a JPEG."""
HEAD: Final = "# Written by `python -m export.profiles` from config.pbtxt and export/choices.py: edit those."
WIDTH: Final = 118
Config = Any
"""A ``ModelConfig`` of ``model_config.proto``, which brings no types."""
Message = Any
"""Another message of it."""


def profile(model: str, config: Config, name: str, picture_bytes: int) -> str | None:
    """The text of a profile; None for a model that is the same on a GPU.

    Args:
        model: its name.
        config: as in its ``config.pbtxt``.
        name: one of ``PROFILES``.
        picture_bytes: length of the JPEG file to warm up with.

    Raises:
        click.ClickException: the leaf is in no table.
    """
    if config.platform == "ensemble":
        decodes = any(step.model_name == contract.DECODE for step in config.ensemble_scheduling.step)
        return _text(_ensemble(config)) if decodes else None
    choice = choice_of(model)
    if choice is None:
        raise click.ClickException(f"export/choices.py says nothing of the leaf '{model}'; add it to CHOICES")
    return _text(_leaf(config, choice, name, picture_bytes))


def _text(lines: Iterable[str]) -> str:
    return "\n".join([HEAD, *lines, ""])


def _leaf(config: Config, choice: Choice, name: str, picture_bytes: int) -> Iterator[str]:
    planned = choice.engine is Engine.TENSORRT and name == GPU
    yield from _comment(choice.why)
    yield f'backend: "{"tensorrt" if planned else config.backend}"'
    if planned:
        yield 'platform: "tensorrt_plan"'
    if choice.engine is Engine.TENSORRT:
        yield f'default_model_filename: "{PLAN if planned else GPU_GRAPH}"'
    yield f"max_batch_size: {choice.batch}"
    yield from _tensors("input", config.input)
    yield from _tensors("output", config.output)
    yield from _batching(config, choice)
    kind = "KIND_CPU" if choice.engine in (Engine.CPU, Engine.PYTHON) else "KIND_GPU"
    yield f"instance_group [ {{ count: {choice.instances} kind: {kind} }} ]"
    match choice.engine:
        case Engine.TENSORRT if planned:
            yield from _recorded(config, choice)
        case Engine.TENSORRT:
            yield from _accelerators(_tensorrt(config, choice), _cuda(choice))
        case Engine.CUDA:
            yield from _accelerators(_cuda(choice))
        case Engine.DALI:
            yield _parameter("num_threads", str(DECODE_THREADS))
        case Engine.CPU:
            yield from (
                _parameter(key, value.string_value) for key, value in sorted(config.parameters.items())
            )
    if choice.engine is not Engine.PYTHON:
        yield from _warmup(config, choice, picture_bytes)


def _comment(text: str) -> Iterator[str]:
    line = "#"
    for word in text.split():
        if len(line) + 1 + len(word) > WIDTH:
            yield line
            line = "#"
        line += f" {word}"
    yield line


def _tensors(side: str, tensors: Sequence[Message]) -> Iterator[str]:
    yield f"{side} ["
    for number, tensor in enumerate(tensors, 1):
        ragged = " allow_ragged_batch: true" if getattr(tensor, "allow_ragged_batch", False) else ""
        comma = "," if number < len(tensors) else ""
        yield f'  {{ name: "{tensor.name}" {_kind(tensor)} {_sizes("dims", tensor.dims)}{ragged} }}{comma}'
    yield "]"


def _kind(tensor: Message) -> str:
    return f"data_type: {model_config_pb2.DataType.Name(tensor.data_type)}"


def _sizes(field: str, sizes: Iterable[int]) -> str:
    return f"{field}: [ {', '.join(map(str, sizes))} ]"


def _batching(config: Config, choice: Choice) -> Iterator[str]:
    policy = config.dynamic_batching.default_queue_policy
    yield "dynamic_batching {"
    yield f"  {_sizes('preferred_batch_size', choice.preferred)}"
    yield f"  max_queue_delay_microseconds: {choice.delay_us}"
    if policy.ByteSize():
        yield f"  default_queue_policy {{ {text_format.MessageToString(policy, as_one_line=True)} }}"
    yield "}"


def _recorded(config: Config, choice: Choice) -> Iterator[str]:
    """CUDA graphs, one a preferred batch size, with shapes, so that Triton records them when it loads."""
    if not choice.graphs:
        return
    yield "optimization {"
    yield "  cuda {"
    yield "    graphs: true"
    for batch in (1, *choice.preferred):
        yield f"    graph_spec {{ batch_size: {batch}"
        for tensor in config.input:
            yield f'      input {{ key: "{tensor.name}" value: {{ {_sizes("dim", tensor.dims)} }} }}'
        yield "    }"
    yield "  }"
    yield "}"


def _accelerators(*accelerators: tuple[str, dict[str, str]]) -> Iterator[str]:
    yield "optimization {"
    yield "  execution_accelerators {"
    for name, parameters in accelerators:
        yield "    gpu_execution_accelerator {"
        yield f'      name: "{name}"'
        for key, value in parameters.items():
            yield f'      parameters {{ key: "{key}" value: "{value}" }}'
        yield "    }"
    yield "  }"
    yield "}"


def _tensorrt(config: Config, choice: Choice) -> tuple[str, dict[str, str]]:
    """ONNX Runtime's TensorRT provider; the graph itself has the precision, as for a plan.

    Options: https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html.
    """
    shapes = {"min": 1, "opt": choice.preferred[-1], "max": choice.batch}
    return "tensorrt", {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": ENGINE_CACHE,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": ENGINE_CACHE,
        **{f"trt_profile_{which}_shapes": _shapes(config, batch) for which, batch in shapes.items()},
        "trt_cuda_graph_enable": str(int(choice.graphs)),
    }


def _shapes(config: Config, batch: int) -> str:
    return ",".join(f"{tensor.name}:{'x'.join(map(str, (batch, *tensor.dims)))}" for tensor in config.input)


def _cuda(choice: Choice) -> tuple[str, dict[str, str]]:
    """https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html."""
    return "cuda", {"use_tf32": str(int(choice.precision is not Precision.FP32))}


def _parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}'


def _warmup(config: Config, choice: Choice, picture_bytes: int) -> Iterator[str]:
    """Real inputs, alone and as the largest batch: a first caller waits for no kernel to be loaded."""
    yield "model_warmup ["
    for batch in (1, choice.batch):
        yield f'  {{ name: "{batch}" batch_size: {batch}'
        for tensor in config.input:
            dims = [picture_bytes] if tensor.name == contract.IMAGE else tensor.dims
            file = PICTURE if tensor.name == contract.IMAGE else tensor.name
            yield (
                f'    inputs {{ key: "{tensor.name}" value: {{ {_kind(tensor)} {_sizes("dims", dims)} '
                f'input_data_file: "{file}" }} }}'
            )
        yield "  }" + ("," if batch == 1 else "")
    yield "]"


def _ensemble(config: Config) -> Iterator[str]:
    """The ensemble with the gate before ``decode``."""
    yield 'platform: "ensemble"'
    yield f"max_batch_size: {config.max_batch_size}"
    yield from _tensors("input", config.input)
    yield from _tensors("output", config.output)
    if config.response_cache.enable:
        yield "response_cache { enable: true }"
    steps = list(config.ensemble_scheduling.step)
    if steps[0].model_name == contract.DECODE and len(config.input) > 1:
        # Nobody needs the last one: see the rule ``inputs-beside-first-step`` of server.lint.
        steps = [steps[-1], *steps[:-1]]
    texts = []
    for step in steps:
        inputs, outputs = dict(step.input_map), dict(step.output_map)
        if step.model_name == contract.DECODE:
            texts.append(
                _step(contract.GATE, {contract.IMAGE: inputs[contract.IMAGE]}, {contract.IMAGE: GATED})
            )
            inputs[contract.IMAGE] = GATED
        known = contract.MODELS.get(step.model_name, contract.Signature({}, {}))
        # In the contract's order, as proto maps have none.
        texts.append(_step(step.model_name, _ordered(inputs, known.inputs), _ordered(outputs, known.outputs)))
    yield "ensemble_scheduling {"
    yield "  step ["
    yield ",\n".join(texts)
    yield "  ]"
    yield "}"


def _ordered(names: dict[str, str], known: Iterable[str]) -> dict[str, str]:
    order = [*(name for name in known if name in names), *sorted(names.keys() - set(known))]
    return {name: names[name] for name in order}


def _step(model: str, inputs: dict[str, str], outputs: dict[str, str]) -> str:
    maps = [
        f'      {side}_map {{ key: "{key}" value: "{value}" }}'
        for side, each in (("input", inputs), ("output", outputs))
        for key, value in each.items()
    ]
    return "\n".join(["    {", f'      model_name: "{model}"', "      model_version: -1", *maps, "    }"])


def read_config(file: Path) -> Config:
    """A model configuration."""
    return text_format.Parse(file.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())


def written(repositories: Iterable[Path]) -> Iterator[tuple[Path, str | None]]:
    """Each profile's file in the repositories and what should be in it, None for no such file.

    Raises:
        click.ClickException: a leaf is in no table.
    """
    picture = CHECKOUT / "ensembles" / contract.DECODE / WARMUP / PICTURE
    picture_bytes = picture.stat().st_size
    for repository in repositories:
        for file in sorted(repository.glob("*/config.pbtxt")):
            config = read_config(file)
            for name in PROFILES:
                text = profile(file.parent.name, config, name, picture_bytes)
                yield file.parent / "configs" / f"{name}.pbtxt", text


def write(repositories: Iterable[Path]) -> None:
    """Bring the profiles of the repositories up to date."""
    for file, text in written(repositories):
        if text is None:
            file.unlink(missing_ok=True)
        else:
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")


def stale(repositories: Iterable[Path]) -> list[Path]:
    """Profiles that are not what ``write`` would write."""
    return [
        file
        for file, text in written(repositories)
        if (file.read_text(encoding="utf-8") if file.exists() else None) != text
    ]


@click.command()
@click.argument(
    "repositories",
    metavar="[REPO]...",
    nargs=-1,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option("--check", is_flag=True, help="Write nothing; exit status 1 where one is out of date.")
def main(repositories: tuple[Path, ...], check: bool) -> None:
    """Write the profiles for GPUs of the models in REPO, by default those of the checkout."""
    chosen = repositories or REPOSITORIES
    if not check:
        write(chosen)
        return
    old = stale(chosen)
    for file in old:
        click.echo(f"{file}: out of date; run: python -m export.profiles", err=True)
    sys.exit(bool(old))


if __name__ == "__main__":
    main(prog_name="python -m export.profiles")
