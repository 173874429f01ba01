"""What is left of a server's throughput when callers ask for more than it has: ``python -m perf.overload``.

First the peak: as many answers a second as a fixed number of requests in flight gets. Then, for each load
in multiples of that peak, requests that come at random moments (Poisson) and do not wait for each other.
Goodput counts answers within the deadline; what the server refuses, it should refuse at once. Every run
warms up until queues are as full as they get, and only then counts.

Not measured: large pictures, networks between client and server. The client takes its share of the cores,
more of it the more is refused.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from matplotlib.figure import Figure

from adlens import contract
from adlens.errors import AdlensError
from adlens.transport import AsyncConnection, Endpoint
from perf.throughput import Jpeg, machine, read_pictures

ANSWERED: Final = "answered"


class Run:
    """One client for ``warm_up_s`` and then ``seconds``; keeps what became of its requests meanwhile."""

    def __init__(
        self,
        connection: AsyncConnection,
        pictures: Sequence[Jpeg],
        deadline_s: float,
        warm_up_s: float,
        seconds: float,
    ) -> None:
        self._connection, self._pictures, self._deadline_s = connection, pictures, deadline_s
        self._counted = time.perf_counter() + warm_up_s
        self._ends = self._counted + seconds
        self.seconds = seconds
        self.taken_s: dict[str, list[float]] = defaultdict(list)
        """How long requests took that ended while it counted, by what became of them."""

    @property
    def goodput(self) -> float:
        """Answers a second."""
        return len(self.taken_s[ANSWERED]) / self.seconds

    async def _ask(self, number: int) -> None:
        jpeg = self._pictures[number % len(self._pictures)]
        began, outcome = time.perf_counter(), ANSWERED
        try:
            await self._connection.infer(
                contract.RECOMMEND_PRODUCTS, {contract.IMAGE: jpeg[np.newaxis]}, timeout_s=self._deadline_s
            )
        except AdlensError as error:
            outcome = error.kind
        ended = time.perf_counter()
        if self._counted <= ended < self._ends:
            self.taken_s[outcome].append(ended - began)

    async def closed(self, in_flight: int) -> None:
        """Keep ``in_flight`` requests under way."""

        async def caller(number: int) -> None:
            while time.perf_counter() < self._ends:
                await self._ask(number)
                number += in_flight

        await asyncio.gather(*map(caller, range(in_flight)))

    async def open(self, rate: float, random: np.random.Generator) -> None:
        """Send ``rate`` requests a second, whatever becomes of them."""
        tasks: list[asyncio.Task[None]] = []
        moment = time.perf_counter()
        while moment < self._ends:
            await asyncio.sleep(moment - time.perf_counter())
            tasks.append(asyncio.create_task(self._ask(len(tasks))))
            moment += random.exponential(1 / rate)
        await asyncio.gather(*tasks)


async def measure(
    url: str,
    pictures: Sequence[Jpeg],
    loads: Sequence[float],
    *,
    in_flight: int,
    seconds: float,
    deadline_s: float,
) -> dict[str, Any]:
    """The peak, and goodput, outcomes and times at each of ``loads``."""
    random = np.random.default_rng(0)
    rows = []
    async with AsyncConnection(Endpoint(url, retries=0)) as connection:
        best = Run(connection, pictures, deadline_s, deadline_s / 2, seconds)
        await best.closed(in_flight)
        for multiple in loads:
            run = Run(connection, pictures, deadline_s, deadline_s, seconds)
            await run.open(multiple * best.goodput, random)
            rows.append(
                {
                    "load": multiple,
                    "asked_per_s": round(multiple * best.goodput, 2),
                    "goodput_per_s": round(run.goodput, 2),
                    "goodput_of_peak": round(run.goodput / best.goodput, 3),
                    "outcomes": {kind: _summary(taken) for kind, taken in run.taken_s.items() if taken},
                }
            )
    return {
        "peak_per_s": round(best.goodput, 2),
        "in_flight_at_peak": in_flight,
        "deadline_s": deadline_s,
        "seconds_a_load": seconds,
        "loads": rows,
        "machine": machine(),
    }


def _summary(taken_s: Sequence[float]) -> dict[str, float]:
    """How many, and how long they took."""
    p50, p99 = np.percentile(np.array(taken_s) * 1000, [50, 99])
    return {"count": len(taken_s), "p50_ms": round(float(p50), 1), "p99_ms": round(float(p99), 1)}


def draw(report: dict[str, Any], path: Path) -> None:
    """Goodput over load, as multiples of the peak."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    loads = [row["load"] for row in report["loads"]]
    axes.plot(loads, [min(load, 1) for load in loads], color="0.7", label="ideal")
    axes.plot(loads, [row["goodput_of_peak"] for row in report["loads"]], marker="o", label="goodput")
    axes.axhline(0.9, color="0.7", linestyle=":", label="90 % of the peak")
    axes.set(
        xlabel="asked for, in multiples of the peak",
        ylabel=f"answered, of the peak of {report['peak_per_s']} pictures/s",
        ylim=(0, 1.15),
    )
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=150)


def _multiples(context: click.Context, parameter: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        return tuple(map(float, value.split(",")))
    except ValueError:
        raise click.BadParameter(f"{value!r}; give numbers such as 0.5,1,4") from None


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_OVERLOAD"})
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--url", default=lambda: os.environ.get("ADLENS_URL", "127.0.0.1:8001"), show_default=False)
@click.option("--loads", default="0.5,1,2,4", callback=_multiples, help="Multiples of the peak.")
@click.option("--in-flight", default=16, help="At the peak.")
@click.option("--seconds", default=20.0, help="That each run is counted.")
@click.option("--deadline", "deadline_s", default=10.0, help="Seconds that an answer may take.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the curve into this PNG.")
def main(
    folder: Path,
    url: str,
    loads: tuple[float, ...],
    in_flight: int,
    seconds: float,
    deadline_s: float,
    plot: Path | None,
) -> None:
    """Ask for more and more with the JPEG files of FOLDER and print the figures as JSON."""
    pictures = read_pictures(folder)
    report = asyncio.run(
        measure(url, pictures, loads, in_flight=in_flight, seconds=seconds, deadline_s=deadline_s)
    )
    click.echo(json.dumps(report, indent=2))
    if plot:
        draw(report, plot)


if __name__ == "__main__":
    main()
