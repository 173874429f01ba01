"""How much sooner an answer comes that the server has kept: a picture again, beside new ones, in turns."""

from __future__ import annotations

import itertools
import statistics
import time

import numpy as np

from adlens import contract
from adlens.transport import Connection, Endpoint
from perf import inputs
from perf.findings import Findings
from perf.serving import served
from perf.setting import Setting
from perf.throughput import Jpeg

PAIRS = 10
"""Of a new picture and the same one again, a round."""
MODEL = contract.RECOMMEND_PRODUCTS


def measure(setting: Setting, findings: Findings) -> None:
    """Milliseconds of one request at a time, of pictures that are new and of those that are not.

    Raises:
        ClickException: this server has no such option.
    """
    with served(MODEL, options=setting.cache_options) as url, Connection(Endpoint(url)) as connection:
        numbers = itertools.count()

        def taken_ms(jpeg: Jpeg) -> float:
            began = time.perf_counter()
            connection.infer(MODEL, {contract.IMAGE: jpeg[np.newaxis]})
            return 1e3 * (time.perf_counter() - began)

        rounds: list[tuple[float, float]] = []
        for _ in range(setting.rounds + 1):
            pictures = [inputs.unique(setting.pictures[0], next(numbers)) for _ in range(PAIRS)]
            pairs = [(taken_ms(jpeg), taken_ms(jpeg)) for jpeg in pictures]
            miss, hit = (statistics.median(each) for each in zip(*pairs, strict=True))
            rounds.append((miss, hit))
            findings.put("miss_and_hit_ms", [[round(each, 3) for each in pair] for pair in rounds])
        # The first warms up.
        findings.ratio("miss_to_hit", [miss / hit for miss, hit in rounds[1:]])
