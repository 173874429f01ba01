"""Every ensemble, and every leaf beside its bare graph, in turns.

Tensors of leaves are in memory that caller and server share: within an ensemble they cross no wire either,
and a canvas of 1.2 MB in a message costs as much as a small graph. What it costs is told for one leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from adlens import contract
from adlens.errors import AdlensError
from adlens.transport import Connection, Endpoint
from perf import bare, subjects
from perf.findings import Findings
from perf.repository import ENSEMBLES, filled
from perf.serving import CHECKOUT, TOKEN, served
from perf.setting import Setting
from perf.steps import PARTS, Steps
from perf.subjects import NULL
from perf.targets import RESNET, VGG

IN_FLIGHT = (1, 4)
"""Of ensembles: how long one waits alone, and how much is done together; ``load`` has the curve of job 1."""
IN_FLIGHT_OF_LEAVES = 4
"""Two for each core: one that runs, and the next."""
JUDGED = [contract.attributes_model(backbone) for backbone in (RESNET, VGG)]
"""Leaves with targets of their own."""
BY_MESSAGE = contract.DETECT_FACES
"""The leaf whose canvases go in messages, too."""
FAILURES = (click.ClickException, AdlensError, KeyError, ValueError)
"""By which one model has no figure, and the next has its turn."""


def measure(setting: Setting, findings: Findings) -> None:
    """All of them, with galleries that are not empty."""
    repositories = filled(setting.out / "models")
    with served(repositories=repositories) as url, Connection(Endpoint(url)) as connection:
        for model in subjects.ENSEMBLES:
            _told(findings, url, model, partial(_ensemble, setting, findings, url, connection))
        null_rate = _null_rate(setting, url)
        for model in subjects.LEAVES:
            rounds = setting.rounds if model in JUDGED else 1
            leaf = partial(_leaf, setting, findings, url, connection, repositories, rounds, null_rate)
            _told(findings, url, model, leaf)
        _told(findings, url, BY_MESSAGE, partial(_messages, setting, findings, url, connection))


def measure_quick(setting: Setting, findings: Findings) -> None:
    """A few leaves."""
    repositories = (CHECKOUT / "model_repository", ENSEMBLES)
    steps = (contract.DECODE, contract.DETECT_FACES)
    with served(*{*subjects.QUICK_LEAVES, *steps}) as url, Connection(Endpoint(url)) as connection:
        leaf = partial(_leaf, setting, findings, url, connection, repositories, setting.rounds, None)
        for model in subjects.QUICK_LEAVES:
            _told(findings, url, model, leaf)


def _told(findings: Findings, url: str, model: str, take: Callable[[str], None]) -> None:
    """Measure a model, or say why not."""
    if not subjects.is_served(url, model):
        findings.fail(model, "not in this repository")
        return
    try:
        take(model)
    except FAILURES as error:
        findings.fail(model, error)


def _ensemble(setting: Setting, findings: Findings, url: str, connection: Connection, model: str) -> None:
    rows = subjects.rows(connection, url, model, setting.pictures)
    with setting.analyzer(url, rows) as analyzer, Steps(url, TOKEN) as steps:
        loads, spent = [], []
        for in_flight in IN_FLIGHT:
            steps()
            load = analyzer.closed(model, in_flight, setting.window_s)
            spent.append({name: parts for name, parts in steps().items() if name != model})
            loads.append(asdict(load) | shares(load.mean_ms, spent[-1].values()))
        best = max(range(len(loads)), key=lambda place: loads[place]["rate"])
        findings.put(
            model, {"kind": "ensemble", "best": loads[best], "loads": loads, "steps_ms": spent[best]}
        )


def shares(mean_ms: float, steps: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Queue and compute of all steps, and what is left of the mean latency.

    Steps that run side by side are added up, and may leave nothing.
    """
    spent = list(steps)
    queue = sum(each["queue"] for each in spent)
    compute = sum(each[part] for each in spent for part in PARTS if part != "queue")
    wire = max(mean_ms - queue - compute, 0.0)
    return {"queue_ms": round(queue, 3), "compute_ms": round(compute, 3), "wire_ms": round(wire, 3)}


def _leaf(
    setting: Setting,
    findings: Findings,
    url: str,
    connection: Connection,
    repositories: Sequence[Path],
    rounds: int,
    null_rate: float | None,
    model: str,
) -> None:
    rows = subjects.rows(connection, url, model, setting.pictures)
    folder = next(folder / model for folder in repositories if (folder / model).exists())
    loads, ratios, bare_rates = [], [], []
    with setting.analyzer(url, rows) as analyzer:
        for _ in range(rounds):
            load = analyzer.closed(model, IN_FLIGHT_OF_LEAVES, setting.window_s, shared_memory=True)
            alone = bare.best(folder, rows, setting.cores, 2 * setting.window_s)
            loads.append(load)
            ratios.append(load.rate / alone.rate)
            bare_rates.append(alone.rate)
    best = max(loads, key=lambda each: each.rate)
    findings.put(
        model,
        {
            "kind": "leaf",
            "best": asdict(best),
            "loads": [asdict(load) for load in loads],
            "bare_per_s": bare_rates,
        },
    )
    findings.ratio(f"leaf_to_bare/{model}", ratios)
    if null_rate is not None:
        # Where a request takes the cores for as long as the bare graph and an empty model do together.
        findings.ratio(f"with_null_to_bare/{model}", [null_rate / (null_rate + rate) for rate in bare_rates])


def _null_rate(setting: Setting, url: str) -> float:
    """Requests a second, a small picture each, that the server answers where nothing is computed."""
    with setting.analyzer(url, [{contract.IMAGE: jpeg} for jpeg in setting.pictures]) as analyzer:
        return analyzer.closed(NULL, IN_FLIGHT_OF_LEAVES, setting.window_s, shared_memory=True).rate


def _messages(setting: Setting, findings: Findings, url: str, connection: Connection, model: str) -> None:
    """Tensors in shared memory beside tensors in messages, in turns."""
    rows = subjects.rows(connection, url, model, setting.pictures)
    ratios = []
    with setting.analyzer(url, rows) as analyzer:
        for _ in range(setting.rounds):
            shared, message = (
                analyzer.closed(model, IN_FLIGHT_OF_LEAVES, setting.window_s, shared_memory=each).rate
                for each in (True, False)
            )
            ratios.append(shared / message)
    findings.ratio(f"shared_memory_to_message/{model}", ratios)
