"""Seeded ``ModelInfer`` requests that are wrong in one way, or in two, of those that gRPC lets through.

Each begins as a request that is answered. The same seed gives the same requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

import numpy.typing as npt
from tritonclient.grpc import service_pb2

from adlens.transport import infer_request

Request = service_pb2.ModelInferRequest
Inputs = Mapping[str, npt.NDArray[Any]]

DATATYPES = (
    "BOOL",
    "UINT8",
    "INT8",
    "UINT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "BF16",
    "BYTES",
    "",
    "X",
)
DIMENSIONS = (0, -1, 1, 2, 9, 2**31, 2**32, 2**32 + 1, 2**62, -(2**63), 2**63 - 1)
NUMBERS = (0, 1, -1, 2**31 - 1, 2**31, -(2**63), 2**63 - 1)
NAMES = ("", "X", "IMAGE ", "image", "A" * 10_000, "\u0000", "../../etc/passwd", "%s%n", "\U0001f600")


def breaks_triton(request: Request) -> bool:
    """Whether 24.10 treats this request so that its neighbours suffer, or never answers it.

    The number of rows is kept in 32 bits, and 0 stands for a model without a batch dimension: a leaf
    model's request of 0 rows, or of a multiple of 2**32, reaches the Python backend without its first
    dimension. Its second one is taken for the number of rows; all requests of the batch fail with
    INTERNAL, "batch size N for 'decode_0_0', max allowed is 8"; with 0 bytes it is never answered.
    """
    return any(tensor.shape and tensor.shape[0] % 2**32 == 0 for tensor in request.inputs)


def requests(models: Mapping[str, Inputs], count: int, seed: int) -> Iterator[tuple[str, Request]]:
    """``count`` requests for ``models``, given with inputs that are fine; with the name of the fault."""
    random = Random(seed)
    names, kinds = list(models), list(FAULTS)
    for number in range(count):
        kind, model = kinds[number % len(kinds)], random.choice(names)
        request = infer_request(model, models[model])
        FAULTS[kind](random, request)
        if number % 3 == 2:
            FAULTS[random.choice(kinds)](random, request)
        yield kind, request


def _input(random: Random, request: Request) -> service_pb2.ModelInferRequest.InferInputTensor:
    return random.choice(request.inputs) if request.inputs else request.inputs.add()


def _shape(random: Random, request: Request) -> None:
    tensor = _input(random, request)
    where = random.randrange(len(tensor.shape) + 1)
    if where < len(tensor.shape):
        tensor.shape[where] = random.choice(DIMENSIONS)


def _rank(random: Random, request: Request) -> None:
    tensor = _input(random, request)
    wrong = random.choice(([], list(tensor.shape)[1:], [1, *tensor.shape], [1] * 1000))
    del tensor.shape[:]
    tensor.shape.extend(wrong)


def _batch(random: Random, request: Request) -> None:
    """A number of rows that the bytes may have, or not."""
    rows = random.choice((0, 2, 8, 9, 1000))
    for number, tensor in enumerate(request.inputs):
        if tensor.shape:
            tensor.shape[0] = rows
        if rows < 10 and random.random() < 0.7 and number < len(request.raw_input_contents):
            request.raw_input_contents[number] *= rows


def _datatype(random: Random, request: Request) -> None:
    _input(random, request).datatype = random.choice(DATATYPES)


def _input_name(random: Random, request: Request) -> None:
    _input(random, request).name = random.choice(NAMES)


def _model_name(random: Random, request: Request) -> None:
    request.model_name = random.choice(NAMES)


def _model_version(random: Random, request: Request) -> None:
    request.model_version = random.choice(("0", "2", "-1", "1.5", "x", "9" * 30, " 1", "01"))


def _raw_size(random: Random, request: Request) -> None:
    if not request.raw_input_contents:
        return
    where = random.randrange(len(request.raw_input_contents))
    raw = request.raw_input_contents[where]
    request.raw_input_contents[where] = random.choice((b"", raw[:-1], raw + b"\0", raw * 2, raw[:1]))


def _raw_count(random: Random, request: Request) -> None:
    if random.random() < 0.5 and request.raw_input_contents:
        request.raw_input_contents.pop()
    else:
        request.raw_input_contents.extend([b"\0" * random.choice((0, 1, 1000))] * random.choice((1, 100)))


def _contents_for_raw(random: Random, request: Request) -> None:
    """Typed contents in place of raw ones, or beside them, of the right type or any other."""
    tensor = _input(random, request)
    if random.random() < 0.7:
        del request.raw_input_contents[:]
    count = random.choice((0, 1, 2, 5000))
    field = random.choice(
        ("bool_contents", "int_contents", "int64_contents", "uint_contents", "uint64_contents",
         "fp32_contents", "fp64_contents", "bytes_contents")
    )  # fmt: skip
    value = random.choice((b"", b"x" * 9)) if field == "bytes_contents" else random.choice((0, 1, 255))
    getattr(tensor.contents, field).extend([value] * count)


def _missing_input(random: Random, request: Request) -> None:
    if request.inputs:
        where = random.randrange(len(request.inputs))
        del request.inputs[where]
        if random.random() < 0.7 and where < len(request.raw_input_contents):
            del request.raw_input_contents[where]


def _twice_the_input(random: Random, request: Request) -> None:
    request.inputs.add().CopyFrom(_input(random, request))
    if random.random() < 0.7 and request.raw_input_contents:
        request.raw_input_contents.append(request.raw_input_contents[0])


def _foreign_input(random: Random, request: Request) -> None:
    request.inputs.add(name="FOREIGN", datatype="FP32", shape=[1, 1])
    request.raw_input_contents.append(bytes(4))


def _outputs(random: Random, request: Request) -> None:
    for name in random.choice((("NONE",), ("PIXELS", "PIXELS"), ("",), ("BOXES",), ("CARD", "NONE"), NAMES)):
        request.outputs.add(name=name)


def _classification(random: Random, request: Request) -> None:
    """Classes asked of a numeric output; asked of a BYTES one, they end 24.10 (CVE-2025-23321)."""
    for name in random.choice(
        (("PIXELS", "PICTURE_SIZE"), ("BOXES",), ("PROBABILITIES",), ("CARD",), ("FACE_COUNT",))
    ):
        output = request.outputs.add(name=name)
        _set(output.parameters["classification"], random.choice((*NUMBERS, "3", 1.5, True)))


def _request_parameters(random: Random, request: Request) -> None:
    name = random.choice(
        ("sequence_id", "sequence_start", "sequence_end", "priority", "timeout", "binary_data_output",
         "triton_enable_empty_final_response", "triton_x", "", "A" * 5000, "headers", "correlation_id")
    )  # fmt: skip
    _set(request.parameters[name], random.choice((*NUMBERS, True, "x", "", "A" * 5000, 1e308, float("nan"))))


def _shared_memory(random: Random, request: Request) -> None:
    """Regions that nobody registered, also with sizes and offsets beyond all bounds."""
    if random.random() < 0.6 or not request.outputs:
        tensor: Any = _input(random, request)
        if random.random() < 0.7:
            del request.raw_input_contents[:]
    else:
        tensor = random.choice(request.outputs)
    for key, choices in {
        "shared_memory_region": (*NAMES, 1),
        "shared_memory_byte_size": (*NUMBERS, "x"),
        "shared_memory_offset": (*NUMBERS, "x"),
    }.items():
        if random.random() < 0.8:
            _set(tensor.parameters[key], random.choice(choices))


def _input_parameters(random: Random, request: Request) -> None:
    name = random.choice(("binary_data_size", "classification", "binary_data", "x"))
    _set(_input(random, request).parameters[name], random.choice((*NUMBERS, "x", True)))


def _request_id(random: Random, request: Request) -> None:
    request.id = random.choice(("", "A" * 100_000, "\u0000", "%n%s", "\U0001f600" * 100))


def _values(random: Random, request: Request) -> None:
    """Right in form, but with numbers that are none, or far from any that make sense."""
    for number, tensor in enumerate(request.inputs):
        if number >= len(request.raw_input_contents):
            return
        size = len(request.raw_input_contents[number])
        pattern = random.choice(
            (b"\xff\xff\xff\xff", b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"\xff\xff\xff\x7f", b"")
        )
        pattern = pattern if tensor.name != "PIXELS" else b""
        raw = (pattern * (size // 4 + 1))[:size] if pattern else random.randbytes(min(size, 4096))
        request.raw_input_contents[number] = raw.ljust(size, b"\0")


def _empty(random: Random, request: Request) -> None:
    """Nothing but the model's name."""
    name = request.model_name
    request.Clear()
    request.model_name = name


def _set(parameter: service_pb2.InferParameter, value: bool | int | float | str) -> None:
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int):
        setattr(parameter, "uint64_param" if value == 2**31 else "int64_param", value)
    elif isinstance(value, float):
        parameter.double_param = value
    else:
        parameter.string_param = value


FAULTS: dict[str, Callable[[Random, Request], None]] = {
    fault.__name__.strip("_"): fault
    for fault in (
        _shape, _rank, _batch, _datatype, _input_name, _model_name, _model_version, _raw_size, _raw_count,
        _contents_for_raw, _missing_input, _twice_the_input, _foreign_input, _outputs, _classification,
        _request_parameters, _shared_memory, _input_parameters, _request_id, _values, _empty,
    )
}  # fmt: skip
"""Ways to be wrong by name."""
