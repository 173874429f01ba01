"""Quantised networks beside those in float, in turns, and how much of the processor's peak they reach."""

from __future__ import annotations

from dataclasses import asdict

import click
import numpy as np

from adlens import contract
from adlens.transport import Connection, Endpoint
from perf import subjects
from perf.findings import Findings
from perf.peak import int8_peak, operations
from perf.repository import has_profile
from perf.serving import CHECKOUT, served
from perf.setting import Setting

BACKBONES = ("resnet50", "vgg16")
JUDGED = "resnet50"
"""Whose share of the peak is a target."""
IN_FLIGHT = 4
REPOSITORY = CHECKOUT / "model_repository"


def measure(setting: Setting, findings: Findings) -> None:
    """The peak, and the leaves by both profiles.

    Raises:
        ClickException: no model has a configuration of the quantised profile.
    """
    peak = int8_peak(setting.cores, setting.seconds / 4)
    findings.put("int8_peak_gops", peak)
    if not has_profile(setting.int8_profile):
        raise click.ClickException(f"no model has a configuration {setting.int8_profile!r}")
    rates: dict[str, dict[str, list[float]]] = {"float": {}, "int8": {}}
    models = {backbone: contract.attributes_model(backbone) for backbone in BACKBONES}
    work: dict[str, float] = {}
    for _ in range(setting.rounds):
        for precision, profile in (("float", None), ("int8", setting.int8_profile)):
            names = (*models.values(), contract.DETECT_FACES, contract.DECODE)
            with served(*names, profile=profile) as url, Connection(Endpoint(url)) as connection:
                for backbone, model in models.items():
                    rows = subjects.rows(connection, url, model, setting.pictures)
                    if backbone not in work:
                        feed = {name: value[np.newaxis] for name, value in rows[0].items()}
                        work[backbone] = operations(REPOSITORY / model / "1" / "model.onnx", feed)
                    with setting.analyzer(url, rows) as analyzer:
                        found = analyzer.closed(model, IN_FLIGHT, setting.window_s, shared_memory=True)
                    rates[precision].setdefault(backbone, []).append(found.rate)
                    findings.put(f"{model} {precision}", asdict(found))
    findings.put("gigaoperations_a_request", {name: round(each / 1e9, 3) for name, each in work.items()})
    for backbone in BACKBONES:
        pairs = zip(rates["int8"][backbone], rates["float"][backbone], strict=True)
        findings.ratio(f"int8_to_float/{backbone}", [a / b for a, b in pairs])
    shares = [rate * work[JUDGED] / 1e9 / max(peak.values()) for rate in rates["int8"][JUDGED]]
    findings.ratio("int8_of_peak", shares)
