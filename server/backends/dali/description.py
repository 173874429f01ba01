"""Reading what a serialised DALI pipeline declares: its inputs, its outputs' names, its batch size.

DALI's Python interface does not tell a deserialised pipeline's inputs, so they are read from the
serialised form itself, a protocol buffer. The few fields needed are described below with the
numbers of ``dali/pipeline/dali.proto`` in NVIDIA/DALI; they have not changed between 1.x and 2.x.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from nvidia.dali import types

from server.backends.configuration import InvalidConfigurationError

_FIELD = descriptor_pb2.FieldDescriptorProto
_FIELDS: dict[str, list[tuple[str, int, int, bool, str]]] = {
    "Argument": [
        ("name", 1, _FIELD.TYPE_STRING, False, ""),
        ("integers", 4, _FIELD.TYPE_INT64, True, ""),
        ("strings", 5, _FIELD.TYPE_STRING, True, ""),
    ],
    "Operator": [
        ("name", 1, _FIELD.TYPE_STRING, False, ""),
        ("argument", 4, _FIELD.TYPE_MESSAGE, True, "Argument"),
        ("instance_name", 5, _FIELD.TYPE_STRING, False, ""),
    ],
    "Output": [("name", 1, _FIELD.TYPE_STRING, False, "")],
    "Pipeline": [
        ("batch_size", 2, _FIELD.TYPE_INT64, False, ""),
        ("operator", 5, _FIELD.TYPE_MESSAGE, True, "Operator"),
        ("output", 7, _FIELD.TYPE_MESSAGE, True, "Output"),
    ],
}
"""Messages and their fields: our name, number, type, whether repeated, and message type."""

INPUT_OPERATOR = "ExternalSource"
VIDEO_INPUT = "inputs__Video"
Message = Any
"""A message, or message class, that is made while running, of which a type checker knows nothing."""


@dataclass(frozen=True)
class Input:
    """An ``external_source``; type (a ``DALIDataType``) and rank are None where it declares none."""

    name: str
    data_type: Any | None
    rank: int | None


def describe(serialized: bytes) -> tuple[list[Input], list[str], int]:
    """Inputs, names of the outputs and batch size of a serialised pipeline.

    Raises:
        InvalidConfigurationError: it has an input that makes several answers of one request.
    """
    pipeline = _pipeline_class().FromString(serialized)
    if any(VIDEO_INPUT in operator.name for operator in pipeline.operator):
        raise InvalidConfigurationError(
            "fn.experimental.inputs.video needs the native dali backend of NVIDIA's container: this one "
            "answers each request once"
        )
    inputs = [_input(operator) for operator in pipeline.operator if operator.name == INPUT_OPERATOR]
    return inputs, [output.name for output in pipeline.output], int(pipeline.batch_size)


def _input(operator: Message) -> Input:
    integers = {each.name: each.integers[0] for each in operator.argument if each.integers}
    strings = {each.name: each.strings[0] for each in operator.argument if each.strings}
    # A layout tells the rank too: ExternalSource::InferNdim in NVIDIA/DALI.
    data_type, rank = integers.get("dtype"), integers.get("ndim", len(strings.get("layout", "")) or None)
    return Input(
        name=operator.instance_name,
        data_type=None if data_type is None else types.DALIDataType(data_type),
        rank=None if rank is None else int(rank),
    )


def _pipeline_class() -> Message:
    file = descriptor_pb2.FileDescriptorProto(
        name="adlens_dali.proto", package="adlens_dali", syntax="proto2"
    )
    for message, fields in _FIELDS.items():
        described = file.message_type.add(name=message)
        for name, number, kind, repeated, message_type in fields:
            described.field.add(
                name=name,
                number=number,
                type=kind,
                label=_FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL,
                type_name=f".adlens_dali.{message_type}" if message_type else None,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("adlens_dali.Pipeline"))
