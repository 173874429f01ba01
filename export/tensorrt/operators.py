"""What TensorRT takes of ONNX, as its makers document it.

Source: ``docs/operators.md`` of onnx/onnx-tensorrt for the version below: for each operator the types of what
it computes on, and restrictions. Quantised types come in by QuantizeLinear alone. What is not listed is not
supported; nor is any operator of another domain, such as the trees of ``ai.onnx.ml``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from onnx import AttributeProto, NodeProto, TensorProto

VERSION: Final = "10.15"
"""TensorRT whose list this is; 11 takes typed networks alone ("Migrating from TensorRT 10.x to 11.x")."""
OPSETS: Final = range(9, 25)

_FLOATING: Final = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16})
_HALF: Final = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16})
_NUMBERS: Final = _FLOATING | {TensorProto.INT32, TensorProto.INT64}
_ALL: Final = _NUMBERS | {TensorProto.BOOL}
_BOOL: Final = frozenset({TensorProto.BOOL})
_QUANTISED: Final = frozenset({TensorProto.INT8, TensorProto.FLOAT8E4M3FN, TensorProto.INT4})

_BY_TYPES: Final = (
    (
        _FLOATING,
        "Acos Acosh Asin Asinh Atan Atanh AveragePool BatchNormalization Ceil Celu Clip Conv "
        "ConvTranspose Cos Cosh CumSum Dropout Einsum Elu Erf Exp Floor GRU Gemm GlobalAveragePool "
        "GlobalLpPool GlobalMaxPool GroupNormalization HardSigmoid HardSwish Hardmax "
        "InstanceNormalization IsInf LRN LSTM LayerNormalization LeakyRelu Log LogSoftmax LpNormalization "
        "LpPool MatMul MaxPool MeanVarianceNormalization PRelu QuantizeLinear RNN RandomNormal "
        "RandomNormalLike RandomUniform RandomUniformLike Reciprocal Resize Round Scan Selu Sigmoid Sin "
        "Sinh Softmax Softplus Softsign Sqrt Tan Tanh ThresholdedRelu Upsample",
    ),
    (_HALF, "DeformConv GridSample HammingWindow HannWindow Mish NonMaxSuppression NonZero RoiAlign"),
    (
        _NUMBERS,
        "Abs Add ArgMax ArgMin DepthToSpace Div Equal Gelu Greater GreaterOrEqual IsNaN Less LessOrEqual "
        "Max Mean Min Mod Mul Neg Pad Pow Range ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax "
        "ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Scatter ScatterElements ScatterND "
        "Shrink Sign SpaceToDepth Sub Sum TopK",
    ),
    (
        _ALL,
        "Concat Constant ConstantOfShape Expand EyeLike Flatten Gather GatherElements GatherND Identity "
        "If Loop OneHot Reshape ReverseSequence Shape Size Slice Split Squeeze Tile Transpose Trilu "
        "Unsqueeze Where",
    ),
    (_BOOL, "And Not Or Xor"),
    (_ALL | {TensorProto.UINT8}, "Cast CastLike"),
    (_QUANTISED, "DequantizeLinear"),
)
TYPES: Final[Mapping[str, frozenset[int]]] = {
    operator: types for types, operators in _BY_TYPES for operator in operators.split()
}
"""Types that each supported operator takes: those of its inputs, of what it computes on."""

COMPUTED: Final[Mapping[str, tuple[int, ...]]] = {
    "Clip": (0,),
    "ConstantOfShape": (),
    "DequantizeLinear": (0,),
    "Expand": (0,),
    "Gather": (0,),
    "GatherElements": (0,),
    "GatherND": (0,),
    "If": (),
    "Loop": (),
    "NonMaxSuppression": (0, 1),
    "OneHot": (2,),
    "Pad": (0,),
    "QuantizeLinear": (0,),
    "ReduceMax": (0,),
    "ReduceMean": (0,),
    "ReduceMin": (0,),
    "ReduceProd": (0,),
    "ReduceSum": (0,),
    "ReduceSumSquare": (0,),
    "Reshape": (0,),
    "Resize": (0,),
    "RoiAlign": (0, 1),
    "Scan": (),
    "ScatterElements": (0, 2),
    "ScatterND": (0, 2),
    "Slice": (0,),
    "Split": (0,),
    "Squeeze": (0,),
    "Tile": (0,),
    "TopK": (0,),
    "Unsqueeze": (0,),
    "Where": (1, 2),
}
"""Inputs that these operators compute on; the others are shapes, places or conditions. Of the rest: all."""

DATA_DEPENDENT: Final = frozenset({"If", "Loop", "NonMaxSuppression", "NonZero", "Scan"})
"""Operators whose outputs' shapes, or work, depend on data: no CUDA graph can be recorded of them."""
LARGEST_TOP_K: Final = 3840


def restriction(node: NodeProto, constants: Mapping[str, int]) -> str | None:
    """What the documentation restricts a supported operator by, where this node is beyond it.

    Args:
        node: of an ONNX graph.
        constants: values known beforehand, by name, of what is a single whole number.
    """
    values = {each.name: _value(each) for each in node.attribute}
    match node.op_type:
        case "Resize":
            if values.get("antialias"):
                return "antialiasing is not supported"
            if values.get("mode", b"nearest") not in (b"nearest", b"linear"):
                return f"mode {values['mode']!r} is not supported"
        case "AveragePool" | "MaxPool" | "LpPool":
            if any(size != 1 for size in values.get("dilations", ())):
                return "dilations are not supported"
            if len(node.output) > 1:
                return "its indices are not supported"
        case "ScatterND":
            if values.get("reduction", b"none") != b"none":
                return f"reduction {values['reduction']!r} is not supported"
        case "TopK":
            if not values.get("sorted", 1):
                return "must be sorted"
            if (largest := constants.get(node.input[1])) is not None and largest >= LARGEST_TOP_K:
                return f"K is {largest}, and must be less than {LARGEST_TOP_K}"
        case "Loop" | "Scan":
            # Whether they do can only be seen by running it.
            return "must keep the shapes of what it carries, and know the length of what it collects"
    return None


def _value(attribute: AttributeProto) -> Any:  # noqa: ANN401 - as the attribute has it
    match attribute.type:
        case AttributeProto.INT:
            return attribute.i
        case AttributeProto.STRING:
            return attribute.s
        case AttributeProto.INTS:
            return tuple(attribute.ints)
    return None
