"""The rule that an ONNX file has the tensors that its configuration says, found without reading weights.

Only the outline of the protocol buffer is walked (onnx.proto of onnx/onnx; protobuf.dev, "Encoding"):
weights, which are nearly all of the file, are skipped and stay on the disk.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from server.backends.configuration import Configuration
from server.backends.onnxruntime.signature import Signature, complete, needs_completion, validate
from server.lint.configurations import as_json
from server.lint.rules import Findings, Severity, rule
from server.lint.survey import Survey
from server.repository import Model


@rule(Severity.ERROR)
def onnx_differs(survey: Survey) -> Findings:
    """An ONNX file's inputs and outputs are those of the configuration: names, types and dims.

    Judged as the onnxruntime backend does when it loads (ValidateInputs and ValidateOutputs in
    onnxruntime_backend/src/onnxruntime.cc).
    """
    for model in survey.leaves:
        configuration = as_json(model)
        listed = (*configuration["input"], *configuration["output"])
        if model.backend != "onnxruntime" or any({"data_type", "dims"} - each.keys() for each in listed):
            continue
        for file in _files(model):
            try:
                found = Signature.of(Outline.read(file))
                if needs_completion(configuration):
                    complete(configuration, found)
                validate(configuration, _inferred(found, configuration))
            except (ValueError, DecodeError) as error:
                yield file, f"{error}; correct {model.path.name} or export the model again"


def _files(model: Model) -> list[Path]:
    """The ONNX files of the versions that are served and built; in a folder, its ``model.onnx``."""
    files = [version / model.wanted_files[0] for version in model.versions]
    files = [file / "model.onnx" if file.is_dir() else file for file in files]
    return [file for file in files if file.exists()]


def _inferred(found: Signature, configuration: Configuration) -> Signature:
    """With the configured sizes where the file leaves an output's open, as ONNX Runtime may infer them."""
    outputs = dict(found.outputs)
    for entry in configuration["output"]:
        dims = list(map(int, entry["dims"]))
        full = [-1, *dims] if configuration["max_batch_size"] > 0 else dims
        tensor = outputs.get(entry["name"])
        if tensor is not None and len(tensor.shape) == len(full):
            sizes = zip(tensor.shape, full, strict=True)
            outputs[tensor.name] = replace(tensor, shape=[b if a == -1 else a for a, b in sizes])
    return replace(found, outputs=outputs)


@dataclass(frozen=True)
class Argument:
    """An input or output, as ``onnxruntime.NodeArg``."""

    name: str
    type: str
    shape: list[int | str | None]

    @classmethod
    def of(cls, value: onnx.ValueInfoProto) -> Argument:
        """The same, as a file has it."""
        if not value.type.HasField("tensor_type"):
            kind = str(value.type.WhichOneof("value")).removesuffix("_type").replace("sequence", "seq")
            return cls(value.name, f"{kind}()", [])
        tensor = value.type.tensor_type
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        shape = [size.dim_value if size.HasField("dim_value") else None for size in tensor.shape.dim]
        return cls(value.name, f"tensor({kind})", list(shape))


class Outline:
    """What an ``onnxruntime.InferenceSession`` tells of its file, without loading it."""

    def __init__(self, inputs: list[Argument], outputs: list[Argument], weights: set[str]) -> None:
        self._inputs, self._outputs, self._weights = inputs, outputs, weights

    @classmethod
    def read(cls, file: Path) -> Outline:
        """The outline of an ONNX file.

        Raises:
            ValueError: it is none.
            DecodeError: it is none.
        """
        inputs, outputs, weights = list[Argument](), list[Argument](), set[str]()
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for graph in fields(data, (0, len(data)), onnx.ModelProto.GRAPH_FIELD_NUMBER):
                for field, arguments in (
                    (onnx.GraphProto.INPUT_FIELD_NUMBER, inputs),
                    (onnx.GraphProto.OUTPUT_FIELD_NUMBER, outputs),
                ):
                    for start, end in fields(data, graph, field):
                        arguments.append(Argument.of(onnx.ValueInfoProto.FromString(data[start:end])))
                for weight in fields(data, graph, onnx.GraphProto.INITIALIZER_FIELD_NUMBER):
                    for start, end in fields(data, weight, onnx.TensorProto.NAME_FIELD_NUMBER):
                        weights.add(data[start:end].decode())
        if not outputs:
            raise ValueError("this is no ONNX model, it has no outputs")
        return cls(inputs, outputs, weights)

    def get_inputs(self) -> list[Argument]:
        """Those that a request must give."""
        return [each for each in self._inputs if each.name not in self._weights]

    def get_outputs(self) -> list[Argument]:
        """What the model gives."""
        return self._outputs

    def get_overridable_initializers(self) -> list[Argument]:
        """Inputs that have a value in the file."""
        return [each for each in self._inputs if each.name in self._weights]


def fields(data: mmap.mmap, message: tuple[int, int], wanted: int) -> Iterator[tuple[int, int]]:
    """Start and end of each value of a field in a protocol buffer.

    Args:
        data: the file.
        message: start and end of the message.
        wanted: number of the field, one of strings, bytes or messages.

    Raises:
        ValueError: it is no protocol buffer.
    """
    position, end = message
    while position < end:
        tag, position = _varint(data, position, end)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            _, position = _varint(data, position, end)
        elif wire_type in (1, 5):
            position += 8 if wire_type == 1 else 4
        elif wire_type == 2:
            length, position = _varint(data, position, end)
            if number == wanted and position + length <= end:
                yield position, position + length
            position += length
        else:
            raise ValueError(f"this is no protocol buffer, it has wire type {wire_type}")
    if position > end:
        raise ValueError("this protocol buffer is cut off")


def _varint(data: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    """An integer of seven bits a byte, lowest first, and where it ends."""
    value = shift = 0
    while position < end:
        byte = data[position]
        value, position = value | (byte & 0x7F) << shift, position + 1
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("this protocol buffer is cut off")
