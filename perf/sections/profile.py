"""Where time goes: processor time of each process of the server, and of the operators of graphs."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import psutil

from adlens import contract
from adlens.transport import Connection, Endpoint
from perf import subjects
from perf.callers import closed
from perf.findings import Findings
from perf.operators import operator_ms
from perf.peak import int8_peak, operations
from perf.sections.precision import BACKBONES, JUDGED, REPOSITORY
from perf.serving import served
from perf.setting import Setting
from perf.throughput import InProcess, Jpeg

MODEL = contract.RECOMMEND_PRODUCTS
GRAPHS = {"float": "model.onnx", "int8": "model.int8.onnx"}
STUB, TRITON = "triton_python_backend_stub", "tritonserver"
CALLERS, DOOR, IN_PROCESS = "callers", "door and supervisor", "all stages in one process, no server"


def measure(setting: Setting, findings: Findings) -> None:
    """Processes first, then operators, in floats and in integers where these are there."""
    models = (contract.DETECT_FACES, *map(contract.attributes_model, BACKBONES))
    with served(MODEL) as url, Connection(Endpoint(url)) as connection:

        def call(jpeg: Jpeg) -> object:
            return connection.infer(MODEL, {contract.IMAGE: jpeg[np.newaxis]})

        spent = _spent(setting, [call] * setting.in_flight)
        rows = {model: subjects.rows(connection, url, model, setting.pictures) for model in models}
    alone = _spent(setting, [InProcess().run] * setting.cores)
    in_process = alone[CALLERS]
    findings.put("processor_ms_a_picture", {**spent, IN_PROCESS: in_process})
    around = sum(spent[each] for each in (TRITON, DOOR, CALLERS))
    findings.ratio("with_server_to_in_process", [in_process / (in_process + around)])
    operators: dict[str, dict[str, dict[str, float]]] = {}
    for model, each in rows.items():
        feeds = [{name: value[np.newaxis] for name, value in row.items()} for row in each]
        for precision, file in GRAPHS.items():
            graph = REPOSITORY / model / "1" / file
            if graph.exists():
                operators.setdefault(model, {})[precision] = operator_ms(graph, feeds)
                findings.put("operator_ms_a_run", operators)
        if model == contract.attributes_model(JUDGED):
            work = operations(REPOSITORY / model / "1" / GRAPHS["float"], feeds[0])
    _bounds(setting, findings, operators, work)


def _spent(setting: Setting, callers: list[Callable[[Jpeg], object]]) -> dict[str, float]:
    """Milliseconds of processor time that a picture takes of each process below this one, the most first."""
    before, began = _seconds(), time.monotonic()
    rate = closed(callers, setting.pictures, setting.seconds, setting.warm_up_s).rate
    pictures = rate * (time.monotonic() - began)
    found = {name: 1e3 * (spent - before[name]) / pictures for name, spent in _seconds().items()}
    return {name: round(spent, 2) for name, spent in sorted(found.items(), key=lambda each: -each[1])}


def _seconds() -> Mapping[str, float]:
    own = psutil.Process()
    found: defaultdict[str, float] = defaultdict(float)
    for process in (own, *own.children(recursive=True)):
        times = process.cpu_times()
        found[_name(process)] += times.user + times.system
    return found


def _name(process: psutil.Process) -> str:
    """A model's name for its processes: their first argument lies in its folder, below a version."""
    if process.pid == os.getpid():
        return CALLERS
    program, *arguments = process.cmdline()
    if program.endswith(STUB):
        return Path(arguments[0]).parents[1].name
    return TRITON if Path(program).name == TRITON else DOOR


def _bounds(
    setting: Setting, findings: Findings, operators: dict[str, dict[str, dict[str, float]]], work: float
) -> None:
    """What integers gain with no server around the graphs: no served figure can be better."""
    for backbone in BACKBONES:
        of = operators[contract.attributes_model(backbone)]
        if len(of) == len(GRAPHS):
            floats, integers = (sum(of[precision].values()) for precision in GRAPHS)
            findings.ratio(f"bare_int8_to_float/{backbone}", [floats / integers])
            if backbone == JUDGED:
                # On one core alone, as the operators were measured.
                peak = max(int8_peak(1, setting.seconds / 4).values())
                findings.ratio("bare_int8_of_peak", [work / 1e9 / (integers / 1e3) / peak])
