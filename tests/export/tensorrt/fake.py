"""TensorRT and CUDA as ``export.tensorrt.engine`` calls them, where neither is: calls are written down.

A plan of it is the graph itself, which ONNX Runtime runs, so that what is judged is really computed.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

TYPES = {
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
    "tensor(int64)": np.int64,
}


class FakeTensorRt:
    """Both modules, and what was asked of them.

    Attributes:
        refuses: reason for which graphs are not parsed, if any.
        wrong: what is added to every float that a plan computes.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.refuses: str | None = None
        self.gpus = 1
        self.wrong = 0.0
        self.tensorrt = SimpleNamespace(
            __version__="10.15.1",
            Logger=_Logger,
            Builder=lambda log: _Builder(self),
            OnnxParser=lambda network, log: _Parser(self, network),
            Runtime=lambda log: _Runtime(self),
            NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
            BuilderFlag=SimpleNamespace(TF32="tf32"),
        )
        self.cuda = SimpleNamespace(
            cudaGetDeviceCount=lambda: (0, self.gpus),
            cudaGetDeviceProperties=lambda number: (
                0,
                SimpleNamespace(name=b"NVIDIA H200", major=9, minor=0),
            ),
            cudaMalloc=self._allocate,
            cudaFree=lambda address: (0,),
            cudaMemcpy=self._copy,
            cudaMemcpyKind=SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2),
            cudaStreamCreate=lambda: (0, 5),
            cudaStreamSynchronize=lambda stream: (0,),
        )
        self._memory: dict[int, Any] = {}

    def _allocate(self, count: int) -> tuple[int, int]:
        block = ctypes.create_string_buffer(count)
        self._memory[ctypes.addressof(block)] = block
        return 0, ctypes.addressof(block)

    def _copy(self, target: int, source: int, count: int, kind: int) -> tuple[int]:
        ctypes.memmove(target, source, count)
        return (0,)

    def load(self, name: str) -> Any:
        """``importlib.import_module``."""
        return {"tensorrt": self.tensorrt, "cuda.bindings.runtime": self.cuda}[name]


class _Logger:
    WARNING = 2

    def __init__(self, level: int) -> None:
        pass


class _Builder:
    def __init__(self, fake: FakeTensorRt) -> None:
        self._fake = fake

    def create_network(self, flags: int) -> SimpleNamespace:
        self._fake.calls.append(("network", flags))
        return SimpleNamespace(graph=b"")

    def create_builder_config(self) -> SimpleNamespace:
        calls = self._fake.calls
        return SimpleNamespace(
            clear_flag=lambda flag: calls.append(("clear", flag)),
            add_optimization_profile=lambda profile: calls.append(("profile", profile.shapes)),
            create_timing_cache=lambda known: known,
            set_timing_cache=lambda known, ignore_mismatch: calls.append(("timings", known, ignore_mismatch)),
            get_timing_cache=lambda: SimpleNamespace(serialize=lambda: bytearray(b"timed")),
        )

    def create_optimization_profile(self) -> SimpleNamespace:
        shapes: dict[str, tuple[Any, ...]] = {}
        return SimpleNamespace(shapes=shapes, set_shape=lambda name, *sizes: shapes.update({name: sizes}))

    def build_serialized_network(self, network: SimpleNamespace, config: object) -> bytes | None:
        return network.graph or None


class _Parser:
    num_errors = 1

    def __init__(self, fake: FakeTensorRt, network: SimpleNamespace) -> None:
        self._fake, self._network = fake, network

    def parse(self, graph: bytes) -> bool:
        self._network.graph = graph
        return self._fake.refuses is None

    def get_error(self, number: int) -> str:
        return str(self._fake.refuses)


class _Runtime:
    def __init__(self, fake: FakeTensorRt) -> None:
        self._fake = fake

    def deserialize_cuda_engine(self, plan: bytes) -> SimpleNamespace:
        session = onnxruntime.InferenceSession(plan)
        return SimpleNamespace(create_execution_context=lambda: _Context(self._fake, session))


class _Context:
    """Runs the graph on the memory whose addresses it is given."""

    def __init__(self, fake: FakeTensorRt, session: onnxruntime.InferenceSession) -> None:
        self._fake, self._session = fake, session
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        self._shapes[name] = shape

    def set_tensor_address(self, name: str, address: int) -> None:
        self._addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        feeds = {}
        for each in self._session.get_inputs():
            shape, dtype = self._shapes[each.name], np.dtype(TYPES[each.type])
            count = int(np.prod(shape)) * dtype.itemsize
            raw = ctypes.string_at(self._addresses[each.name], count)
            feeds[each.name] = np.frombuffer(raw, dtype).reshape(shape)
        names = [each.name for each in self._session.get_outputs()]
        for name, value in zip(names, self._session.run(names, feeds), strict=True):
            result = value + np.float32(self._fake.wrong) if value.dtype.kind == "f" else value
            ctypes.memmove(self._addresses[name], np.ascontiguousarray(result).ctypes.data, result.nbytes)
        return True
