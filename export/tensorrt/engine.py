"""All that needs TensorRT and a GPU: build a plan, run it once. Kept small, as few machines have both.

Networks are strongly typed, which TensorRT 10 offers and 11 demands: the graph says the precision. API:
https://docs.nvidia.com/deeplearning/tensorrt, "Python API", and of CUDA
https://nvidia.github.io/cuda-python/cuda-bindings.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
IMAGE: Final = "nvcr.io/nvidia/tritonserver:26.06-py3"
"""NVIDIA's container on which ``deploy/Dockerfile`` builds."""
REMEDY: Final = (
    "build plans where both are: make gpu-image, then "
    "docker run --rm --gpus all --volume adlens-models:/models adlens-gpu plans"
)


class MissingGpuError(RuntimeError):
    """This machine has no TensorRT, or no GPU for it."""


class BuildError(RuntimeError):
    """TensorRT does not take the graph."""


@dataclass(frozen=True)
class Device:
    """A GPU and the TensorRT that is there for it: a plan is good for these alone."""

    name: str
    capability: str
    """Compute capability, such as ``9.0``: what CUDA calls SM 90."""
    tensorrt: str


@dataclass(frozen=True)
class Shapes:
    """Of an input: the smallest, the usual and the largest, batch first."""

    least: tuple[int, ...]
    usual: tuple[int, ...]
    most: tuple[int, ...]


class TensorRt:
    """TensorRT on the first GPU."""

    def __init__(self) -> None:
        """Find both.

        Raises:
            MissingGpuError: one is not there; with the command of the container that has both.
        """
        try:
            self._trt: Any = importlib.import_module("tensorrt")
            self._cuda: Any = importlib.import_module("cuda.bindings.runtime")
        except ImportError as error:
            raise MissingGpuError(f"no plan can be built here ({error}): {REMEDY}") from error
        self._log = self._trt.Logger(self._trt.Logger.WARNING)
        status, count = self._cuda.cudaGetDeviceCount()
        if int(status) or not count:
            raise MissingGpuError(f"no plan can be built here (no NVIDIA GPU is visible): {REMEDY}")
        properties = self._checked(self._cuda.cudaGetDeviceProperties(0))
        name = properties.name
        self.device = Device(
            name.decode() if isinstance(name, bytes) else str(name),
            f"{properties.major}.{properties.minor}",
            str(self._trt.__version__),
        )

    def build(self, graph: bytes, shapes: Mapping[str, Shapes], tf32: bool, timings: Path) -> bytes:
        """A plan of a graph.

        Args:
            graph: serialised, its weights within.
            shapes: of each input, for the one optimisation profile.
            tf32: whether products in single precision may have 10 bits.
            timings: file of what was measured before, so that the same layers are not timed again; written.

        Raises:
            BuildError: TensorRT does not take it; with its reasons.
        """
        trt = self._trt
        builder = trt.Builder(self._log)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, self._log)
        if not parser.parse(graph):
            reasons = [str(parser.get_error(number)) for number in range(parser.num_errors)]
            raise BuildError("; ".join(reasons) or "TensorRT cannot read the graph")
        config = builder.create_builder_config()
        if not tf32:
            config.clear_flag(trt.BuilderFlag.TF32)
        profile = builder.create_optimization_profile()
        for name, each in shapes.items():
            profile.set_shape(name, each.least, each.usual, each.most)
        config.add_optimization_profile(profile)
        known = timings.read_bytes() if timings.exists() else b""
        config.set_timing_cache(config.create_timing_cache(known), ignore_mismatch=False)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise BuildError("TensorRT builds no plan of the graph; its log says why")
        timings.parent.mkdir(parents=True, exist_ok=True)
        timings.write_bytes(bytes(config.get_timing_cache().serialize()))
        return bytes(plan)

    def run(
        self,
        plan: bytes,
        feeds: Mapping[str, Array],
        outputs: Mapping[str, tuple[Sequence[int], np.dtype[Any]]],
    ) -> dict[str, Array]:
        """What a plan makes of inputs.

        Args:
            plan: built for this GPU.
            feeds: each input, by name.
            outputs: shape and dtype of each output, by name.

        Raises:
            BuildError: TensorRT cannot run it.
        """
        engine = self._trt.Runtime(self._log).deserialize_cuda_engine(plan)
        if engine is None:
            raise BuildError("TensorRT cannot read the plan that it has built")
        context = engine.create_execution_context()
        results = {name: np.empty(shape, dtype) for name, (shape, dtype) in outputs.items()}
        memory = {
            name: self._checked(self._cuda.cudaMalloc(array.nbytes))
            for name, array in {**feeds, **results}.items()
        }
        kinds = self._cuda.cudaMemcpyKind
        try:
            for name, array in feeds.items():
                given = np.ascontiguousarray(array)
                self._copy(memory[name], given.ctypes.data, given.nbytes, kinds.cudaMemcpyHostToDevice)
                context.set_input_shape(name, given.shape)
            for name, address in memory.items():
                context.set_tensor_address(name, int(address))
            stream = self._checked(self._cuda.cudaStreamCreate())
            if not context.execute_async_v3(int(stream)):
                raise BuildError("TensorRT cannot run the plan that it has built")
            self._checked(self._cuda.cudaStreamSynchronize(stream))
            for name, array in results.items():
                self._copy(array.ctypes.data, memory[name], array.nbytes, kinds.cudaMemcpyDeviceToHost)
        finally:
            for address in memory.values():
                self._cuda.cudaFree(address)
        return results

    def _copy(self, target: Any, source: Any, count: int, kind: Any) -> None:  # noqa: ANN401
        self._checked(self._cuda.cudaMemcpy(target, source, count, kind))

    def _checked(self, answer: tuple[Any, ...]) -> Any:  # noqa: ANN401
        status, *values = answer
        if int(status):
            raise BuildError(f"CUDA refuses: {status}")
        return values[0] if values else None
