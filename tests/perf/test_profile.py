"""Where the time of a graph goes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from perf.operators import LONGEST, OTHERS, operator_ms

SIDE = 256


def graph(path: Path) -> Path:
    """A product that takes long, and many steps that do not."""
    weights = numpy_helper.from_array(np.ones((SIDE, SIDE), np.float32), "w")
    small = ["Abs", "Exp", "Tanh", "Sign", "Floor", "Ceil", "Sin", "Cos"]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["0"]), helper.make_node("ReduceSum", ["0"], ["1"])]
    nodes += [helper.make_node(kind, [str(n + 1)], [str(n + 2)]) for n, kind in enumerate(small)]
    info = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [SIDE, SIDE])
    last = helper.make_tensor_value_info(str(len(small) + 1), onnx.TensorProto.FLOAT, None)
    made = helper.make_graph(nodes, "profiled", [info], [last], [weights])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_the_longest_operators_are_told_first_and_all_others_together(tmp_path: Path) -> None:
    feed = {"x": np.ones((SIDE, SIDE), np.float32)}
    spent = operator_ms(graph(tmp_path / "model.onnx"), [feed])
    names, times = list(spent), list(spent.values())
    assert names[0] == "MatMul"
    assert names[-1] == OTHERS
    assert len(names) == LONGEST + 1
    assert times[:-1] == sorted(times[:-1], reverse=True)
    assert times[0] > 0
